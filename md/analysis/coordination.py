"""Coordination numbers: how many atoms of an element are within r of an atom."""

from collections.abc import Iterable, Sequence

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from fastequi.errors import InputError
from fastequi.md.analysis.analysis import Analysis, Column, Columns, Finding
from fastequi.md.analysis.frames import by_element, same_atoms
from fastequi.md.analysis.rdf import Pair, first_shell_A, pair_counts

#: Shells of neighbours end below this, in Å.
FURTHEST_A = 6.0


def coordination_numbers(
    frames: Sequence[Atoms], r_max_A: float = FURTHEST_A, bins: int = 200
) -> tuple[NDArray[np.float64], dict[Pair, NDArray[np.float64]]]:
    """Distances [bins] in Å, and the mean number [bins] of atoms b within that of an atom a.

    By (a, b): around the first, of the second. With any periodicity, all images counted; the frames
    have the same atoms.
    """
    numbers = same_atoms(frames)
    if not 0.0 < r_max_A < np.inf:
        raise InputError(f"r_max_A must be above 0; got {r_max_A:g}")
    edges = np.linspace(0.0, r_max_A, bins + 1)
    counted = np.sum([pair_counts(frame, edges) for frame in frames], axis=0, dtype=np.float64)
    within = np.cumsum(counted, axis=2) / len(frames)
    elements = [(symbol, mine.sum()) for symbol, mine in by_element(numbers)]
    around = {
        (a, b): within[i, j] / n_a
        for i, (a, n_a) in enumerate(elements)
        for j, (b, _) in enumerate(elements)
    }
    return edges[1:], around


def shells_A(frames: Sequence[Atoms], r_max_A: float = FURTHEST_A) -> dict[Pair, float]:
    """End of the first shell in Å of each pair of elements that has one, either way round."""
    r, around = coordination_numbers(frames, r_max_A)
    return _shells_A(r, around)


def _shells_A(r: NDArray[np.float64], around: dict[Pair, NDArray[np.float64]]) -> dict[Pair, float]:
    """From running numbers: their increments over r² are g(r) up to a factor."""
    middles = r - 0.5 * r[0]
    found = {}
    for pair, within in around.items():
        end = first_shell_A(middles, np.diff(within, prepend=0.0) / middles**2)
        if end is not None:
            found[pair] = end
    return found


def coordination_columns(
    frames: Sequence[Atoms], r_max_A: float = FURTHEST_A, bins: int = 200
) -> Columns:
    """`coordination_numbers` of each pair of elements."""
    r, around = coordination_numbers(frames, r_max_A, bins)
    return {"r_A": r, **{"-".join(pair): within for pair, within in around.items()}}


def coordination_findings(frames: Sequence[Atoms], columns: Columns) -> Iterable[Finding | str]:
    """How many neighbours there are in the first shell, which ends at the first minimum of g(r)."""
    r = columns["r_A"]
    around = {(a, b): columns[f"{a}-{b}"] for a, b in _pairs(columns)}
    for (a, b), end in _shells_A(r, around).items():
        number = float(np.interp(end, r, around[a, b]))
        text = f"{b} around {a} up to {end:.3g} Å"
        yield Finding(f"{a}-{b}_first_shell", text, number)
        yield Finding(f"{a}-{b}_first_shell_end_A", "", end, "Å")


def _pairs(columns: Columns) -> list[Pair]:
    return [(a, b) for a, b in (name.split("-") for name in list(columns)[1:])]


COORDINATION = Analysis(
    coordination_columns,
    (
        Column("r_A", "Å", "distance r"),
        Column("*-*", "atoms", "second element within r of the first"),
    ),
    title="coordination number",
    findings=coordination_findings,
    highest=14.0,
)
