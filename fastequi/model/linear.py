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

    Output irreps that the input lacks are zero. `scalar_bias` adds constants to 0e.
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

    def forward(self, x: list[Tensor]) -> list[Tensor]:
        products = [
            block @ (self.weights[str(ir)] / sqrt(channels))
            for block, (channels, ir) in zip(x, self.irreps_in, strict=True)
            if ir in self.irreps_out
        ]
        return self.completed(products)

    def matrices(self) -> list[Tensor]:
        """Of the irreps that input and output share, in the order of the input: [in, out]."""
        shared = [ir for _, ir in self.irreps_in if ir in self.irreps_out]
        return [self.weights[str(ir)].detach() / sqrt(self.irreps_in.channels(ir)) for ir in shared]

    def completed(self, products: list[Tensor]) -> list[Tensor]:
        """The output from the products with the matrices: zeros elsewhere, and the bias."""
        shared = [ir for _, ir in self.irreps_in if ir in self.irreps_out]
        out = []
        for mul, ir in self.irreps_out:
            if ir in shared:
                y = products[shared.index(ir)]
            else:
                y = products[0].new_zeros((products[0].shape[0], ir.dim, mul))
            out.append(y + self.bias if self.bias is not None and ir == SCALAR else y)
        return out


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
        groups = SpeciesGroups(species)
        out = []
        for mul, ir in self.irreps_out:
            if ir not in self.irreps_in:
                out.append(x[0].new_zeros((x[0].shape[0], ir.dim, mul)))
                continue
            block, weights = x[self.irreps_in.index(ir)], self.weights[str(ir)]
            scaled = attributes[groups.present] / sqrt(block.shape[2] * self.n_attributes)
            matrices = (scaled @ weights.flatten(1)).view(-1, *weights.shape[1:])
            out.append(groups.apply(block, matrices))
        return out


class SpeciesGroups:
    """Atoms put together by species, so that each species is one matrix product."""

    def __init__(self, species: Tensor) -> None:
        counts = torch.bincount(species)
        self.present = torch.nonzero(counts).squeeze(1)
        self.sizes: list[int] = counts[self.present].tolist()
        if len(self.sizes) > 1:
            self.order = torch.argsort(species, stable=True)
            self.back = torch.empty_like(self.order)
            self.back[self.order] = torch.arange(len(species), device=species.device)

    def apply(self, block: Tensor, matrices: Tensor) -> Tensor:
        """Each atom's block [2l+1, in] times the matrix [in, out] of its species."""
        if len(self.sizes) == 1:
            return block @ matrices[0]
        parts = block.index_select(0, self.order).split(self.sizes)
        products = [part @ matrix for part, matrix in zip(parts, matrices.unbind(), strict=True)]
        return torch.cat(products).index_select(0, self.back)
