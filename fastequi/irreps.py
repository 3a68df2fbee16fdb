"""Irreducible representations of O(3), their products and the Wigner 3j coefficients.

Signs, component order and normalisation are e3nn's: real harmonics ordered m = -l..l with y as the
polar axis, and Wigner 3j tensors of unit Frobenius norm. A test holds every table against e3nn.

Features are stored per irrep as blocks [atoms, 2l+1, channels] (channels contiguous).
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, total_ordering
from math import factorial, sqrt
from typing import Literal, NamedTuple

import numpy as np

Parity = Literal["natural", "full", "even"]


@total_ordering
class Irrep(NamedTuple):
    """Degree `l` and parity `p` (+1 even, -1 odd); written '1o'. Ordered 0e, 0o, 1e, 1o, 2e, ..."""

    l: int  # noqa: E741  (the field's own name)
    p: int

    @classmethod
    def parse(cls, text: str) -> "Irrep":
        match = re.fullmatch(r"(\d+)([eo])", text.strip())
        if match is None:
            raise ValueError(f"{text!r} is not an irrep; expected for example '0e' or '1o'")
        return cls(int(match[1]), 1 if match[2] == "e" else -1)

    @property
    def dim(self) -> int:
        return 2 * self.l + 1

    def __str__(self) -> str:
        return f"{self.l}{'e' if self.p > 0 else 'o'}"

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Irrep):
            return NotImplemented
        return (self.l, -self.p) < (other.l, -other.p)

    def product(self, other: "Irrep") -> "list[Irrep]":
        """All irreps in the tensor product, by rising degree."""
        low, high = abs(self.l - other.l), self.l + other.l
        return [Irrep(l, self.p * other.p) for l in range(low, high + 1)]  # noqa: E741


@dataclass(frozen=True, slots=True)
class Irreps:
    """Channels per irrep, each irrep once, sorted; written '128x0e+64x1o'."""

    blocks: tuple[tuple[int, Irrep], ...]

    def __post_init__(self) -> None:
        names = [ir for _, ir in self.blocks]
        if names != sorted(set(names)):
            raise ValueError(f"irreps must be sorted and each appear once, got {self}")

    @classmethod
    def parse(cls, text: str) -> "Irreps":
        """From e3nn's notation; equal irreps are joined and the result sorted."""
        return cls.collect(
            (int(mul or 1), Irrep.parse(ir))
            for mul, _, ir in (
                part.strip().rpartition("x") for part in text.split("+") if part.strip()
            )
        )

    @classmethod
    def collect(cls, blocks: Iterable[tuple[int, Irrep]]) -> "Irreps":
        """Join equal irreps, drop empty ones, sort."""
        total: dict[Irrep, int] = {}
        for mul, ir in blocks:
            total[ir] = total.get(ir, 0) + mul
        return cls(tuple((total[ir], ir) for ir in sorted(total) if total[ir] > 0))

    @property
    def dim(self) -> int:
        return sum(mul * ir.dim for mul, ir in self.blocks)

    @property
    def l_max(self) -> int:
        return max((ir.l for _, ir in self.blocks), default=0)

    def channels(self, ir: Irrep) -> int:
        """Number of channels of one irrep, 0 when absent."""
        return next((mul for mul, other in self.blocks if other == ir), 0)

    def index(self, ir: Irrep) -> int:
        """Position of an irrep's block."""
        return [other for _, other in self.blocks].index(ir)

    def __iter__(self) -> Iterator[tuple[int, Irrep]]:
        return iter(self.blocks)

    def __len__(self) -> int:
        return len(self.blocks)

    def __contains__(self, ir: Irrep) -> bool:
        return self.channels(ir) > 0

    def __str__(self) -> str:
        return "+".join(f"{mul}x{ir}" for mul, ir in self.blocks)


SCALAR = Irrep(0, 1)
PSEUDOSCALAR = Irrep(0, -1)


def hidden_irreps(channels: Iterable[int], parity: Parity) -> Irreps:
    """Irreps with `channels[l]` copies of each degree: both parities, (-1)^l only, or all even."""
    signs = {"full": lambda l: (1, -1), "natural": lambda l: ((-1) ** l,), "even": lambda l: (1,)}  # noqa: E741
    return Irreps.collect(
        (mul, Irrep(l, p))
        for l, mul in enumerate(channels)  # noqa: E741
        for p in signs[parity](l)
    )


@cache
def wigner_3j(l1: int, l2: int, l3: int) -> np.ndarray:
    """Real Wigner 3j tensor [2*l1+1, 2*l2+1, 2*l3+1], float64, unit Frobenius norm, read-only.

    The complex Clebsch-Gordan coefficients <l1 m1 l2 m2 | l3 m3> (Racah's formula), moved to the
    real basis on each leg.
    """
    complex_cg = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1))
    for m1 in range(-l1, l1 + 1):
        for m2 in range(-l2, l2 + 1):
            if abs(m1 + m2) <= l3:
                complex_cg[l1 + m1, l2 + m2, l3 + m1 + m2] = _racah(l1, m1, l2, m2, l3)
    legs = [_real_to_complex(degree) for degree in (l1, l2, l3)]
    real = np.einsum("xa,yb,zc,xyz->abc", legs[0], legs[1], legs[2].conj(), complex_cg).real
    real /= np.linalg.norm(real)
    real[np.abs(real) < 1e-14] = 0.0
    real.setflags(write=False)
    return real


def _racah(l1: int, m1: int, l2: int, m2: int, l3: int) -> float:
    """<l1 m1 l2 m2 | l3 m1+m2>, up to a factor that depends on l1, l2, l3 alone."""
    m3 = m1 + m2
    norm = factorial(l3 + m3) * factorial(l3 - m3)
    norm *= factorial(l1 + m1) * factorial(l1 - m1) * factorial(l2 + m2) * factorial(l2 - m2)
    total = 0.0
    for k in range(l1 + l2 - l3 + 1):
        terms = (k, l1 + l2 - l3 - k, l1 - m1 - k, l2 + m2 - k, l3 - l2 + m1 + k, l3 - l1 - m2 + k)
        if min(terms) >= 0:
            total += (-1) ** k / np.prod([float(factorial(t)) for t in terms])
    return sqrt(norm) * float(total)


def _real_to_complex(degree: int) -> np.ndarray:
    """Rows: complex components m; columns: real components (sine-like for m < 0)."""
    q = np.zeros((2 * degree + 1, 2 * degree + 1), dtype=complex)
    q[degree, degree] = 1.0
    for m in range(1, degree + 1):
        plus, minus = degree + m, degree - m
        q[minus, plus], q[minus, minus] = 1 / sqrt(2), -1j / sqrt(2)
        q[plus, plus], q[plus, minus] = (-1) ** m / sqrt(2), 1j * (-1) ** m / sqrt(2)
    return (-1j) ** degree * q  # this phase makes every 3j tensor real
