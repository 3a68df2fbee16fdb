"""Linear maps of features: one matrix per irrep, or one per irrep and species.

Features are lists of blocks [atoms, 2l+1, channels], so that each map is a plain matrix product
over the channels. Weights have unit variance; 1/sqrt(fan in) is applied here (e3nn's 'element'
path normalisation).
"""

from math import sqrt

import torch
from torch import Tensor, nn

from fastequi.irreps import SCALAR, Irreps


class BlockLinear(nn.Module):
    """irreps_in -> irreps_out, weights named by irrep ('1o') of shape [in, out].

    Output irreps that the input lacks are zero. `scalar_bias` adds constants to 0e: to the first
    n_values rows, where tangents follow the values.
    """

    def __init__(self, irreps_in: Irreps, irreps_out: Irreps, scalar_bias: bool = False) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out = irreps_in, irreps_out
        self.weights = nn.ParameterDict(
            {
                str(ir): nn.Parameter(torch.randn(irreps_in.channels(ir), mul, dtype=torch.float64))
                for mul, ir in irreps_out
                if ir in irreps_in
            }
        )
        n_scalars = irreps_out.channels(SCALAR)
        self.bias = (
            nn.Parameter(torch.zeros(n_scalars, dtype=torch.float64)) if scalar_bias else None
        )

    def forward(self, x: list[Tensor], n_values: int | None = None) -> list[Tensor]:
        out = []
        for mul, ir in self.irreps_out:
            if ir in self.irreps_in:
                block = x[self.irreps_in.index(ir)]
                y = block @ (self.weights[str(ir)] / sqrt(block.shape[2]))
            else:
                y = x[0].new_zeros((x[0].shape[0], ir.dim, mul))
            out.append(self._biased(y, n_values) if ir == SCALAR else y)
        return out

    def _biased(self, y: Tensor, n_values: int | None) -> Tensor:
        if self.bias is None:
            return y
        if n_values is None:
            return y + self.bias
        return torch.cat([y[:n_values] + self.bias, y[n_values:]])


class SpeciesLinear(nn.Module):
    """One matrix per irrep and species: the fully connected product of features and attributes.

    s[w] = sum_uv W[v, u, w] a[v] x[u] / sqrt(channels * attributes) (NequIP's self-connection).
    The attributes a depend on the species alone, so the sum over v is done once per species that
    is present, not per atom. Weights named by irrep, [attributes, in, out].
    """

    def __init__(self, irreps_in: Irreps, irreps_out: Irreps, n_attributes: int) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out, self.n_attributes = irreps_in, irreps_out, n_attributes
        self.weights = nn.ParameterDict(
            {
                str(ir): nn.Parameter(
                    torch.randn(n_attributes, irreps_in.channels(ir), mul, dtype=torch.float64)
                )
                for mul, ir in irreps_out
                if ir in irreps_in
            }
        )

    def forward(self, x: list[Tensor], attributes: Tensor, species: Tensor) -> list[Tensor]:
        """attributes [species, n_attributes]; species [atoms]."""
        present = torch.unique(species)
        out = []
        for mul, ir in self.irreps_out:
            if ir not in self.irreps_in:
                out.append(x[0].new_zeros((x[0].shape[0], ir.dim, mul)))
                continue
            block = x[self.irreps_in.index(ir)]
            scale = 1 / sqrt(block.shape[2] * self.n_attributes)
            matrices = torch.einsum(
                "sv,vuw->suw", attributes[present] * scale, self.weights[str(ir)]
            )
            out.append(apply_per_species(block, matrices, present, species))
        return out


def apply_per_species(block: Tensor, matrices: Tensor, present: Tensor, species: Tensor) -> Tensor:
    """Each atom's block [2l+1, in] times the matrix [in, out] of its species."""
    if len(present) == 1:
        return block @ matrices[0]
    out = block.new_zeros((*block.shape[:2], matrices.shape[2]))
    for matrix, s in zip(matrices, present, strict=True):
        rows = torch.nonzero(species == s).squeeze(1)
        out = out.index_copy(0, rows, block[rows] @ matrix)
    return out
