"""What the README says to users of janus-core and atomate2 is what their packages take."""

import re
from pathlib import Path

import pytest
from ase.build import bulk

import fastequi

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


def lines() -> str:
    (found,) = re.findall(r"^```python\n([^`]*janus_core[^`]*)^```", README, re.MULTILINE)
    return found


def energy() -> float:
    atoms = bulk("Si", cubic=True)
    atoms.calc = fastequi.FastEquiCalculator("silicon")
    return atoms.get_potential_energy()


def test_janus_core(capsys, tmp_path, monkeypatch):
    pytest.importorskip("janus_core.calculations.single_point", reason="NO JANUS-CORE")
    monkeypatch.chdir(tmp_path)
    exec(lines(), {})
    assert float(capsys.readouterr().out.splitlines()[-1]) == pytest.approx(energy(), abs=1e-5)


def test_the_dictionary_of_atomate2():
    """Its way from a dictionary to a calculator is monty's."""
    json = pytest.importorskip("monty.json", reason="NO MONTY, which comes with atomate2")
    names: dict[str, object] = {}
    exec("\n".join(line for line in lines().splitlines() if line.startswith("FORCE_")), names)
    calculator = json.MontyDecoder().process_decoded(names["FORCE_FIELD"])
    atoms = bulk("Si", cubic=True)
    atoms.calc = calculator(model="silicon")
    assert atoms.get_potential_energy() == pytest.approx(energy(), abs=1e-9)
