"""Martyna-Tobias-Klein dynamics as physics: the invariant, reversibility, volumes, pressures."""

import ase.build
import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.md.nose_hoover_chain import IsotropicMTKNPT
from ase_argon import ARGON, AseArgon
from conserved import invariant_error, slope_meV_per_atom_per_ps
from pressures import (
    CRYSTAL_K,
    GAS_GPA,
    GAS_K,
    Samples,
    assert_gas_volumes_are_exact,
    assert_volumes_at_two_pressures_are_boltzmann,
    isotropic_part,
    sample_crystals,
)

from fastequi.errors import InputError
from fastequi.graph import volumes
from fastequi.md.integrators import MartynaTobiasKlein
from fastequi.md.ramps import Ramp
from fastequi.md.simulation import Simulation
from fastequi.md.state import momentum, state_from_atoms
from fastequi.md.velocities import maxwell_boltzmann_
from fastequi.units import BOLTZMANN_eV_PER_K

COUPLINGS = ["isotropic", "axes", "flexible"]


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_the_error_of_the_invariant_falls_fourfold_when_the_timestep_is_halved(
    warm_argon: Atoms, coupling: str
) -> None:
    errors = [
        invariant_error(
            warm_argon, ARGON, MartynaTobiasKlein(dt, 60.0, 0.05, 150.0, 800.0, coupling), 1600.0
        )
        for dt in (16.0, 8.0, 4.0)
    ]
    assert 3.8 < errors[0] / errors[1] < 4.2
    assert 3.8 < errors[1] / errors[2] < 4.2


def test_the_invariant_does_not_drift(warm_argon: Atoms) -> None:
    integrator = MartynaTobiasKlein(4.0, 45.0, coupling="flexible")
    assert abs(slope_meV_per_atom_per_ps(warm_argon, ARGON, integrator, 800)) < 5e-4


def test_ramps_do_work_and_the_invariant_knows_it(warm_argon: Atoms) -> None:
    def ramped(dt: float) -> MartynaTobiasKlein:
        steps = round(1600.0 / dt)
        warming, pressing = Ramp(40.0, 80.0, steps), Ramp(0.0, 0.3, steps)
        return MartynaTobiasKlein(dt, warming, pressing, 150.0, 800.0)

    errors = [invariant_error(warm_argon, ARGON, ramped(dt), 1600.0) for dt in (8.0, 4.0)]
    assert 3.5 < errors[0] / errors[1] < 4.5
    simulation = Simulation(warm_argon, ARGON, ramped(8.0))
    simulation.run(200)
    assert abs(float(simulation.state.extra["work"])) > 1000 * errors[0]


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_motion_backwards_retraces_motion_forwards(warm_argon: Atoms, coupling: str) -> None:
    """A cell that is turned back is so to rounding only: its turns are a series."""
    integrator = MartynaTobiasKlein(4.0, 60.0, 0.1, 100.0, 500.0, coupling)
    simulation = Simulation(warm_argon, ARGON, integrator)
    state, start = simulation.state, simulation.state.positions.clone()
    cell = state.cell.clone()
    simulation.run(150)
    assert float((state.positions - start).abs().max()) > 0.3
    # A hundred thousand times further than it may miss its start.
    assert float((state.cell - cell).abs().max()) > 0.002
    for rate in (state.velocities, *(state.extra[name] for name in (
        "strain_rate", "chain_velocity", "cell_chain_velocity"
    ))):  # fmt: skip
        rate.neg_()
    simulation.run(150)
    assert float((state.positions - start).abs().max()) < 1e-8
    assert float((state.cell - cell).abs().max()) < 1e-8


def test_momentum_is_left_alone(warm_argon: Atoms) -> None:
    state = state_from_atoms(warm_argon)
    state.velocities += 1e-3
    before = momentum(state)
    Simulation(state, ARGON, MartynaTobiasKlein(4.0, 80.0, 0.1, coupling="flexible")).run(200)
    torch.testing.assert_close(momentum(state), before, rtol=1e-11, atol=0.0)


