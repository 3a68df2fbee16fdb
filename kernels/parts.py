"""What the parts of a layer are made of, whoever computes them; and the memory of their blocks.

Blocks are one tensor per irrep, [atoms, 2l+1, channels].
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from fastequi.irreps import Irrep
from fastequi.kernels.convolution.edges import Edges

#: Blocks begin at multiples of so many numbers: of 128 bytes in float32.
_ALIGNED = 32


def new_blocks(irreps: Iterable[tuple[int, Irrep]], like: Tensor, *leading: int) -> list[Tensor]:
    """Memory for blocks [*leading, 2l+1, channels], in one piece: one kernel finds them all."""
    shapes = [(*leading, ir.dim, mul) for mul, ir in irreps]
    sizes = [-(-prod(shape) // _ALIGNED) * _ALIGNED for shape in shapes]
    pieces = like.new_empty(sum(sizes)).split(sizes)
    return [piece[: prod(shape)].view(shape) for piece, shape in zip(pieces, shapes, strict=True)]


class Term(NamedTuple):
    """Block `source` times matrices [n_in, n_out] gives, or adds to, block `target`."""

    source: int
    target: int
    components: int
    n_in: int
    n_out: int
    scale: float = 1.0

    @property
    def transposed(self) -> "Term":
        return Term(self.target, self.source, self.components, self.n_out, self.n_in, self.scale)

    def bytes(self, dtype: torch.dtype) -> int:
        """Of one matrix."""
        return self.n_in * self.n_out * dtype.itemsize


class Segments(NamedTuple):
    """Atoms first:end of each segment, and which of the matrices is theirs."""

    bounds: tuple[tuple[int, int], ...]
    matrices: tuple[int, ...]

    @classmethod
    def one(cls, n_atoms: int) -> "Segments":
        """All atoms have the same matrix."""
        return cls(((0, n_atoms),), (0,))

    @property
    def doubled(self) -> "Segments":
        """Of stacks: values, then as many tangents."""
        n = self.bounds[-1][1]
        later = tuple((begin + n, end + n) for begin, end in self.bounds)
        return Segments(self.bounds + later, self.matrices * 2)


@dataclass(frozen=True, slots=True)
class Multiplication:
    """y (+)= scale x @ matrix of each term; matrices [different ones, n_in, n_out] of each term.

    One matrix may be without its first dimension.
    """

    terms: tuple[Term, ...]
    segments: Segments
    x: Sequence[Tensor]
    matrices: Sequence[Tensor]
    y: Sequence[Tensor]
    add: bool


@dataclass(frozen=True, slots=True)
class GatedBlock:
    """A block that leaves the gate; `first` of the scalars is that of its first channel.

    components  2l+1 of a gated block, 0 for the scalars that leave as such
    activation  f by its name, and its constant, `scale`
    own         whether y0 is the block v itself, and not the scalars that all others have in common
    """

    number: int
    components: int
    channels: int
    first: int
    activation: str
    scale: float
    own: bool = False


@dataclass(frozen=True)
class SkinList:
    """Edges up to the cutoff and a skin, in the order of receivers, which stand in that of species.

    atoms     [atoms], which atom of the graph stands here
    system    [atoms], of the atoms of the graph
    edges     senders and receivers are rows here; with their reverses
    species   [edges], of the senders
    shift     [edges, 3] float64, whole numbers of lattice vectors
    """

    atoms: Tensor
    system: Tensor
    edges: Edges
    species: Tensor
    shift: Tensor


@dataclass(frozen=True)
class PairRepulsion:
    """E = k/r s(ar) u(r / r_c) of an edge, u = 1 - (p+1)(p+2)/2 x^p + p(p+2) x^(p+1) - p(p+1)/2
    x^(p+2), and the screening s a sum of exponentials.

    pairs      [3, species, species] float64: k in eV Å, a in 1/Å, r_c in Å of receiver and sender
    screening  amplitude and decay of each exponential
    p          a whole number
    species    [rows], of those that receive
    """

    pairs: Tensor
    screening: tuple[tuple[float, float], ...]
    p: int
    species: Tensor
