"""Angular distribution functions: the angles between the neighbours of an atom."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from numpy.typing import NDArray

from fastequi.errors import InputError
from fastequi.md.analysis.analysis import Analysis, Column, Columns, Finding
from fastequi.md.analysis.coordination import FURTHEST_A, shells_A
from fastequi.md.analysis.frames import same_atoms, spread_over
from fastequi.md.analysis.rdf import Pair
from fastequi.md.neighbors.build import build_edges

#: Element of a neighbour, of the atom in the middle, of another neighbour.
Triplet = tuple[str, str, str]

#: Triplets of which there are fewer, per atom in the middle and frame, are noise.
FEWEST_PER_ATOM = 0.01
#: Frames that first shells are taken from where no cutoff is given.
_FRAMES_FOR_SHELLS = 50
#: Covalent bonds are shorter than so many sums of radii.
_BOND_STRETCH = 1.25


def angular_distribution(
    frames: Sequence[Atoms],
    cutoffs_A: Mapping[Pair, float],
    bins: int = 180,
    fewest_per_atom: float = 0.0,
) -> tuple[NDArray[np.float64], dict[Triplet, NDArray[np.float64]]]:
    """Angles [bins] in degrees, the middles of the bins, and densities [bins] per degree.

    cutoffs_A: up to where two elements are neighbours in Å, of pairs in either order; others are
    none. The density of a triplet integrates to 1; it is not divided by sin(angle), which random
    directions would have. Triplets of which there are fewer than `fewest_per_atom` in the middle
    and frame are left out; all images are neighbours.
    """
    numbers = same_atoms(frames)
    reach = reaches_A(cutoffs_A, numbers)
    counts = np.zeros(len(reach) ** 3 * bins, dtype=np.int64)
    for frame in frames:
        counts += angle_counts(frame, reach, bins)
    return middles(bins), densities_of(counts, numbers, len(frames), fewest_per_atom)


def middles(bins: int) -> NDArray[np.float64]:
    """Angles [bins] in degrees in the middle of each bin."""
    return (np.arange(bins, dtype=np.float64) + 0.5) * (180.0 / bins)


def reaches_A(cutoffs_A: Mapping[Pair, float], numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Up to where elements are neighbours [elements, elements]; InputError where none ever are."""
    symbols = [chemical_symbols[z] for z in np.unique(numbers)]
    reach = np.array([[_reach(cutoffs_A, a, b) for b in symbols] for a in symbols])
    if not 0.0 < reach.max() < np.inf:
        raise InputError(f"cutoffs_A must have one above 0; got {dict(cutoffs_A)}")
    return reach


