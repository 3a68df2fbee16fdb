"""The vibrational density of states: at which frequencies the atoms move.

It is the Fourier transform of the mass-weighted velocity autocorrelation (Dickey and Paskin, Phys.
Rev. 188, 1407, 1969), computed as the power spectrum of the velocities (Wiener and Khinchin), with
a Hann window and, on request, averaged over segments that overlap by half (Welch, IEEE Trans.
Audio Electroacoust. 15, 70, 1967). A molecule in free flight also shows how it moves as a whole,
near zero, and its vibrations are broadened by its rotation; a thermostat broadens them too, so NVE
is the ensemble to take velocities from.
"""

import math
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from fastequi.errors import InputError
from fastequi.md.analysis.analysis import Analysis, Column, Columns
from fastequi.md.analysis.frames import interval_fs, velocities_of
from fastequi.units import LIGHT_CM_PER_FS

#: The narrowest peak of a Hann window spans this many points between zero and zero.
_HANN_WIDTH = 4


def vibrational_spectrum(
    velocities: NDArray[np.float64],
    masses: NDArray[np.float64],
    interval_fs: float,
    resolution_per_cm: float = 0.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wavenumbers [points] in 1/cm, and the density of states [points] in cm.

    velocities [frames, atoms, 3] in Å/fs, one frame every `interval_fs`; masses [atoms] in amu.
    Points are `resolution_per_cm` apart, or as close as all frames together allow if that is
    coarser; a coarser resolution is a smoother spectrum. The density integrates to 3 x atoms: a
    vibration that has its equal share of the kinetic energy has an area of 1.
    """
    segments = _segments(len(velocities), interval_fs, resolution_per_cm)
    n = segments[0].stop
    window = np.sin(np.pi * (np.arange(n) + 0.5) / n)[:, None, None] ** 2
    power = np.zeros(n // 2 + 1)
    for segment in segments:
        amplitudes = np.fft.rfft(window * velocities[segment], axis=0)
        power += np.einsum("fac,a->f", np.abs(amplitudes) ** 2, masses)
    wavenumbers = np.arange(len(power)) / (LIGHT_CM_PER_FS * interval_fs * n)
    area = (power.sum() - 0.5 * (power[0] + power[-1])) * wavenumbers[1]  # trapezoids
    if area == 0.0:
        raise InputError("there is no spectrum of atoms at rest")
    return wavenumbers, power * (3 * len(masses) / area)


def _segments(frames: int, interval_fs: float, resolution_per_cm: float) -> list[slice]:
    """Stretches of a length that gives the resolution, each beginning in the middle of another."""
    if frames < 2 * _HANN_WIDTH:
        raise InputError(f"a spectrum needs at least {2 * _HANN_WIDTH} frames, got {frames}")
    n = frames
    if resolution_per_cm > 0.0:
        n = min(frames, math.ceil(1.0 / (LIGHT_CM_PER_FS * interval_fs * resolution_per_cm)))
    if n < 2 * _HANN_WIDTH:
        raise InputError(
            f"a resolution of {resolution_per_cm:g}/cm leaves {n} frames to a segment, at least "
            f"{2 * _HANN_WIDTH} are needed"
        )
    return [slice(start, start + n) for start in range(0, frames - n + 1, max(1, n // 2))]


def without_timestep_error(
    wavenumbers: NDArray[np.float64], timestep_fs: float
) -> NDArray[np.float64]:
    """The wavenumbers in 1/cm that exact dynamics would have shown.

    For velocity Verlet, and Langevin dynamics built on it: of a harmonic oscillator it makes one
    with sin(Ω dt / 2) = ω dt / 2, which is faster: 19/cm at 3700/cm and 0.5 fs.
    """
    phase_per_cm = np.pi * LIGHT_CM_PER_FS * timestep_fs  # Ω dt / 2 at 1/cm
    return np.sin(phase_per_cm * wavenumbers) / phase_per_cm


def spectrum_columns(
    frames: Sequence[Atoms], resolution_per_cm: float = 10.0, timestep_fs: float | None = None
) -> Columns:
    """`vibrational_spectrum` of all atoms; given the timestep, `without_timestep_error`."""
    every_fs = interval_fs(frames)
    velocities, masses = velocities_of(frames), frames[0].get_masses()
    wavenumbers, density = vibrational_spectrum(velocities, masses, every_fs, resolution_per_cm)
    if timestep_fs is not None:
        wavenumbers = without_timestep_error(wavenumbers, timestep_fs)
    return {"wavenumber_per_cm": wavenumbers, "density_cm": density}


SPECTRUM = Analysis(
    spectrum_columns,
    (
        Column("wavenumber_per_cm", "1/cm", "wavenumber"),
        Column("density_cm", "cm", "vibrational density of states"),
    ),
)
