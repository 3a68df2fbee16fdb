"""Radial distribution functions: how much more often than by chance two atoms are r apart."""

from collections.abc import Iterable, Sequence
from itertools import combinations_with_replacement

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

from fastequi.errors import InputError
from fastequi.md.analysis.analysis import Analysis, Column, Columns, Finding
from fastequi.md.analysis.frames import (
    fully_periodic,
    positions_of,
    same_atoms,
    smallest_height_A,
)
from fastequi.md.neighbors.build import build_edges

#: Elements of a pair in the order of their atomic numbers.
Pair = tuple[str, str]

#: How far to look in Å if not said: half of a cell, but so far even in a small one, and no further.
NEAREST_END_A, FURTHEST_END_A = 6.0, 10.0


def radial_distribution(
    frames: Sequence[Atoms], r_max_A: float, bins: int = 200
) -> tuple[NDArray[np.float64], dict[Pair, NDArray[np.float64]]]:
    """Distances [bins] in Å, the middles of the bins, and g(r) [bins] of each pair of elements.

    g_ab(r) = V n_ab(r) / (N_a N_b dV(r)): n_ab counts pairs in a shell of volume dV (Frenkel and
    Smit, Understanding Molecular Simulation, section 4.4), V is each frame's own. Among atoms of
    one element N_b is N_a - 1, so that g is 1 for an ideal gas of any size; beyond the smallest
    height of a cell atoms see images of their own, and N_b is N_a. All images count, so a small
    cell is a crystal.

    Without three periodic directions there is no volume, and g is relative to the mean density
    within r_max_A: its mean over that sphere is 1. The frames have the same atoms.
    """
    numbers = same_atoms(frames)
    if not 0.0 < r_max_A < np.inf:
        raise InputError(f"r_max_A must be above 0; got {r_max_A:g}")
    kinds = len(np.unique(numbers))
    edges = np.linspace(0.0, r_max_A, bins + 1)
    has_volume = fully_periodic(frames)
    density = np.zeros((kinds, kinds, bins))
    for frame in frames:
        density += weighted_counts(frame, edges, has_volume) / len(frames)
    sees_itself = has_volume and r_max_A > smallest_height_A(frames)
    return middles(edges), g_of(density, numbers, edges, has_volume, sees_itself)


