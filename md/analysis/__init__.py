"""What a trajectory says: vibrational spectrum, radial distribution, diffusion.

frames = read_trajectory("run/trajectory.extxyz")
wavenumbers, intensity = vibrational_spectrum(
    velocities_of(frames), frames[0].get_masses(), interval_fs(frames)
)

`ANALYSES` has all of them in one form, for programs that offer them: frames in, columns out.

columns = ANALYSES["rdf"](frames, r_max_A=6.0)
"""

from fastequi.md.analysis.analysis import Analysis
from fastequi.md.analysis.frames import interval_fs, positions_of, velocities_of
from fastequi.md.analysis.msd import (
    MSD,
    diffusion_cm2_per_s,
    mean_squared_displacement,
    without_drift,
)
from fastequi.md.analysis.rdf import RDF, radial_distribution
from fastequi.md.analysis.spectrum import SPECTRUM, vibrational_spectrum, without_timestep_error

ANALYSES: dict[str, Analysis] = {
    "rdf": RDF,
    "msd": MSD,
    "spectrum": SPECTRUM,
}

__all__ = [
    "ANALYSES",
    "diffusion_cm2_per_s",
    "interval_fs",
    "mean_squared_displacement",
    "positions_of",
    "radial_distribution",
    "velocities_of",
    "vibrational_spectrum",
    "without_drift",
    "without_timestep_error",
]
