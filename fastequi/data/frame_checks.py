"""What may be wrong with one frame: each check yields the kind of problem and its particulars."""

from collections.abc import Callable, Iterator

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from fastequi.data.frames import Frame
from fastequi.md.neighbors.build import build_edges

#: Atoms closer than this are on top of each other. They are looked for within the wider radius,
#: for which the finder needs fewer cells.
SHORTEST_DISTANCE_A, LOOK_WITHIN_A = 0.3, 1.5

#: The kind of problem, and what is particular about this frame.
Finding = tuple[str, str]


def wrong_shapes(frame: Frame) -> Iterator[Finding]:
    n = frame.n_atoms
    if n == 0:
        yield "no atoms", ""
    shapes = {"positions": (n, 3), "cell": (3, 3), "pbc": (3,), "forces": (n, 3), "stress": (3, 3)}
    for name, shape in shapes.items():
        value = getattr(frame, name)
        if value is not None and value.shape != shape:
            yield f"{name} of a wrong shape", f"{list(value.shape)}; allowed: {list(shape)}"


def not_finite(frame: Frame) -> Iterator[Finding]:
    for name in ("positions", "forces"):
        value = getattr(frame, name)
        if value is not None and not np.isfinite(value).all():
            atoms = np.flatnonzero(~np.isfinite(value).all(axis=1))
            more = f" and {len(atoms) - 3} more" if len(atoms) > 3 else ""
            yield f"{name} not finite", f"atoms {', '.join(map(str, atoms[:3]))}{more}"
    for name in ("cell", "energy", "stress", "weight"):
        value = getattr(frame, name)
        if name == "stress" and frame.volume == 0.0:
            continue  # it is not used
        if value is not None and not np.isfinite(value).all():
            yield f"{name} not finite", ""


def _bad_species(frame: Frame) -> Iterator[Finding]:
    unknown = ~np.isin(frame.atomic_numbers, np.arange(1, len(chemical_symbols)))
    if unknown.any():
        atom = int(np.argmax(unknown))
        yield "unknown elements", f"atomic number {frame.atomic_numbers[atom]} of atom {atom}"


def _no_labels(frame: Frame) -> Iterator[Finding]:
    if frame.energy is None and frame.forces is None and frame.stress is None:
        hint = f"the file has {', '.join(frame.unread)}: see keys" if frame.unread else ""
        yield "neither energy nor forces nor stress", hint


def _not_converged(frame: Frame) -> Iterator[Finding]:
    if not frame.converged:
        yield "marked as not converged", ""


def _bad_weight(frame: Frame) -> Iterator[Finding]:
    if frame.weight < 0.0:
        yield "a negative weight", f"{frame.weight:g}"


def _bad_cell(frame: Frame) -> Iterator[Finding]:
    if _is_flat(frame.cell[frame.pbc]):
        yield "periodic, and the lattice vectors span no volume", ""


def _is_flat(vectors: NDArray[np.float64]) -> bool:
    """Whether lattice vectors [n, 3] are zero or depend linearly on each other, up to rounding."""
    lengths = np.linalg.norm(vectors, axis=1)
    if len(vectors) == 0 or lengths.min() == 0.0:
        return len(vectors) > 0
    return bool(np.linalg.svd(vectors / lengths[:, None])[1][-1] < 1e-8)


def _bad_stress(frame: Frame) -> Iterator[Finding]:
    if frame.stress is None or frame.volume == 0.0:
        return
    largest = np.abs(frame.stress).max()
    if np.abs(frame.stress - frame.stress.T).max() > 1e-2 * largest:
        yield "a stress that is not symmetric", ""


def _overlaps(frame: Frame) -> Iterator[Finding]:
    if _is_flat(frame.cell[frame.pbc]):
        return
    dst, src, *shift = build_edges(frame.positions, frame.cell, frame.pbc, LOOK_WITHIN_A)
    lattice = np.where(frame.pbc[:, None], frame.cell, 0.0)
    apart = frame.positions[src] - frame.positions[dst] + np.stack(shift, axis=1) @ lattice
    distances = np.linalg.norm(apart, axis=1)
    if len(distances) and distances.min() < SHORTEST_DISTANCE_A:
        k = distances.argmin()
        kind = f"atoms closer than {SHORTEST_DISTANCE_A} Å, periodic images included"
        yield kind, f"atoms {dst[k]} and {src[k]}, {distances[k]:.3g} Å"


#: What to look at once shapes are right and numbers finite.
CHECKS: tuple[Callable[[Frame], Iterator[Finding]], ...] = (
    _bad_species,
    _no_labels,
    _not_converged,
    _bad_weight,
    _bad_cell,
    _bad_stress,
    _overlaps,
)
