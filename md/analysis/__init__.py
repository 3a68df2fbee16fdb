"""What a trajectory says: structure, diffusion, vibrations; and what a log says.

frames = read_trajectory("run/trajectory.extxyz")
wavenumbers, intensity = vibrational_spectrum(
    velocities_of(frames), frames[0].get_masses(), interval_fs(frames)
)

`ANALYSES` has all of them in one form, for programs that offer them: frames in, columns out.
`LOG_ANALYSES` are those of the columns of a log; of a minimisation's, the last one.

columns = ANALYSES["rdf"](frames, r_max_A=6.0)
"""

from fastequi.md.analysis.adf import ADF, angular_distribution
from fastequi.md.analysis.analysis import Analysis
from fastequi.md.analysis.coordination import COORDINATION, coordination_numbers
from fastequi.md.analysis.frames import interval_fs, positions_of, velocities_of
from fastequi.md.analysis.lattice import LATTICE
from fastequi.md.analysis.minimization import MINIMIZATION
from fastequi.md.analysis.msd import (
    MSD,
    diffusion,
    diffusion_cm2_per_s,
    mean_squared_displacement,
    without_dilation,
    without_drift,
)
from fastequi.md.analysis.rdf import RDF, radial_distribution
from fastequi.md.analysis.spectrum import (
    SPECTRUM,
    vibrational_spectra,
    vibrational_spectrum,
    without_timestep_error,
)
from fastequi.md.analysis.structure_factor import STRUCTURE_FACTOR
from fastequi.md.analysis.thermodynamics import DRIFT, THERMODYNAMICS
from fastequi.md.analysis.vacf import VACF, velocity_autocorrelation
from fastequi.md.analysis.viscosity import VISCOSITY

ANALYSES: dict[str, Analysis] = {
    "rdf": RDF,
    "coordination": COORDINATION,
    "adf": ADF,
    "structure_factor": STRUCTURE_FACTOR,
    "msd": MSD,
    "vacf": VACF,
    "spectrum": SPECTRUM,
    "viscosity": VISCOSITY,
    "lattice": LATTICE,
}

LOG_ANALYSES: dict[str, Analysis] = {
    "thermodynamics": THERMODYNAMICS,
    "drift": DRIFT,
    "minimization": MINIMIZATION,
}

__all__ = [
    "ANALYSES",
    "LOG_ANALYSES",
    "angular_distribution",
    "coordination_numbers",
    "diffusion",
    "diffusion_cm2_per_s",
    "interval_fs",
    "mean_squared_displacement",
    "positions_of",
    "radial_distribution",
    "velocities_of",
    "velocity_autocorrelation",
    "vibrational_spectra",
    "vibrational_spectrum",
    "without_dilation",
    "without_drift",
    "without_timestep_error",
]
