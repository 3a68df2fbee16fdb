"""The state: to and from ASE, and what is computed from it, against ASE."""

import ase.build
import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator

from fastequi.errors import InputError
from fastequi.md.state import (
    kinetic_energy,
    momentum,
    pressure_GPa,
    state_from_atoms,
    state_to_atoms,
    temperature_K,
)


def moving(symbol: str, seed: int) -> Atoms:
    atoms = ase.build.bulk(symbol, cubic=True)
    atoms.rattle(0.1, seed=seed)
    atoms.set_velocities(np.random.default_rng(seed).normal(0.0, 0.01, atoms.positions.shape))
    return atoms


def test_kinetic_energy_temperature_and_momentum_are_ases() -> None:
    systems = [moving("Cu", 0), moving("Si", 1)]
    state = state_from_atoms(systems)
    for k, atoms in enumerate(systems):
        assert float(kinetic_energy(state)[k]) == pytest.approx(atoms.get_kinetic_energy(), 1e-13)
        freedom = torch.tensor([3.0 * len(a) for a in systems], dtype=torch.float64)
        assert float(temperature_K(kinetic_energy(state), freedom)[k]) == pytest.approx(
            atoms.get_temperature(), 1e-13
        )
        carried = atoms.get_momenta().sum(axis=0) * units.fs
        np.testing.assert_allclose(momentum(state)[k].numpy(), carried, rtol=1e-12)


def test_pressure_is_ases_with_the_ideal_gas_part() -> None:
    atoms = moving("Cu", 2)
    stress = np.array([0.01, 0.02, -0.005, 0.001, 0.002, 0.003])
    atoms.calc = SinglePointCalculator(atoms, stress=stress)
    state = state_from_atoms(atoms)
    state.stress = torch.from_numpy(atoms.get_stress(voigt=False, include_ideal_gas=False))[None]
    with_gas = atoms.get_stress(include_ideal_gas=True)
    pressure = float(pressure_GPa(state, kinetic_energy(state))[0])
    assert pressure == pytest.approx(-with_gas[:3].mean() / units.GPa, 1e-12)


def test_pressure_without_a_volume_is_nan() -> None:
    state = state_from_atoms(ase.build.molecule("H2O"))
    state.stress.zero_()
    assert pressure_GPa(state, kinetic_energy(state)).isnan().all()


def test_there_and_back_again() -> None:
    systems = [moving("Cu", 3), ase.build.molecule("H2O"), moving("Si", 4)]
    systems[0].positions += 100.0  # far outside the cell, and to stay there
    systems[1].set_masses([16.0, 2.0, 2.0])
    for atoms, back in zip(systems, state_to_atoms(state_from_atoms(systems)), strict=True):
        np.testing.assert_array_equal(back.positions, atoms.positions)
        np.testing.assert_array_equal(back.numbers, atoms.numbers)
        np.testing.assert_array_equal(back.get_masses(), atoms.get_masses())
        np.testing.assert_array_equal(back.cell.array, atoms.cell.array)
        np.testing.assert_array_equal(back.pbc, atoms.pbc)
        np.testing.assert_allclose(back.get_velocities(), atoms.get_velocities(), rtol=1e-14)
        assert back.calc is None  # nothing has been computed


def test_a_state_survives_atoms_to_the_last_bit() -> None:
    state = state_from_atoms([moving("Cu", 6), moving("Si", 7)])
    state.velocities *= 1.1
    back = state_from_atoms(state_to_atoms(state))
    for name in ("positions", "velocities", "masses", "cell"):
        assert torch.equal(getattr(back, name), getattr(state, name)), name


def test_whoever_changes_momenta_or_masses_later_is_heard() -> None:
    (faster,) = state_to_atoms(state_from_atoms(moving("Cu", 8)))
    heavier = faster.copy()
    faster.set_momenta(2.0 * faster.get_momenta())
    heavier.set_array("masses", 2.0 * heavier.get_masses())
    for atoms in (faster, heavier):
        velocities = state_from_atoms(atoms).velocities.numpy()
        np.testing.assert_allclose(velocities, atoms.get_velocities() * units.fs, rtol=1e-14)


def test_results_travel_where_they_are_known() -> None:
    state = state_from_atoms(ase.build.molecule("H2O"))
    state.energy = torch.tensor([-3.0], dtype=torch.float64)
    state.forces = torch.ones(3, 3, dtype=torch.float64)
    (atoms,) = state_to_atoms(state)
    assert atoms.calc is not None
    assert set(atoms.calc.results) == {"energy", "forces"}
    assert atoms.get_potential_energy() == -3.0


def test_a_snapshot_stays_when_the_state_moves() -> None:
    state = state_from_atoms(moving("Cu", 5))
    state.extra["heat"] = torch.zeros(1)
    snapshot = state.snapshot()
    before = state.positions.clone()
    for name in ("positions", "velocities", "cell"):
        getattr(state, name).add_(1.0)
    state.extra["heat"].add_(1.0)
    assert torch.equal(snapshot.positions, before)
    assert float(snapshot.extra["heat"][0]) == 0.0


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(InputError, match="empty"):
        state_from_atoms([])
