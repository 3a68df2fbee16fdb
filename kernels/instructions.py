"""Instructions: the tensor-product convolution of one layer as flat, hashable tables.

A path couples an input irrep (l1, p1) with a spherical harmonic l2 into an output irrep (l3, p3).
Every implementation of the convolution, and everything that counts its work, reads these tables.

Order of paths, and so of the radial weights: input irreps, then l2, then l3. In the output, the
paths of one irrep stand side by side along the channels, in that order.
"""

from dataclasses import dataclass, field
from functools import cache
from math import sqrt
from typing import Literal

import numpy as np

from fastequi.irreps import Irrep, Irreps, wigner_3j

EdgeParity = Literal["natural", "even"]


@dataclass(frozen=True, slots=True)
class Path:
    """One coupling (l1, l2) -> l3 with one radial weight per channel.

    input, output     block index in `irreps_in` and `irreps_out`
    l1, l2, l3        degrees
    channels          channels of the input irrep, kept by the path ('uvu')
    weight_offset     first column of its radial weights
    channel_offset    first channel inside the output block
    """

    input: int
    output: int
    l1: int
    l2: int
    l3: int
    channels: int
    weight_offset: int
    channel_offset: int

    @property
    def coefficients(self) -> np.ndarray:
        """C[a, b, k] = sqrt(2 l3 + 1) * w3j, [2 l1 + 1, 2 l2 + 1, 2 l3 + 1] float64."""
        return sqrt(2 * self.l3 + 1) * wigner_3j(self.l1, self.l2, self.l3)


@dataclass(frozen=True, slots=True)
class Instructions:
    """The convolution of one layer.

    irreps_in    node features
    l_max        highest degree of the edge harmonics
    edge_parity  'natural': harmonics have parity (-1)^l; 'even': all even (SO(3) equivariance)
    irreps_out   per irrep, the channels of all paths that end there
    n_weights    radial weights per edge
    """

    irreps_in: Irreps
    l_max: int
    edge_parity: EdgeParity
    irreps_out: Irreps
    paths: tuple[Path, ...]
    n_weights: int = field(init=False, compare=False)
    _hash: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_weights", sum(path.channels for path in self.paths))
        paths = hash((self.irreps_in, self.l_max, self.irreps_out, self.paths))
        object.__setattr__(self, "_hash", paths)

    def __hash__(self) -> int:
        return self._hash  # looked up with every call of a kernel, and 20 us to make


def harmonic_irrep(l: int, edge_parity: EdgeParity) -> Irrep:  # noqa: E741
    """The irrep of the edge harmonic of degree l."""
    return Irrep(l, (-1) ** l if edge_parity == "natural" else 1)


@cache
def make_instructions(
    irreps_in: Irreps, l_max: int, edge_parity: EdgeParity, wanted: Irreps
) -> Instructions:
    """All paths from `irreps_in` that end in an irrep of `wanted`, whatever its channels."""
    couplings = [
        (i, mul, ir_in.l, l2, ir_out)
        for i, (mul, ir_in) in enumerate(irreps_in)
        for l2 in range(l_max + 1)
        for ir_out in ir_in.product(harmonic_irrep(l2, edge_parity))
        if ir_out in wanted
    ]
    irreps_out = Irreps.collect((mul, ir_out) for _, mul, _, _, ir_out in couplings)
    paths, weight_offset, filled = [], 0, dict.fromkeys((ir for _, ir in irreps_out), 0)
    for i, mul, l1, l2, ir_out in couplings:
        output = irreps_out.index(ir_out)
        paths.append(Path(i, output, l1, l2, ir_out.l, mul, weight_offset, filled[ir_out]))
        weight_offset += mul
        filled[ir_out] += mul
    return Instructions(irreps_in, l_max, edge_parity, irreps_out, tuple(paths))
