"""FastEquiCalculator: any fastequi model in ASE: optimisers, dynamics, phonons, cell filters."""

from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from fastequi.importers import load_model
from fastequi.md.checks import check_atoms
from fastequi.md.neighbors import NeighborList
from fastequi.md.state import state_from_atoms
from fastequi.potential import Potential


class FastEquiCalculator(Calculator):
    """ASE calculator: energy, energies, forces and, where the cell has a volume, stress.

        atoms.calc = FastEquiCalculator("sevennet-0")

    model     a name or file (see `load_model`, which takes the keywords), or a loaded model
    skin_A    neighbours are searched anew when atoms have used up this margin, in Å; it does
              not change any result

    Structures that cannot be computed raise InputError with all reasons. `free_energy` is the
    energy: there is no smearing.
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012

    def __init__(
        self, model: str | Potential = "sevennet-0", *, skin_A: float = 0.5, **load_options: Any
    ) -> None:
        super().__init__()
        if isinstance(model, Potential):
            if load_options:
                raise TypeError(
                    f"{', '.join(load_options)}: for loading by name; the model is already loaded"
                )
            self.potential = model
        else:
            self.potential = load_model(model, **load_options)
        self.neighbors = NeighborList(self.potential.cutoff, skin_A)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Fill `results` for `atoms`; eV, eV/Å, eV/Å³ (Voigt order xx yy zz yz xz xy)."""
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        if set(system_changes) & {"numbers", "pbc", "cell"}:
            # ASE applies constraints itself, so they are no obstacle here.
            bare = self.atoms.copy()
            bare.set_constraint()
            check_atoms(bare, self.potential)
        state = state_from_atoms(self.atoms, self.potential.device)
        graph = self.neighbors.graph(
            state.positions, state.atomic_numbers, state.cell, state.pbc, state.system_idx
        )
        prediction = self.potential.compute(graph)
        energy = float(prediction.energy[0])
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "energies": prediction.energies.cpu().numpy(),
            "forces": prediction.forces.cpu().numpy(),
        }
        if bool(torch.isfinite(prediction.stress).all()):
            stress = prediction.stress[0].cpu().numpy()
            self.results["stress"] = np.asarray(full_3x3_to_voigt_6_stress(stress))

    def get_property(
        self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True
    ) -> Any:
        """As in ASE; a stress without a volume is not implemented, in ASE's own words."""
        value = super().get_property(name, atoms, allow_calculation)
        if name == "stress" and value is None and allow_calculation:
            raise PropertyNotImplementedError("no stress: the cell has no volume")
        return value
