"""The static structure factor, which X-rays and neutrons see."""

from collections.abc import Iterable, Sequence
from itertools import combinations_with_replacement

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from fastequi.errors import InputError
from fastequi.md.analysis.analysis import Analysis, Column, Columns, Finding
from fastequi.md.analysis.frames import by_element, fully_periodic, same_atoms, spread_over

#: How far to look in 1/Å if not said, as long as a cell has no more wave vectors than this.
FURTHEST_PER_A = 12.0
_MOST_VECTORS = 2_000_000
#: Frames that are averaged over, if there are more.
MOST_FRAMES = 200
#: Wave vectors times atoms whose phases are in memory together.
_PHASES = 4_000_000


def wave_vectors(
    cell: NDArray[np.float64], q_max_per_A: float, spacing_per_A: float, most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices [vectors, 3] in the reciprocal lattice of a cell, and the bin [vectors] of each.

    One of q and -q, up to q_max_per_A; of more than `most` in a bin, as many at random (the same
    each time).
    """
    reciprocal = 2.0 * np.pi * np.linalg.inv(cell).T
    ends = np.floor(q_max_per_A * np.linalg.norm(cell, axis=1) / (2.0 * np.pi)).astype(int)
    expected = _expected_vectors(cell, q_max_per_A)
    if expected > _MOST_VECTORS:
        raise InputError(
            f"q_max_per_A must be at most {_usual_q_max(cell):.3g} in a cell of this size; got "
            f"{q_max_per_A:g}, which has {expected:.2g} wave vectors"
        )
    h, k, l = np.meshgrid(*(np.arange(-end, end + 1) for end in ends), indexing="ij")  # noqa: E741
    indices = np.stack([h, k, l], axis=-1).reshape(-1, 3)
    indices = indices[len(indices) // 2 + 1 :]  # the upper half, without the origin
    q = np.linalg.norm(indices @ reciprocal, axis=1)
    indices, q = indices[q < q_max_per_A], q[q < q_max_per_A]
    bins = (q / spacing_per_A).astype(np.int64)
    order = np.random.default_rng(0).permutation(len(q))
    order = order[np.argsort(bins[order], kind="stable")]
    rank = np.arange(len(q)) - np.searchsorted(bins[order], bins[order])
    kept = order[rank < most]
    return indices[kept], bins[kept]


def _expected_vectors(cell: NDArray[np.float64], q_max_per_A: float) -> float:
    """Half of the reciprocal lattice points in a sphere."""
    return float(abs(np.linalg.det(cell)) * q_max_per_A**3 / (12.0 * np.pi**2))


def _usual_q_max(cell: NDArray[np.float64]) -> float:
    allowed = _MOST_VECTORS / _expected_vectors(cell, 1.0)
    return float(min(FURTHEST_PER_A, 0.99 * allowed ** (1.0 / 3.0)))


def density_waves(frame: Atoms, indices: NDArray[np.int64]) -> NDArray[np.complex128]:
    """Sum over the atoms of each element of exp(i q r): [elements, vectors].

    q are `indices` [vectors, 3] in the reciprocal lattice of the frame.
    """
    fractions = np.linalg.solve(frame.cell.array.T, frame.positions.T)
    highest = np.abs(indices).max(axis=0)
    powers = [
        np.exp(2j * np.pi * np.outer(np.arange(-end, end + 1), x))
        for end, x in zip(highest, fractions, strict=True)
    ]
    is_of = np.array([mine for _, mine in by_element(frame.numbers)], dtype=np.float64).T
    waves, step = [], max(1, _PHASES // len(frame))
    for start in range(0, len(indices), step):
        phases = np.ones((1, 1))
        for axis, power in enumerate(powers):
            phases = phases * power[indices[start : start + step, axis] + highest[axis]]
        waves.append(phases @ is_of)
    return np.concatenate(waves).T


def structure_factor_columns(
    frames: Sequence[Atoms],
    q_max_per_A: float | None = None,
    spacing_per_A: float = 0.1,
    vectors_per_bin: int = 60,
    most_frames: int = MOST_FRAMES,
) -> Columns:
    """S(q) of all atoms and of each pair of elements, from the wave vectors of the cell.

    S(q) = <|rho(q)|²> / N; of a pair Re <rho_a(q) rho_b(-q)> / sqrt(N_a N_b) (Ashcroft and
    Langreth, Phys. Rev. 156, 685, 1967), which is 1 or, of two elements, 0 for large q. Averaged
    over at most vectors_per_bin directions, and most_frames frames evenly spaced. A bin without a
    vector has no row; where the cell changes, q is the mean.
    """
    numbers = same_atoms(frames)
    if not fully_periodic(frames):
        raise InputError("a structure factor needs three periodic directions")
    used = spread_over(frames, most_frames)
    cell = np.mean([frame.cell.array for frame in used], axis=0)
    q_max = _usual_q_max(cell) if q_max_per_A is None else q_max_per_A
    indices, bins = wave_vectors(cell, q_max, spacing_per_A, vectors_per_bin)
    if len(indices) == 0:
        raise InputError(f"the cell has no wave vector up to {q_max:.3g} 1/Å")
    elements = [(symbol, mine.sum()) for symbol, mine in by_element(numbers)]
    pairs = list(combinations_with_replacement(range(len(elements)), 2))
    q = np.zeros(len(indices))
    partial = np.zeros((len(pairs), len(indices)))
    total = np.zeros(len(indices))
    for frame in used:
        reciprocal = 2.0 * np.pi * np.linalg.inv(frame.cell.array).T
        q += np.linalg.norm(indices @ reciprocal, axis=1)
        waves = density_waves(frame, indices)
        total += np.square(np.abs(waves.sum(axis=0)))
        for row, (a, b) in zip(partial, pairs, strict=True):
            row += (waves[a] * waves[b].conj()).real
    columns = {"q_per_A": q, "all": total / len(numbers)}
    for row, (a, b) in zip(partial, pairs, strict=True):
        columns[f"{elements[a][0]}-{elements[b][0]}"] = row / np.sqrt(
            elements[a][1] * elements[b][1]
        )
    counts = np.bincount(bins)
    some = counts > 0
    return {
        name: np.bincount(bins, values)[some] / (counts[some] * len(used))
        for name, values in columns.items()
    }


def structure_factor_findings(frames: Sequence[Atoms], columns: Columns) -> Iterable[Finding | str]:
    """Where the highest peak of all atoms is."""
    q, total = columns["q_per_A"], columns["all"]
    text = f"highest peak, {total.max():.3g}, at"
    yield Finding("highest_peak_per_A", text, float(q[total.argmax()]), "1/Å")
    yield Finding("highest_peak", "", float(total.max()))
    used = len(spread_over(frames, MOST_FRAMES))
    if used < len(frames):
        yield f"from {used} of {len(frames)} frames, evenly spaced"


STRUCTURE_FACTOR = Analysis(
    structure_factor_columns,
    (
        Column("q_per_A", "1/Å", "wave number q"),
        Column("all", "", "structure factor S(q)"),
        Column("*-*", "", "structure factor S(q)"),
    ),
    title="static structure factor",
    findings=structure_factor_findings,
    level=1.0,
)
