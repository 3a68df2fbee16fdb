"""Hostile and damaged files run nothing and give one clear error."""

import contextlib
import io
import os
import pickle
import random
import struct
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastequi.errors import InputError
from fastequi.importers.nequip import read_nequip
from fastequi.importers.unpickle import Record, load_pickle, read_torch_checkpoint

DATA = Path(__file__).parent / "data"


class Call:
    """Pickles as a call of `function` with `arguments`, done when the pickle is loaded."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.arguments


def raw_call(module: str, name: str, argument: str) -> bytes:
    """The same as protocol 0, for functions that pickle would not write."""
    return f"c{module}\n{name}\n(V{argument}\ntR.".encode()


def payloads(target: Path) -> dict[str, bytes]:
    """Pickles that would create `target`."""
    touch, code = f"touch {target}", f"open({str(target)!r}, 'w').close()"
    getattr_of_os = Call(getattr, Call(__import__, "os"), "system")
    return {
        "os.system": pickle.dumps(Call(os.system, touch)),
        "eval": pickle.dumps(Call(eval, code)),
        "exec": pickle.dumps(Call(exec, code)),
        "open": pickle.dumps(Call(open, str(target), "w")),
        "subprocess": pickle.dumps(Call(subprocess.Popen, ["touch", str(target)])),
        "getattr": pickle.dumps(getattr_of_os),
        "getattr of a type": pickle.dumps(Call(getattr, dict, "fromkeys")),
        "getattr of an instance": pickle.dumps(Call(getattr, [], "__class__")),
        "posix.system": raw_call("posix", "system", touch),
        "python 2": raw_call("__builtin__", "eval", code),
        "runpy": raw_call("runpy", "run_path", str(target)),
        "attribute chain": b"\x80\x04\x8c\x08builtins\x8c\x0elist.__class__\x93.",
        "in a dictionary": pickle.dumps({"state_dict": [Call(os.system, touch)]}),
        "numpy load": raw_call("builtins", "__import__", "os"),
    }


NAMES = list(payloads(Path("unused")))


def torch_zip(path: Path, data: bytes) -> Path:
    """What torch.save writes, with another pickle in it."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", "3\n")
    return path


def nequip_zip(path: Path, data: bytes) -> Path:
    """A NequIP package with another pickle in it."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/model/eager_model.pkl", data)
        archive.writestr("m/model/package_metadata.txt", "versions: {nequip: 0.19.1}")
        archive.writestr("m/model/config.yaml", "training_module: {_target_: x}")
    return path


@pytest.mark.parametrize("name", NAMES)
def test_payloads_would_work(name: str, tmp_path: Path) -> None:
    """With Python's own unpickler the decisive ones do run: the tests below are not idle."""
    target = tmp_path / "run"
    if name in ("os.system", "eval", "exec", "open", "posix.system", "in a dictionary"):
        pickle.loads(payloads(target)[name])
        assert target.exists()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["torch", "checkpoint", "package"])
def test_hostile_pickles_run_nothing(name: str, kind: str, tmp_path: Path) -> None:
    target = tmp_path / "run"
    data = payloads(target)[name]
    reads: dict[str, Callable[[], object]] = {
        "torch": lambda: read_torch_checkpoint(torch_zip(tmp_path / "bad.pth", data)),
        "checkpoint": lambda: read_nequip(torch_zip(tmp_path / "bad.ckpt", data)),
        "package": lambda: read_nequip(nequip_zip(tmp_path / "bad.nequip.zip", data)),
    }
    with pytest.raises(InputError, match=r"(?s)bad.*refused.*Nothing in it was run"):
        reads[kind]()
    assert not target.exists()


