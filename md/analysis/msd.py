"""Diffusion: how far atoms get in a time, and the coefficient that follows from it."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

from fastequi.errors import InputError
from fastequi.md.analysis.analysis import Analysis, Column, Columns
from fastequi.md.analysis.frames import interval_fs, positions_of


def mean_squared_displacement(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean squared displacement [frames] in Å² over 0, 1, 2, ... frames.

    positions [frames, atoms, 3] in Å, not wrapped: those of the atoms to average over. Every frame
    is an origin of time, by Fourier transform: |r(k+m) - r(k)|² = r²(k+m) + r²(k) - 2 r(k) r(k+m),
    the last term an autocorrelation (Calandrini et al., Collection SFN 12, 201, 2011, section 4.2).
    """
    frames, atoms = positions.shape[:2]
    origins = frames - np.arange(frames)
    away = positions - positions.mean(axis=0)
    transform = np.fft.rfft(away, n=2 * frames, axis=0)  # padded: the product does not wrap
    power = (np.abs(transform) ** 2).sum(axis=(1, 2))
    products = np.fft.irfft(power, n=2 * frames)[:frames]
    squares = np.concatenate([[0.0], np.cumsum((away**2).sum(axis=(1, 2)))])
    both = squares[frames] - squares[:frames] + squares[frames:0:-1]
    msd = (both - 2.0 * products) / (origins * atoms)
    msd[0] = 0.0
    return msd


def diffusion_cm2_per_s(
    msd: NDArray[np.float64], interval_fs: float, start_fs: float, end_fs: float
) -> float:
    """Diffusion coefficient in cm²/s: a sixth of the slope of a straight line (Einstein).

    msd [frames] in Å², one value every `interval_fs`. The line is fitted between `start_fs`, late
    enough for atoms to have forgotten their velocity, and `end_fs`, a fraction of the run: the last
    values average over few origins of time.
    """
    times = np.arange(len(msd)) * interval_fs
    used = (times >= start_fs) & (times <= end_fs)
    if used.sum() < 2:
        raise InputError(
            f"{used.sum()} values between {start_fs:g} and {end_fs:g} fs; a line needs two or more "
            f"(there are values from 0 to {times[-1]:g} fs)"
        )
    slope = np.polyfit(times[used], msd[used], 1)[0]
    return float(slope / 6.0 * 0.1)  # 1 Å²/fs is 0.1 cm²/s


def without_drift(
    positions: NDArray[np.float64], masses: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Positions [frames, atoms, 3] relative to the centre of mass; masses [atoms], all atoms.

    A thermostat that pushes atoms (Langevin) also moves the whole, which is not diffusion.
    """
    return positions - np.einsum("fac,a->fc", positions, masses / masses.sum())[:, None]


def msd_columns(frames: Sequence[Atoms]) -> Columns:
    """`mean_squared_displacement` of all atoms and of each element, without the drift of all."""
    times_ps = np.arange(len(frames), dtype=np.float64) * (interval_fs(frames) * 1e-3)
    positions = without_drift(positions_of(frames), frames[0].get_masses())
    numbers = frames[0].numbers
    by_element = {
        f"msd_{chemical_symbols[z]}_A2": mean_squared_displacement(positions[:, numbers == z])
        for z in np.unique(numbers)
    }
    return {"time_ps": times_ps, "msd_A2": mean_squared_displacement(positions), **by_element}


MSD = Analysis(
    msd_columns,
    (
        Column("time_ps", "ps", "time"),
        Column("msd_A2", "Å²", "mean squared displacement"),
        Column("msd_*_A2", "Å²", "mean squared displacement of an element"),
    ),
)
