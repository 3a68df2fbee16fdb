"""`fastequi info` and `fastequi convert`."""

import pytest

import fastequi
from fastequi.cli.main import run_command
from fastequi.errors import InputError
from fastequi.importers import read_any
from fastequi.importers.sevennet import find_pretrained
from fastequi.kernels.processor import processor
from fastequi.model.file import read_model


@pytest.fixture
def sevennet() -> str:
    """A name that can be loaded here."""
    try:
        find_pretrained("sevennet-0")
    except InputError as error:
        pytest.skip(f"NOT CHECKED WITH A REAL MODEL: {error}")
    return "sevennet-0"


def test_info_of_the_machine(capsys):
    assert run_command(["info"]) == 0
    out = capsys.readouterr().out
    for part in (fastequi.__version__, "python", "CPUs", "accelerator", "kernels", "torch 2"):
        assert part in out
    assert str(processor()) in out  # what rows of benchmarks say too


def test_info_of_a_model(capsys):
    assert run_command(["info", "silicon"]) == 0
    out = capsys.readouterr().out
    assert "cutoff" in out
    assert "5 Å" in out
    assert "Si_training.extxyz" in out  # what it was trained on
    assert "silicon.md" in out  # and the page about it


def test_info_of_no_model(capsys):
    assert run_command(["info", "sevennet-99"]) == 2
    assert "sevennet-0" in capsys.readouterr().err


def test_convert(capsys, sevennet, tmp_path):
    out = tmp_path / "model.safetensors"
    assert run_command(["convert", sevennet, str(out)]) == 0
    assert read_model(out).sha256 == read_any(sevennet).sha256
    before = out.read_bytes()
    assert run_command(["convert", sevennet, str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert out.read_bytes() == before
    assert run_command(["convert", sevennet, str(out), "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("source", "out", "expected"),
    [
        ("sevennet-0", "model.pth", "named *.safetensors, got .pth"),
        ("sevennet-0", "none/model.safetensors", "there is no folder"),
        ("nothing.pth", "model.safetensors", "nothing.pth: no such file"),
    ],
)
def test_convert_mistakes(capsys, tmp_path, source, out, expected):
    assert run_command(["convert", source, str(tmp_path / out)]) == 2
    assert expected in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
