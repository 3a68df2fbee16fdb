"""Units: factors against what is known by heart; what is not known is named."""

import pytest

from fastequi.data.units import parse_units
from fastequi.errors import InputError


def test_factors():
    units = parse_units({"energy": "kcal/mol", "length": "angstrom"})
    assert units is not None
    assert units.energy == pytest.approx(0.0433641, rel=1e-6)
    assert (units.length, units.forces, units.stress) == (1.0, units.energy, units.energy)
    atomic = parse_units({"energy": "hartree", "length": "bohr"})
    assert atomic is not None
    assert (atomic.energy, atomic.length) == pytest.approx((27.211386, 0.5291772), rel=1e-7)
    assert atomic.forces == pytest.approx(51.422067, rel=1e-7)
    assert atomic.stress * 160.21766 == pytest.approx(29421.02, rel=1e-6)  # GPa
    for energy, eV in (("meV", 1e-3), ("kJ/mol", 0.01036427), ("rydberg", 13.605693)):
        units = parse_units({"energy": energy, "length": "nm"})
        assert units is not None
        assert (units.energy, units.length) == pytest.approx((eV, 10.0), rel=1e-6)
        assert units.forces == pytest.approx(eV / 10.0, rel=1e-6)


def test_forces_and_stress_may_have_their_own():
    mixed = parse_units(
        {"energy": "hartree", "length": "angstrom", "forces": "hartree/bohr", "stress": "GPa"}
    )
    assert mixed is not None
    assert mixed.forces == pytest.approx(51.422067, rel=1e-7)
    assert mixed.stress == pytest.approx(1 / 160.21766, rel=1e-7)
    pressure = parse_units({"energy": "eV", "length": "angstrom", "stress": "kBar"})
    assert pressure is not None
    assert pressure.stress == pytest.approx(1 / 1602.1766, rel=1e-7)


def test_nothing_declared_is_nothing():
    assert parse_units(None) is None


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"energy": "eV"}, "units.length is missing; write for example units = {"),
        ({"energy": "ev", "length": "nm"}, 'units.energy: got "ev" (did you mean "eV"?); allowed:'),
        ({"energy": "kcal", "length": "nm"}, '"kcal" (did you mean "kcal/mol"?); allowed: eV, meV'),
        ({"energy": "eV", "length": "Bohr"}, 'units.length: got "Bohr" (did you mean "bohr"?)'),
        ({"energy": "eV", "length": "nm", "force": "eV/nm"}, "units.force: not a known key; allow"),
        (
            {"energy": "eV", "length": "nm", "stress": "bar"},
            "allowed: an energy (eV, meV, kcal/mol, kJ/mol, hartree, rydberg) per length, as in "
            "eV/angstrom^3, GPa, kBar",
        ),
    ],
)
def test_what_is_not_known(declared: dict[str, str], said: str):
    with pytest.raises(InputError) as caught:
        parse_units(declared)
    assert said in str(caught.value)
