"""What D3(BJ) is given: reference systems, radii and the damping parameters of functionals.

Grimme, Antony, Ehrlich, Krieg, J. Chem. Phys. 132, 154104 (2010) and Grimme, Ehrlich, Goerigk,
J. Comput. Chem. 32, 1456 (2011). `tests/dispersion/make_tables.py` made the files, from tad-dftd3
0.7.0 (Apache-2.0), whose tables are those of simple-dftd3.
"""

import difflib
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from ase.data import chemical_symbols
from ase.units import Bohr, Hartree
from safetensors.torch import load_file
from torch import Tensor

from fastequi.errors import InputError

TABLES = Path(__file__).parent / "tables.safetensors"
FUNCTIONALS = Path(__file__).parent / "functionals.toml"

#: simple-dftd3 reads radii in Å with CODATA 2018; ASE, which gives it lengths, has CODATA 2014.
_BOHR_OF_RADII = 0.529177210903


@dataclass(frozen=True)
class Damping:
    """Of a functional: -C6 (s6 / (r⁶ + R⁶) + s8 q / (r⁸ + R⁸)) with R = a1 sqrt(q) + a2, q = C8/C6.

    a2 in bohr; the others have no unit.
    """

    functional: str
    s6: float
    s8: float
    a1: float
    a2: float

    @property
    def description(self) -> str:
        """In words, with the numbers."""
        return (
            f"D3(BJ) for {self.functional}: s6 {self.s6:g}, s8 {self.s8:g}, a1 {self.a1:g}, "
            f"a2 {self.a2:g} bohr"
        )


def damping_of(functional: str) -> Damping:
    """By a functional's name; case and hyphens do not matter. InputError for an unknown one."""
    known = functionals()
    name = functional.lower().replace("-", "")
    if name not in known:
        close = difflib.get_close_matches(name, known)
        meant = f" (did you mean {' or '.join(close)}?)" if close else ""
        raise InputError(
            f"dispersion_functional = {functional!r}: no damping parameters are known for it"
            f"{meant}; known: {', '.join(known)}"
        )
    return Damping(functional, **{k: known[name][k] for k in ("s6", "s8", "a1", "a2")})


@cache
def functionals() -> dict[str, dict[str, float]]:
    """Their parameters, by names in lower case without hyphens."""
    return tomllib.loads(FUNCTIONALS.read_text())


@cache
def largest_element() -> int:
    """The last one that has reference systems, fermium."""
    return int(_tables()["element"].max())


@dataclass(frozen=True)
class Elements:
    """Of a few elements, in the order they are asked for; eV and Å.

    coordination  [elements, references]  coordination numbers; -1 where there is no such reference
    c6            [elements, elements, references, references]  eV Å⁶, 0 where there is none
    radius        [elements]              covalent radius, times 4/3, Å
    ratio         [elements, elements]    q = C8/C6 in Å²
    """

    coordination: Tensor
    c6: Tensor
    radius: Tensor
    ratio: Tensor

    def to(self, device: torch.device) -> "Elements":
        """The same on another device."""
        return Elements(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


def elements_of(numbers: tuple[int, ...]) -> Elements:
    """Raises InputError for elements without reference systems."""
    unknown = [z for z in numbers if not 1 <= z <= largest_element()]
    if unknown:
        names = ", ".join(chemical_symbols[z] for z in unknown)
        raise InputError(
            f"D3 has no parameters for {names}; it knows H to "
            f'{chemical_symbols[largest_element()]}. dispersion = "none" leaves it out'
        )
    t = _tables()
    rows = [torch.nonzero(t["element"] == z).squeeze(1) for z in numbers]
    most, n = max(map(len, rows)), len(numbers)
    coordination = torch.full((n, most), -1.0, dtype=torch.float64)
    c6 = torch.zeros((n, n, most, most), dtype=torch.float64)
    for i, a in enumerate(rows):
        coordination[i, : len(a)] = t["coordination"][a]
        for j, b in enumerate(rows):
            high, low = torch.maximum(a[:, None], b), torch.minimum(a[:, None], b)
            whole = t["c6_times_10000"][high * (high + 1) // 2 + low]
            c6[i, j, : len(a), : len(b)] = whole.to(torch.float64) / 10_000
    index = torch.tensor(numbers)
    root = t["root_r4_over_r2"][index]
    return Elements(
        coordination,
        c6 * (Hartree * Bohr**6),
        t["covalent_radius_A"][index] * (4.0 / 3.0 * Bohr / _BOHR_OF_RADII),
        3.0 * root[:, None] * root * Bohr**2,
    )


@cache
def _tables() -> dict[str, Tensor]:
    return load_file(TABLES)
