"""What of a structure is not as a reader of its formula would think: isotopes, charges, spins."""

import math

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, chemical_symbols

from fastequi.md.state import state_from_atoms
from fastequi.md.velocities import internal_degrees_of_freedom, internal_temperature_K

#: A mass that differs by more, in amu, is an isotope's or somebody's choice; elements' masses in
#: files are rounded.
_OTHER_MASS_amu = 0.3

#: Arrays and facts of ASE's Atoms, or of extxyz, that a model of this kind has no input for.
_IGNORED_ARRAYS = {
    "initial_charges": "charges", "charges": "charges",
    "initial_magmoms": "magnetic moments", "magmoms": "magnetic moments",
}  # fmt: skip
_IGNORED_FACTS = ("charge", "spin", "multiplicity", "total_charge", "total_spin")

#: Standard deviations of a temperature beyond which one that was asked for is another one.
_SIGNIFICANT = 4.0


def isotopes(atoms: Atoms) -> str:
    """'2 H of 2.014 amu': masses that are not those of the elements; empty where all are."""
    counts: dict[tuple[str, str], int] = {}
    for z, mass in zip(atoms.numbers, atoms.get_masses(), strict=True):
        if abs(mass - atomic_masses[z]) > _OTHER_MASS_amu:
            key = chemical_symbols[z], f"{mass:.4g}"
            counts[key] = counts.get(key, 0) + 1
    return ", ".join(f"{n} {symbol} of {mass} amu" for (symbol, mass), n in counts.items())


def ignored(atoms: Atoms) -> str:
    """'charges, magnetic moments': what the structure says and the model cannot hear."""
    found = [
        word for name, word in _IGNORED_ARRAYS.items()
        if name in atoms.arrays and np.any(atoms.arrays[name])
    ]  # fmt: skip
    for name in _IGNORED_FACTS:
        value = atoms.info.get(name)
        neutral = 1 if name == "multiplicity" else 0
        if isinstance(value, int | float | np.number) and value != neutral:
            found.append(f"{name.replace('_', ' ')} {value:g}")
    return ", ".join(dict.fromkeys(found))


def other_temperature(atoms: Atoms, temperature_K: float) -> str:
    """'434 K, not 300 K' of velocities that are not by chance so far from a temperature."""
    own = internal_temperature_K(atoms)
    freedom = float(internal_degrees_of_freedom(state_from_atoms(atoms))[0])
    spread = temperature_K * math.sqrt(2.0 / freedom)
    far = abs(own - temperature_K) > max(_SIGNIFICANT * spread, 0.05 * temperature_K)
    return f"{own:.0f} K, not {temperature_K:g} K" if far else ""
