"""A kill at any moment costs an H5MD file no frame that was written."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from fastequi.md.trajectory.h5md import H5mdFile, _single_writer
from fastequi.md.trajectory.reader import read_trajectory

N_ATOMS = 500

#: Writes frames as fast as it can and says so after each; frame k is full of k.
WRITER = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_h5md_kill import frame
from fastequi.md.trajectory.h5md import H5mdFile
file = H5mdFile(Path(sys.argv[1]))
step = 0
while True:
    file.append(frame(step))
    os.write(1, b"x")
    step += 1
"""


def frame(step: int) -> Atoms:
    """Frame `step`: all positions are `step`."""
    atoms = Atoms("Ar" * N_ATOMS, positions=np.full((N_ATOMS, 3), float(step)), cell=[9, 9, 9])
    atoms.info.update(step=step, time_ps=step * 1e-3)
    return atoms


@pytest.mark.parametrize("attempt", range(3))
def test_kill_minus_9(tmp_path, attempt):
    path = tmp_path / "t.h5"
    folder = str(Path(__file__).parent)
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), folder], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    acknowledged = len(process.stdout.read(5))
    time.sleep(random.Random(attempt).uniform(0.0, 0.2))
    process.kill()
    acknowledged += len(process.stdout.read())
    process.wait()

    frames = read_trajectory(path)
    assert len(frames) >= acknowledged
    assert_frames(frames)
    keep = acknowledged - 2
    file = H5mdFile(path, keep)
    for step in range(keep, keep + 3):
        file.append(frame(step))
    frames = read_trajectory(path)
    assert len(frames) == keep + 3
    assert_frames(frames)


def assert_frames(frames):
    for step, atoms in enumerate(frames):
        assert atoms.info["step"] == step
        assert (atoms.positions == step).all()


def test_a_reader_that_keeps_the_file_open_does_not_stop_the_writer(tmp_path):
    file = H5mdFile(tmp_path / "t.h5")
    file.append(frame(0))
    code = "import h5py, sys; f = h5py.File(sys.argv[1]); print(len(f), flush=True); input()"
    reader = subprocess.Popen(
        [sys.executable, "-c", code, str(file.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert reader.stdout is not None
    assert reader.stdout.readline() == b"3\n"  # h5md, particles, observables
    file.append(frame(1))
    reader.communicate(b"\n")
    assert_frames(read_trajectory(file.path))


def test_killed_after_the_last_word_of_a_frame(tmp_path):
    """All frames are whole, but the file still says that somebody is writing."""
    path = tmp_path / "t.h5"
    file = H5mdFile(path)
    for step in range(4):
        file.append(frame(step))
    child = os.fork()
    if child == 0:
        with _single_writer(path):
            os._exit(0)  # as by a kill: nothing is closed
    os.waitpid(child, 0)
    file = H5mdFile(path, 4)
    file.append(frame(4))
    assert_frames(read_trajectory(path))
    assert len(read_trajectory(path)) == 5
