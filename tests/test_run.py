"""From a config to a simulation: names become objects with the settings of the file."""

import os
import signal
import threading

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk

import fastequi
from fastequi.errors import InputError
from fastequi.md.config import load_config
from fastequi.md.integrators import LangevinBAOAB, VelocityVerlet
from fastequi.md.state import state_from_atoms
from fastequi.md.testing import LennardJones
from fastequi.md.velocities import maxwell_boltzmann_
from fastequi.process import stopping_on_signals
from fastequi.run import execute, load_potential, set_up
from fastequi.running.identity import fingerprint_of

TOML = """
[system]
structure = "ar.extxyz"
supercell = [1, 2, 1]
[model]
name = "sevennet-mf-0"
dtype = "float64"
modality = "PBE"
[dynamics]
ensemble = "{ensemble}"
timestep_fs = 3.0
steps = 10
temperature_K = 50.0
friction_per_ps = 7.0
seed = 11
device = "cpu"
[neighbors]
skin_A = 0.4
"""


class Toy(LennardJones):
    """Lennard-Jones with the identity of a model."""

    name = "toy"
    sha256 = "0" * 64
    dtype_name = "float64"
    kernels = "reference"
    kernels_reason = "a toy"


@pytest.fixture
def config(tmp_path):
    """Makes a Config of an ensemble, with some lines of the TOML changed."""
    bulk("Ar", a=5.3, cubic=True).write(tmp_path / "ar.extxyz")

    def make(ensemble="nvt-langevin", **replacements):
        text = TOML.format(ensemble=ensemble)
        for old, new in replacements.values():
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "md.toml").write_text(text)
        return load_config(tmp_path / "md.toml")

    return make


@pytest.fixture
def toy(monkeypatch):
    """`fastequi.load_model` gives the toy; returns the arguments of its calls."""
    calls = []

    def load(*arguments, **options):
        calls.append((arguments, options))
        return Toy()

    monkeypatch.setitem(vars(fastequi), "load_model", load)
    return calls


def test_model_settings_reach_load_model(config, toy):
    load_potential(config())
    assert toy == [
        (
            ("sevennet-mf-0",),
            {"device": "cpu", "dtype": "float64", "kernels": "auto", "modality": "PBE"},
        )
    ]


def test_langevin_settings_reach_the_integrator(config, toy):
    simulation = set_up(config()).simulation
    assert isinstance(simulation.integrator, LangevinBAOAB)
    assert simulation.integrator.description() == {
        "ensemble": "nvt-langevin",
        "timestep_fs": 3.0,
        "temperature_K": 50.0,
        "friction_per_ps": 7.0,
        "seed": 11,
    }
    assert simulation.neighbors.skin == 0.4
    assert simulation.state.n_atoms == 8


def test_nve(config, toy):
    integrator = set_up(config("nve")).simulation.integrator
    assert isinstance(integrator, VelocityVerlet)
    assert integrator.timestep_fs == 3.0


def test_velocities_come_from_the_seed(config, toy):
    first, again = (set_up(config("nve")).simulation.state.velocities for _ in range(2))
    assert torch.equal(first, again)
    assert first.abs().max() > 0
    other = set_up(config("nve", seed=("seed = 11", "seed = 12"))).simulation.state.velocities
    assert not torch.equal(first, other)


def test_velocities_of_the_structure_win(config, toy, tmp_path):
    made = config(supercell=("[1, 2, 1]", "[1, 1, 1]"))
    atoms = bulk("Ar", a=5.3, cubic=True)
    atoms.set_momenta([[0.0, 0.0, 0.0]] * 4)  # at rest is a choice too
    atoms.write(tmp_path / "ar.extxyz")
    assert (set_up(made).simulation.state.velocities == 0).all()


def moving_argon(drift_A_per_fs: float = 0.0) -> Atoms:
    """A cell of four atoms with velocities of their own; ASE's unit of time is not fs."""
    atoms = bulk("Ar", a=5.3, cubic=True)
    velocities = np.random.default_rng(5).normal(0.0, 3e-3, (4, 3))
    atoms.set_velocities((velocities - velocities.mean(axis=0) + drift_A_per_fs) / units.fs)
    return atoms


