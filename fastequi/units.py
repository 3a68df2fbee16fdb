"""Units: eV, Å, fs, amu and K inside; GPa and ps where people read them.

The constants are ASE's (CODATA 2014), so that numbers agree with ASE to the last digit.
"""

from ase import units as _ase

#: Boltzmann constant in eV/K.
BOLTZMANN_eV_PER_K = _ase.kB

#: Acceleration of 1 amu under a force of 1 eV/Å, in Å/fs².
ACCELERATION_A_PER_FS2 = _ase.fs**2

#: Kinetic energy of 1 amu at 1 Å/fs, in eV (before the factor 1/2).
KINETIC_eV = 1.0 / ACCELERATION_A_PER_FS2

#: 1 eV/Å³ in GPa.
GPA_PER_eV_PER_A3 = 1.0 / _ase.GPa

#: ASE's unit of velocity, Å/(Å·sqrt(amu/eV)), in Å/fs.
ASE_VELOCITY_A_PER_FS = _ase.fs

#: Speed of light in cm/fs: frequencies in 1/fs divided by it are wavenumbers in 1/cm.
LIGHT_CM_PER_FS = _ase._c * 1e-13

#: 1 eV in J.
JOULE_PER_eV = _ase._e

#: 1 amu/Å³ in g/cm³.
G_PER_CM3_PER_AMU_PER_A3 = _ase._amu * 1e27