def test_volumes_of_an_ideal_gas_are_exact() -> None:
    """In isotropic coupling: the shape of a gas costs nothing, and runs away where it may."""
    bath = MartynaTobiasKlein(2.0, GAS_K, GAS_GPA, 100.0, 300.0)
    assert_gas_volumes_are_exact(bath)


@pytest.fixture(scope="module", params=[
    "isotropic", *(pytest.param(kind, marks=pytest.mark.slow) for kind in COUPLINGS[1:])
])  # fmt: skip
def crystals(request: pytest.FixtureRequest) -> tuple[str, Samples]:
    coupling = request.param

    def make(dt: float, temperature: float, pressures: list[float]) -> MartynaTobiasKlein:
        return MartynaTobiasKlein(dt, temperature, pressures, 100.0, 400.0, coupling)

    return coupling, sample_crystals(make)


def test_volumes_at_two_pressures_are_boltzmann(crystals: tuple[str, Samples]) -> None:
    assert_volumes_at_two_pressures_are_boltzmann(crystals[1])


def test_the_mean_pressure_is_that_of_the_ensemble(crystals: tuple[str, Samples]) -> None:
    """<V (P - P0)> = -kT, up to the momentum of the cell at the end over the time: 0.1 kT.

    Other averages wait for phonons, which a chain does not thermalise in picoseconds.
    """
    coupling, samples = crystals
    drive = torch.stack((isotropic_part(samples) if coupling == "isotropic" else samples).drive)
    kT = BOLTZMANN_eV_PER_K * CRYSTAL_K
    mean = drive.mean(dim=(0, 1)).diagonal() / kT
    assert float((mean + 1.0).abs().max()) < (0.1 if coupling == "isotropic" else 0.3)


def test_zero_kelvin_and_too_many_pressures_are_refused(warm_argon: Atoms) -> None:
    with pytest.raises(InputError, match=r"temperatures in K must be positive; got 0\.0"):
        Simulation(warm_argon, ARGON, MartynaTobiasKlein(4.0, 0.0))
    with pytest.raises(InputError, match="2 pressures for 1 systems"):
        Simulation(warm_argon, ARGON, MartynaTobiasKlein(4.0, 20.0, [0.0, 0.1]))


@pytest.mark.slow
def test_the_mean_volume_is_ases() -> None:
    """The same crystal at 40 K and 0.05 GPa, 32 ps each.

    ASE's thermostat holds 3N degrees of freedom at its temperature. The centre of mass is at rest,
    so that 3N - 3 have the heat of all; ours counts them.
    """
    atoms = ase.build.bulk("Ar", "fcc", a=5.4, cubic=True).repeat(2)
    replicas = 8
    state = state_from_atoms([atoms] * replicas)
    maxwell_boltzmann_(state, 40.0, 3)
    simulation = Simulation(state, ARGON, MartynaTobiasKlein(8.0, 40.0, 0.05, 100.0, 500.0))
    simulation.run(500)
    ours = []
    for _ in range(70):
        simulation.run(50)
        ours.append(volumes(state.cell).numpy())
    theirs = atoms.copy()
    theirs.calc = AseArgon()
    start = state_from_atoms(theirs)
    maxwell_boltzmann_(start, 40.0, 9)
    theirs.set_velocities(start.velocities.numpy() / units.fs)
    dynamics = IsotropicMTKNPT(
        theirs, 8.0 * units.fs, temperature_K=40.0 * 31 / 32, pressure_au=0.05 * units.GPa,
        tdamp=100.0 * units.fs, pdamp=500.0 * units.fs,
    )  # fmt: skip
    dynamics.run(500)
    seen = []
    for _ in range(350):
        dynamics.run(10)
        seen.append(theirs.get_volume())
    blocks = np.array(seen).reshape(10, 35).mean(axis=1)
    of_replica = np.array(ours).mean(axis=0)
    error = np.hypot(blocks.std(ddof=1) / 10**0.5, of_replica.std(ddof=1) / replicas**0.5)
    assert error < 0.002 * of_replica.mean()
    assert abs(blocks.mean() - of_replica.mean()) < 3.0 * error
