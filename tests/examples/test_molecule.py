"""The labelled frames of methanol: whole molecules, balanced forces, two separate sets."""

import runpy
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms

import fastequi

FOLDER = Path(fastequi.__file__).parent / "examples" / "molecule"


def frames_of(name: str) -> list[Atoms]:
    return list(ase.io.iread(FOLDER / name))


@pytest.mark.parametrize(("name", "at_least"), [("methanol", 200), ("methanol-test", 50)])
def test_frames_are_sane(name: str, at_least: int) -> None:
    frames = frames_of(f"{name}.extxyz")
    assert len(frames) >= at_least
    assert {str(frame.symbols) for frame in frames} == {"COH4"}
    distances = np.array([frame.get_all_distances() for frame in frames])
    for bond, usual in (((0, 1), 1.43), ((1, 3), 0.97), ((0, 2), 1.10), ((0, 4), 1.10)):
        lengths = distances[:, *bond]
        assert 0.8 * usual < lengths.min() < usual < lengths.max() < 1.3 * usual
    forces = np.array([frame.get_forces() for frame in frames])
    assert np.abs(forces.sum(axis=1)).max() < 1e-5
    assert 0.5 < np.sqrt(np.square(forces).mean()) < 2.0
    assert np.ptp([frame.get_potential_energy() for frame in frames]) < 2.0


def test_no_geometry_is_in_both_sets() -> None:
    train, test = (
        np.array([frame.get_all_distances() for frame in frames_of(name)])
        for name in ("methanol.extxyz", "methanol-test.extxyz")
    )
    nearest = np.abs(test[:, None] - train).max(axis=(2, 3)).min()
    assert nearest > 1e-3


def test_label_repeats_a_frame() -> None:
    pytest.importorskip("pyscf", reason="label.py needs pyscf")
    expected = frames_of("methanol.extxyz")[0]
    labelled = runpy.run_path(str(FOLDER / "label.py"))["labelled"](expected, "train")
    assert labelled.get_potential_energy() == pytest.approx(
        expected.get_potential_energy(), abs=1e-5
    )
    np.testing.assert_allclose(labelled.get_forces(), expected.get_forces(), atol=1e-4)
