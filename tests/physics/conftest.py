"""Tensors here are small: one thread is faster than two that wait for each other.

Also makes `benchmarks` and the helpers beside these tests importable: pytest's importlib mode adds
no paths.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import ase.build
import pytest
import torch
from ase import Atoms

from fastequi.md.integrators import VelocityVerlet
from fastequi.md.simulation import Simulation
from fastequi.md.state import state_from_atoms, state_to_atoms
from fastequi.md.testing import LennardJones
from fastequi.md.velocities import maxwell_boltzmann_

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """One thread for torch during each module."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def warm_argon() -> Atoms:
    """32 atoms of argon around 40 K, off the lattice."""
    state = state_from_atoms(ase.build.bulk("Ar", "fcc", a=5.45, cubic=True).repeat(2))
    maxwell_boltzmann_(state, 80.0, 3)
    Simulation(state, LennardJones(switch_A=5.0, cutoff=6.5), VelocityVerlet(4.0)).run(150)
    return state_to_atoms(state)[0]
