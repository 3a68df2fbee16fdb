"""The vibrational density of states: at which frequencies the atoms move.

It is the Fourier transform of the mass-weighted velocity autocorrelation (Dickey and Paskin, Phys.
Rev. 188, 1407, 1969), computed as the power spectrum of the velocities (Wiener and Khinchin), with
a Hann window and, on request, averaged over segments that overlap by half (Welch, IEEE Trans.
Audio Electroacoust. 15, 70, 1967). A molecule in free flight also shows how it moves as a whole,
near zero, and its vibrations are broadened by its rotation; a thermostat broadens them too, so NVE
is the ensemble to take velocities from.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from fastequi.errors import InputError
from fastequi.md.analysis.analysis import Analysis, Column, Columns, Finding
from fastequi.md.analysis.frames import by_element, interval_fs, same_atoms, velocities_of
from fastequi.md.analysis.vacf import too_far_apart
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
    power, wavenumbers = _power(velocities, masses, interval_fs, resolution_per_cm)
    return wavenumbers, power.sum(axis=1) * _normalisation(power, wavenumbers)


def vibrational_spectra(
    velocities: NDArray[np.float64],
    masses: NDArray[np.float64],
    numbers: NDArray[np.int64],
    interval_fs: float,
    resolution_per_cm: float = 0.0,
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """Wavenumbers [points] in 1/cm, and each element's part [points] of the density of states.

    As `vibrational_spectrum`, which is the sum of the parts; numbers [atoms].
    """
    power, wavenumbers = _power(velocities, masses, interval_fs, resolution_per_cm)
    density = power * _normalisation(power, wavenumbers)
    parts = {symbol: density[:, mine].sum(axis=1) for symbol, mine in by_element(numbers)}
    return wavenumbers, parts


def _power(
    velocities: NDArray[np.float64],
    masses: NDArray[np.float64],
    interval_fs: float,
    resolution_per_cm: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mass-weighted power of each atom [points, atoms], in any unit; wavenumbers [points]."""
    segments = _segments(len(velocities), interval_fs, resolution_per_cm)
    n = segments[0].stop
    window = np.sin(np.pi * (np.arange(n) + 0.5) / n)[:, None, None] ** 2
    power = np.zeros((n // 2 + 1, len(masses)))
    for segment in segments:
        amplitudes = np.fft.rfft(window * velocities[segment], axis=0)
        power += np.square(np.abs(amplitudes)).sum(axis=2) * masses
    return power, np.arange(len(power)) / (LIGHT_CM_PER_FS * interval_fs * n)


def _normalisation(power: NDArray[np.float64], wavenumbers: NDArray[np.float64]) -> float:
    """What makes the area of all atoms' power 3 x atoms."""
    total = power.sum(axis=1)
    area = (total.sum() - 0.5 * (total[0] + total[-1])) * wavenumbers[1]  # trapezoids
    if area == 0.0:
        raise InputError("there is no spectrum of atoms at rest")
    return 3.0 * power.shape[1] / area


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
    """`vibrational_spectra`: all atoms, and each element; given the timestep, without its error."""
    numbers = same_atoms(frames)
    velocities, masses = velocities_of(frames), frames[0].get_masses()
    wavenumbers, parts = vibrational_spectra(
        velocities, masses, numbers, interval_fs(frames), resolution_per_cm
    )
    if timestep_fs is not None:
        wavenumbers = without_timestep_error(wavenumbers, timestep_fs)
    of_elements = {f"density_{symbol}_cm": part for symbol, part in parts.items()}
    total = np.sum(list(parts.values()), axis=0)
    return {"wavenumber_per_cm": wavenumbers, "density_cm": total, **of_elements}


def spectrum_findings(frames: Sequence[Atoms], columns: Columns) -> Iterable[Finding | str]:
    """Where it has its highest peak, and what it cannot show."""
    wavenumbers, density = columns["wavenumber_per_cm"], columns["density_cm"]
    peak = float(wavenumbers[density.argmax()])
    yield Finding("highest_peak_per_cm", "highest peak at", peak, "1/cm")
    yield Finding("resolution_per_cm", "a point every", float(wavenumbers[1]), "1/cm")
    remark = too_far_apart(frames)
    if remark:
        yield remark


SPECTRUM = Analysis(
    spectrum_columns,
    (
        Column("wavenumber_per_cm", "1/cm", "wavenumber"),
        Column("density_cm", "cm", "vibrational density of states"),
        Column("density_*_cm", "cm", "vibrational density of states"),
    ),
    title="vibrational density of states",
    findings=spectrum_findings,
    trimmed=True,
    peaked=True,
)
