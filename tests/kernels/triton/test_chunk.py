"""Chunks of steps with the kernels of a GPU: the trajectory of the CPU's, whatever their length."""

from collections.abc import Callable

import pytest
import torch
from ase.build import bulk

pytest.importorskip("triton")

from fastequi.engine.force_program import StaticProgram
from fastequi.engine.fused import FusedNequIP
from fastequi.md.integrators import Integrator, LangevinBAOAB, VelocityVerlet
from fastequi.md.simulation import Simulation
from fastequi.md.state import state_from_atoms
from fastequi.md.velocities import maxwell_boltzmann_
from fastequi.model.nequip import NequIP
from fastequi.model.spec import new_spec

STEPS = 20
ENSEMBLES: dict[str, Callable[[], Integrator]] = {
    "nve": lambda: VelocityVerlet(2.0),
    "nvt-langevin": lambda: LangevinBAOAB(2.0, 3000.0, 20.0, seed=3),
}


@pytest.fixture(scope="module")
def network() -> NequIP:
    """Two small layers in float64."""
    torch.manual_seed(0)
    spec = new_spec([14], layers=2, l_max=1, channels=(2, 1), cutoff_A=3.0, radial_hidden=(4,))
    return NequIP(spec).to(torch.float64).requires_grad_(False)


def after(network: NequIP, kernels: str, integrator: Integrator, length: int) -> Simulation:
    """Of eight hot silicon atoms, whose list is used up on the way."""
    state = state_from_atoms(bulk("Si", cubic=True))
    maxwell_boltzmann_(state, 2000.0, seed=1)
    engine = FusedNequIP(network, kernels)
    simulation = Simulation(state, engine, integrator, skin_A=0.4, chunk_steps=length)
    simulation.run(STEPS)
    return simulation


@pytest.mark.slow
@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_chunks_are_the_steps_of_the_cpu(ensemble: str, network: NequIP) -> None:
    """Interpreted, a force call takes a second or more."""
    on_cpu = after(network, "cpu", ENSEMBLES[ensemble](), 1)
    looking, blind = (after(network, "triton", ENSEMBLES[ensemble](), n) for n in (1, 7))
    assert isinstance(blind.chunks._forces.call, StaticProgram)
    assert blind.chunks.n_chunks > 0
    assert min(simulation.neighbors.rebuilds for simulation in (on_cpu, looking, blind)) > 1
    for name, tensor in looking.state.moving().items():
        assert torch.equal(blind.state.moving()[name], tensor), name
    difference = (blind.state.positions - on_cpu.state.positions).abs().max()
    assert float(difference) < 1e-10
