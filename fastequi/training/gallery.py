"""The frames with the largest errors of forces, for the viewer of a page: atoms coloured by it."""

from typing import Any

import numpy as np
from ase import Atoms

from fastequi.md.analysis.movie import UNIT_A, cell_of, encoded
from fastequi.training.evaluate import Evaluation

#: Frames that are shown, atoms that carry a number, and atoms of all frames together.
MOST_FRAMES, LABELLED, MOST_ATOMS = 12, 3, 60_000


def gallery_of(evaluation: Evaluation, which: str) -> dict[str, Any] | None:
    """What the viewer is told; `which` names the set. None where no frame has forces.

    Frames are ordered by their largest error of an atom, eV/Å.
    """
    errors = np.linalg.norm(evaluation.predicted.forces - evaluation.reference.forces, axis=1)
    each = np.split(errors, np.cumsum(evaluation.n_atoms)[:-1])
    worst = np.array([values.max(initial=-1.0) for values in each])
    worst = np.where(np.isfinite(worst), worst, -1.0)
    order = [int(k) for k in np.argsort(-worst, kind="stable")[:MOST_FRAMES] if worst[k] >= 0.0]
    kept = [k for n, k in enumerate(order) if evaluation.n_atoms[order[: n + 1]].sum() < MOST_ATOMS]
    if not kept:
        return None
    return {
        "title": "Largest errors of forces",
        "unit_A": UNIT_A,
        "items": [_item(evaluation, k, each[k]) for k in kept],
        "remark": (
            f"the {len(kept)} of {len(evaluation.frames)} {which} frames with the largest errors; "
            "the redder an atom, the larger its error; numbers in eV/Å"
        ),
    }


def _item(evaluation: Evaluation, k: int, errors: np.ndarray) -> dict[str, Any]:
    frame = evaluation.frames[k]
    atoms = Atoms(frame.atomic_numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
    first = int(evaluation.n_atoms[:k].sum())
    size = np.linalg.norm(evaluation.reference.forces[first : first + len(atoms)], axis=1)
    worst = np.argsort(-errors)[:LABELLED].tolist()
    symbols = atoms.get_chemical_symbols()
    kind = f" ({frame.config_type})" if frame.config_type else ""
    at = worst[0]
    energy = 1000 * evaluation.energy_errors[k]
    of_energy = f"; energy {energy:+.3g} meV/atom" if np.isfinite(energy) else ""
    return {
        "symbols": symbols,
        "positions": encoded(atoms.get_positions(wrap=True)),
        "cell": cell_of(frame.cell, frame.pbc),
        "values": np.round(errors, 5).tolist(),
        "labels": [{"atom": a, "text": f"{symbols[a]}{a} {errors[a]:.2g}"} for a in worst],
        "text": (
            f"{frame.source}{kind}: {symbols[at]}{at} is off by {errors[at]:.3g} eV/Å of "
            f"{size[at]:.3g}{of_energy}"
        ),
    }