def angle_counts(frame: Atoms, reach: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """Angles by triplet of elements and by bin, [elements**3 * bins]; `reach` as `reaches_A`."""
    species = np.unique(frame.numbers, return_inverse=True)[1]
    angles, triplets = _angles(frame, species, reach)
    places = np.minimum((angles * (bins / 180.0)).astype(np.int64), bins - 1)
    return np.bincount(triplets * bins + places, minlength=len(reach) ** 3 * bins)


def densities_of(
    counts: NDArray[np.int64], numbers: NDArray[np.int64], frames: int, fewest_per_atom: float
) -> dict[Triplet, NDArray[np.float64]]:
    """Densities [bins] per degree of `angle_counts` summed over so many frames."""
    elements, atoms = np.unique(numbers, return_counts=True)
    kinds, symbols = len(elements), [chemical_symbols[z] for z in elements]
    bins = len(counts) // kinds**3
    density: dict[Triplet, NDArray[np.float64]] = {}
    for (a, b, c), found in zip(
        np.ndindex(kinds, kinds, kinds), counts.reshape(-1, bins), strict=True
    ):
        if found.sum() > fewest_per_atom * frames * atoms[b]:
            name = (symbols[a], symbols[b], symbols[c])
            density[name] = found * (bins / 180.0) / found.sum()
    return density


def _reach(cutoffs_A: Mapping[Pair, float], a: str, b: str) -> float:
    return cutoffs_A.get((a, b), cutoffs_A.get((b, a), 0.0))


def _angles(
    frame: Atoms, species: NDArray[np.int64], reach: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Angles [triplets] in degrees, and what they are of [triplets], as an index of (a, b, c).

    Each angle once, the element of lower atomic number first.
    """
    cell, kinds = frame.cell.array, len(reach)
    dst, src, *shifts = build_edges(frame.positions, cell, frame.pbc, reach.max())
    vectors = frame.positions[src] - frame.positions[dst] + np.transpose(shifts) @ cell
    r = np.linalg.norm(vectors, axis=1)
    near = r < reach[species[dst], species[src]]
    dst, end, unit = dst[near], species[src[near]], vectors[near] / r[near, None]
    first, second = _pairs_within_rows(dst)
    cosines = np.clip(np.einsum("nc,nc->n", unit[first], unit[second]), -1.0, 1.0)
    low = np.minimum(end[first], end[second])
    high = np.maximum(end[first], end[second])
    triplets = (low * kinds + species[dst[first]]) * kinds + high
    return np.degrees(np.arccos(cosines)), triplets


def _pairs_within_rows(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of all pairs of entries, each once, that have the same value; `rows` is sorted."""
    n = len(rows)
    ends = np.searchsorted(rows, rows, side="right")
    later = ends - np.arange(n) - 1  # entries of the same row behind each
    first = np.repeat(np.arange(n), later)
    starts = np.cumsum(later) - later
    return first, first + 1 + np.arange(len(first)) - np.repeat(starts, later)


def usual_cutoffs_A(frames: Sequence[Atoms]) -> dict[Pair, float]:
    """End of the first shell in Å of each pair of elements; where g(r) has none, of a bond."""
    numbers = same_atoms(frames)
    shells = shells_A(spread_over(frames, _FRAMES_FOR_SHELLS), FURTHEST_A)
    symbols = [chemical_symbols[z] for z in np.unique(numbers)]
    return {
        (a, b): shells.get((a, b), _bond_A(a, b))
        for i, a in enumerate(symbols)
        for b in symbols[i:]
    }


def cutoffs_or_usual_A(frames: Sequence[Atoms], cutoff_A: float | None) -> dict[Pair, float]:
    """`usual_cutoffs_A`, or one cutoff for all pairs of elements."""
    if cutoff_A is None:
        return usual_cutoffs_A(frames)
    symbols = [chemical_symbols[z] for z in np.unique(same_atoms(frames))]
    return {(a, b): cutoff_A for i, a in enumerate(symbols) for b in symbols[i:]}


def _bond_A(a: str, b: str) -> float:
    return _BOND_STRETCH * float(
        covalent_radii[atomic_numbers[a]] + covalent_radii[atomic_numbers[b]]
    )


def adf_columns(
    frames: Sequence[Atoms],
    cutoff_A: float | None = None,
    bins: int = 180,
    fewest_per_atom: float = FEWEST_PER_ATOM,
) -> Columns:
    """`angular_distribution` of each triplet: neighbours up to cutoff_A, or `usual_cutoffs_A`.

    Without triplets that hardly occur, of which there would be noise alone.
    """
    cutoffs = cutoffs_or_usual_A(frames, cutoff_A)
    angles, density = angular_distribution(frames, cutoffs, bins, fewest_per_atom)
    return {"angle_deg": angles, **{"-".join(name): values for name, values in density.items()}}


def adf_findings(frames: Sequence[Atoms], columns: Columns) -> Iterable[Finding | str]:
    """Mean and spread of the angles of each triplet."""
    angles = columns["angle_deg"]
    if len(columns) == 1:
        yield "no atom has two neighbours: there are no angles"
    for name, density in list(columns.items())[1:]:
        share = density / density.sum()
        mean = float(share @ angles)
        spread = float(np.sqrt(share @ (angles - mean) ** 2))
        yield Finding(f"{name}_mean_deg", f"{name} (spread {spread:.3g}°)", mean, "°")
        yield Finding(f"{name}_spread_deg", "", spread, "°")


ADF = Analysis(
    adf_columns,
    (Column("angle_deg", "°", "angle"), Column("*-*-*", "1/°", "density of angles")),
    title="angular distribution",
    findings=adf_findings,
)
