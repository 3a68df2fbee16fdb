"""Thermostats that leave the centre of mass alone sample the canonical distribution."""

from functools import partial

import pytest
from canonical import (
    Samples,
    assert_energy_is_shared_equally,
    assert_maxwell_boltzmann,
    assert_potential_energies_are_canonical,
    mean_and_width_sigma,
    sample_crystals,
    validation_data,
)

from fastequi.md.integrators import NoseHooverChain, VelocityRescaling

THERMOSTATS = {"nose-hoover": NoseHooverChain, "csvr": partial(VelocityRescaling, seed=3)}


@pytest.fixture(scope="module", params=THERMOSTATS)
def crystals(request: pytest.FixtureRequest) -> Samples:
    return sample_crystals(THERMOSTATS[request.param])


@pytest.mark.parametrize("hot", [False, True], ids=["60K", "72K"])
def test_kinetic_energies_are_maxwell_boltzmann_with_3n_minus_3(
    crystals: Samples, hot: bool
) -> None:
    assert_maxwell_boltzmann(crystals, hot, conserved=3)


def test_3n_degrees_of_freedom_would_be_seen(crystals: Samples) -> None:
    data = validation_data(crystals, hot=False, conserved=0)
    assert abs(mean_and_width_sigma(data)[0]) > 3.0


def test_potential_energies_at_two_temperatures_are_canonical(crystals: Samples) -> None:
    assert_potential_energies_are_canonical(crystals, conserved=3)


def test_energy_is_shared_equally_between_species_and_axes(crystals: Samples) -> None:
    assert_energy_is_shared_equally(crystals, conserved=3)
