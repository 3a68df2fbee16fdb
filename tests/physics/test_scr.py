"""Stochastic cell rescaling as physics: exact volumes of a gas, pressures, the books."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase_argon import ARGON
from conserved import invariants
from pressures import (
    GAS_GPA,
    GAS_K,
    Samples,
    assert_gas_volumes_are_exact,
    assert_pressure_is_in_equilibrium,
    assert_volumes_at_two_pressures_are_boltzmann,
    isotropic_part,
    sample_crystals,
)

from fastequi.graph import volumes
from fastequi.md.integrators import CellRescaling
from fastequi.md.ramps import Ramp
from fastequi.md.simulation import Simulation
from fastequi.md.state import momentum, state_from_atoms

COUPLINGS = ["isotropic", "axes", "flexible"]


def gas_bath(coupling: str, axes: str = "xyz") -> CellRescaling:
    """With the compressibility of the gas: its volume relaxes in 300 steps."""
    return CellRescaling(
        1.0, GAS_K, GAS_GPA, 50.0, 300.0, 1.0 / GAS_GPA, coupling, axes, seed=4
    )  # fmt: skip


@pytest.mark.parametrize("coupling", ["isotropic", pytest.param("axes", marks=pytest.mark.slow)])
def test_volumes_of_an_ideal_gas_are_exact(coupling: str) -> None:
    """Not in flexible coupling: the shape of a gas costs nothing, and runs away where it may."""
    state = assert_gas_volumes_are_exact(gas_bath(coupling))
    edges = state.cell.norm(dim=2)
    same = bool(((edges - edges[:, :1]).abs() < 1e-9 * edges).all())
    assert same == (coupling == "isotropic")


@pytest.mark.slow
def test_between_two_plates_a_gas_has_the_same_volumes() -> None:
    """Only the axes that may change change."""
    state = assert_gas_volumes_are_exact(gas_bath("flexible", "xy"))
    height = state.cell[:, 2]
    assert torch.equal(height[:, :2], torch.zeros_like(height[:, :2]))
    assert float(height[:, 2].std()) < 1e-12
    assert float(state.cell[:, 0, 1].std()) > 0.1


@pytest.fixture(scope="module", params=[
    "isotropic", pytest.param("axes", marks=pytest.mark.slow), "flexible"
])  # fmt: skip
def crystals(request: pytest.FixtureRequest) -> tuple[str, Samples]:
    coupling = request.param

    def make(dt: float, temperature: float, pressures: list[float]) -> CellRescaling:
        return CellRescaling(dt, temperature, pressures, 100.0, 400.0, 0.3, coupling, seed=8)

    steps = 1500 if coupling == "isotropic" else 4200  # an axis alone fluctuates more
    return coupling, sample_crystals(make, steps)


def test_volumes_at_two_pressures_are_boltzmann(crystals: tuple[str, Samples]) -> None:
    assert_volumes_at_two_pressures_are_boltzmann(crystals[1])


def test_pressure_is_in_equilibrium(crystals: tuple[str, Samples]) -> None:
    coupling, samples = crystals
    if coupling == "isotropic":
        assert_pressure_is_in_equilibrium(isotropic_part(samples), "x", shears=False)
    else:
        assert_pressure_is_in_equilibrium(samples, "xyz", shears=coupling == "flexible")


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_the_books_balance_better_the_shorter_the_step(warm_argon: Atoms, coupling: str) -> None:
    """While the piston moves 0.1 eV and more, the invariant stays within 1e-4 eV, 1e-5 at 2 fs."""

    def error(dt: float) -> float:
        bath = CellRescaling(dt, 60.0, 0.3, 100.0, 300.0, 0.3, coupling, seed=2)
        return float(np.std(invariants(warm_argon, ARGON, bath, round(1600.0 / dt))))

    assert error(8.0) < 1e-4
    assert error(2.0) < 0.25 * error(8.0)


def test_pressure_follows_a_ramp(warm_argon: Atoms) -> None:
    """To 0.5 GPa a crystal of argon shrinks by several per cent."""
    bath = CellRescaling(4.0, 40.0, Ramp(0.0, 0.5, 600), 100.0, 300.0, 0.3, seed=2)
    simulation = Simulation(warm_argon, ARGON, bath)
    before = float(volumes(simulation.state.cell))
    simulation.run(800)
    assert 0.8 * before < float(volumes(simulation.state.cell)) < 0.93 * before


def test_momentum_is_left_alone(warm_argon: Atoms) -> None:
    state = state_from_atoms(warm_argon)
    state.velocities += 1e-3
    before = momentum(state)
    Simulation(state, ARGON, CellRescaling(4.0, 60.0, 0.1, coupling="flexible")).run(200)
    torch.testing.assert_close(momentum(state), before, rtol=1e-11, atol=0.0)
