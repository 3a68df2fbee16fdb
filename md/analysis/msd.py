"""Diffusion: how far atoms get in a time, and the coefficient that follows from it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from fastequi.errors import InputError
from fastequi.md.analysis.analysis import Analysis, Column, Columns, Finding
from fastequi.md.analysis.correlation import autocorrelation_sums
from fastequi.md.analysis.frames import (
    by_element,
    fully_periodic,
    interval_fs,
    positions_of,
    same_atoms,
)
from fastequi.units import BOLTZMANN_eV_PER_K, JOULE_PER_eV

#: Stretches of a trajectory whose diffusion coefficients are compared, and frames that one needs.
BLOCKS, _FEWEST_FRAMES = 5, 10
#: A constant of the periodic images of a point force in a cubic cell.
_YEH_HUMMER = 2.837297


def mean_squared_displacement(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean squared displacement [frames] in Å² over 0, 1, 2, ... frames.

    positions [frames, atoms, 3] in Å, not wrapped: those of the atoms to average over. Every frame
    is an origin of time, by Fourier transform: |r(k+m) - r(k)|² = r²(k+m) + r²(k) - 2 r(k) r(k+m),
    the last term an autocorrelation (Calandrini et al., Collection SFN 12, 201, 2011, section 4.2).
    """
    frames, atoms = positions.shape[:2]
    origins = frames - np.arange(frames)
    away = positions - positions.mean(axis=0)
    squares = np.concatenate([[0.0], np.cumsum((away**2).sum(axis=(1, 2)))])
    both = squares[frames] - squares[:frames] + squares[frames:0:-1]
    msd = (both - 2.0 * autocorrelation_sums(away)) / (origins * atoms)
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


def without_dilation(frames: Sequence[Atoms]) -> NDArray[np.float64]:
    """Positions [frames, atoms, 3] in Å as if every frame had the mean cell.

    A barostat moves atoms that go nowhere; relative to the cell they rest. Positions as they are
    where the cell never changes, or does not span space.
    """
    positions = positions_of(frames)
    cells = np.array([frame.cell.array for frame in frames])
    if not fully_periodic(frames) or (cells == cells[0]).all():
        return positions
    return positions @ (np.linalg.inv(cells) @ cells.mean(axis=0))


@dataclass(frozen=True)
class Diffusion:
    """A diffusion coefficient in cm²/s, with its error from blocks, and what it is of.

    exponent  of MSD ~ time^exponent over the times that were used: 1 where atoms diffuse
    """

    cm2_per_s: float
    error_cm2_per_s: float
    exponent: float


def diffusion(
    positions: NDArray[np.float64], interval_fs: float, blocks: int = BLOCKS
) -> Diffusion:
    """Diffusion of atoms from positions [frames, atoms, 3] in Å, not wrapped, without drift.

    The line is fitted to the MSD of all frames from a tenth to a half of a block's time; the error
    is that of the mean of the blocks' own coefficients, which are independent. InputError for fewer
    than ten frames to a block.
    """
    size = len(positions) // blocks
    if size < _FEWEST_FRAMES:
        raise InputError(
            f"an error from {blocks} blocks needs at least {blocks * _FEWEST_FRAMES} frames, got "
            f"{len(positions)}"
        )
    start, end = 0.1 * size * interval_fs, 0.5 * size * interval_fs
    parts = [positions[k * size : (k + 1) * size] for k in range(blocks)]
    each = [
        diffusion_cm2_per_s(mean_squared_displacement(part), interval_fs, start, end)
        for part in parts
    ]
    msd = mean_squared_displacement(positions)
    times = np.arange(len(msd)) * interval_fs
    used = (times >= start) & (times <= end) & (msd > 0.0)
    exponent = np.polyfit(np.log(times[used]), np.log(msd[used]), 1)[0] if used.sum() > 1 else 0.0
    error = float(np.std(each, ddof=1) / np.sqrt(blocks))
    whole = diffusion_cm2_per_s(msd, interval_fs, start, end)
    return Diffusion(whole, error, float(exponent))


def finite_size_cm2_per_s(temperature_K: float, volume_A3: float) -> float:
    """What a periodic cell lacks of the diffusion coefficient, in cm²/s times mPa s.

    Divided by the viscosity in mPa s it is D(infinite) - D = 2.837297 k T / (6 pi viscosity L) of a
    cubic cell of length L (Yeh and Hummer, J. Phys. Chem. B 108, 15873, 2004, eq. 10; Dünweg and
    Kremer, J. Chem. Phys. 99, 6983, 1993).
    """
    thermal_J = temperature_K * BOLTZMANN_eV_PER_K * JOULE_PER_eV
    length_m = volume_A3 ** (1.0 / 3.0) * 1e-10
    m2_per_s = _YEH_HUMMER * thermal_J / (6.0 * np.pi * 1e-3 * length_m)
    return float(m2_per_s * 1e4)


def msd_columns(frames: Sequence[Atoms]) -> Columns:
    """`mean_squared_displacement` of all atoms and of each element.

    Without the drift of the whole, and without the breathing of a cell that changes.
    """
    numbers = same_atoms(frames)
    times_ps = np.arange(len(frames), dtype=np.float64) * (interval_fs(frames) * 1e-3)
    positions = without_drift(without_dilation(frames), frames[0].get_masses())
    of_elements = {
        f"msd_{symbol}_A2": mean_squared_displacement(positions[:, mine])
        for symbol, mine in by_element(numbers)
    }
    return {"time_ps": times_ps, "msd_A2": mean_squared_displacement(positions), **of_elements}


def msd_findings(frames: Sequence[Atoms], columns: Columns) -> Iterable[Finding | str]:
    """Diffusion coefficients of each element with errors, and what the cell's size does to them."""
    if len(frames) < BLOCKS * _FEWEST_FRAMES:
        yield (
            f"{len(frames)} frames are too few for a diffusion coefficient with an error "
            f"(at least {BLOCKS * _FEWEST_FRAMES})"
        )
        return
    positions = without_drift(without_dilation(frames), frames[0].get_masses())
    slow = []
    for symbol, mine in by_element(frames[0].numbers):
        found = diffusion(positions[:, mine], interval_fs(frames))
        yield Finding(
            f"diffusion_{symbol}_cm2_per_s", f"diffusion of {symbol}", found.cm2_per_s, "cm²/s",
            found.error_cm2_per_s,
        )  # fmt: skip
        if not 0.8 < found.exponent < 1.2:
            slow.append(f"{symbol} (MSD ~ time^{found.exponent:.2g})")
    if slow:
        yield f"not diffusing in the time that was looked at: {', '.join(slow)}"
    elif fully_periodic(frames) and all(frame.has("momenta") for frame in frames):
        temperature = sum(float(frame.get_temperature()) for frame in frames) / len(frames)
        volume = sum(float(frame.get_volume()) for frame in frames) / len(frames)
        lacking = finite_size_cm2_per_s(temperature, volume)
        yield (
            "a periodic cell slows diffusion: for an infinite one (Yeh and Hummer 2004) add "
            f"{lacking:.2g} cm²/s divided by the viscosity in mPa s"
        )


MSD = Analysis(
    msd_columns,
    (
        Column("time_ps", "ps", "time"),
        Column("msd_A2", "Å²", "mean squared displacement"),
        Column("msd_*_A2", "Å²", "mean squared displacement"),
    ),
    title="mean squared displacement and diffusion",
    findings=msd_findings,
    shown=0.5,
)
