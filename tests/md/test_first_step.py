"""What is said before the first step: of clashes, by name and distance, and of nothing else."""

import warnings

import ase.build
import pytest
from ase import Atoms

from fastequi.errors import PhysicsError
from fastequi.md.integrators import Minimize, VelocityVerlet
from fastequi.md.simulation import Simulation
from fastequi.md.state import state_from_atoms
from fastequi.md.testing import LennardJones, NoForces
from fastequi.md.velocities import maxwell_boltzmann_


def started(atoms: Atoms, potential: LennardJones | NoForces, minimize: bool = False) -> Simulation:
    integrator = Minimize() if minimize else VelocityVerlet(1.0)
    simulation = Simulation(atoms, potential, integrator)
    simulation.run(1)
    return simulation


def test_a_clash_ends_at_step_0_with_both_atoms_and_their_distance() -> None:
    atoms = ase.build.bulk("Ar", a=5.4, cubic=True).repeat(2)
    atoms.positions[7] = atoms.positions[3] + [0.0, 0.3, 0.0]
    with pytest.raises(PhysicsError) as caught:
        started(atoms, LennardJones())
    message = str(caught.value)
    assert "failed at step 0, before it began: the first step would move atom " in message
    assert "nearest atom 7 (Ar) at 0.3 Å" in message or "nearest atom 3 (Ar) at 0.3 Å" in message
    assert "eV/Å" in message
    assert 'ensemble = "minimize"' in message
    assert started(atoms, LennardJones(), minimize=True).state.step == 1


def test_atoms_closer_than_any_bond_are_warned_of_even_if_forces_are_small() -> None:
    water = ase.build.molecule("H2O")
    water.positions[1] = water.positions[0] + [0.0, 0.0, 0.3]
    with pytest.warns(UserWarning, match=r"atom 0 \(O\) and atom 1 \(H\), 0.3 Å apart\): no model"):
        started(water, NoForces())


def test_large_forces_are_warned_of() -> None:
    pair = Atoms("Ar2", [[0, 0, 0], [2.05, 0, 0]])
    with pytest.warns(UserWarning, match=r"the force on atom 0 \(Ar\) is .* \(nearest atom 1 "):
        started(pair, LennardJones())


def test_systems_of_a_batch_are_called_by_their_names() -> None:
    pair = Atoms("Ar2", [[0, 0, 0], [2.05, 0, 0]])
    state = state_from_atoms([Atoms("Ar"), pair])
    state.names = ("0003", "0007")
    with pytest.warns(UserWarning, match=r"the force on atom 0 \(Ar\) of system 0007 is "):
        Simulation(state, LennardJones(), VelocityVerlet(1.0)).run(1)


def test_velocities_that_are_too_large_name_themselves() -> None:
    atoms = ase.build.bulk("Ar", a=5.4, cubic=True)
    state = state_from_atoms(atoms)
    state.velocities[2, 0] = 1.4
    with pytest.raises(PhysicsError, match=r"atom 2 \(Ar\) by 1\.4 Å.* its velocity 1\.4 Å/fs"):
        Simulation(state, LennardJones(), VelocityVerlet(1.0)).run(1)


@pytest.mark.parametrize("name", ["H2", "N2", "F2", "HF", "C2H2", "CH3OH", "LiH", "Cl2"])
def test_bonds_are_no_clash(name: str) -> None:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", UserWarning)
        started(ase.build.molecule(name), NoForces())
    assert [str(one.message) for one in found if one.category is UserWarning] == []


def test_hot_crystals_are_no_clash() -> None:
    """Silicon of 1.9 Å bonds, a diamond of 1.4 Å, copper at 4000 K for a while."""
    hot = state_from_atoms(ase.build.bulk("Cu", cubic=True).repeat(2))
    maxwell_boltzmann_(hot, 4000.0, 1)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", UserWarning)
        started(ase.build.bulk("Si", a=4.4), NoForces())
        started(ase.build.bulk("C", a=3.2), NoForces())
        Simulation(hot, NoForces(), VelocityVerlet(1.0)).run(3)
    assert [str(one.message) for one in found if one.category is UserWarning] == []
    assert hot.step == 3


def test_a_run_that_goes_on_is_not_asked_again() -> None:
    state = state_from_atoms(Atoms("Ar2", [[0, 0, 0], [1.2, 0, 0]]))
    state.step = 5
    simulation = Simulation(state, NoForces(), VelocityVerlet(1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        simulation.run(1)
    assert simulation.state.step == 6
