"""What is said of isotopes, of what a model cannot hear, and of other temperatures."""

import ase.build
import numpy as np

from fastequi.md.remarks import ignored, isotopes, other_temperature
from fastequi.md.velocities import internal_temperature_K


def test_isotopes() -> None:
    water = ase.build.molecule("H2O")
    assert isotopes(water) == ""
    water.set_array("masses", np.array([15.995, 2.014, 2.014]))  # the usual oxygen is no remark
    assert isotopes(water) == "2 H of 2.014 amu"
    water.set_array("masses", np.array([17.999, 2.014, 1.008]))
    assert isotopes(water) == "1 O of 18 amu, 1 H of 2.014 amu"


def test_what_a_model_cannot_hear() -> None:
    water = ase.build.molecule("H2O")
    water.info.update(charge=0, spin=0, multiplicity=1, name="water")
    water.set_initial_charges(np.zeros(3))
    assert ignored(water) == ""
    water.set_initial_charges([-0.8, 0.4, 0.4])
    water.set_initial_magnetic_moments([1.0, 0.0, 0.0])
    water.info.update(charge=-1, multiplicity=2)
    assert ignored(water) == "charges, magnetic moments, charge -1, multiplicity 2"


def test_temperatures_that_are_not_by_chance() -> None:
    crystal = ase.build.bulk("Si", cubic=True).repeat(2)
    crystal.set_momenta(np.random.default_rng(1).normal(size=(64, 3)))
    crystal.set_momenta(crystal.get_momenta() * (300.0 / internal_temperature_K(crystal)) ** 0.5)
    assert other_temperature(crystal, 300.0) == ""
    crystal.set_momenta(crystal.get_momenta() * 1.25)
    assert other_temperature(crystal, 300.0) == "469 K, not 300 K"
    few = crystal[:3]  # of which 469 K is nothing unusual at 300 K
    assert other_temperature(few, 300.0) == ""
    assert other_temperature(ase.build.molecule("H2O"), 0.0) == ""