def test_hostile_yaml_runs_nothing(tmp_path: Path) -> None:
    target = tmp_path / "run"
    path = tmp_path / "bad.nequip.zip"
    with zipfile.ZipFile(DATA / "nequip-natural.nequip.zip") as source:
        members = {name: source.read(name) for name in source.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            if name.endswith("config.yaml"):
                content = f"!!python/object/apply:os.system ['touch {target}']".encode()
            archive.writestr(name, content)
    with pytest.raises(InputError, match="bad"):
        read_nequip(path)
    assert not target.exists()


@pytest.fixture
def honest(tmp_path: Path) -> Path:
    path = tmp_path / "honest.pth"
    torch.save({"weights": torch.arange(2000.0), "steps": np.float64(3.5)}, path)
    return path


def test_honest_files_are_read(honest: Path) -> None:
    content = read_torch_checkpoint(honest)
    assert torch.equal(content["weights"], torch.arange(2000.0))
    assert content["steps"] == 3.5


def test_views_and_parameters_are_read(tmp_path: Path) -> None:
    base = torch.arange(24, dtype=torch.float64).view(4, 6)
    saved = {"view": base[1:, ::2].T, "parameter": torch.nn.Parameter(base), "empty": base[:0]}
    torch.save(saved, tmp_path / "views.pth")
    content = read_torch_checkpoint(tmp_path / "views.pth")
    for name, tensor in saved.items():
        assert torch.equal(content[name], tensor.detach()), name


def test_foreign_classes_become_records(tmp_path: Path) -> None:
    torch.save({"module": torch.nn.Linear(2, 3)}, tmp_path / "module.pth")
    module = read_torch_checkpoint(tmp_path / "module.pth")["module"]
    assert isinstance(module, Record)
    assert (module.module, module.qualname) == ("torch.nn.modules.linear", "Linear")
    assert module.attributes["_parameters"]["weight"].shape == (3, 2)


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated(honest: Path, fraction: float) -> None:
    content = honest.read_bytes()
    honest.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(InputError, match=r"honest\.pth: not a torch checkpoint, or truncated"):
        read_torch_checkpoint(honest)


def test_flipped_bytes(honest: Path) -> None:
    """Damage anywhere is an InputError or goes unnoticed, but never another error."""
    content, generator = honest.read_bytes(), random.Random(0)
    for _ in range(200):
        damaged = bytearray(content)
        for _ in range(4):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        honest.write_bytes(damaged)
        with contextlib.suppress(InputError):
            read_torch_checkpoint(honest)


def test_flipped_bytes_of_a_package(tmp_path: Path) -> None:
    content, generator = (DATA / "nequip-natural.nequip.zip").read_bytes(), random.Random(0)
    path = tmp_path / "flipped.nequip.zip"
    refused = 0
    for _ in range(40):
        damaged = bytearray(content)
        for _ in range(4):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        path.write_bytes(damaged)
        try:
            read_nequip(path)  # any other exception fails the test
        except InputError:
            refused += 1
    assert refused > 20  # a zip knows its own checksums


@pytest.mark.parametrize("content", [b"", b"hello", random.Random(1).randbytes(5000)])
def test_not_a_zip(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a torch checkpoint"):
        read_torch_checkpoint(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.pth", tmp_path):
        with pytest.raises(InputError, match="not a torch checkpoint"):
            read_torch_checkpoint(path)


def test_zip_without_a_pickle(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.pth", "w") as archive:
        archive.writestr("archive/readme", "hello")
    with pytest.raises(InputError, match=r"no data\.pkl"):
        read_torch_checkpoint(tmp_path / "other.pth")


def test_legacy_format(tmp_path: Path) -> None:
    """Files of torch before 1.6 are bare pickles."""
    torch.save({"a": torch.ones(3)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match=r"old\.pth: not a torch checkpoint"):
        read_torch_checkpoint(tmp_path / "old.pth")


def test_not_a_dictionary(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(InputError, match="not a checkpoint"):
        read_torch_checkpoint(tmp_path / "list.pth")


def test_storage_that_is_missing_or_too_small(honest: Path, tmp_path: Path) -> None:
    for name, storage in {"missing": None, "small": struct.pack("3f", 1, 2, 3)}.items():
        path = tmp_path / f"{name}.pth"
        with zipfile.ZipFile(honest) as source, zipfile.ZipFile(path, "w") as target:
            for member in source.namelist():
                if not member.endswith("data/0"):
                    target.writestr(member, source.read(member))
                elif storage is not None:
                    target.writestr(member, storage)
        with pytest.raises(InputError, match="damaged"):
            read_torch_checkpoint(path)


def test_endless_pickles(tmp_path: Path) -> None:
    """Memory bombs of a few bytes: a pickle that claims a string of 2^62 bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data.pkl", b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"abc.")
    with zipfile.ZipFile(buffer) as archive, pytest.raises(InputError, match="bomb: damaged"):
        load_pickle(archive, "data.pkl", str, "bomb")
