"""Labels of ASE's Atoms: where files keep energies, forces and stress, and under which names.

ASE moves `energy`, `forces` and `stress` into a calculator's results; anything else stays in
`atoms.info` (one value per frame) or `atoms.arrays` (one per atom). Names other than the usual are
given by the user: keys = { energy = "REF_energy", forces = "REF_forces" }, or lists of names of
which the first counts that a frame has: keys = { energy = ["REF_energy", "energy"] }.
"""

from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress
from numpy.typing import NDArray

from fastequi.data.frames import Frame
from fastequi.data.units import Units
from fastequi.errors import InputError

#: What is looked for unless the user names it; a weight is read only when it is named.
USUAL_NAMES: dict[str, tuple[str, ...]] = {
    "energy": ("energy",),
    "forces": ("forces",),
    "stress": ("stress",),
    "virial": ("virial", "virials"),
    "weight": (),
    "config_type": ("config_type",),
}
_TEMPERATURES = ("temperature_K", "temperature", "temp", "T")
_CONVERGED = ("converged", "scf_converged", "electronic_converged")
_SOUNDS_LIKE_A_LABEL = ("energy", "force", "stress", "virial")


#: What kind of label -> its name in the files, or several.
Keys = Mapping[str, str | Sequence[str]]


def label_names(keys: Keys | None) -> dict[str, tuple[str, ...]]:
    """The names to look for, where `keys` replaces the usual ones; InputError for unknown keys."""
    for key in keys or {}:
        if key not in USUAL_NAMES:
            raise InputError(f"keys.{key}: not a known key; allowed: {', '.join(USUAL_NAMES)}")
    return USUAL_NAMES | {key: names_of(given) for key, given in (keys or {}).items()}


def names_of(given: str | Sequence[str]) -> tuple[str, ...]:
    """One name, or several, as several."""
    return (given,) if isinstance(given, str) else tuple(given)


def name_there(given: str | Sequence[str], there: Container[str]) -> str | None:
    """The first of the names that is there; None without one."""
    return next((name for name in names_of(given) if name in there), None)


def frame_from_atoms(
    atoms: Atoms,
    names: Mapping[str, tuple[str, ...]] = USUAL_NAMES,
    units: Units | None = None,
    file: str = "",
    index: int = 0,
) -> Frame:
    """A frame from Atoms in ASE's units (eV, Å) unless others are declared.

    Raises InputError for a label that is not numbers or does not have the shape of its kind.
    """
    units = units or Units()
    results = getattr(atoms.calc, "results", {})
    values = {**atoms.arrays, **atoms.info, **results}
    bare = Frame(
        atomic_numbers=atoms.numbers.astype(np.int64),
        positions=atoms.positions.astype(np.float64) * units.length,
        cell=atoms.cell.array.astype(np.float64) * units.length,
        pbc=atoms.pbc.astype(bool),
        file=file,
        index=index,
    )

    def label(kind: str, *shapes: tuple[int, ...]) -> NDArray[np.float64] | None:
        name = next((name for name in names[kind] if values.get(name) is not None), None)
        return None if name is None else _numbers(values[name], name, shapes, bare.source)

    energy, weight = label("energy", ()), label("weight", ())
    forces = label("forces", (bare.n_atoms, 3))
    config_type = next((values[n] for n in names["config_type"] if n in values), "")
    return Frame(
        atomic_numbers=bare.atomic_numbers,
        positions=bare.positions,
        cell=bare.cell,
        pbc=bare.pbc,
        energy=None if energy is None else float(energy) * units.energy,
        forces=None if forces is None else forces * units.forces,
        stress=_stress(label("stress", *_TENSORS), label("virial", *_TENSORS), bare.volume, units),
        weight=1.0 if weight is None else float(weight),
        config_type=str(config_type),
        temperature_K=_temperature_K(atoms),
        converged=not any(_says_no(values[name]) for name in _CONVERGED if name in values),
        file=file,
        index=index,
        unread=_unread(values, names),
    )


def _temperature_K(atoms: Atoms) -> float | None:
    """What the file says, or that of the atoms' own motion; None where they rest."""
    named = next((atoms.info[n] for n in _TEMPERATURES if n in atoms.info), None)
    if isinstance(named, int | float) and named > 0.0:
        return float(named)
    moves = atoms.has("momenta") and len(atoms) > 1 and atoms.get_momenta().any()
    return float(atoms.get_temperature()) if moves else None


_TENSORS = ((3, 3), (9,), (6,))


def _numbers(
    value: Any, name: str, shapes: tuple[tuple[int, ...], ...], source: str
) -> NDArray[np.float64]:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{source}: {name} is not numbers: got {str(value)[:60]!r}") from error
    if array.shape == (1,) and () in shapes:
        array = array.reshape(())
    if array.shape not in shapes:
        allowed = " or ".join(str(list(shape)) for shape in shapes)
        raise InputError(f"{source}: {name} has the shape {list(array.shape)}; allowed: {allowed}")
    return array


def _stress(
    stress: NDArray[np.float64] | None,
    virial: NDArray[np.float64] | None,
    volume: float,
    units: Units,
) -> NDArray[np.float64] | None:
    """[3, 3] in eV/Å³; a virial is minus the stress times the volume (ASE, quippy, MACE).

    NaN for a virial without a volume.
    """
    if stress is not None:
        return _full(stress) * units.stress
    if virial is None:
        return None
    return -_full(virial) * units.energy / (volume or np.nan)


def _full(tensor: NDArray[np.float64]) -> NDArray[np.float64]:
    """[3, 3] from itself, nine numbers, or six in Voigt's order xx yy zz yz xz xy."""
    if tensor.shape == (6,):
        return np.asarray(voigt_6_to_full_3x3_stress(tensor))
    return tensor.reshape(3, 3)


def _says_no(value: Any) -> bool:
    """Whether a flag is false; files keep it as a boolean, a number or a letter."""
    if isinstance(value, str):
        return value.strip().lower() in ("f", "false", "no", "0")
    return value is not None and not np.all(value)


def _unread(values: Mapping[str, Any], names: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    asked = {name for several in names.values() for name in several}
    sounding = (name for name in values if any(w in name.lower() for w in _SOUNDS_LIKE_A_LABEL))
    return tuple(name for name in sounding if name not in asked)
