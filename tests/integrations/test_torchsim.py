"""TorchSim's model interface: its own validator, our numbers, its dynamics."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

import fastequi
from fastequi.errors import InputError
from fastequi.importers.sevennet import find_pretrained

torch_sim = pytest.importorskip(
    "torch_sim", reason="NO TORCHSIM: pip install torch-sim-atomistic (Python 3.12 or newer)"
)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of TorchSim's optional packages

EXAMPLE = Path(fastequi.__file__).parent / "examples" / "ecosystem" / "torchsim_batch.py"


def state_of(systems: list[Atoms]):
    return torch_sim.io.atoms_to_state(systems, torch.device("cpu"), torch.float64)


def triclinic() -> Atoms:
    atoms = bulk("Si", cubic=True)
    sheared = atoms.cell.array + np.array([[0, 0.5, 0], [0.2, 0, 0.4], [-0.6, 0, 0]])
    atoms.set_cell(sheared, scale_atoms=True)
    atoms.rattle(0.1, seed=1)
    return atoms


def model_of(name: str = "silicon"):
    from fastequi.integrations.torchsim import TorchSimModel

    return TorchSimModel(name, dtype="float64", device="cpu")


def assert_ours(model, systems: list[Atoms]) -> None:
    """Energies, forces and stress are the calculator's, system by system."""
    found = model(state_of(systems))
    begin = 0
    for k, atoms in enumerate(systems):
        own = atoms.copy()
        own.calc = fastequi.FastEquiCalculator(model.potential)
        mine = slice(begin, begin := begin + len(atoms))
        close = {"rtol": 0, "atol": 1e-10}
        np.testing.assert_allclose(found["energy"][k], own.get_potential_energy(), **close)
        np.testing.assert_allclose(found["energies"][mine], own.get_potential_energies(), **close)
        np.testing.assert_allclose(found["forces"][mine], own.get_forces(), **close)
        if all(atoms.pbc):
            stress = own.get_stress(voigt=False)
            np.testing.assert_allclose(found["stress"][k], stress, **close)
        else:
            assert not found["stress"][k].any()


def test_numbers_are_ours(tmp_path):
    """Of batches that move, strain, grow and shrink."""
    model = model_of()
    systems = [triclinic(), triclinic().repeat((2, 1, 1))]
    for _ in range(3):
        assert_ours(model, systems)
        for atoms in systems:
            atoms.rattle(0.02, rng=np.random.default_rng(1))
    assert model.neighbors.rebuilds < 3
    for atoms in systems:
        atoms.set_cell(atoms.cell.array * 1.001, scale_atoms=True)
    assert_ours(model, systems)
    systems.append(Atoms("Si2", positions=[[0, 0, 0], [2.3, 0, 0]]))
    assert_ours(model, systems[2:])
    with pytest.raises(InputError, match="8"):
        model(state_of([molecule("H2O")]))


def test_the_validator_of_torchsim():
    if find_pretrained("sevennet-0") is None:
        pytest.skip("NO SEVENNET WEIGHTS: pip install --no-deps sevenn==0.13.0")
    from torch_sim.models.interface import validate_model_outputs

    validate_model_outputs(model_of("sevennet-0"), torch.device("cpu"), torch.float64)


def test_example(capsys):
    """Crystals of three sizes, and their energy is conserved as they go on."""
    names = runpy.run_path(str(EXAMPLE))
    assert len(capsys.readouterr().out.splitlines()) == 3
    state, totals = names["final"], []
    for _ in range(41):
        kinetic = 0.5 * (state.momenta**2 / state.masses.unsqueeze(1)).sum(dim=1)
        total = torch.zeros(3, dtype=kinetic.dtype).index_add(0, state.system_idx, kinetic)
        totals.append(total + state.energy)
        dt = torch.tensor(1e-3 * float(torch_sim.units.MetalUnits.time), dtype=kinetic.dtype)
        state = torch_sim.nve_step(state, names["model"], dt=dt)
    spread = torch.stack(totals).std(dim=0) / torch.tensor([8, 16, 32])
    assert float(spread.max()) < 2e-4
