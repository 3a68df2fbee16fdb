"""OpenMM: its numbers are ours, and its dynamics conserve energy."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from fastequi.calculators.ase import FastEquiCalculator
from fastequi.errors import InputError
from fastequi.integrations.openmm import KJ_PER_MOL_PER_eV, python_force

openmm = pytest.importorskip("openmm", reason="NO OPENMM: pip install openmm")


def silicon() -> Atoms:
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.1, seed=1)
    return atoms


def context_of(atoms: Atoms, ghosts: int = 0):
    """With particles before them that no force acts on."""
    system = openmm.System()
    system.setDefaultPeriodicBoxVectors(*(atoms.cell.array / 10))
    for mass in [1.0] * ghosts + atoms.get_masses().tolist():
        system.addParticle(mass)
    which = range(ghosts, ghosts + len(atoms)) if ghosts else None
    options = {"dtype": "float64", "device": "cpu"}
    system.addForce(python_force("silicon", atoms, particles=which, **options))
    integrator = openmm.VerletIntegrator(0.001)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, integrator, platform)
    context.setPositions(np.concatenate([np.zeros((ghosts, 3)), atoms.positions / 10]))
    return context, integrator


@pytest.mark.parametrize("ghosts", [0, 2])
def test_numbers_are_ours(ghosts):
    atoms = silicon()
    context, _ = context_of(atoms, ghosts)
    state = context.getState(energy=True, forces=True)
    atoms.calc = FastEquiCalculator("silicon", dtype="float64", device="cpu")
    energy = state.getPotentialEnergy()._value / KJ_PER_MOL_PER_eV
    assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
    forces = state.getForces(asNumpy=True)._value / (10 * KJ_PER_MOL_PER_eV)
    np.testing.assert_allclose(forces[ghosts:], atoms.get_forces(), rtol=0, atol=1e-10)
    assert not forces[:ghosts].any()


def test_energy_is_conserved():
    context, integrator = context_of(silicon())
    totals, potentials = [], []
    for _ in range(20):
        integrator.step(2)
        state = context.getState(energy=True)
        potentials.append(state.getPotentialEnergy()._value)
        totals.append(potentials[-1] + state.getKineticEnergy()._value)
    assert np.ptp(totals) < 0.02 * np.ptp(potentials)


def test_slabs_are_refused():
    atoms = silicon()
    atoms.pbc = [True, True, False]
    with pytest.raises(InputError, match="three periodic directions"):
        python_force("silicon", atoms)
