"""What a convolution is given besides features and edges: weights, and the linear map behind it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from fastequi.kernels.radial_table import RadialTable


@dataclass(frozen=True)
class PairWeights:
    """W of every pair of atoms from a radial network; both directed edges of a pair share it.

    values  [pairs, 2, n_weights]: W, and dW/dr in 1/Å
    pair    [edges] int64, the pair of each edge
    """

    values: Tensor
    pair: Tensor


#: The two sources of weights.
Weights = RadialTable | PairWeights


@dataclass(frozen=True)
class LinearOut:
    """The linear map behind a convolution: [in, out] of each of its output irreps; constants."""

    matrices: list[Tensor]

    @cached_property
    def transposed(self) -> list[Tensor]:
        """The same in memory order [out, in]."""
        return [matrix.T.contiguous() for matrix in self.matrices]

    def kept(self, name: str, make: Callable[[], list[Tensor]]) -> list[Tensor]:
        """make(), or what it returned before under that name: matrices as a backend takes them."""
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    @cached_property
    def _kept(self) -> dict[str, list[Tensor]]:
        return {}
