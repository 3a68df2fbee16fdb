"""`benchmarks.coupled_cluster`: frames that are held out, and labels that are derivatives."""

from importlib.util import find_spec

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from benchmarks.coupled_cluster.__main__ import DATA, HOW, read_frames, split
from benchmarks.coupled_cluster.labels import LEVEL, SAMPLING, coupled_cluster


@pytest.mark.parametrize("which", HOW)
def test_frames_are_held_out_from_every_training(which):
    frames = read_frames(DATA)
    _, held_out = split(frames, 1, which)
    assert len(held_out) == round(len(frames) / 3)
    for size in (5, 10, 40):
        learnt, same = split(frames, size, which)
        assert len({id(frame) for frame in learnt}) == size
        assert [id(frame) for frame in same] == [id(frame) for frame in held_out]
        assert not {id(frame) for frame in learnt} & {id(frame) for frame in held_out}
    with pytest.raises(SystemExit, match="may be learnt from"):
        split(frames, len(frames), which)


def test_frames_are_what_their_label_says():
    """Their level, no force on the whole and no torque: nothing is between molecule and labels."""
    frames = read_frames(DATA)
    for frame in frames:
        assert (frame.info["level"], frame.info["sampling"]) == (LEVEL, SAMPLING)
        forces, arms = frame.get_forces(), frame.positions - frame.positions.mean(axis=0)
        assert np.abs(forces.sum(axis=0)).max() < 1e-5
        assert np.abs(np.cross(arms, forces).sum(axis=0)).max() < 1e-3
    assert len({round(frame.get_potential_energy(), 6) for frame in frames}) == len(frames)


@pytest.mark.skipif(find_spec("pyscf") is None, reason="labels need PySCF: pip install pyscf")
def test_forces_are_derivatives_of_the_energy():
    """Of CCSD(T), with its frozen core, not of CCSD: by central differences to 2e-5 eV/Å."""
    water = Atoms(molecule("H2O").symbols, molecule("H2O").positions)
    water.rattle(0.05, seed=1)
    _, forces = coupled_cluster(water)
    for atom, axis in ((0, 2), (1, 1), (2, 2)):
        energies = []
        for step in (2e-3, 1e-3, -1e-3, -2e-3):
            moved = water.copy()
            moved.positions[atom, axis] += step
            energies.append(coupled_cluster(moved)[0])
        far = (energies[0] - energies[3]) / 4e-3
        near = (energies[1] - energies[2]) / 2e-3
        slope = (4.0 * near - far) / 3.0  # Richardson: the cubic term drops out
        assert forces[atom, axis] == pytest.approx(-slope, abs=2e-5)
