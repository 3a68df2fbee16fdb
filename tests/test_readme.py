"""What the README shows is what runs: its Python, one block after the other, and its TOML."""

import re
from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import write

from fastequi.importers import pretrained_names
from fastequi.md.config import load_config

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_python(capsys):
    """In one namespace, as a reader would try them; what needs more has tests of its own."""
    code = [b for b in blocks("python") if "lammps" not in b and "janus" not in b]
    assert len(code) == 2
    names: dict[str, object] = {}
    for block in code:
        exec(block, names)
    assert capsys.readouterr().out.splitlines()[-1] == "6 [8, 16, 64]"


def test_keys_of_md_toml(tmp_path):
    """Every one is known, and the two blocks go together."""
    first, more = (block for block in blocks("toml") if "[data]" not in block)
    write(tmp_path / "silicon.extxyz", bulk("Si", cubic=True))
    (tmp_path / "md.toml").write_text(first + more, encoding="utf-8")
    config = load_config(tmp_path / "md.toml", model_names=pretrained_names())
    assert [stage.name for stage in config.stages] == ["relax", "produce"]
    assert config.safety.max_temperature_K == pytest.approx(5000.0)
