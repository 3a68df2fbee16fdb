"""Velocities under constraints: what is left of them, how many degrees of freedom there are."""

import ase.build
import torch
from ase.constraints import FixAtoms, FixCom

from fastequi.md.state import State, momentum, state_from_atoms
from fastequi.md.velocities import (
    all_degrees_of_freedom,
    drift_velocity,
    internal_degrees_of_freedom,
    maxwell_boltzmann_,
)


def batch() -> State:
    """Free, with fixed atoms, with a fixed centre, and an atom alone."""
    systems = [ase.build.molecule("CH3CH2OH") for _ in range(3)]
    systems[1].set_constraint(FixAtoms([0, 4]))
    systems[2].set_constraint(FixCom())
    return state_from_atoms([*systems, systems[0][:1]])


def test_degrees_of_freedom() -> None:
    """3N - 3 where momentum is conserved; 3 for each mobile atom where others are fixed."""
    state = batch()
    assert internal_degrees_of_freedom(state).tolist() == [24.0, 21.0, 24.0, 3.0]
    assert all_degrees_of_freedom(state).tolist() == [27.0, 21.0, 24.0, 3.0]


def test_what_is_held_is_gone_and_the_rest_stays() -> None:
    state = batch()
    given = torch.randn(28, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    state.velocities = state.batch.hold_(given.clone())
    assert torch.equal(state.velocities[:9], given[:9])
    assert torch.equal(state.velocities[27:], given[27:])
    fixed = [9, 13]
    free = [k for k in range(9, 18) if k not in fixed]
    assert float(state.velocities[fixed].abs().max()) == 0.0
    assert torch.equal(state.velocities[free], given[free])
    assert float(momentum(state)[2].abs().max()) < 1e-14
    change = state.velocities[18:27] - given[18:27]
    torch.testing.assert_close(change, change[:1].expand(9, 3))  # all alike
    assert float(momentum(state)[0].abs().max()) > 1.0


def test_all_motion_beside_fixed_atoms_is_heat() -> None:
    state = batch()
    maxwell_boltzmann_(state, 300.0, 1)
    assert float(state.velocities[[9, 13]].abs().max()) == 0.0
    assert float(momentum(state)[1].abs().max()) > 1e-4
    assert float(drift_velocity(state)[1].abs().max()) == 0.0
    assert float(momentum(state)[0].abs().max()) < 1e-15
