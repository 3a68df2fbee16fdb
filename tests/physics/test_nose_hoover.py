"""Nosé-Hoover chains as physics: the invariant, reversibility, the canonical distribution."""

import ase.build
import numpy as np
import pytest
import torch
from ase import Atoms
from ase_argon import ARGON
from conserved import invariant_error, slope_meV_per_atom_per_ps

from fastequi.errors import InputError
from fastequi.md.integrators import NoseHooverChain
from fastequi.md.integrators.chains import Chain
from fastequi.md.ramps import Ramp
from fastequi.md.simulation import Simulation
from fastequi.md.state import momentum, state_from_atoms
from fastequi.md.velocities import maxwell_boltzmann_
from fastequi.units import BOLTZMANN_eV_PER_K


@pytest.mark.parametrize("length", [1, 2, 5])
def test_the_error_of_the_invariant_falls_fourfold_when_the_timestep_is_halved(
    warm_argon: Atoms, length: int
) -> None:
    errors = [
        invariant_error(warm_argon, ARGON, NoseHooverChain(dt, 60.0, 150.0, length), 2400.0)
        for dt in (16.0, 8.0, 4.0)
    ]
    assert 3.8 < errors[0] / errors[1] < 4.2
    assert 3.8 < errors[1] / errors[2] < 4.2


def test_the_invariant_does_not_drift(warm_argon: Atoms) -> None:
    integrator = NoseHooverChain(8.0, 45.0)
    assert abs(slope_meV_per_atom_per_ps(warm_argon, ARGON, integrator, 1000)) < 1e-4


def test_a_ramp_does_work_and_the_invariant_knows_it(warm_argon: Atoms) -> None:
    """Its error stays second order, while the energy rises by what 40 K mean in a solid."""

    def ramped(dt: float) -> NoseHooverChain:
        return NoseHooverChain(dt, Ramp(40.0, 80.0, round(2400.0 / dt)), 150.0)

    errors = [invariant_error(warm_argon, ARGON, ramped(dt), 2400.0) for dt in (8.0, 4.0, 2.0)]
    assert 3.6 < errors[0] / errors[1] < 4.4
    assert 3.6 < errors[1] / errors[2] < 4.4
    simulation = Simulation(warm_argon, ARGON, ramped(4.0))
    simulation.run(600)
    assert abs(float(simulation.state.extra["work"])) > 100 * errors[1]


def test_motion_backwards_retraces_motion_forwards(warm_argon: Atoms) -> None:
    simulation = Simulation(warm_argon, ARGON, NoseHooverChain(4.0, 60.0, 100.0))
    state, start = simulation.state, simulation.state.positions.clone()
    simulation.run(250)
    assert float((state.positions - start).abs().max()) > 0.3
    state.velocities.neg_()
    state.extra["chain_velocity"].neg_()
    simulation.run(250)
    assert float((state.positions - start).abs().max()) < 1e-9


def test_momentum_is_left_alone() -> None:
    state = state_from_atoms(ase.build.bulk("Ar", "fcc", a=5.45, cubic=True).repeat(2))
    maxwell_boltzmann_(state, 20.0, 1)
    state.velocities += 1e-3
    before = momentum(state)
    Simulation(state, ARGON, NoseHooverChain(4.0, 80.0)).run(300)
    torch.testing.assert_close(momentum(state), before, rtol=1e-12, atol=0.0)


def test_a_chain_alone_conserves_its_energy_to_fourth_order() -> None:
    """Of degrees of freedom without forces: halving the step divides the error by sixteen."""

    def error(steps: int) -> float:
        number = torch.tensor([9.0], dtype=torch.float64)
        kT = BOLTZMANN_eV_PER_K * torch.tensor([300.0], dtype=torch.float64)
        zeros = torch.zeros(1, 3, dtype=torch.float64)
        chain = Chain(zeros, zeros.clone(), number, kT, 100.0)
        kinetic = 0.8 * number * kT
        energies = []
        for _ in range(steps):
            kinetic = kinetic * chain.advance_(kinetic, 1200.0 / steps).square()
            energies.append(float(kinetic + chain.energy()))
        return float(np.std(energies))

    errors = [error(steps) for steps in (100, 200, 400)]
    assert 13.0 < errors[0] / errors[1] < 19.0
    assert 14.0 < errors[1] / errors[2] < 18.0


def test_zero_kelvin_is_refused(warm_argon: Atoms) -> None:
    with pytest.raises(InputError, match=r"temperatures in K must be positive; got 0\.0"):
        Simulation(warm_argon, ARGON, NoseHooverChain(4.0, 0.0))
