"""SevenNet itself in float64, on structures of our own.

    python tests/importers/sevennet_peer.py

needs an environment with sevenn (0.13.0 made `data/sevennet*.json`) and writes its energies, forces
and stress for the models in its wheel. sevenn computes in float32; float64 is obtained here by

* building the network under the default dtype float64, with the checkpoint's numbers cast,
* keeping the one-hot embedding and the graph in float64, which it casts to float32,
* setting e3nn's Wigner 3j tensors anew: the checkpoints carry them rounded to float32 and
  overwrite those of the network ("exact"; without it, "shipped", agreement ends at about 1e-9 eV
  per atom and 1e-8 eV/Å).
"""

import re
import warnings

import ase.build
import numpy as np
import pytest
import torch
from agreement import DATA, Reference, save_references

from fastequi.importers.sevennet import find_pretrained

#: Ours and SevenNet's: name of the pretrained model, modality.
MODELS = {
    "sevennet-0": ("sevennet-0", None),
    "sevennet-l3i5": ("sevennet-l3i5", None),
    "sevennet-mf-0:PBE": ("sevennet-mf-0", "PBE"),
    "sevennet-mf-0:R2SCAN": ("sevennet-mf-0", "R2SCAN"),
}


def structures() -> dict[str, ase.Atoms]:
    """Distorted silicon, water in a box, rock salt, and a molecule without a cell."""
    generator = np.random.default_rng(3)
    silicon = ase.build.bulk("Si", "diamond", 5.43)
    strain = np.eye(3) + 0.05 * generator.normal(size=(3, 3))
    silicon.set_cell(silicon.cell @ strain, scale_atoms=True)
    salt = ase.build.bulk("NaCl", "rocksalt", 5.64, cubic=True) * (2, 2, 2)
    ethanol = ase.build.molecule("CH3CH2OH")
    result = {"Si2": silicon, "water": _water(generator), "NaCl64": salt, "ethanol": ethanol}
    for atoms in result.values():
        atoms.positions += 0.06 * generator.normal(size=(len(atoms), 3))
    return result


def _water(generator: np.random.Generator) -> ase.Atoms:
    """Eight molecules, turned at random, on a lattice of spacing 3.1 Å."""
    box = ase.Atoms(cell=[6.2, 6.2, 6.2], pbc=True)
    for corner in np.ndindex(2, 2, 2):
        molecule = ase.build.molecule("H2O")
        molecule.rotate(360 * generator.random(), generator.normal(size=3))
        molecule.translate(3.1 * np.array(corner))
        box += molecule
    return box


def build(name: str, exact: bool = True) -> torch.nn.Module:
    """A pretrained SevenNet in float64; `exact` see above."""
    from sevenn.util import load_checkpoint

    previous = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            checkpoint = load_checkpoint(str(find_pretrained(name)))
            checkpoint._model_state_dict = {
                key: value.double() for key, value in checkpoint.model_state_dict.items()
            }
            model = checkpoint.build_model().double()  # some parameters are made in float32
        if exact:
            _set_wigner_3j(model)
    finally:
        torch.set_default_dtype(previous)
    return model.eval()


def _set_wigner_3j(model: torch.nn.Module) -> None:
    from e3nn.o3 import wigner_3j

    for name, rounded in model.named_buffers():
        if match := re.search(r"_w3j_(\d+)_(\d+)_(\d+)$", name):
            l1, l2, l3 = (int(degree) for degree in match.groups())
            table = wigner_3j(l1, l2, l3, dtype=torch.float64)
            assert torch.allclose(table, rounded, rtol=0, atol=1e-6), name
            rounded.copy_(table)


def evaluate(model: torch.nn.Module, modality: str | None, atoms: ase.Atoms) -> Reference:
    """What SevenNet's own ASE calculator says, nothing cast to float32."""
    import sevenn.util
    from sevenn.calculator import SevenNetCalculator
    from sevenn.nn.node_embedding import OnehotEmbedding

    correct, onehot = sevenn.util.dtype_correct, OnehotEmbedding.forward

    def onehot_in_float64(self: OnehotEmbedding, data: dict) -> dict:
        data = onehot(self, data)
        for key in (self.key_output, self.key_additional_output):
            if key is not None:
                data[key] = data[key].double()
        return data

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(sevenn.util, "dtype_correct", lambda v: correct(v, torch.float64))
        patch.setattr(OnehotEmbedding, "forward", onehot_in_float64)
        calculator = SevenNetCalculator(model, "model_instance", "cpu", modal=modality)
        copy = atoms.copy()
        calculator.calculate(copy)
    results = calculator.results
    stress = None
    if atoms.pbc.all():
        xx, yy, zz, yz, xz, xy = results["stress"]
        stress = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    assert results["forces"].dtype == np.float64
    return Reference(results["energy"], results["energies"], results["forces"], stress)


def main() -> None:
    """Write the reference numbers; as shipped, of the structures that feel the rounding most."""
    save_references(DATA / "sevennet.json", structures(), _references(structures(), exact=True))
    some = {label: structures()[label] for label in ("water", "ethanol")}
    save_references(DATA / "sevennet-shipped.json", some, _references(some, exact=False))


def _references(systems: dict[str, ase.Atoms], exact: bool) -> dict[str, dict[str, Reference]]:
    references = {}
    for title, (name, modality) in MODELS.items():
        model = build(name, exact)
        references[title] = {
            label: evaluate(model, modality, atoms) for label, atoms in systems.items()
        }
    return references


if __name__ == "__main__":
    main()