@pytest.mark.parametrize("drift_A_per_fs", [0.0, 0.01])
def test_copies_of_moving_atoms_do_not_move_alike(config, toy, tmp_path, drift_A_per_fs):
    """They get velocities of their own, as warm as the structure is; its drift is no heat."""
    moving_argon(drift_A_per_fs).write(tmp_path / "ar.extxyz")
    setup = set_up(config("nve"))
    heat = moving_argon().get_kinetic_energy()
    assert setup.drawn_at_K is not None
    assert setup.drawn_at_K == pytest.approx(2 * heat / (3 * 4 - 3) / units.kB, rel=1e-6)
    state = setup.simulation.state
    expected = state_from_atoms(setup.atoms)
    maxwell_boltzmann_(expected, setup.drawn_at_K, seed=11)
    assert torch.equal(state.velocities, expected.velocities)
    setup.simulation.run(30)
    away = state.positions - torch.from_numpy(setup.atoms.positions)
    assert (away[:4] - away[4:]).abs().min() > 1e-4


def test_the_only_copy_keeps_its_velocities(config, toy, tmp_path):
    moving_argon(0.01).write(tmp_path / "ar.extxyz")
    setup = set_up(config("nve", supercell=("[1, 2, 1]", "[1, 1, 1]")))
    assert setup.drawn_at_K is None
    velocities = setup.simulation.state.velocities.numpy() / units.fs
    np.testing.assert_allclose(velocities, moving_argon(0.01).get_velocities(), atol=1e-8)


def test_fingerprint_changes_with_what_matters(config, toy):
    def fingerprint(atoms=None, **replacements):
        made = config(**replacements)
        return fingerprint_of(made, atoms or bulk("Ar"), load_potential(made))

    base = fingerprint()
    assert fingerprint() == base
    assert fingerprint(steps=("steps = 10", "steps = 99")) == base
    assert fingerprint(device=('device = "cpu"', 'device = "auto"')) == base
    moved = bulk("Ar")
    moved.positions += 1e-9
    for other in (
        fingerprint(moved),
        fingerprint(timestep=("timestep_fs = 3.0", "timestep_fs = 3.1")),
        fingerprint(friction=("= 7.0", "= 7.1")),
        fingerprint(modality=('"PBE"', '"R2SCAN"')),
    ):
        assert sum(other[key] != base[key] for key in base) == 1


def test_errors_name_the_key(config, monkeypatch, tmp_path):
    def load(*arguments, **options):
        raise InputError("no such weights")

    monkeypatch.setitem(vars(fastequi), "load_model", load)
    with pytest.raises(InputError, match=r"model\.name = 'sevennet-mf-0': no such weights"):
        set_up(config())


def test_set_up_writes_nothing(config, toy, tmp_path):
    made = config()
    before = sorted(tmp_path.rglob("*"))
    set_up(made)
    assert sorted(tmp_path.rglob("*")) == before


def test_second_signal_is_not_caught(config, toy):
    """The first asks for an end after the step; whoever is in a hurry sends another."""
    simulation = set_up(config()).simulation
    outside = signal.getsignal(signal.SIGINT)  # under nohup it is ignored
    with stopping_on_signals(simulation.request_stop):
        assert signal.getsignal(signal.SIGINT) is not outside
        os.kill(os.getpid(), signal.SIGINT)
        simulation.run(5)
        assert simulation.stopped
        assert simulation.state.step < 5
        assert signal.getsignal(signal.SIGINT) is outside
    assert signal.getsignal(signal.SIGINT) is outside


def test_runs_outside_the_main_thread(config, toy):
    setup, summaries = set_up(config()), []
    thread = threading.Thread(target=lambda: summaries.append(execute(setup)))
    thread.start()
    thread.join()
    assert summaries[0]["steps"] == 10


def test_file_that_cannot_be_written_is_named(config, toy, monkeypatch):
    setup = set_up(config())
    setup.directory.mkdir()
    (setup.directory / "md.resolved.toml").mkdir()
    with pytest.raises(InputError, match=r"md\.resolved\.toml"):
        execute(setup)
