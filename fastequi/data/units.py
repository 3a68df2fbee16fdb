"""Units of a data file: declared by the user, never guessed.

    units = { energy = "kcal/mol", length = "angstrom" }

Forces are in energy per length and stress in energy per volume, unless they are declared too.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from ase import units as ase_units

from fastequi.errors import InputError
from fastequi.units import GPA_PER_eV_PER_A3

#: eV per unit.
ENERGIES = {
    "eV": 1.0,
    "meV": 1e-3,
    "kcal/mol": ase_units.kcal / ase_units.mol,
    "kJ/mol": ase_units.kJ / ase_units.mol,
    "hartree": ase_units.Hartree,
    "rydberg": ase_units.Rydberg,
}
#: Å per unit.
LENGTHS = {"angstrom": 1.0, "bohr": ase_units.Bohr, "nm": 10.0}
#: eV/Å³ per unit, besides energy per volume.
PRESSURES = {"GPa": 1.0 / GPA_PER_eV_PER_A3, "kBar": 0.1 / GPA_PER_eV_PER_A3}

EXAMPLE = 'units = { energy = "kcal/mol", length = "angstrom" }'


@dataclass(frozen=True, slots=True)
class Units:
    """Factors to eV, Å, eV/Å and eV/Å³."""

    energy: float = 1.0
    length: float = 1.0
    forces: float = 1.0
    stress: float = 1.0


def parse_units(declared: Mapping[str, str] | None) -> Units | None:
    """Factors of what the user declared; None where nothing was declared.

    Raises InputError for an unknown key or unit, or if energy or length is missing.
    """
    if declared is None:
        return None
    allowed = ("energy", "length", "forces", "stress")
    for key in declared:
        if key not in allowed:
            raise InputError(f"units.{key}: not a known key; allowed: {', '.join(allowed)}")
    for key in ("energy", "length"):
        if key not in declared:
            raise InputError(f"units.{key} is missing; write for example {EXAMPLE}")
    energy = _factor("energy", declared["energy"], ENERGIES)
    length = _factor("length", declared["length"], LENGTHS)
    forces, stress = energy / length, energy / length**3
    if "forces" in declared:
        forces = _factor("forces", declared["forces"], _ratios(power=1))
    if "stress" in declared:
        stress = _factor("stress", declared["stress"], _ratios(power=3) | PRESSURES)
    return Units(energy, length, forces, stress)


def units_or_refuse(units: Units | None, file: str, keeps: str) -> Units:
    """The declared units, for a format that keeps plain numbers; InputError where there are none.

    `keeps` names the format, for example 'an npz file'.
    """
    if units is not None:
        return units
    raise InputError(
        f"{file}: {keeps} keeps plain numbers, and their units are not declared; say them, for "
        f"example {EXAMPLE}; allowed energies: {', '.join(ENERGIES)}; "
        f"allowed lengths: {', '.join(LENGTHS)}"
    )


def _ratios(power: int) -> dict[str, float]:
    """Every energy per length, or per volume (power 3), by its name."""
    exponent = "" if power == 1 else f"^{power}"
    return {
        f"{energy}/{length}{exponent}": eV / angstrom**power
        for energy, eV in ENERGIES.items()
        for length, angstrom in LENGTHS.items()
    }


def _factor(key: str, unit: str, allowed: Mapping[str, float]) -> float:
    if unit in allowed:
        return allowed[unit]
    lower = {name.lower(): name for name in allowed}
    close = difflib.get_close_matches(str(unit).lower(), lower, n=1, cutoff=0.4)
    hint = f' (did you mean "{lower[close[0]]}"?)' if close else ""
    names = list(allowed)
    if len(names) > 12:  # all ratios; the parts say it shorter
        names = [f"an energy ({', '.join(ENERGIES)}) per length, as in {names[0]}"]
        names += [name for name in allowed if name in PRESSURES]
    raise InputError(f'units.{key}: got "{unit}"{hint}; allowed: {", ".join(names)}')
