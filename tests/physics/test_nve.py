"""Velocity Verlet as physics: order, reversibility, conservation, and agreement with ASE."""

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet as AseVelocityVerlet
from ase_argon import ARGON, AseArgon
from conserved import invariant_error, slope_meV_per_atom_per_ps

from fastequi.md.integrators import VelocityVerlet
from fastequi.md.simulation import Simulation
from fastequi.md.state import State, atoms_per_system, momentum, state_from_atoms, state_to_atoms


def test_the_energy_error_falls_fourfold_when_the_timestep_is_halved(warm_argon: Atoms) -> None:
    errors = [
        invariant_error(warm_argon, ARGON, VelocityVerlet(dt), 2400.0) for dt in (16.0, 8.0, 4.0)
    ]
    assert 3.8 < errors[0] / errors[1] < 4.2
    assert 3.8 < errors[1] / errors[2] < 4.2


def test_energy_does_not_drift(warm_argon: Atoms) -> None:
    """Slope over 8 ps below 1e-4 meV/atom/ps."""
    assert abs(slope_meV_per_atom_per_ps(warm_argon, ARGON, VelocityVerlet(8.0), 1000)) < 1e-4


def test_motion_backwards_retraces_motion_forwards(warm_argon: Atoms) -> None:
    simulation = Simulation(warm_argon, ARGON, VelocityVerlet(4.0))
    start = simulation.state.positions.clone()
    simulation.run(250)
    assert float((simulation.state.positions - start).abs().max()) > 0.3
    simulation.state.velocities.neg_()
    simulation.run(250)
    assert float((simulation.state.positions - start).abs().max()) < 1e-10


def test_momentum_is_conserved(warm_argon: Atoms) -> None:
    """Of a batch whose total momenta are zero and not zero."""
    state = state_from_atoms([warm_argon, warm_argon])
    state.velocities[32:] += 1e-3
    before, scale = momentum(state), thermal_momentum(state)
    Simulation(state, ARGON, VelocityVerlet(4.0)).run(300)
    assert float(((momentum(state) - before).norm(dim=1) / scale).max()) < 1e-12


def thermal_momentum(state: State) -> torch.Tensor:
    """Atoms times the rms momentum of an atom: [systems]."""
    squared = (state.masses.unsqueeze(1) * state.velocities).square().sum(dim=1)
    return atoms_per_system(state) * squared.mean().sqrt()


def test_the_trajectory_is_ases(warm_argon: Atoms) -> None:
    simulation = Simulation(warm_argon, ARGON, VelocityVerlet(4.0))
    theirs = warm_argon.copy()
    theirs.calc = AseArgon()
    dynamics = AseVelocityVerlet(theirs, timestep=4.0 * units.fs)
    simulation.run(100)
    dynamics.run(100)
    (ours,) = state_to_atoms(simulation.state)
    assert np.abs(ours.positions - warm_argon.positions).max() > 0.1
    assert np.abs(ours.positions - theirs.positions).max() < 1e-10
    np.testing.assert_allclose(ours.get_velocities(), theirs.get_velocities(), atol=1e-12)
    assert ours.get_total_energy() == pytest.approx(theirs.get_total_energy(), abs=1e-11)
    np.testing.assert_allclose(ours.get_stress(), theirs.get_stress(), atol=1e-13)
