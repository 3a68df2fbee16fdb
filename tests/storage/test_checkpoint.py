"""Checkpoints: whole, durable, checked, and the newest valid one is found."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fastequi.errors import InputError
from fastequi.storage.checkpoint import (
    Checkpoint,
    check_fingerprint,
    latest_checkpoint,
    on_host,
    own_checkpoints,
    read_checkpoint,
    set_aside_later,
    write_checkpoint,
)

FINGERPRINT = {"dynamics.timestep_fs": 2.0, "model.sha256": "ab" * 32}


def checkpoint_at(step: int) -> Checkpoint:
    generator = torch.Generator().manual_seed(step)
    tensors = {"x": torch.randn(32, 3, generator=generator), "of nothing": torch.zeros(0, 2)}
    return Checkpoint(tensors, {"step": step}, FINGERPRINT, {"log.csv": 10 * step}, {"wall": 1.5})


def write(folder: Path, step: int) -> Path:
    return write_checkpoint(folder, checkpoint_at(step))


def test_comes_back_as_it_was(tmp_path):
    path = write(tmp_path, 7)
    assert path.name == "step-000000007.safetensors"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    found, original = read_checkpoint(path), checkpoint_at(7)
    assert replace(found, tensors={}) == replace(original, tensors={})
    assert set(found.versions) == {"fastequi", "torch"}
    assert set(found.tensors) == set(original.tensors)
    for name, tensor in original.tensors.items():
        assert torch.equal(found.tensors[name], tensor)


def test_copies_on_the_host():
    tensor = torch.ones(3, 2, requires_grad=True)
    kept = on_host({"x": tensor.T})["x"]
    tensor.data.zero_()
    assert kept.is_contiguous()
    assert not kept.requires_grad
    assert torch.equal(kept, torch.ones(2, 3))


def test_checkpoints_are_known_by_their_names(tmp_path):
    own = ("step-000000001.safetensors", "step-000000002.safetensors.tmp",
           "step-000000003.safetensors.damaged")  # fmt: skip
    for name in (*own, "mine.safetensors", "step-1.txt"):
        (tmp_path / name).touch()
    assert own_checkpoints(tmp_path) == [tmp_path / name for name in own]
    assert own_checkpoints(tmp_path / "none") == []


def test_keeps_the_newest_two(tmp_path):
    for step in (5, 10, 15, 20):
        write(tmp_path, step)
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
def test_damaged_file_is_skipped_with_a_warning(tmp_path, how):
    write(tmp_path, 5)
    newest = write(tmp_path, 10)
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


def test_half_written_temporary_file_is_no_checkpoint(tmp_path):
    data = write(tmp_path, 5).read_bytes()
    (tmp_path / "step-000000010.safetensors.tmp").write_bytes(data[:999])
    checkpoint = latest_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint.step == 5


def test_step_inside_counts_not_the_name(tmp_path):
    write(tmp_path, 5).rename(tmp_path / "step-000000099.safetensors")
    write(tmp_path, 10)
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
