"""`fastequi bench`: speeds and deviations on a small model and a small structure."""

from pathlib import Path

import ase.io
import pytest
import torch
from ase.build import bulk

from fastequi.cli import bench
from fastequi.cli.main import run_command
from fastequi.kernels.backend import BACKENDS, choose_kernels
from fastequi.model.file import model_data, save_model
from fastequi.model.nequip import NequIP
from fastequi.model.spec import new_spec

CPU = torch.device("cpu")


@pytest.fixture
def silicon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Arguments: a model of random weights for silicon, and a crystal; timing is brief."""
    monkeypatch.setattr(bench, "SECONDS", 0.0)
    torch.manual_seed(0)
    network = NequIP(new_spec([14], layers=2, l_max=1, channels=(4, 2), radial_hidden=(8,)))
    save_model(tmp_path / "si.safetensors", model_data(network))
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.05, seed=1)
    ase.io.write(tmp_path / "si.extxyz", atoms)
    return [str(tmp_path / "si.safetensors"), str(tmp_path / "si.extxyz"), "--device", "cpu"]


def fused() -> bool:
    """Whether anything but the reference runs on this CPU."""
    return choose_kernels("auto", CPU)[0] != "reference"


def test_speeds_of_every_implementation(silicon, capsys):
    assert run_command(["bench", *silicon]) == 0
    out = capsys.readouterr().out
    assert "8 atoms (Si8)" in out
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line}
    assert float(rows["reference"][1]) > 0
    assert rows["reference"][4:] == ["1", "x"]
    assert ("cpu" in rows) == fused()
    assert {"ms/atom", "steps/s", "atom-steps/s"} <= set(rows["kernels"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_check_agrees(silicon, capsys, dtype):
    assert run_command(["bench", *silicon, "--check", "--dtype", dtype]) == 0
    out = capsys.readouterr().out
    if fused():
        assert "all is well" in out
        assert all(word in out for word in ("energy", "forces", "stress", "Hessian", "tables"))
    else:
        assert "nothing to compare" in out


@pytest.mark.skipif(not fused(), reason="only the reference runs here")
def test_check_names_what_deviates(silicon, capsys, monkeypatch):
    limits = {**bench.LIMITS, "forces": (1e-30, "eV/Å")}
    monkeypatch.setattr(bench, "LIMITS", limits)
    assert run_command(["bench", *silicon, "--check"]) == 3
    err = capsys.readouterr().err
    assert "cpu: forces by" in err
    assert "stress by" not in err


def test_a_large_structure_does_without_the_reference(silicon, capsys, monkeypatch):
    monkeypatch.setattr(bench, "REFERENCE_EDGES", 3)
    assert run_command(["bench", *silicon]) == 0
    assert ("not timed" in capsys.readouterr().out) == fused()


def test_mistakes(silicon, capsys, tmp_path):
    model, structure = silicon[:2]
    copper = tmp_path / "cu.extxyz"
    ase.io.write(copper, bulk("Cu"))
    for arguments, expected in (
        (["no-such-model"], "no-such-model"),
        ([model, str(tmp_path / "si.extxy")], "did you mean si.extxyz"),
        ([model, str(copper)], "cu.extxyz"),
        ([model, structure, "--device", "nowhere"], "nowhere"),
        ([model, structure, "--dtype", "float16"], "float16"),
    ):
        assert run_command(["bench", *arguments]) == 2, arguments
        assert expected in "".join(capsys.readouterr())


def test_implementations_are_all_mentioned(silicon, capsys):
    assert run_command(["bench", *silicon]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in BACKENDS)
