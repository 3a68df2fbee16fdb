"""A new origin of models is one file and one row; names, suffixes and modalities of all rows."""

import json
import sys
from pathlib import Path

import pytest

import fastequi
from fastequi.errors import InputError
from fastequi.importers import load_model, pretrained_names, read_any, registry, sevennet
from fastequi.importers.registry import Importer
from fastequi.model.file import ModelData, read_model

SILICON = registry.find_bundled("silicon")
LEVELS = ("PBE", "SCAN")


def read_toy(path: Path, modality: str | None) -> ModelData:
    """A toy's file says which model it is, and which levels of theory it has."""
    if modality not in json.loads(path.read_text())["levels"]:
        raise InputError(f"{path}: choose one of {', '.join(LEVELS)} (got {modality})")
    silicon = read_model(SILICON)
    return ModelData(silicon.spec, silicon.tensors, {"package": "toy", "level": str(modality)})


def find_toy(name: str) -> Path:
    """Beside this file, as weights in a wheel would be."""
    raise InputError(f"{name}: its weights come with the package toys, which is not installed")


@pytest.fixture
def toy(monkeypatch, tmp_path) -> Path:
    """The toy's row in the table, and one of its files."""
    row = Importer(
        read=f"{__name__}:read_toy",
        suffixes=(".toy", ".toy.ckpt"),
        names=("toy-1", "toy-2"),
        find=f"{__name__}:find_toy",
        has_modalities=True,
    )
    monkeypatch.setitem(sys.modules, __name__, sys.modules[read_toy.__module__])
    monkeypatch.setattr(registry, "IMPORTERS", [*registry.IMPORTERS, row])
    path = tmp_path / "network.toy.ckpt"  # NequIP's are called .ckpt: the longer ending decides
    path.write_text(json.dumps({"levels": LEVELS}))
    return path


def test_a_file_of_the_toy_becomes_a_potential(toy: Path) -> None:
    assert read_any(toy, "SCAN").provenance == {"package": "toy", "level": "SCAN"}
    potential = load_model(toy, "cpu", "float64", "reference", "PBE")
    assert potential.atomic_numbers == load_model("silicon", "cpu").atomic_numbers
    with pytest.raises(InputError, match=r"network\.toy\.ckpt: choose one of PBE, SCAN"):
        fastequi.load_model(toy, "cpu")


def test_its_names_are_known(toy: Path) -> None:
    assert pretrained_names()[-2:] == ["toy-1", "toy-2"]
    with pytest.raises(InputError, match="toy-2: its weights come with"):
        read_any("toy-2:PBE")
    with pytest.raises(InputError, match=r"nothing: no such file.*sevennet-0.*toy-1, toy-2"):
        read_any("nothing")
    (toy.parent / "x.h5").touch()
    with pytest.raises(InputError, match=r"x\.h5: a kind of file that is not known.*\.toy"):
        read_any(toy.parent / "x.h5")


def test_a_modality_of_what_has_none_is_refused() -> None:
    asked: list[tuple[str | Path, str | None]]
    asked = [("silicon", "PBE"), ("silicon:PBE", None), (SILICON, "PBE")]
    for name, modality in asked:
        with pytest.raises(InputError, match="modality 'PBE' was asked for, but it has none"):
            read_any(name, modality)


def test_rows_do_not_contradict_each_other_or_their_files() -> None:
    rows = registry.IMPORTERS
    for found in (pretrained_names(), [suffix for row in rows for suffix in row.suffixes]):
        assert len(set(found)) == len(found)
    assert set(sevennet.PRETRAINED) < set(pretrained_names())
    for row in rows:
        assert bool(row.names) == bool(row.find), row
