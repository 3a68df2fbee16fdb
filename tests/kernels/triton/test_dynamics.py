"""Dynamics through a GPU's force call, interpreted: as on the CPU, whatever the chunk's length."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from ase.build import molecule

pytest.importorskip("triton")

from fastequi.engine.force_program import StaticProgram
from fastequi.engine.fused import FusedNequIP
from fastequi.md.integrators import Integrator, LangevinBAOAB, VelocityVerlet
from fastequi.md.neighbors.device import DeviceGauge
from fastequi.md.simulation import Simulation
from fastequi.model.nequip import NequIP
from fastequi.model.spec import new_spec
from tests.kernels.triton.as_on_a_gpu import as_on_a_gpu

STEPS = 5
INTEGRATORS: dict[str, Callable[[], Integrator]] = {
    "nve": lambda: VelocityVerlet(0.5),
    "nvt-langevin": lambda: LangevinBAOAB(0.5, 900.0, seed=3),
}


def network() -> NequIP:
    torch.manual_seed(1)
    spec = new_spec([1, 8], layers=2, l_max=1, channels=(2, 1), cutoff_A=2.0, radial_hidden=(8,))
    return NequIP(spec).to(torch.float64).requires_grad_(False)


def run(kernels: str, name: str, chunk_steps: int | None) -> Simulation:
    """Two molecules, so hot that a small skin is used up on the way."""
    systems = [molecule("H2O"), molecule("OH")]
    for k, atoms in enumerate(systems):
        drawn = np.random.default_rng(k).normal(scale=0.6, size=(len(atoms), 3))
        atoms.set_momenta(drawn)
    simulation = Simulation(
        systems, FusedNequIP(network(), kernels), INTEGRATORS[name](), skin_A=0.1,
        chunk_steps=chunk_steps, device="cuda" if torch.cuda.is_available() else "cpu",
    )  # fmt: skip
    with as_on_a_gpu(kernels == "triton"):
        simulation.run(STEPS)
    return simulation


@pytest.mark.parametrize("name", [pytest.param("nve", marks=pytest.mark.slow), "nvt-langevin"])
def test_is_that_of_the_cpu_whatever_the_length_of_chunks(name: str):
    expected = run("cpu", name, None).state
    found = [run("triton", name, steps) for steps in (1, STEPS)]
    for simulation in found:
        assert isinstance(simulation._forces.call, StaticProgram)
        assert isinstance(simulation.neighbors.gauge, DeviceGauge)
        assert simulation.neighbors.rebuilds > 1
        for of in ("positions", "velocities", "forces", "energies"):
            got, first = getattr(simulation.state, of), getattr(found[0].state, of)
            assert torch.equal(got, first), of
            assert torch.allclose(got.cpu(), getattr(expected, of), rtol=0, atol=1e-10), of
    assert found[-1].chunks.n_repeated > 0
