"""A small simulation to write files of."""

import numpy as np
import pytest
from ase.build import bulk

from fastequi.md.integrators import VelocityVerlet
from fastequi.md.simulation import Simulation
from fastequi.md.state import state_from_atoms
from fastequi.md.testing import LennardJones
from fastequi.md.velocities import maxwell_boltzmann_


@pytest.fixture
def simulation() -> Simulation:
    """32 argon atoms at 60 K in a sheared cell, forces computed."""
    atoms = bulk("Ar", a=5.3, cubic=True).repeat(2)
    shear = np.array([[0, 0, 0], [0.7, 0, 0], [0, 0.4, 0]])
    atoms.set_cell(atoms.cell.array + shear, scale_atoms=True)
    state = state_from_atoms(atoms)
    maxwell_boltzmann_(state, 60.0, seed=1)
    simulation = Simulation(state, LennardJones(), VelocityVerlet(2.0))
    simulation.run(0)
    return simulation
