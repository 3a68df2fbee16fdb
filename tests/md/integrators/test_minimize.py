"""Minimisations: to the right place, in few steps, alone and in a batch, without the host."""

from dataclasses import replace

import ase.build
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.constraints import FixAtoms
from scipy.optimize import minimize_scalar

from fastequi.errors import InputError
from fastequi.md.integrators import MartynaTobiasKlein, Minimize
from fastequi.md.minimizers import MINIMIZERS
from fastequi.md.observers import thermodynamics
from fastequi.md.simulation import Simulation
from fastequi.md.state import State, pressure_GPa, state_from_atoms
from fastequi.md.testing import LennardJones
from fastequi.units import GPA_PER_eV_PER_A3

ARGON = LennardJones()
FINE = {"force_limit_eV_per_A": 1e-6, "stress_limit_GPa": 1e-6}


def crystal(strain: float = 0.02, seed: int = 1, repeat: int = 2) -> Atoms:
    atoms = ase.build.bulk("Ar", a=5.3, cubic=True).repeat(repeat)
    sheared = np.eye(3) + strain * np.array([[1.0, 0.5, 0.0], [0.5, -0.5, 0.2], [0.0, 0.2, 1.5]])
    atoms.set_cell(atoms.cell.array @ sheared, scale_atoms=True)
    atoms.rattle(0.15, seed=seed)
    return atoms


def minimised(atoms: Atoms | list[Atoms], steps: int = 400, **settings: object) -> Simulation:
    simulation = Simulation(atoms, ARGON, Minimize(**{**FINE, **settings}))
    simulation.run(steps)
    return simulation


def lattice_constant() -> float:
    """Of argon in Å, by energies alone."""

    def energy(a: float) -> float:
        still = Simulation(ase.build.bulk("Ar", a=a, cubic=True), ARGON, Minimize())
        still.compute_forces_()
        return float(still.state.energy[0])

    found = minimize_scalar(energy, bounds=(5.0, 5.5), method="bounded", options={"xatol": 1e-9})
    return found.x


def largest_force(simulation: Simulation) -> float:
    return float(simulation.state.forces.norm(dim=1).max())


@pytest.mark.parametrize("optimizer", MINIMIZERS)
@pytest.mark.parametrize("coupling", ["none", "isotropic", "axes", "flexible"])
def test_it_ends_where_forces_and_stress_vanish(optimizer: str, coupling: str) -> None:
    """A free cell ends cubic, wherever it began; a move costs one force call."""
    simulation = minimised(crystal(), optimizer=optimizer, coupling=coupling)
    state = simulation.state
    assert simulation.finished
    assert state.step == int(state.extra["steps_taken"][0]) == simulation.neighbors.queries - 1
    assert state.step < (40 if optimizer == "lbfgs" else 200)
    assert largest_force(simulation) <= 1e-6
    assert float(state.velocities.abs().max()) == 0.0
    stress = state.stress[0] * GPA_PER_eV_PER_A3
    if coupling == "none":
        assert torch.equal(state.cell[0], torch.tensor(crystal().cell.array))
    elif coupling == "isotropic":
        assert abs(float(stress.trace())) < 3e-6
        assert float(stress.abs().max()) > 1e-3
    elif coupling == "axes":
        assert float(stress.diagonal().abs().max()) < 1e-6
    else:
        metric = state.cell[0] @ state.cell[0].T
        assert float(stress.abs().max()) < 1e-6
        assert float((metric - metric[0, 0] * torch.eye(3)).abs().max()) < 1e-3
        assert float(metric[0, 0]) ** 0.5 / 2 == pytest.approx(lattice_constant(), abs=1e-5)


def test_both_minimisers_find_the_same_cell_from_three_starts() -> None:
    starts = [crystal(0.03, seed=5), crystal(-0.03, seed=6), crystal(0.0, seed=7)]
    volumes = [
        torch.linalg.det(minimised(starts, optimizer=name, coupling="flexible").state.cell)
        for name in MINIMIZERS
    ]
    lattice = torch.stack(volumes).abs() ** (1 / 3) / 2
    assert float(lattice.max() - lattice.min()) < 1e-4


def test_the_pressure_is_the_one_asked_for() -> None:
    simulation = minimised([crystal(), crystal()], coupling="flexible", pressure_GPa=[0.0, 1.0])
    found = pressure_GPa(simulation.state, torch.zeros(2, dtype=torch.float64))
    torch.testing.assert_close(
        found, torch.tensor([0.0, 1.0], dtype=torch.float64), atol=1e-6, rtol=0
    )
    smaller = torch.linalg.det(simulation.state.cell)
    assert 0.8 < float(smaller[1] / smaller[0]) < 0.9  # argon's bulk modulus is about 3 GPa
    row = thermodynamics(simulation, 1)
    pv = float(smaller[1].abs()) / GPA_PER_eV_PER_A3
    assert row["conserved_eV"] == pytest.approx(row["potential_energy_eV"] + pv)


