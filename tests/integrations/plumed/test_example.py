"""The example of `fastequi init ecosystem`: two ways to one free energy."""

import re
import runpy

import pytest

from fastequi.cli.main import run_command


def prepare(folder, steps: int):
    assert run_command(["init", "ecosystem", str(folder)]) == 0
    toml = folder / "md.toml"
    toml.write_text(re.sub(r"steps = \d+", f"steps = {steps}", toml.read_text()))
    return toml


def test_example_begins(kernel, tmp_path):
    toml = prepare(tmp_path / "ecosystem", 200)
    assert run_command(["run", str(toml), "--device", "cpu"]) == 0
    plumed = tmp_path / "ecosystem" / "metadynamics" / "plumed"
    assert len((plumed / "HILLS").read_text().splitlines()) >= 2
    assert len((plumed / "COLVAR").read_text().splitlines()) >= 21


@pytest.mark.slow
def test_hills_and_frames_agree(kernel, tmp_path, capsys):
    """Within kT / 4, rms."""
    folder = tmp_path / "ecosystem"
    assert run_command(["run", str(prepare(folder, 20000)), "--device", "cpu"]) == 0
    rms_eV = runpy.run_path(str(folder / "free_energy.py"))["main"]()
    print(f"rms {1e3 * rms_eV:.2f} meV")
    assert rms_eV < 0.25 * 0.02585
    assert (folder / "free_energy.png").stat().st_size > 10_000
