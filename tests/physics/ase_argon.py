"""Argon for ASE and for us: one potential."""

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from fastequi.md.neighbors import NeighborList
from fastequi.md.state import state_from_atoms
from fastequi.md.testing import LennardJones

ARGON = LennardJones(switch_A=5.0, cutoff=6.5)


class AseArgon(Calculator):
    """The same potential for ASE, with its own list at every call."""

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        assert isinstance(self.atoms, Atoms)
        s = state_from_atoms(self.atoms)
        neighbors = NeighborList(ARGON.cutoff, 0.0)
        prediction = ARGON.compute(
            neighbors.graph(s.positions, s.atomic_numbers, s.cell, s.pbc, s.system_idx)
        )
        self.results = {
            "energy": float(prediction.energy),
            "forces": prediction.forces.numpy(),
            "stress": full_3x3_to_voigt_6_stress(prediction.stress[0].numpy()),
        }
