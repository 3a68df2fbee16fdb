"""A small potential with random weights, and frames that it, or nobody, has labelled.

Makes the helpers beside these tests importable, and NequIP's own training step (benchmarks).
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from fastequi.data import Dataset, Frame, frame_from_atoms
from fastequi.engine.loaded import LoadedModel, loaded
from fastequi.model.file import model_data
from fastequi.model.nequip import NequIP
from fastequi.model.spec import new_spec

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]


@pytest.fixture(scope="session")
def potential() -> LoadedModel:
    """Two layers of H, O and Si; what they say is arbitrary, and smooth."""
    torch.manual_seed(0)
    spec = new_spec([1, 8, 14], layers=2, l_max=1, channels=(4, 4), cutoff_A=4.0,
                    radial_hidden=(8,))  # fmt: skip
    network = NequIP(spec)
    network.shift.copy_(torch.tensor([-3.0, -400.0, -5.0]))
    kernels = ("reference", "as asked")
    return loaded(model_data(network), "small", torch.device("cpu"), "float64", kernels)


@pytest.fixture(scope="session")
def labelled_by(potential) -> Callable[[float], list[Frame]]:
    """Makes frames with the potential's own labels plus normal errors of a size in eV and Å."""
    return lambda error: _labelled(potential, error)


def _structures() -> list[Atoms]:
    """Water in vacuum and strained silicon, by configuration type."""
    found = []
    for k in range(7):
        atoms = bulk("Si", cubic=True) if k % 2 else molecule("H2O")
        atoms.rattle(0.1, seed=k)
        atoms.info["config_type"] = "silicon" if k % 2 else "water"
        found.append(atoms)
    return found


def _labelled(potential: LoadedModel, error: float) -> list[Frame]:
    rng = np.random.default_rng(0)
    frames = [replace(frame_from_atoms(atoms), file="made", index=k)
              for k, atoms in enumerate(_structures())]  # fmt: skip
    dataset = Dataset(frames, potential.cutoff)
    labelled = []
    for k, frame in enumerate(frames):
        p = potential.compute(dataset.collate([k]).graph)
        noisy = [x.numpy() + error * rng.normal(size=x.shape) for x in (p.forces, p.stress[0])]
        labelled.append(
            replace(
                frame,
                energy=float(p.energy) + error * rng.normal() * frame.n_atoms,
                forces=noisy[0],
                stress=noisy[1] if frame.pbc.all() else None,
            )
        )
    return labelled
