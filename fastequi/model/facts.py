"""What a trained model has seen and how well it does, as its file says it: `training_facts`.

    facts = training_facts(read_model("model.safetensors").provenance)

They are JSON under one key of the provenance. Models of other programs, and files of earlier
versions, have none.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

KEY = "training_facts"


@dataclass(frozen=True)
class TrainingFacts:
    """Of the frames that a model was trained on, and its errors on others.

    frames                how many
    atoms                 of each element, in all frames, by its symbol
    shortest_A            distance in Å of each pair of elements, "H-O", the lighter one first
    largest_force_eV_per_A
    temperatures_K        lowest and highest of the frames; None where they do not say
    volumes_A3_per_atom   smallest and largest of periodic frames; None where none is
    errors                meV/atom and meV/Å by their names in summary.json, of each set
    """

    frames: int
    atoms: dict[str, int]
    shortest_A: dict[str, float]
    largest_force_eV_per_A: float | None = None
    temperatures_K: tuple[float, float] | None = None
    volumes_A3_per_atom: tuple[float, float] | None = None
    errors: dict[str, dict[str, float | None]] = field(default_factory=dict)

    def to_json(self) -> str:
        """The text that the provenance keeps."""
        return json.dumps(asdict(self), sort_keys=True)

    def in_words(self) -> dict[str, str]:
        """Lines for people, in the order in which to print them."""
        atoms = ", ".join(f"{count} {symbol}" for symbol, count in self.atoms.items())
        nearest = ", ".join(f"{pair} {d:.3g}" for pair, d in self.shortest_A.items())
        lines = {
            "atoms in training": atoms,
            "shortest distances": f"{nearest} Å" if nearest else "",
            "largest force": _with_unit(self.largest_force_eV_per_A, "eV/Å"),
            "temperatures": _range(self.temperatures_K, "K"),
            "volume per atom": _range(self.volumes_A3_per_atom, "Å³"),
        }
        for name, errors in self.errors.items():
            energy, force = (errors.get(k) for k in (
                "energy_mae_meV_per_atom", "force_mae_meV_per_A"))  # fmt: skip
            texts = [_with_unit(energy, "meV/atom"), _with_unit(force, "meV/Å")]
            lines[f"{name} errors"] = ", ".join(filter(None, texts)) + " (mean absolute)"
        return {name: text for name, text in lines.items() if text}


def training_facts(provenance: Mapping[str, str]) -> TrainingFacts | None:
    """What the provenance of a model says of its training; None where it says nothing.

    Facts that a later version has added are left out.
    """
    try:
        found = json.loads(provenance[KEY])
        known = {k: v for k, v in found.items() if k in TrainingFacts.__dataclass_fields__}
        for name in ("temperatures_K", "volumes_A3_per_atom"):
            known[name] = tuple(known[name]) if known.get(name) else None
        return TrainingFacts(**known)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _with_unit(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:.4g} {unit}"


def _range(ends: tuple[float, float] | None, unit: str) -> str:
    return f"{ends[0]:.4g} to {ends[1]:.4g} {unit}" if ends else ""
