"""Systems taken out of a batch."""

import pytest
import torch
from ase.build import bulk

from fastequi.md.integrators import INTEGRATORS, LangevinBAOAB, Minimize
from fastequi.md.integrators.integrator import Integrator, parameters
from fastequi.md.selection import select_extra, select_systems
from fastequi.md.simulation import Simulation
from fastequi.md.state import State, state_from_atoms
from fastequi.md.testing import LennardJones
from fastequi.md.velocities import maxwell_boltzmann_


def argon(n_systems: int) -> State:
    systems = [bulk("Ar", a=5.2, cubic=True).repeat((k + 1, 1, 1)) for k in range(n_systems)]
    for k, atoms in enumerate(systems):
        atoms.rattle(0.05, seed=k)
    state = state_from_atoms(systems)
    maxwell_boltzmann_(state, 60.0, list(range(n_systems)))
    return state


def made(ensemble: str, seeds: list[int]) -> Integrator:
    kind = INTEGRATORS[ensemble]
    if kind is Minimize:
        return Minimize(coupling="axes", force_limit_eV_per_A=1e-9)
    settings = {"timestep_fs": 4.0, "temperature_K": 60.0, "seed": seeds}
    return kind(**{name: settings[name] for name in parameters(kind) if name in settings})


@pytest.mark.parametrize("ensemble", INTEGRATORS)
def test_the_others_go_on_as_before(ensemble):
    """Whatever an ensemble remembers, of systems, of atoms, or of atoms and cells."""
    whole = Simulation(argon(4), LennardJones(), made(ensemble, [0, 1, 2, 3]))
    whole.run(10)
    keep, integrator = [1, 3], made(ensemble, [1, 3])
    part = select_systems(whole.state, keep)
    assert (part.n_systems, part.n_atoms, part.step) == (2, 24, 10)
    part.extra = select_extra(whole.state, keep, integrator.extra_state(part))
    rest = Simulation(part, LennardJones(), integrator)
    rest.forces_are_current = True
    rest.run(10)
    whole.run(10)
    expected = select_systems(whole.state, keep)
    torch.testing.assert_close(rest.state.positions, expected.positions, atol=1e-11, rtol=0)
    torch.testing.assert_close(rest.state.cell, expected.cell, atol=1e-11, rtol=0)
    extra = select_extra(whole.state, keep, rest.state.extra)
    assert extra.keys() == rest.state.extra.keys()
    for name, tensor in extra.items():
        torch.testing.assert_close(rest.state.extra[name], tensor, atol=1e-8, rtol=1e-6)


def test_is_a_copy_and_keeps_the_order_asked_for():
    state = argon(3)
    swapped = select_systems(state, [2, 0])
    assert torch.bincount(swapped.system_idx).tolist() == [12, 4]
    assert torch.equal(swapped.positions[:12], state.positions[12:])
    assert torch.equal(swapped.positions[12:], state.positions[:4])
    swapped.positions += 1.0
    assert not torch.equal(swapped.positions[12:], state.positions[:4])


def test_constraints_go_along():
    state = argon(2)
    state.fixed_atoms = torch.arange(12) % 3 == 0
    assert LangevinBAOAB(1.0, 300.0).extra_state(state)["heat"].shape == (2,)
    part = select_systems(state, [1])
    assert part.fixed_atoms is not None
    assert part.fixed_atoms.tolist() == [k % 3 == 0 for k in range(4, 12)]
    assert part.fixed_centre is None
