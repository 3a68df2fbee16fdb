"""Strains: what couplings allow, how cells and atoms follow, and which way pressure drives them."""

import ase.build
import numpy as np
import pytest
import torch

from fastequi.graph import volumes
from fastequi.md.barostats.strain import (
    AXES,
    COUPLINGS,
    Coupling,
    centre_of_mass,
    exp_minus_one,
    identity_like,
    pressure_energy,
    strain_cell_,
    strain_velocities_,
    turn_back_,
)
from fastequi.md.integrators import VelocityVerlet
from fastequi.md.simulation import Simulation
from fastequi.md.state import State, momentum, pressure_GPa, state_from_atoms
from fastequi.md.testing import LennardJones
from fastequi.md.velocities import internal_kinetic_energy, maxwell_boltzmann_
from fastequi.units import GPA_PER_eV_PER_A3


def symmetric(n: int, size: float, seed: int = 1) -> torch.Tensor:
    m = torch.from_numpy(np.random.default_rng(seed).normal(0.0, size, (n, 3, 3)))
    return 0.5 * (m + m.mT)


def crystals() -> State:
    """Two argon crystals off their lattice, one sheared, with velocities and forces."""
    atoms = ase.build.bulk("Ar", "fcc", a=5.2, cubic=True)
    atoms.rattle(0.1, seed=2)
    sheared = atoms.repeat((2, 1, 1))
    sheared.set_cell(sheared.cell.array @ (np.eye(3) + np.diag([0.05, 0.02], 1)), scale_atoms=True)
    state = state_from_atoms([atoms, sheared])
    maxwell_boltzmann_(state, 50.0, 4)
    state.velocities += 0.001
    return state


def with_forces(state: State) -> State:
    Simulation(state, LennardJones(), VelocityVerlet(1.0)).compute_forces_()
    return state


@pytest.mark.parametrize("kind", COUPLINGS)
@pytest.mark.parametrize("axes", AXES)
def test_couplings_project_onto_so_many_strains(kind: str, axes: str) -> None:
    coupling = Coupling(kind, axes)
    basis = torch.stack([torch.eye(9, dtype=torch.float64)[k].view(3, 3) for k in range(9)])
    images = coupling.project(0.5 * (basis + basis.mT))
    torch.testing.assert_close(coupling.project(images), images)
    assert int(torch.linalg.matrix_rank(images.view(9, 9))) == coupling.n_strains
    strains = symmetric(5, 1.0)
    allowed = coupling.project(strains)
    rest = (allowed * (strains - allowed)).sum(dim=(1, 2))
    assert float(rest.abs().max()) < 1e-14  # orthogonal
    held = ["xyz".index(axis) for axis in "xyz" if axis not in axes]
    assert not bool(allowed[:, held].any())


def test_the_series_is_the_exponential() -> None:
    for size in (1e-6, 1e-3, 0.03):
        m = symmetric(20, size)
        exact = torch.linalg.matrix_exp(m) - identity_like(m)
        torch.testing.assert_close(exp_minus_one(m), exact, rtol=1e-9, atol=1e-15)


def test_cell_and_positions_strain_alike_and_velocities_inversely() -> None:
    state = crystals()
    before, strain = state.snapshot(), symmetric(2, 0.02)
    strain_cell_(state, strain)
    strain_velocities_(state, -strain)
    torch.testing.assert_close(centre_of_mass(state), centre_of_mass(before), rtol=0, atol=1e-12)
    torch.testing.assert_close(momentum(state), momentum(before), rtol=0, atol=1e-12)
    for k in range(2):
        factor, mine = torch.linalg.matrix_exp(strain[k]), state.system_idx == k
        torch.testing.assert_close(state.cell[k], before.cell[k] @ factor)
        moved = state.positions[mine] - centre_of_mass(state)[k]
        was = before.positions[mine] - centre_of_mass(before)[k]
        torch.testing.assert_close(moved, was @ factor)
    torch.testing.assert_close(
        volumes(state.cell), volumes(before.cell) * strain.diagonal(dim1=1, dim2=2).sum(1).exp()
    )
    strain_velocities_(state, strain)
    torch.testing.assert_close(state.velocities, before.velocities, rtol=0, atol=1e-15)


def test_pressure_is_minus_the_energy_of_a_strain() -> None:
    """Of potential and kinetic energy together: convention-free, by central differences."""
    state, h = with_forces(crystals()), 1e-5
    driving = pressure_energy(state)
    for a, b in ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2)):
        strain = torch.zeros(2, 3, 3, dtype=torch.float64)
        strain[:, a, b] += 0.5 * h
        strain[:, b, a] += 0.5 * h
        energies = []
        for sign in (1.0, -1.0):
            moved = state.snapshot()
            strain_cell_(moved, sign * strain)
            strain_velocities_(moved, -sign * strain)
            energies.append(with_forces(moved).energy + internal_kinetic_energy(moved))
        numeric = -(energies[0] - energies[1]) / (2.0 * h)
        torch.testing.assert_close(driving[:, a, b], numeric, rtol=1e-5, atol=1e-7)


def test_a_third_of_its_trace_is_the_pressure_of_the_log() -> None:
    state = with_forces(crystals())
    mean = pressure_energy(state).diagonal(dim1=1, dim2=2).mean(dim=1) / volumes(state.cell)
    expected = pressure_GPa(state, internal_kinetic_energy(state))
    torch.testing.assert_close(mean * GPA_PER_eV_PER_A3, expected)


def test_a_cell_that_is_strained_a_thousand_times_has_not_turned() -> None:
    """Without care it turns by the products of strains; energies do not notice the care."""
    state = with_forces(crystals())
    start, energy = state.cell.clone(), state.energy.clone()
    deformation = identity_like(start).repeat(2, 1, 1)
    free = deformation.clone()
    undone = deformation.clone()
    turn = identity_like(start).repeat(2, 1, 1)
    for k in range(1000):
        strain = symmetric(2, 2e-3, seed=k)
        strain_cell_(state, strain)
        turn = turn_back_(state, deformation, strain)
        free = free @ torch.linalg.matrix_exp(strain)
        undone = undone @ torch.linalg.matrix_exp(strain) @ turn
    assert float((free - free.mT).abs().max()) > 1e-3
    assert float((deformation - deformation.mT).abs().max()) < 1e-9
    torch.testing.assert_close(start @ deformation, state.cell, rtol=0, atol=1e-10)
    torch.testing.assert_close(undone, deformation, rtol=0, atol=1e-10)
    assert float((turn @ turn.mT - identity_like(turn)).abs().max()) < 1e-14
    assert bool((torch.linalg.det(state.cell) > 0.0).all())
    assert bool((with_forces(state).energy != energy).all())
