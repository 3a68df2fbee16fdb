"""FastEquiCalculator: any fastequi model in ASE: optimisers, dynamics, phonons, cell filters."""

import math
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from torch import Tensor

from fastequi.dispersion import with_dispersion
from fastequi.graph import volumes
from fastequi.importers import load_model
from fastequi.md.checks import SHORTEST_DISTANCE_A, check_atoms, check_prediction
from fastequi.md.neighbors import NeighborList
from fastequi.md.state import State, state_from_atoms
from fastequi.potential import ForceCall, Potential, force_call

#: xx yy zz yz xz xy, of the nine components of a symmetric matrix.
_VOIGT = [0, 4, 8, 5, 2, 1]


class FastEquiCalculator(Calculator):
    """ASE calculator: energy, energies, forces and, where the cell has a volume, stress.

        atoms.calc = FastEquiCalculator("sevennet-0")

    model     a name or file (see `load_model`, which takes the keywords), or a loaded model
    skin_A    neighbours are searched anew when atoms have used up this margin, in Å; it does
              not change any result
    dispersion  'd3bj' adds DFT-D3 with Becke-Johnson damping, for PBE unless another
              dispersion_functional is named

    Structures that cannot be computed raise InputError with all reasons, at every call, and so do
    results that are not finite: what is returned is a number. `free_energy` is the energy: there
    is no smearing.
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012

    def __init__(
        self,
        model: str | Potential = "sevennet-0",
        *,
        skin_A: float = 0.5,
        dispersion: str = "none",
        dispersion_functional: str | None = None,
        **load_options: Any,
    ) -> None:
        super().__init__()
        if isinstance(model, Potential):
            if load_options:
                raise TypeError(
                    f"{', '.join(load_options)}: for loading by name; the model is already loaded"
                )
            potential = model
        else:
            potential = load_model(model, **load_options)
        self.potential = with_dispersion(potential, dispersion, dispersion_functional)
        self.neighbors = NeighborList(self.potential.cutoff, skin_A)
        self._state: State | None = None
        self._call: tuple[Tensor, ForceCall] | None = None

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
        state = self._state_of(atoms, must_check)
        call = self._force_call(state)
        prediction = call(state.positions, state.cell)
        nearest_A = call.shortest_distance_A()
        if nearest_A < SHORTEST_DISTANCE_A:
            _check(atoms, self.potential)
        energy = float(prediction.energy[0])
        results = {
            "energy": energy,
            "free_energy": energy,
            "energies": prediction.energies.cpu().numpy(),
            "forces": prediction.forces.cpu().numpy(),
            "stress": prediction.stress[0].cpu().numpy().reshape(9)[_VOIGT],
        }
        if math.isnan(results["stress"][0]) and not volumes(state.cell)[0] > 0.0:
            del results["stress"]
        sums = (results[name].sum() for name in ("energies", "forces", "stress") if name in results)
        if not math.isfinite(energy + sum(sums)):
            check_prediction(state, prediction, nearest_A)
        return results

    def _state_of(self, atoms: Atoms, is_new: bool) -> State:
        """The one so far, at new positions, where atoms merely moved: cell and elements stay the
        same tensors, and nothing that depends on them is made again."""
        if is_new or self._state is None or self._state.n_atoms != len(atoms):
            old, self._state = self._state, state_from_atoms(atoms, self.potential.device)
            if old is not None and torch.equal(old.atomic_numbers, self._state.atomic_numbers):
                self._state.atomic_numbers = old.atomic_numbers
        else:
            self._state.positions = torch.from_numpy(atoms.positions).to(self._state.device)
        return self._state

    def _force_call(self, state: State) -> ForceCall:
        """The one so far as long as it is of the same atoms and their list is good."""
        topology, numbers = (state.cell, state.pbc, state.system_idx), state.atomic_numbers
        is_new = self.neighbors.update(state.positions, *topology)
        if is_new or self._call is None or self._call[0] is not numbers:
            listed = self.neighbors.graph_with_skin(state.positions, numbers, *topology)
            last = self._call and self._call[1]
            self._call = numbers, force_call(self.potential, listed, last)
        return self._call[1]

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
