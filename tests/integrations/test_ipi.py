"""i-PI over a socket: what it hears, its dynamics of constant energy, the sign of its virial."""

import os
import re
import runpy
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.socketio import SocketClient, SocketIOCalculator

import fastequi
from fastequi.calculators.ase import FastEquiCalculator
from fastequi.cli.main import run_command
from fastequi.errors import InputError
from fastequi.integrations.ipi import run_driver
from fastequi.md.integrators import VelocityVerlet
from fastequi.md.simulation import Simulation

EXAMPLE = Path(fastequi.__file__).parent / "examples" / "ecosystem"
needs_ipi = pytest.mark.skipif(not shutil.which("i-pi"), reason="NO I-PI: pip install ipi")


def silicon() -> Atoms:
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.1, seed=1)
    return atoms


@pytest.fixture
def address():
    """A socket of this test alone."""
    name = f"fastequi-test-{os.getpid()}"
    yield name
    Path(f"/tmp/ipi_{name}").unlink(missing_ok=True)


def test_a_server_hears_our_numbers(address):
    """The protocol itself, with ASE's server in i-PI's place; it works in atomic units, too."""
    atoms = silicon()
    client = ["-m", "fastequi.cli.main", "ipi-driver", "silicon", "si.extxyz", "--unix", address]

    def launch(atoms, properties, port=None, unixsocket=None):
        import sys

        return subprocess.Popen([sys.executable, *client, "--dtype", "float64", "--device", "cpu"])

    atoms.write("si.extxyz")
    atoms.calc = SocketIOCalculator(unixsocket=address, launch_client=launch)
    own = silicon()
    own.calc = FastEquiCalculator("silicon", dtype="float64", device="cpu")
    with atoms.calc:
        for _ in range(2):
            for a in (atoms, own):
                a.positions[0, 0] += 0.05
            close = {"rtol": 0, "atol": 1e-10}
            np.testing.assert_allclose(atoms.get_forces(), own.get_forces(), **close)
            energies = atoms.get_potential_energy(), own.get_potential_energy()
            np.testing.assert_allclose(*energies, **close)
            np.testing.assert_allclose(atoms.get_stress(), own.get_stress(), **close)


def test_nobody_listens(capsys):
    with pytest.raises(InputError, match="start i-pi first"):
        run_driver("silicon", silicon(), unix_socket="nobody-is-here", device="cpu")
    silicon().write("si.extxyz")
    assert run_command(["ipi-driver", "silicon", "si.extxyz", "--unix", "nobody-is-here"]) == 2
    assert "no i-PI at /tmp/ipi_nobody-is-here" in capsys.readouterr().err


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def prepare(folder: Path, address: str, **changes: str) -> Path:
    """The example's input with changes; element -> its text."""
    shutil.copytree(EXAMPLE, folder)
    text = (folder / "path_integrals.xml").read_text()
    for name, value in {"address": address, **changes}.items():
        text, n = re.subn(rf"(<{name}[^>]*>)[^<]*(</{name}>)", rf"\g<1> {value} \g<2>", text)
        assert n == 1, name
    (folder / "path_integrals.xml").write_text(text)
    script = (folder / "path_integrals.py").read_text()
    (folder / "path_integrals.py").write_text(script.replace("fastequi-silicon", address))
    return folder


@needs_ipi
def test_constant_energy_is_the_native_engine(tmp_path, address):
    """A classical crystal that starts at rest: positions that i-PI asks forces for are those of the
    native engine, within what i-PI's constants for Å and fs differ from ASE's, 2e-8 of each.

    Its mass of silicon is another one, too.
    """
    folder = prepare(tmp_path / "ipi", address, total_steps="25", velocities="0")
    text = (folder / "path_integrals.xml").read_text()
    text = text.replace("nbeads='8'", "nbeads='1'").replace("mode='nvt'", "mode='nve'")
    text = re.sub(r"<velocities.*?</velocities>|<thermostat.*?</thermostat>", "", text)
    (folder / "path_integrals.xml").write_text(text)
    example = runpy.run_path(str(folder / "path_integrals.py"))
    example["write_ipi_xyz"](folder / "path_integrals.xyz", silicon())
    ipi = subprocess.Popen(["i-pi", "path_integrals.xml"], cwd=folder)
    end = time.monotonic() + 60
    while not Path(f"/tmp/ipi_{address}").exists():
        assert ipi.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    atoms, visited, energies = silicon(), [], []
    atoms.calc = FastEquiCalculator("silicon", dtype="float64", device="cpu", skin_A=1.0)
    for _ in SocketClient(unixsocket=address).irun(atoms, use_stress=True):
        visited.append(atoms.positions.copy())
        energies.append(atoms.get_potential_energy())
    assert ipi.wait(60) == 0
    potential = fastequi.load_model("silicon", dtype="float64", device="cpu")
    heavier = silicon()
    heavier.arrays["masses"] = np.full(8, 28.0855)
    native = Simulation(heavier, potential, VelocityVerlet(timestep_fs=2.0))
    error = np.inf
    for k in range(25):
        expected = native.state.positions.numpy()
        error = np.abs(visited[k] - expected).max()
        assert error < 3e-7, f"step {k}: {error:.1e} Å"
        native.run(1)
    moved = np.abs(visited[24] - visited[0]).max()
    print(f"moved {moved:.2f} Å, differs by {error:.1e} Å")
    assert moved > 0.1
    table = np.loadtxt(folder / "path_integrals.out")
    i_pi_eV = 1.0 / 0.036749326 / units.Ha  # what i-PI takes for an eV
    np.testing.assert_allclose(table[:25, 4] / i_pi_eV, energies[:25], rtol=2e-9, atol=1e-7)


@needs_ipi
@pytest.mark.slow
def test_path_integral_of_a_harmonic_crystal(tmp_path, address, capsys):
    """Within 2 % of the phonons' kinetic energy; the classical one is 10 % below."""
    folder = prepare(tmp_path / "ipi", address)
    mean, exact = runpy.run_path(str(folder / "path_integrals.py"))["main"]()
    assert mean == pytest.approx(exact, rel=0.02)
    assert exact > 1.05 * 1.5 * units.kB * 300.0
    assert (folder / "path_integrals.png").stat().st_size > 10_000


def test_the_sign_of_the_virial(address):
    """-V times the stress, which is dE by strain: i-PI's barostats need it so."""
    atoms = silicon()
    atoms.calc = FastEquiCalculator("silicon", dtype="float64", device="cpu")
    client: Any = SocketClient.__new__(SocketClient)
    client.comm = type("One", (), {"broadcast": staticmethod(lambda *_: None)})()
    _, _, virial = client.calculate(atoms, use_stress=True)
    strain, energies = 1e-5, []
    for sign in (1, -1):
        strained = silicon()
        strained.set_cell(strained.cell.array * (1 + sign * strain), scale_atoms=True)
        strained.calc = atoms.calc
        energies.append(strained.get_potential_energy())
    by_strain = (energies[0] - energies[1]) / (2 * strain)
    assert np.trace(virial) == pytest.approx(-by_strain, rel=1e-5)
    assert torch.get_default_dtype() == torch.float32