def middles(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of bins, from their ends."""
    return 0.5 * (edges[1:] + edges[:-1])


def weighted_counts(
    frame: Atoms, edges: NDArray[np.float64], has_volume: bool
) -> NDArray[np.float64]:
    """`pair_counts` times the volume of the frame, where there is one."""
    weight = float(frame.get_volume()) if has_volume else 1.0
    return weight * pair_counts(frame, edges).astype(np.float64)


def pair_counts(frame: Atoms, edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """Ordered pairs of atoms by their elements and distance: [elements, elements, bins].

    edges [bins + 1] in Å, evenly spaced from 0; elements by atomic number.
    """
    cell, r_max = frame.cell.array, edges[-1]
    dst, src, *shifts = build_edges(frame.positions, cell, frame.pbc, r_max)
    vectors = frame.positions[src] - frame.positions[dst] + np.transpose(shifts) @ cell
    r = np.linalg.norm(vectors, axis=1)
    elements, species = np.unique(frame.numbers, return_inverse=True)
    kinds, bins = len(elements), len(edges) - 1
    inside = r < r_max
    shell = (r[inside] * (bins / r_max)).astype(np.int64)
    where = (species[dst[inside]] * kinds + species[src[inside]]) * bins + shell
    return np.bincount(where, minlength=kinds**2 * bins).reshape(kinds, kinds, bins)


def g_of(
    density: NDArray[np.float64], numbers: NDArray[np.int64], edges: NDArray[np.float64],
    has_volume: bool, sees_itself: bool,
) -> dict[Pair, NDArray[np.float64]]:  # fmt: skip
    """g(r) [bins] of each pair, of the mean of `weighted_counts` [elements, elements, bins].

    numbers      [atoms] atomic numbers
    sees_itself  whether images of an atom are within reach
    """
    elements, counts = np.unique(numbers, return_counts=True)
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    g = {}
    for a, b in combinations_with_replacement(range(len(elements)), 2):
        pairs = counts[a] * (counts[b] - (a == b and not sees_itself))
        if not has_volume:
            pairs = density[a, b].sum() / shells.sum()
        if pairs > 0:
            name = (chemical_symbols[elements[a]], chemical_symbols[elements[b]])
            g[name] = density[a, b] / (pairs * shells)
    return g


def usual_r_max_A(frames: Sequence[Atoms]) -> float:
    """How far to look in Å: half a cell, within limits; all of a molecule."""
    if not frames:
        raise InputError("there are no frames")
    if fully_periodic(frames):
        half = 0.5 * smallest_height_A(frames)
        return float(np.clip(half, NEAREST_END_A, FURTHEST_END_A))
    extent = np.ptp(positions_of(frames), axis=1)
    diagonal = float(np.linalg.norm(extent, axis=1).max())
    return min(diagonal + 0.1, FURTHEST_END_A)


def first_shell_A(
    r: NDArray[np.float64], g: NDArray[np.float64], smoothing_A: float = 0.08
) -> float | None:
    """Where the first shell of neighbours ends in Å: the first minimum of g; None if there is none.

    g [bins] at r [bins] is smoothed by a Gaussian. The first peak is the first maximum above a
    fifth of the highest; the minimum behind it is left behind when g has risen by a tenth of the
    peak. Of a gap without pairs it is the middle.
    """
    offsets = r - r[len(r) // 2]
    kernel = np.exp(-0.5 * (offsets / smoothing_A) ** 2)
    smooth = np.convolve(g, kernel, mode="same") / np.convolve(np.ones_like(g), kernel, mode="same")
    is_peak = (smooth[1:-1] >= smooth[:-2]) & (smooth[1:-1] > smooth[2:])
    peaks = 1 + np.flatnonzero(is_peak & (smooth[1:-1] > 0.2 * smooth.max()))
    if len(peaks) == 0:
        return None
    behind = smooth[peaks[0] :]
    rise = 0.1 * behind[0]
    risen = np.flatnonzero(behind > np.minimum.accumulate(behind) + rise)
    valley = behind[: risen[0]] if len(risen) else behind
    lowest = np.flatnonzero(valley <= valley.min() + 1e-3 * behind[0])
    if valley.min() > 0.8 * behind[0]:
        return None
    return float(r[peaks[0] + lowest].mean()) if len(risen) else float(r[peaks[0] + lowest[0]])


def rdf_columns(frames: Sequence[Atoms], r_max_A: float | None = None, bins: int = 200) -> Columns:
    """`radial_distribution` of each pair of elements, as far as `usual_r_max_A` unless said."""
    r_max_A = usual_r_max_A(frames) if r_max_A is None else r_max_A
    r, g = radial_distribution(frames, r_max_A, bins)
    return {"r_A": r, **{"-".join(pair): values for pair, values in g.items()}}


def rdf_findings(frames: Sequence[Atoms], columns: Columns) -> Iterable[Finding | str]:
    """Where the highest peak of each pair is, and how high."""
    r = columns["r_A"]
    for pair, g in list(columns.items())[1:]:
        if g.any():
            place, height = float(r[g.argmax()]), float(g.max())
            text = f"{pair} highest peak, {height:.3g}, at"
            yield Finding(f"{pair}_highest_peak_A", text, place, "Å")
            yield Finding(f"{pair}_highest_peak", "", height)
    if not fully_periodic(frames):
        yield (
            "not periodic in three directions, so there is no mean density: g(r) is relative to "
            f"the density within {r[-1] + 0.5 * (r[1] - r[0]):.4g} Å of an atom"
        )
    elif r[-1] > 0.5 * smallest_height_A(frames):
        yield (
            f"the cell is small: beyond {0.5 * smallest_height_A(frames):.4g} Å images of the "
            "same atom count, as in a crystal"
        )


RDF = Analysis(
    rdf_columns,
    (Column("r_A", "Å", "distance r"), Column("*-*", "", "radial distribution function g(r)")),
    title="radial distribution",
    findings=rdf_findings,
    level=1.0,
    peaked=True,
)
