"""Limits: each is noticed, names what and where, and leaves the last good state."""

import ase.build
import pytest
import torch
from ase import Atoms

from fastequi.md.integrators import Integrator, LangevinBAOAB, VelocityVerlet
from fastequi.md.safety import LIMITS, Safety, SafetyConfig, Unsafe
from fastequi.md.simulation import Simulation
from fastequi.md.state import State, state_from_atoms
from fastequi.md.testing import LennardJones, NoForces
from fastequi.md.velocities import maxwell_boltzmann_


def argon(kelvin: float = 60.0) -> State:
    state = state_from_atoms([ase.build.bulk("Ar", a=5.4, cubic=True).repeat(2)] * 2)
    maxwell_boltzmann_(state, kelvin, 1)
    return state


def heated(safety: Safety, integrator: Integrator | None = None) -> Simulation:
    """Atom 37, number 5 of the second system, gets a kick at step 12."""

    def kick(simulation: Simulation) -> None:
        if simulation.state.step == 12:
            simulation.state.velocities[37] += 0.08

    return Simulation(
        argon(), LennardJones(), integrator or VelocityVerlet(4.0), observers=[safety, (12, kick)]
    )


@pytest.mark.parametrize(
    ("limit", "value", "words"),
    [
        ("max_temperature_K", 200.0, r"the temperature is \d{3}.* K \(most in atom 5 \(Ar\) of"),
        ("max_displacement_A", 0.3, r"atom 5 \(Ar\) of system 1 goes 0\.\d+ Å in a step \(nearest"),
        ("max_force_eV_per_A", 0.5, r"the force on atom \d+ \(Ar\) of system 1 is .* \(nearest"),
        ("max_energy_jump_eV_per_atom", 2e-3, r"potential energy has changed by .* eV/atom since"),
        ("max_drift_eV_per_atom", 2e-3, r"conserved energy has drifted by .* eV/atom since the f"),
        ("min_distance_A", 3.0, r"atom \d+ \(Ar\) of system 1 and atom \d+ .* 2\.\d+ Å apart"),
    ],
)
def test_each_limit_says_what_is_beyond_it_and_goes_back(
    limit: str, value: float, words: str
) -> None:
    safety = Safety(SafetyConfig.model_validate({limit: value, "check_every": 5}))
    simulation = heated(safety)
    with pytest.raises(Unsafe, match=words) as caught:
        simulation.run(60)
    message = str(caught.value)
    assert f"safety.{limit} = {value:g}: at step " in message
    assert message.startswith("system 1: ")
    stopped = int(message.split("at step ")[1].split(",")[0])
    assert stopped > 12
    assert f"the last good look was at step {stopped - 5}" in message
    assert simulation.state.step == stopped - 5
    good = Simulation(argon(), LennardJones(), VelocityVerlet(4.0),
                      observers=[(12, simulation.observers[1].function)])  # fmt: skip # pyright: ignore
    good.run(stopped - 5)
    assert torch.equal(good.state.positions, simulation.state.positions)
    assert torch.equal(good.state.forces, simulation.state.forces)


def test_every_limit_is_tested_above() -> None:
    marks = test_each_limit_says_what_is_beyond_it_and_goes_back.pytestmark[0]  # pyright: ignore
    assert [row[0] for row in marks.args[1]] != []
    assert {row[0] for row in marks.args[1]} == set(LIMITS)


def test_a_good_run_is_left_alone_to_the_last_bit() -> None:
    limits = SafetyConfig(
        max_temperature_K=300.0, max_force_eV_per_A=1.0, max_displacement_A=0.1,
        max_energy_jump_eV_per_atom=0.02, max_drift_eV_per_atom=1e-3, min_distance_A=2.5,
    )  # fmt: skip
    ends = []
    for observers in ([], [Safety(limits)]):
        langevin = LangevinBAOAB(4.0, 60.0, seed=1)
        simulation = Simulation(argon(), LennardJones(), langevin, observers=observers)
        simulation.run(60)
        ends.append(simulation.state.positions)
    assert torch.equal(*ends)


def test_numbers_that_are_none_are_beyond_every_limit() -> None:
    safety = Safety(SafetyConfig(max_temperature_K=300.0))
    simulation = Simulation(Atoms("Ar"), NoForces(), VelocityVerlet(1.0), observers=[safety])
    simulation.run(1)
    simulation.state.velocities[0] = torch.nan
    with pytest.raises(Unsafe, match="the temperature is nan K"):
        safety(simulation)


def test_the_first_look_may_be_the_last() -> None:
    safety = Safety(SafetyConfig(max_temperature_K=30.0))
    simulation = Simulation(argon(), LennardJones(), VelocityVerlet(1.0), observers=[safety])
    with pytest.raises(Unsafe, match=r"system 0: .* at step 0, the temperature .*; it is the f"):
        simulation.run(1)


def test_it_forgets_where_systems_have_left() -> None:
    safety = Safety(SafetyConfig(max_energy_jump_eV_per_atom=1e-3))
    Simulation(argon(), LennardJones(), VelocityVerlet(1.0), observers=[safety]).run(0)
    fewer = state_from_atoms(ase.build.bulk("Ar", a=5.3, cubic=True))
    Simulation(fewer, LennardJones(), VelocityVerlet(1.0), observers=[safety]).run(0)
    assert safety.last_good is not None
    assert safety.last_good.n_systems == 1


def test_which_limits_there_are() -> None:
    assert not SafetyConfig().has_limits
    assert SafetyConfig(min_distance_A=0.5).has_limits
    with pytest.raises(ValueError, match="greater than 0"):
        SafetyConfig(max_force_eV_per_A=0.0)