@pytest.mark.parametrize("optimizer", MINIMIZERS)
def test_who_is_done_stays_while_the_others_go_on(optimizer: str) -> None:
    """Systems that need few, many and no steps: each ends as it does alone, to the last bit."""
    relaxed = ase.build.bulk("Ar", a=5.3, cubic=True)
    starts = [crystal(0.001), relaxed, crystal(0.04, seed=9)]
    settings = {"optimizer": optimizer, "force_limit_eV_per_A": 1e-4}
    batch = minimised(starts, **settings)
    steps = batch.state.extra["steps_taken"].tolist()
    assert batch.finished
    assert steps[1] == 0 < min(steps[0], steps[2])
    assert steps[0] != steps[2]
    for k, start in enumerate(starts):
        alone = minimised(start, **settings)
        mine = batch.state.system_idx == k
        assert alone.state.step == steps[k]
        torch.testing.assert_close(
            batch.state.positions[mine], alone.state.positions, rtol=0.0, atol=1e-10
        )
    before = batch.state.snapshot()
    batch.run(20)
    assert batch.state.step == before.step
    assert torch.equal(batch.state.positions, before.positions)


def test_atoms_that_clash_are_pulled_apart() -> None:
    """0.5 Å apart, where Lennard-Jones' forces are 10¹⁰ eV/Å: no move is longer than 0.2 Å."""
    for optimizer in MINIMIZERS:
        atoms = Atoms("Ar3", [[0, 0, 0], [0.5, 0, 0], [0.3, 3.5, 0]])
        simulation = minimised(atoms, optimizer=optimizer, steps=600)
        assert simulation.finished, optimizer
        distances = torch.pdist(simulation.state.positions)
        torch.testing.assert_close(distances, torch.full_like(distances, 3.8219), rtol=0, atol=2e-3)


def test_fixed_atoms_are_no_reason_to_go_on() -> None:
    atoms = crystal(0.0)
    atoms.set_constraint(FixAtoms([0, 5, 20]))
    simulation = minimised(atoms)
    state = simulation.state
    assert simulation.finished
    assert torch.equal(state.positions[[0, 5, 20]], torch.tensor(atoms.positions[[0, 5, 20]]))
    assert largest_force(simulation) > 1e-3


def test_steps_that_run_out() -> None:
    simulation = minimised(crystal(), steps=3)
    assert (simulation.finished, simulation.state.step) == (False, 3)
    assert simulation.integrator.finished(simulation.state).tolist() == [False]  # pyright: ignore


def test_what_it_says_of_itself() -> None:
    simulation = minimised(crystal(), coupling="flexible", steps=2)
    columns = simulation.integrator.more_columns(simulation.state)
    assert list(columns) == ["largest_force_eV_per_A", "largest_stress_GPa"]
    assert float(columns["largest_force_eV_per_A"]) == pytest.approx(largest_force(simulation))
    largest = float(simulation.state.stress.abs().max()) * GPA_PER_eV_PER_A3
    assert float(columns["largest_stress_GPa"]) == pytest.approx(largest)
    assert list(minimised(crystal(), steps=1).integrator.more_columns(simulation.state)) == [
        "largest_force_eV_per_A"
    ]


def test_what_cannot_be_minimised() -> None:
    with pytest.raises(InputError, match=r"optimizer is 'cg'; allowed: lbfgs, fire"):
        Minimize("cg")
    with pytest.raises(InputError, match=r"force_limit_eV_per_A is 0\.0"):
        Minimize(force_limit_eV_per_A=0.0)
    with pytest.raises(InputError, match="system 0 has no volume"):
        minimised(Atoms("Ar2", [[0, 0, 0], [3.8, 0, 0]]), coupling="isotropic")
    with pytest.raises(InputError, match="coupling is 'none'; allowed: isotropic"):
        MartynaTobiasKlein(1.0, 300.0, coupling="none")


@pytest.mark.parametrize("optimizer", MINIMIZERS)
@pytest.mark.parametrize("coupling", ["none", "flexible"])
def test_a_step_asks_the_device_nothing(optimizer: str, coupling: str) -> None:
    """On the meta device there is nothing to read: any question from the host raises."""
    integrator = Minimize(optimizer, coupling)
    start = crystal()
    start.set_constraint(FixAtoms([3]))
    state: State = state_from_atoms([start, start])
    zeros = {
        name: torch.zeros_like(getattr(state, name)) for name in ("forces", "energy", "stress")
    }
    state = replace(state, **zeros)
    integrator.start_(state)
    meta = state.to("meta")
    integrator.step_(meta, lambda moved: None)
    assert integrator.finished(meta).device.type == "meta"
