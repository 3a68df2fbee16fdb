"""FastEquiCalculator: any fastequi model in ASE: optimisers, dynamics, phonons, cell filters."""

from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from fastequi.importers import load_model
from fastequi.md.checks import SHORTEST_DISTANCE_A, check_atoms, check_prediction
from fastequi.md.neighbors import NeighborList
from fastequi.md.state import state_from_atoms
from fastequi.potential import Potential


class FastEquiCalculator(Calculator):
    """ASE calculator: energy, energies, forces and, where the cell has a volume, stress.

        atoms.calc = FastEquiCalculator("sevennet-0")

    model     a name or file (see `load_model`, which takes the keywords), or a loaded model
    skin_A    neighbours are searched anew when atoms have used up this margin, in Å; it does
              not change any result

    Structures that cannot be computed raise InputError with all reasons, at every call, and so do
    results that are not finite: what is returned is a number. `free_energy` is the energy: there
    is no smearing.
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
        must_check = bool(set(system_changes) & {"numbers", "pbc", "cell"})
        try:
            self.results = self._results_of(self.atoms, must_check)
        except BaseException:
            self.reset()  # else the next call would take these atoms for checked ones
            raise

    def _results_of(self, atoms: Atoms, must_check: bool) -> dict[str, Any]:
        """All properties; InputError where they cannot be had.

        Atoms that merely moved are checked where they ended up: by one look at numbers that are
        there anyway, and thoroughly, with reasons, only if that look finds something.
        """
        if must_check or not np.isfinite(atoms.positions).all():
            _check(atoms, self.potential)
        state = state_from_atoms(atoms, self.potential.device)
        graph = self.neighbors.graph(
            state.positions, state.atomic_numbers, state.cell, state.pbc, state.system_idx
        )
        nearest_A = self.neighbors.shortest_distance_A()
        if nearest_A < SHORTEST_DISTANCE_A:
            _check(atoms, self.potential)
        prediction = self.potential.compute(graph)
        energy = float(prediction.energy[0])
        results = {
            "energy": energy,
            "free_energy": energy,
            "energies": prediction.energies.cpu().numpy(),
            "forces": prediction.forces.cpu().numpy(),
            "stress": full_3x3_to_voigt_6_stress(prediction.stress[0].cpu().numpy()),
        }
        if not np.isfinite(results["stress"]).all() and atoms.cell.volume == 0.0:
            del results["stress"]
        if not all(np.isfinite(value).all() for value in results.values()):
            check_prediction(state, prediction, nearest_A)
            del results["stress"]  # all that may be NaN, in a cell whose vectors span no volume
        return results

    def get_property(
        self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True
    ) -> Any:
        """As in ASE; PropertyNotImplementedError for a stress without a volume."""
        try:
            return super().get_property(name, atoms, allow_calculation)
        except PropertyNotImplementedError:
            if name != "stress":
                raise
            raise PropertyNotImplementedError("no stress: the cell has no volume") from None


def _check(atoms: Atoms, potential: Potential) -> None:
    """`check_atoms`, except that constraints are no obstacle: ASE applies them itself."""
    bare = atoms.copy()
    bare.set_constraint()
    check_atoms(bare, potential)
