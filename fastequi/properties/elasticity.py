"""Elastic constants by strains: the stress is differentiated, inner coordinates at rest.

Six rows in Voigt's order xx, yy, zz, yz, xz, xy; shear strains are the engineering ones, twice the
tensor's.
"""

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from ase import Atoms
from ase.units import GPa
from numpy.typing import NDArray

from fastequi.md.analysis.analysis import Columns, Finding
from fastequi.properties.property import Progress, Property
from fastequi.properties.relaxation import strained

STRAIN = 0.004
#: Places in a tensor [3, 3] of the six of Voigt.
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
#: A constant smaller than this share of the largest is zero by symmetry, but for rounding.
ZERO = 1e-3


@dataclass(frozen=True)
class Elasticity:
    """tensor_GPa [6, 6] with atoms at rest in the strained cell; clamped_GPa with none moved."""

    tensor_GPa: NDArray[np.float64]
    clamped_GPa: NDArray[np.float64]

    @property
    def is_stable(self) -> bool:
        """Whether every small strain costs energy (Born)."""
        return bool(np.linalg.eigvalsh(self.tensor_GPa)[0] > 0.0)

    @property
    def moduli_GPa(self) -> dict[str, float]:
        """Of a solid of many grains, by Hill (Proc. Phys. Soc. A 65, 349, 1952): the mean of two.

        Voigt's bounds, all grains strained alike, are from above; those of Reuss, all under one
        stress, from below.
        """
        stiff, soft = self.tensor_GPa, np.linalg.inv(self.tensor_GPa)
        voigt_bulk = stiff[:3, :3].sum() / 9
        voigt_shear = (_even(stiff) + 3 * np.trace(stiff[3:, 3:])) / 15
        reuss_bulk = 1 / soft[:3, :3].sum()
        reuss_shear = 15 / (4 * _even(soft) + 3 * np.trace(soft[3:, 3:]))
        bulk, shear = (voigt_bulk + reuss_bulk) / 2, (voigt_shear + reuss_shear) / 2
        return {
            "bulk": float(bulk),
            "shear": float(shear),
            "young": float(9 * bulk * shear / (3 * bulk + shear)),
        }

    @property
    def poisson_ratio(self) -> float:
        """Of Hill's moduli."""
        bulk, shear = self.moduli_GPa["bulk"], self.moduli_GPa["shear"]
        return (3 * bulk - 2 * shear) / (2 * (3 * bulk + shear))


def elasticity(atoms: Atoms, progress: Progress | None = None) -> Elasticity:
    """Of atoms at rest without pressure, in their cell: central differences, two per strain."""
    tensors = np.zeros((2, 6, 6))
    for k, (i, j) in enumerate(VOIGT):
        unit = np.zeros((3, 3))
        unit[i, j] += 0.5 * STRAIN
        unit[j, i] += 0.5 * STRAIN
        for tensor, relax in zip(tensors, (True, False), strict=True):
            plus, minus = (strained(atoms, s * unit, relax).get_stress() for s in (1.0, -1.0))
            tensor[:, k] = (plus - minus) / (2.0 * STRAIN) / GPa
        if progress:
            progress(k + 1, len(VOIGT))
    relaxed_, clamped = (0.5 * (tensor + tensor.T) for tensor in tensors)
    return Elasticity(relaxed_, clamped)


def _even(c: np.ndarray) -> float:
    """c11 + c22 + c33 - c12 - c13 - c23."""
    return float(np.trace(c[:3, :3]) - (c[0, 1] + c[0, 2] + c[1, 2]))


def findings(found: Elasticity) -> list[Finding | str]:
    moduli = found.moduli_GPa
    stable = [] if found.is_stable else ["a strain lowers the energy: this crystal is not stable"]
    return [
        *_constants(found.tensor_GPa),
        Finding("bulk_modulus_GPa", "bulk modulus, of many grains (Hill)", moduli["bulk"], "GPa"),
        Finding("shear_modulus_GPa", "shear modulus", moduli["shear"], "GPa"),
        Finding("young_modulus_GPa", "Young's modulus", moduli["young"], "GPa"),
        Finding("poisson_ratio", "Poisson's ratio", found.poisson_ratio),
        *stable,
    ]


def _constants(tensor: NDArray[np.float64]) -> list[Finding]:
    """Of the upper triangle, those that are not zero; of equal ones of a kind the first.

    C12 and C44 are of two kinds, although pair potentials make them equal (Cauchy).
    """
    seen: dict[tuple[bool, bool, bool], list[float]] = {}
    constants = []
    close = ZERO * np.abs(tensor).max()
    for i, j in combinations_with_replacement(range(6), 2):
        value, alike = float(tensor[i, j]), seen.setdefault((i < 3, j < 3, i == j), [])
        if abs(value) > close and all(abs(value - other) > close for other in alike):
            alike.append(value)
            name = f"C{i + 1}{j + 1}"
            constants.append(Finding(f"{name}_GPa", name, value, "GPa"))
    return constants


def tables(found: Elasticity) -> dict[str, Columns]:
    """A row of the tensor per line, once with atoms at rest, once clamped."""
    names = ("xx", "yy", "zz", "yz", "xz", "xy")
    both = {"": found.tensor_GPa, "clamped_": found.clamped_GPa}
    return {
        "elasticity": {
            f"{which}{name}_GPa": tensor[:, k]
            for which, tensor in both.items()
            for k, name in enumerate(names)
        }
    }


PROPERTY = Property("elastic constants", elasticity, findings, tables)
