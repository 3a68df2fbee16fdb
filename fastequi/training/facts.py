"""What the frames of a training are like, for the header of its model file."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from fastequi.data import Dataset
from fastequi.model.facts import TrainingFacts

_ERRORS = ("energy_mae_meV_per_atom", "energy_rmse_meV_per_atom", "force_mae_meV_per_A",
           "force_rmse_meV_per_A", "stress_mae_meV_per_A3", "stress_rmse_meV_per_A3")  # fmt: skip


def facts_of(train: Dataset) -> TrainingFacts:
    """Of the training frames; `with_errors` adds what is known at the end."""
    frames = train.frames
    numbers = np.concatenate([frame.atomic_numbers for frame in frames])
    elements, counts = np.unique(numbers, return_counts=True)
    forces = [np.linalg.norm(f.forces, axis=1).max() for f in frames if f.forces is not None]
    temperatures = [f.temperature_K for f in frames if f.temperature_K is not None]
    volumes = [f.volume / f.n_atoms for f in frames if f.pbc.all()]
    return TrainingFacts(
        frames=len(frames),
        atoms={chemical_symbols[z]: int(n) for z, n in zip(elements, counts, strict=True)},
        shortest_A=_shortest(train),
        largest_force_eV_per_A=round(float(max(forces)), 4) if forces else None,
        temperatures_K=_ends(temperatures),
        volumes_A3_per_atom=_ends(volumes),
    )


def with_errors(facts: TrainingFacts, results: Mapping[str, Mapping[str, Any]]) -> TrainingFacts:
    """The same with the errors of each set, as summary.json has them."""
    errors = {
        name: {key: found[key] for key in _ERRORS if found.get(key) is not None}
        for name, found in results.items()
    }
    return replace(facts, errors=errors)


def _ends(values: list[float]) -> tuple[float, float] | None:
    return (round(min(values), 4), round(max(values), 4)) if values else None


def _shortest(train: Dataset) -> dict[str, float]:
    """Distance in Å of each pair of elements that are ever neighbours, by their symbols."""
    found: dict[tuple[int, int], float] = {}
    for k in range(len(train)):
        graph = train.collate([k]).graph
        shifts = graph.edge_shift @ graph.cell[0]
        vectors = graph.positions[graph.edge_src] - graph.positions[graph.edge_dst] + shifts
        r = vectors.norm(dim=1).numpy()
        pairs = graph.atomic_numbers.numpy()[np.stack([graph.edge_src, graph.edge_dst])]
        code = pairs.min(axis=0) * 1000 + pairs.max(axis=0)
        for value in np.unique(code).tolist():
            pair = divmod(value, 1000)
            found[pair] = min(found.get(pair, np.inf), float(r[code == value].min()))
    return {
        f"{chemical_symbols[a]}-{chemical_symbols[b]}": round(r, 4)
        for (a, b), r in sorted(found.items())
    }
