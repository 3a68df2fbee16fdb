"""Whether a run stays within what its model was trained on: what to say where it does not."""

from collections.abc import Iterator

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from fastequi.md.neighbors.build import build_edges
from fastequi.md.ramps import Ramp, Target
from fastequi.model.facts import TrainingFacts

#: Distances may be a little shorter than any seen, and temperatures a little higher.
_SHORTER, _HOTTER = 0.9, 1.25
#: Volumes per atom may differ by so much from those seen.
_VOLUME = 0.15


def beyond_training(
    facts: TrainingFacts, atoms: Atoms, temperature_K: float | None = None
) -> Iterator[str]:
    """Sentences, each on one limit that the structure or the temperature of a run leaves."""
    foreign = sorted(set(atoms.get_chemical_symbols()) - set(facts.atoms))
    if foreign:
        yield (
            f"the model was trained on {', '.join(facts.atoms)}; of {', '.join(foreign)} it knows "
            "at best what it was started from"
        )
    for pair, (r, seen) in _too_close(facts, atoms).items():
        yield f"{pair} is {r:.3g} Å in the structure, and at least {seen:.3g} Å in training"
    hottest = facts.temperatures_K and facts.temperatures_K[1]
    if hottest and temperature_K and temperature_K > _HOTTER * hottest:
        yield f"the run goes to {temperature_K:g} K, training frames to {hottest:g} K"
    if facts.volumes_A3_per_atom and atoms.pbc.all():
        low, high = facts.volumes_A3_per_atom
        volume = atoms.get_volume() / len(atoms)
        if not (1.0 - _VOLUME) * low <= volume <= (1.0 + _VOLUME) * high:
            yield (
                f"there are {volume:.4g} Å³ per atom in the structure, and {low:.4g} to {high:.4g} "
                "in training"
            )


def hottest_K(target: Target) -> float:
    """The highest of temperatures that may be one, a ramp, or one per system."""
    if isinstance(target, Ramp):
        return max(target.start, target.end)
    return float(target) if isinstance(target, int | float) else max(map(hottest_K, target))


def _too_close(facts: TrainingFacts, atoms: Atoms) -> dict[str, tuple[float, float]]:
    """Pairs of elements that are nearer than in any training frame, and both distances in Å."""
    if not facts.shortest_A:
        return {}
    reach = max(facts.shortest_A.values())
    dst, src, *shifts = build_edges(atoms.positions, atoms.cell.array, atoms.pbc, reach)
    vectors = atoms.positions[src] - atoms.positions[dst] + np.transpose(shifts) @ atoms.cell.array
    r, numbers = np.linalg.norm(vectors, axis=1), atoms.numbers[np.stack([src, dst])]
    low, high = numbers.min(axis=0), numbers.max(axis=0)
    found = {}
    for a, b in sorted(set(zip(low.tolist(), high.tolist(), strict=True))):
        pair = f"{chemical_symbols[a]}-{chemical_symbols[b]}"
        nearest, seen = float(r[(low == a) & (high == b)].min()), facts.shortest_A.get(pair)
        if seen is not None and nearest < _SHORTER * seen:
            found[pair] = (nearest, seen)
    return found
