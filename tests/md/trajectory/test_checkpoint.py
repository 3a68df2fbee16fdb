"""Checkpoints: whole, durable, checked, and the newest valid one is found."""

import json
from dataclasses import fields

import pytest
import torch
from safetensors.torch import save

from fastequi.errors import InputError
from fastequi.md.trajectory.checkpoint import (
    _digest,
    check_fingerprint,
    checkpoint_of,
    latest_checkpoint,
    read_checkpoint,
    set_aside_later,
    write_checkpoint,
)

FINGERPRINT = {"dynamics.timestep_fs": 2.0, "model.sha256": "ab" * 32}


def write(simulation, folder):
    return write_checkpoint(folder, checkpoint_of(simulation.state, FINGERPRINT, {"wall": 1.5}))


def test_holds_every_bit_of_the_state(simulation, tmp_path):
    simulation.run(7)
    path = write(simulation, tmp_path)
    assert path.name == "step-000000007.safetensors"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    checkpoint = read_checkpoint(path)
    assert checkpoint.fingerprint == FINGERPRINT
    assert checkpoint.elapsed_s == {"wall": 1.5}
    assert set(checkpoint.versions) == {"fastequi", "torch"}
    state = checkpoint.state()
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
    checkpoint = read_checkpoint(path)
    extra = checkpoint.state().extra
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


def test_keeps_the_newest_two(simulation, tmp_path):
    for _ in range(4):
        simulation.run(5)
        write(simulation, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "step-000000015.safetensors",
        "step-000000020.safetensors",
    ]


def damaged(data: bytes, how: str) -> bytes:
    if how == "truncated":
        return data[: len(data) // 2]
    if how == "empty":
        return b""
    at = {"flipped in the data": len(data) - 100, "flipped in the header": 300}[how]
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    "how", ["truncated", "empty", "flipped in the data", "flipped in the header"]
)
def test_damaged_file_is_skipped_with_a_warning(simulation, tmp_path, how):
    simulation.run(5)
    write(simulation, tmp_path)
    simulation.run(5)
    newest = write(simulation, tmp_path)
    newest.write_bytes(damaged(newest.read_bytes(), how))
    with pytest.warns(UserWarning, match="skipped a checkpoint.*step-000000010.*damaged"):
        checkpoint = latest_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint.step == 5
    set_aside_later(tmp_path, 5)
    latest = latest_checkpoint(tmp_path)
    assert latest is not None
    assert latest.step == 5
    assert newest.with_name(newest.name + ".damaged").is_file()


def test_half_written_temporary_file_is_no_checkpoint(simulation, tmp_path):
    simulation.run(5)
    data = write(simulation, tmp_path).read_bytes()
    (tmp_path / "step-000000010.safetensors.tmp").write_bytes(data[:999])
    checkpoint = latest_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint.step == 5


def test_step_inside_counts_not_the_name(simulation, tmp_path):
    simulation.run(5)
    write(simulation, tmp_path).rename(tmp_path / "step-000000099.safetensors")
    simulation.run(5)
    write(simulation, tmp_path)
    checkpoint = latest_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint.step == 10


def test_no_folder(tmp_path):
    assert latest_checkpoint(tmp_path / "none") is None


def test_another_safetensors_file_is_no_checkpoint(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(2)}, tmp_path / "step-000000001.safetensors")
    with pytest.raises(InputError, match="not a checkpoint"):
        read_checkpoint(tmp_path / "step-000000001.safetensors")


def test_fingerprint_table():
    check_fingerprint(FINGERPRINT, dict(FINGERPRINT))
    now = {"dynamics.timestep_fs": 1.0, "model.sha256": "cd" * 32, "dynamics.seed": 1}
    with pytest.raises(InputError) as caught:
        check_fingerprint(FINGERPRINT, now)
    text = str(caught.value)
    assert "dynamics.timestep_fs: 2.0 -> 1.0" in text
    assert "model.sha256: abababababab... -> cdcdcdcdcdcd..." in text
    assert "dynamics.seed: None -> 1" in text
    assert "--overwrite" in text
