"""The pieces of integrators and their parameters."""

import math

import pytest
import torch
from ase import Atoms

from fastequi.errors import InputError
from fastequi.md.integrators import LangevinBAOAB, VelocityVerlet
from fastequi.md.integrators.steps import drift_, kick_, ornstein_uhlenbeck_
from fastequi.md.noise import normal_noise
from fastequi.md.state import State, kinetic_energy, state_from_atoms
from fastequi.md.velocities import thermal_speed
from fastequi.units import KINETIC_eV

COLD = torch.zeros(1, dtype=torch.float64)


def particles(symbols: str, speed: float = 0.01) -> State:
    n = len(Atoms(symbols))
    state = state_from_atoms(Atoms(symbols, [[3.0 * i, 0.0, 0.0] for i in range(n)]))
    state.velocities.fill_(speed)
    state.forces.zero_()
    return state


def test_kick_is_newtons_second_law() -> None:
    """A force F for a time t raises m v by F t: 1 eV/Å on 1 amu for 1 fs, in SI."""
    state = particles("H", 0.0)
    state.masses.fill_(1.0)
    state.forces[0, 0] = 1.0
    kick_(state, 1.0)
    newton, kilogram = 1.602176634e-19 / 1e-10, 1.66053906660e-27
    metres_per_second = newton * 1e-15 / kilogram
    assert float(state.velocities[0, 0]) == pytest.approx(metres_per_second * 1e-5, 1e-6)
    assert float(state.velocities[0, 1]) == 0.0


def test_drift_is_uniform_motion() -> None:
    state = particles("H2", 0.01)
    before = state.positions.clone()
    drift_(state, 3.0)
    torch.testing.assert_close(state.positions - before, torch.full_like(before, 0.03))


def test_ornstein_uhlenbeck_decays_exponentially_and_has_no_memory_of_its_steps() -> None:
    zero = torch.zeros(2, 3, dtype=torch.float64)
    once, often = particles("ArH"), particles("ArH")
    ornstein_uhlenbeck_(once, 0.02, COLD, 50.0, zero)
    for _ in range(100):
        ornstein_uhlenbeck_(often, 0.02, COLD, 0.5, zero)
    torch.testing.assert_close(once.velocities, often.velocities, rtol=1e-13, atol=0)
    assert float(once.velocities[0, 0]) == pytest.approx(0.01 * math.exp(-1.0), 1e-14)


def test_ornstein_uhlenbeck_autocorrelation_and_variance() -> None:
    """<v(0) v(t)> = kT/m exp(-friction t), <v²> = kT/m, over many particles of two masses."""
    state = particles("Ar20000He20000", 0.0)
    temperature = torch.tensor([300.0], dtype=torch.float64)
    speed = thermal_speed(state, temperature).unsqueeze(1)
    state.velocities = normal_noise(1, 0, 1, state.system_idx) * speed
    first = state.velocities / speed
    n = first.numel()
    for step in range(1, 5):
        noise = normal_noise(1, step, 0, state.system_idx)
        ornstein_uhlenbeck_(state, 0.01, temperature, 20.0, noise)
        now = state.velocities / speed
        decay = math.exp(-0.01 * 20.0 * step)
        assert abs(float((first * now).mean()) - decay) < 3.0 * math.sqrt((1 + decay**2) / n)
        assert abs(float(now.square().mean()) - 1.0) < 3.0 * math.sqrt(2.0 / n)


def test_heat_is_what_the_thermostat_changed() -> None:
    state = particles("Ar500", 0.0)
    integrator = LangevinBAOAB(1.0, 300.0, friction_per_ps=50.0, seed=2)
    integrator.start_(state)
    state.energy.zero_()
    for _ in range(10):
        integrator.step_(state, lambda _: None)
        state.step += 1
    heat = 0.5 * KINETIC_eV * float((state.masses * state.velocities.square().sum(1)).sum())
    assert float(state.extra["heat"][0]) == pytest.approx(heat, rel=1e-12)
    assert heat > 0.0
    assert float(integrator.conserved_energy(state)[0]) == pytest.approx(0.0, abs=1e-10 * heat)


def test_degrees_of_freedom() -> None:
    state = state_from_atoms([Atoms("Ar"), Atoms("Ar2"), Atoms("Ar10")])
    assert VelocityVerlet(1.0).degrees_of_freedom(state).tolist() == [3.0, 3.0, 27.0]
    assert LangevinBAOAB(1.0, 300.0).degrees_of_freedom(state).tolist() == [3.0, 6.0, 30.0]


def test_a_description_has_every_parameter() -> None:
    assert LangevinBAOAB(2.0, [300.0, 400.0], 5.0, seed=3).description() == {
        "ensemble": "nvt-langevin",
        "timestep_fs": 2.0,
        "temperature_K": [300.0, 400.0],
        "friction_per_ps": 5.0,
        "seed": 3,
    }


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_parameters_must_be_positive(value: float) -> None:
    with pytest.raises(InputError, match="timestep_fs"):
        VelocityVerlet(value)
    with pytest.raises(InputError, match="friction_per_ps"):
        LangevinBAOAB(1.0, 300.0, friction_per_ps=value)


def test_kinetic_energy_of_one_particle_in_SI() -> None:
    state = particles("H", 0.0)
    state.velocities[0, 0] = 0.02  # 2000 m/s
    joule = 0.5 * float(state.masses[0]) * 1.66053906660e-27 * 2000.0**2
    assert float(kinetic_energy(state)[0]) == pytest.approx(joule / 1.602176634e-19, 1e-7)
