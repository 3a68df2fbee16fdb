"""The toy potentials are what they say: forces and stress are derivatives of the energy."""

import ase.build
import numpy as np
import pytest
import torch
from ase import Atoms

from fastequi.md.neighbors import NeighborList
from fastequi.md.state import state_from_atoms
from fastequi.md.testing import HarmonicWells, LennardJones, NoForces, smooth_switch
from fastequi.potential import Potential, Prediction

ANCHORS = torch.zeros(1, 3, dtype=torch.float64)


def predict(potential: Potential, atoms: Atoms) -> Prediction:
    s = state_from_atoms(atoms)
    neighbors = NeighborList(potential.cutoff, 0.0)
    return potential.compute(
        neighbors.graph(s.positions, s.atomic_numbers, s.cell, s.pbc, s.system_idx)
    )


def rattled() -> Atoms:
    atoms = ase.build.bulk("Ar", "fcc", a=5.3, cubic=True)
    strain = np.eye(3) + 0.05 * np.array([[0, 1, 0], [0, 0, 1], [0, 0, 1]])
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    atoms.rattle(0.2, seed=0)
    return atoms


TOYS = [LennardJones(), HarmonicWells(ANCHORS, 0.3), NoForces()]


@pytest.mark.parametrize("potential", TOYS, ids=lambda potential: type(potential).__name__)
def test_they_are_potentials(potential: Potential) -> None:
    assert isinstance(potential, Potential)
    prediction = predict(potential, rattled())
    assert prediction.energy.shape == (1,)
    assert prediction.energies.shape == (4,)
    assert prediction.stress.shape == (1, 3, 3)
    torch.testing.assert_close(prediction.energies.sum(), prediction.energy[0])


def test_lennard_jones_forces_are_minus_the_gradient() -> None:
    atoms, h = rattled(), 1e-4
    forces = predict(LennardJones(), atoms).forces
    for i, axis in ((0, 0), (1, 2), (3, 1)):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[i, axis] += sign * h
            energies.append(float(predict(LennardJones(), moved).energy))
        numeric = -(energies[0] - energies[1]) / (2 * h)
        assert abs(numeric - float(forces[i, axis])) < 1e-6 * float(forces.abs().max())


def test_lennard_jones_stress_is_the_strain_derivative() -> None:
    atoms, h = rattled(), 1e-4
    stress = predict(LennardJones(), atoms).stress[0].numpy()
    np.testing.assert_allclose(stress, stress.T, atol=1e-15)
    for a, b in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * h / 2
            strain[b, a] += sign * h / 2
            moved = atoms.copy()
            moved.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            energies.append(float(predict(LennardJones(), moved).energy))
        numeric = (energies[0] - energies[1]) / (2 * h) / atoms.get_volume()
        assert abs(numeric - stress[a, b]) < 1e-5 * np.abs(stress).max()


def test_the_switch_is_twice_differentiable() -> None:
    r = torch.tensor([5.0, 6.0, 6.7, 7.5, 8.0], dtype=torch.float64, requires_grad=True)
    value, slope = smooth_switch(r, 6.0, 7.5)
    (gradient,) = torch.autograd.grad(value.sum(), r, create_graph=True)
    (curvature,) = torch.autograd.grad(gradient.sum(), r)
    torch.testing.assert_close(slope, gradient)
    assert value[:2].tolist() == [1.0, 1.0]
    assert value[3:].tolist() == [0.0, 0.0]
    torch.testing.assert_close(curvature[[0, 1, 3, 4]], torch.zeros(4, dtype=torch.float64))
