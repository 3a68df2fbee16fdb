"""Perceptrons on invariants: the radial networks and the readout."""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastequi.model.spec import MLPSpec

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "silu": functional.silu,
    "tanh": torch.tanh,
    "gelu": functional.gelu,
    "mish": functional.mish,
    "ssp": lambda x: functional.softplus(x) - 0.6931471805599453,  # minus ln 2: zero at zero
}


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
        activation = ACTIVATIONS[self.spec.activation]
        for k, (weight, scale) in enumerate(zip(self.weights, self.scales, strict=True)):
            x = x @ (weight * scale)
            if k == 0 and self.bias is not None:
                x = x + self.bias
            if k < len(self.scales) - 1:
                x = activation(x) * self.spec.activation_scale
        return x


def _uniform_unit_variance(n_in: int, n_out: int) -> Tensor:
    return (2 * torch.rand(n_in, n_out, dtype=torch.float64) - 1) * 3**0.5
