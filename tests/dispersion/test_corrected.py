"""Dispersion on top of a potential: in dynamics, restarts, runs, committees and in ASE."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from fastequi import FastEquiCalculator, Simulation
from fastequi.cli.main import run_command
from fastequi.dispersion import Corrected, with_dispersion
from fastequi.dispersion.corrected import CorrectedCommittee
from fastequi.dispersion.d3 import D3
from fastequi.dispersion.tables import damping_of
from fastequi.errors import InputError
from fastequi.md.config import load_config
from fastequi.md.disagreement import Disagreeing
from fastequi.md.integrators import VelocityVerlet
from fastequi.md.state import state_from_atoms
from fastequi.md.testing import LennardJones
from fastequi.md.velocities import maxwell_boltzmann_
from fastequi.potential import Potential
from fastequi.run import set_up
from tests.dispersion.conftest import graph_of, structures
from tests.engine.test_committee import member

TOML = """
[system]
structure = "si.extxyz"
[model]
name = "silicon"
dispersion = "d3bj"
{more}
[dynamics]
ensemble = "nve"
steps = {steps}
temperature_K = 300.0
device = "cpu"
[output]
directory = "run"
log_every = 2
checkpoint_every = 3
"""


def argon(temperature_K: float = 300.0) -> Simulation:
    """Lennard-Jones and D3: more attraction than argon has, but energy it must conserve."""
    atoms = bulk("Ar", a=5.3, cubic=True) * (2, 2, 2)
    state = state_from_atoms(atoms)
    maxwell_boltzmann_(state, temperature_K, seed=4)
    return Simulation(state, with_dispersion(LennardJones()), VelocityVerlet(4.0))


def total_energy(simulation: Simulation) -> float:
    return float(simulation.integrator.conserved_energy(simulation.state)[0])


def test_it_is_the_sum():
    atoms, lj = bulk("Ar", a=5.3, cubic=True), LennardJones()
    atoms.rattle(0.1, seed=2)
    both, alone = FastEquiCalculator(lj, dispersion="d3bj"), FastEquiCalculator(lj)
    d3 = D3(damping_of("PBE"))(graph_of(atoms))
    for name, expected in (("energy", d3.energy[0]), ("forces", d3.forces),
                           ("energies", d3.energies)):  # fmt: skip
        difference = both.get_property(name, atoms) - alone.get_property(name, atoms)
        np.testing.assert_allclose(difference, expected.numpy(), rtol=0, atol=1e-12)
    stress = both.get_property("stress", atoms) - alone.get_property("stress", atoms)
    np.testing.assert_allclose(stress, d3.stress[0].numpy().flatten()[[0, 4, 8, 5, 2, 1]],
                               rtol=0, atol=1e-14)  # fmt: skip


def test_energy_is_conserved():
    """2 ps in which atoms leave their places; the sharp cutoff is 0.4 µeV per pair."""
    simulation = argon()
    simulation.run(20)
    call = simulation._forces.call
    energies = []
    for _ in range(24):
        energies.append(total_energy(simulation))
        simulation.run(20)
    slope = np.polyfit(np.arange(24) * 0.08, np.array(energies) / 32, 1)[0]
    assert abs(slope) < 2e-5  # eV/atom/ps
    assert np.std(energies) / 32 < 2e-5
    assert call.d3.rebuilds > 2  # pyright: ignore[reportAttributeAccessIssue]


def test_a_restart_has_other_lists_and_the_same_result():
    whole, first = argon(2000.0), argon(2000.0)
    whole.run(90)
    first.run(45)
    second = Simulation(first.state.snapshot(), first.potential, VelocityVerlet(4.0))
    second.forces_are_current = True
    second.run(45)
    for name in ("positions", "velocities", "forces", "energies", "stress"):
        assert torch.equal(getattr(whole.state, name), getattr(second.state, name)), name


@pytest.fixture
def toml(tmp_path):
    """Writes md.toml; `more` goes into [model]."""
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.02, seed=1)
    atoms.write(tmp_path / "si.extxyz")

    def write(more: str = "", steps: int = 6) -> Path:
        (tmp_path / "md.toml").write_text(TOML.format(more=more, steps=steps))
        return tmp_path / "md.toml"

    return write


def test_a_run_says_so(toml, tmp_path, capsys):
    assert run_command(["run", str(toml('dispersion_functional = "PBEsol"'))]) == 0
    what = "D3(BJ) for PBEsol: s6 1, s8 2.9491, a1 0.4466, a2 6.1742 bohr"
    assert f"  dispersion {what}\n" in capsys.readouterr().out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["dispersion"] == what
    resolved = (tmp_path / "run" / "md.resolved.toml").read_text()
    assert 'dispersion = "d3bj"' in resolved


def test_a_continuation_has_the_same_dispersion(toml, capsys):
    assert run_command(["run", str(toml(steps=6))]) == 0
    other = toml('dispersion_functional = "PBEsol"', steps=9)
    assert run_command(["run", str(other), "--resume"]) == 2
    assert "model.dispersion: " in capsys.readouterr().err
    assert run_command(["run", str(toml(steps=9)), "--resume"]) == 0


def test_without_dispersion_nothing_is_said(toml, tmp_path):
    text = toml().read_text().replace('dispersion = "d3bj"', "")
    (tmp_path / "md.toml").write_text(text)
    setup = set_up(load_config(tmp_path / "md.toml"))
    assert not isinstance(setup.potential, Corrected)
    assert "model.dispersion" not in setup.fingerprint


def test_mistakes_in_the_toml(toml, tmp_path):
    with pytest.raises(InputError, match=r"model\.dispersion: .*'PBEE'.*did you mean pbe"):
        set_up(load_config(toml('dispersion_functional = "PBEE"')))
    text = toml('dispersion_functional = "PBE"').read_text()
    (tmp_path / "md.toml").write_text(text.replace('"d3bj"', '"none"'))
    with pytest.raises(InputError, match=r"dispersion_functional: goes with dispersion = .d3bj"):
        load_config(tmp_path / "md.toml")
    (tmp_path / "md.toml").write_text(text.replace('"d3bj"', '"d4"'))
    with pytest.raises(InputError, match=r"model\.dispersion: got .d4.*none.*d3bj"):
        load_config(tmp_path / "md.toml")


def test_an_unknown_method():
    with pytest.raises(InputError, match="dispersion = 'd4'; allowed: none, d3bj"):
        with_dispersion(LennardJones(), "d4")


def test_a_committee_still_disagrees():
    from fastequi.engine.committee import Committee

    committee = Committee([member(1), member(2)])
    corrected = with_dispersion(committee)
    assert isinstance(corrected, CorrectedCommittee)
    assert isinstance(corrected, Disagreeing)
    assert not isinstance(with_dispersion(member(1)), Disagreeing)
    atoms = structures()["silicon"]
    calculator = FastEquiCalculator(corrected)
    calculator.get_property("forces", atoms)
    found = corrected.disagreement()
    FastEquiCalculator(committee).get_property("forces", atoms)
    assert torch.equal(found, committee.disagreement())


def test_elements_of_both():
    """D3 ends at fermium."""
    corrected = with_dispersion(LennardJones())
    assert isinstance(corrected, Potential)
    assert corrected.atomic_numbers == tuple(range(1, 101))
    with pytest.raises(InputError, match="Rf"):
        FastEquiCalculator(corrected).get_property("energy", Atoms("Rf2", [[0, 0, 0], [0, 0, 4]]))
