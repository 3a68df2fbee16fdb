"""The state of a run in a checkpoint, and back; also from the format of earlier versions."""

import json
from dataclasses import fields

import pytest
import torch
from safetensors.torch import save

from fastequi.md.trajectory.checkpoint import (
    Progress,
    checkpoint_of,
    in_present_format,
    progress_of,
    state_of,
)
from fastequi.storage.checkpoint import _digest, read_checkpoint, write_checkpoint

PROGRESS = Progress(1, (5, 0.01), (0,), {"1": {"step": 3, "error": "it exploded"}})
FINGERPRINT = {"dynamics.timestep_fs": 2.0, "model.sha256": "ab" * 32}


def write(simulation, folder):
    checkpoint = checkpoint_of(simulation.state, FINGERPRINT, {"wall": 1.5}, PROGRESS)
    return write_checkpoint(folder, checkpoint)


def test_holds_every_bit_of_the_state(simulation, tmp_path):
    simulation.run(7)
    path = write(simulation, tmp_path)
    assert path.name == "step-000000007.safetensors"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    checkpoint = read_checkpoint(path)
    assert checkpoint.fingerprint == FINGERPRINT
    assert checkpoint.elapsed_s == {"wall": 1.5}
    assert set(checkpoint.versions) == {"fastequi", "torch"}
    assert progress_of(checkpoint) == PROGRESS
    state = state_of(checkpoint)
    assert state.step == 7
    for field in fields(state):
        value, original = getattr(state, field.name), getattr(simulation.state, field.name)
        if isinstance(original, torch.Tensor):
            assert value.dtype == original.dtype
            assert value.shape == original.shape
            assert value.numpy().tobytes() == original.contiguous().numpy().tobytes(), field.name
        else:
            assert value == original


def write_as_format_1(path, checkpoint, heat):
    """As versions wrote it that knew no extra state: heat in every state."""
    tensors = {**checkpoint.tensors, "heat": heat}
    header = {
        "format": 1,
        "numbers": checkpoint.numbers,
        "fingerprint": checkpoint.fingerprint,
        "offsets": {},
        "elapsed_s": {},
        "versions": {"fastequi": "0.1.0"},
    }
    header["sha256"] = _digest(tensors, header)
    path.write_bytes(save(tensors, {"fastequi_checkpoint": json.dumps(header)}))


@pytest.mark.parametrize("ensemble", ["nve", "nvt-langevin"])
def test_reads_what_the_last_version_wrote(simulation, tmp_path, ensemble):
    then = {"dynamics.ensemble": ensemble, "dynamics.friction_per_ps": 2.0}
    heat = torch.tensor([0.125], dtype=torch.float64)
    path = tmp_path / "step-000000000.safetensors"
    write_as_format_1(path, checkpoint_of(simulation.state, then, {}), heat)
    checkpoint = in_present_format(read_checkpoint(path))
    extra = state_of(checkpoint).extra
    if ensemble == "nve":
        assert not extra
        assert checkpoint.fingerprint == {"dynamics.ensemble": "nve"}
    else:
        assert list(extra) == ["heat"]
        assert torch.equal(extra["heat"], heat)
        assert checkpoint.fingerprint == then


def test_is_a_copy(simulation):
    checkpoint = checkpoint_of(simulation.state, FINGERPRINT, {})
    before = checkpoint.tensors["positions"].clone()
    simulation.run(3)
    assert torch.equal(checkpoint.tensors["positions"], before)
