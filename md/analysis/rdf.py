"""Radial distribution functions: how much more often than by chance two atoms are r apart."""

from collections.abc import Sequence
from itertools import combinations_with_replacement

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

from fastequi.errors import InputError
from fastequi.md.analysis.analysis import Analysis, Column, Columns
from fastequi.md.neighbors.build import build_edges

#: Elements of a pair in the order of their atomic numbers.
Pair = tuple[str, str]


def radial_distribution(
    frames: Sequence[Atoms], r_max_A: float, bins: int = 200
) -> tuple[NDArray[np.float64], dict[Pair, NDArray[np.float64]]]:
    """Distances [bins] in Å, the middles of the bins, and g(r) [bins] of each pair of elements.

    g_ab(r) = V n_ab(r) / (N_a N_b dV(r)): n_ab counts pairs in a shell of volume dV (Frenkel and
    Smit, Understanding Molecular Simulation, section 4.4). Among atoms of one element N_b is
    N_a - 1, so that g is 1 for an ideal gas of any size. Averaged over frames, which have the same
    atoms and three periodic directions; r_max_A is at most half the smallest height of any cell.
    """
    if not frames:
        raise InputError("there are no frames to take distances from")
    numbers = frames[0].numbers
    elements, counts = np.unique(numbers, return_counts=True)
    for k, frame in enumerate(frames):
        _check(frame, k, numbers, r_max_A)
    edges = np.linspace(0.0, r_max_A, bins + 1)
    shells = 4.0 / 3.0 * np.pi * np.diff(edges**3)
    density = np.mean([frame.get_volume() * _histogram(frame, edges) for frame in frames], axis=0)
    g = {}
    for a, b in combinations_with_replacement(range(len(elements)), 2):
        pairs = counts[a] * (counts[b] - (a == b))
        if pairs > 0:
            name = (chemical_symbols[elements[a]], chemical_symbols[elements[b]])
            g[name] = density[a, b] / (pairs * shells)
    return 0.5 * (edges[1:] + edges[:-1]), g


def rdf_columns(frames: Sequence[Atoms], r_max_A: float | None = None, bins: int = 200) -> Columns:
    """`radial_distribution` of each pair of elements, as far as all cells allow unless said."""
    if r_max_A is None:
        r_max_A = min((_longest_r(frame) for frame in frames if frame.pbc.all()), default=0.0)
    r, g = radial_distribution(frames, r_max_A, bins)
    return {"r_A": r, **{f"g_{'_'.join(pair)}": values for pair, values in g.items()}}


RDF = Analysis(
    rdf_columns,
    (Column("r_A", "Å", "distance"), Column("g_*", "", "radial distribution function")),
)


def _longest_r(frame: Atoms) -> float:
    """Half the smallest height of the cell in Å: further away, an atom has several images."""
    heights = 1.0 / np.linalg.norm(np.linalg.inv(frame.cell.array), axis=0)
    return float(0.5 * heights.min())


def _check(frame: Atoms, k: int, numbers: NDArray[np.int64], r_max_A: float) -> None:
    if not np.array_equal(frame.numbers, numbers):
        raise InputError(f"frame {k} has other atoms than frame 0")
    if not frame.pbc.all():
        raise InputError(f"frame {k} is not periodic in three directions")
    limit = _longest_r(frame)
    if not 0.0 < r_max_A <= limit * (1.0 + 1e-12):
        raise InputError(
            f"r_max_A must be above 0 and at most {limit:.4g} Å, half the smallest height of the "
            f"cell of frame {k}; got {r_max_A:g}"
        )


def _histogram(frame: Atoms, edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """Ordered pairs of atoms by their elements and distance: [elements, elements, bins]."""
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
