"""Perceptrons on invariants: the radial networks and the readout."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from fastequi.model.activations import ACTIVATIONS
from fastequi.model.spec import MLPSpec


class ScalarMLP(nn.Module):
    """[..., n_in] -> [..., n_out]; weights named weights.0, weights.1, ... of shape [in, out]."""

    def __init__(self, n_in: int, spec: MLPSpec, n_out: int, bias: bool = False) -> None:
        super().__init__()
        self.spec = spec
        self.scales = spec.weight_scales(n_in)
        sizes = (n_in, *spec.hidden, n_out)
        self.weights = nn.ParameterList(
            nn.Parameter(_uniform_unit_variance(a, b)) for a, b in pairwise(sizes)
        )
        self.bias = nn.Parameter(torch.zeros(sizes[1], dtype=torch.float64)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        activation = ACTIVATIONS[self.spec.activation].function
        for k, weight in enumerate(self.scaled_weights()):
            x = x @ weight
            if k == 0 and self.bias is not None:
                x = x + self.bias
            if k < len(self.scales) - 1:
                x = activation(x) * self.spec.activation_scale
        return x

    def scaled_weights(self) -> list[Tensor]:
        """Each matrix times its factor."""
        return [weight * scale for weight, scale in zip(self.weights, self.scales, strict=True)]


def _uniform_unit_variance(n_in: int, n_out: int) -> Tensor:
    return (2 * torch.rand(n_in, n_out, dtype=torch.float64) - 1) * 3**0.5
