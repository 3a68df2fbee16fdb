"""Systems that a model computes together are what it computes one by one."""

import torch
from ase.build import bulk

import fastequi
from fastequi.md.integrators import LangevinBAOAB
from fastequi.md.simulation import Simulation
from fastequi.md.state import state_from_atoms
from fastequi.md.velocities import maxwell_boltzmann_


def test_16_crystals_at_once_and_alone():
    model = fastequi.load_model("silicon", dtype="float64", device="cpu")
    cells = [(1, 1, 1), (2, 1, 1), (1, 1, 2), (1, 3, 1)]
    systems = [bulk("Si", cubic=True).repeat(cells[k % 4]) for k in range(16)]
    for k, atoms in enumerate(systems):
        atoms.rattle(0.03, seed=k)

    def simulated(chosen: list[int]) -> Simulation:
        state = state_from_atoms([systems[k] for k in chosen])
        temperatures = [200.0 + 20.0 * k for k in chosen]
        maxwell_boltzmann_(state, temperatures, chosen)
        simulation = Simulation(state, model, LangevinBAOAB(1.0, temperatures, seed=chosen))
        simulation.run(5)
        return simulation

    together = simulated(list(range(16))).state
    for k in range(16):
        alone, mine = simulated([k]).state, together.system_idx == k
        for name in ("positions", "velocities", "forces"):
            difference = getattr(alone, name) - getattr(together, name)[mine]
            assert difference.abs().max() < 1e-10, (k, name)
        assert torch.allclose(alone.extra["heat"], together.extra["heat"][k], rtol=0, atol=1e-10)
