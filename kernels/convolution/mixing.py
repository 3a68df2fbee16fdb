"""The linear map that follows a convolution: one matrix per irrep, over the channels."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

from torch import Tensor

from fastequi.kernels.convolution.edges import Edges
from fastequi.kernels.instructions import Instructions
from fastequi.kernels.radial_table import RadialTable


@dataclass(frozen=True)
class Mixing:
    """matrices  [in, out] of each output irrep of a convolution; constants, without gradients"""

    matrices: list[Tensor]

    @cached_property
    def transposed(self) -> list[Tensor]:
        """The same in memory order [out, in]."""
        return [matrix.T.contiguous() for matrix in self.matrices]


def mixed_convolution(
    x: list[Tensor],
    vectors: Tensor,
    edges: Edges,
    table: RadialTable,
    instructions: Instructions,
    mixing: Mixing,
    convolution: Callable[..., list[Tensor]],
) -> list[Tensor]:
    """A fused convolution, then the mixing: [atoms, 2l+1, out] of each output irrep."""
    summed = convolution(x, vectors, edges, table, instructions)
    return [block @ matrix for block, matrix in zip(summed, mixing.matrices, strict=True)]


def mixed_after(convolution: Callable[..., list[Tensor]]) -> Callable[..., list[Tensor]]:
    """`mixed_convolution` with a certain fused convolution."""
    return partial(mixed_convolution, convolution=convolution)
