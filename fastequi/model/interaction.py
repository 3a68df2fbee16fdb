"""One interaction layer: mix, convolve over the neighbours, mix, add what was there, gate.

    m_i = sum_j (s_j linear_in(x_j)) (x) Y(r_ij) W(r_ij)
    x_i <- gate(norm(linear_out(m_i) + self_connection(x_i)))

NequIP (Batzner et al. 2022), figure 1b-d; s_j folds the average number of neighbours of the
sender's species.
"""

import torch
from torch import Tensor, nn

from fastequi.model.gate import Gate, RMSNorm
from fastequi.model.linear import BlockLinear, SpeciesLinear
from fastequi.model.mlp import ScalarMLP
from fastequi.model.spec import LayerShapes, LayerSpec, ModelSpec


class Interaction(nn.Module):
    """Features in `shapes.irreps_in` -> features in `shapes.irreps_out`.

    The sum over neighbours stands between `send` and `update`, so that its implementation can be
    chosen outside.
    """

    message_scale: Tensor

    def __init__(self, spec: ModelSpec, layer: LayerSpec, shapes: LayerShapes) -> None:
        super().__init__()
        self.shapes = shapes
        n_species = len(spec.atomic_numbers)
        self.linear_in = BlockLinear(shapes.irreps_in, shapes.irreps_in, layer.scalar_bias)
        self.radial = ScalarMLP(spec.n_bessel, layer.radial, shapes.instructions.n_weights)
        self.register_buffer("message_scale", torch.ones(n_species, dtype=torch.float64))
        self.linear_out = BlockLinear(
            shapes.instructions.irreps_out, shapes.irreps_conv, layer.scalar_bias
        )
        self.self_connection: nn.Module | None = None
        if layer.self_connection == "linear":
            self.self_connection = BlockLinear(shapes.irreps_in, shapes.irreps_conv)
        elif layer.self_connection == "species":
            width = spec.embedding_channels if spec.attributes == "embedding" else n_species
            self.self_connection = SpeciesLinear(shapes.irreps_in, shapes.irreps_conv, width)
        self.norm = RMSNorm(shapes.irreps_conv) if layer.layer_norm else None
        self.gate = Gate(shapes, spec.silu_scale, spec.tanh_scale)

    def send(self, x: list[Tensor], species: Tensor) -> list[Tensor]:
        """What each atom sends to all its neighbours."""
        scale = self.message_scale[species].view(-1, 1, 1)
        return [y * scale for y in self.linear_in(x)]

    def weights(self, basis: Tensor) -> Tensor:
        """W [edges, weights] of the convolution from the radial basis [edges, n_bessel]."""
        return self.radial(basis)

    def update(
        self, summed: list[Tensor], x: list[Tensor], species: Tensor, attributes: Tensor
    ) -> list[Tensor]:
        """New features from the summed messages and what was there."""
        return self.activated(self.connected(self.linear_out(summed), x, species, attributes))

    def connected(
        self, y: list[Tensor], x: list[Tensor], species: Tensor, attributes: Tensor
    ) -> list[Tensor]:
        """The mixed messages, linear_out(summed), with what was there."""
        if isinstance(self.self_connection, SpeciesLinear):
            return _add(y, self.self_connection(x, attributes, species))
        if self.self_connection is not None:
            return _add(y, self.self_connection(x))
        return y

    def activated(self, y: list[Tensor]) -> list[Tensor]:
        """Behind norm and gate."""
        return self.gate(y if self.norm is None else self.norm(y))


def _add(a: list[Tensor], b: list[Tensor]) -> list[Tensor]:
    return [x + y for x, y in zip(a, b, strict=True)]
