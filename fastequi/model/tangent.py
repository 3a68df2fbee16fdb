"""The rules of tangents: how each part of the network carries a change of its features along.

Features carry their tangents behind their values, [2 atoms, 2l+1, channels], so that linear maps
act on both alike. The radial network carries d/dr beside its values, [pairs, 2, ...]. What is not
linear has its rule here, in terms of autograd; `passes.py` does the layers by hand.
"""

from typing import Any

import torch
from torch import Tensor

from fastequi.model.gate import RMSNorm
from fastequi.model.mlp import ACTIVATIONS, ScalarMLP
from fastequi.model.nequip import NequIP
from fastequi.model.radial import RadialBasis


def split(x: Tensor) -> tuple[Tensor, Tensor]:
    """(values, tangents)."""
    n = x.shape[0] // 2
    return x[:n], x[n:]


def activation(name: str, values: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
    """(f(v), f'(v) t) of an activation of mlp.ACTIVATIONS."""
    if name == "silu":
        value, change, *_ = _Silu.apply(values, tangents)
        return value, change
    value, change, *_ = torch.func.jvp(ACTIVATIONS[name], (values,), (tangents,))
    return value, change


def basis_rows(basis: RadialBasis, lengths: Tensor, dst: Tensor, src: Tensor) -> Tensor:
    """The radial basis and its slope in 1/Å, [pairs, 2, n_bessel]; species of the two atoms."""
    x = basis.relative(lengths, dst, src)
    slope = basis.slope_of_relative(x) * (x / lengths).unsqueeze(1)
    return torch.stack([basis.of_relative(x), slope], dim=1)


def mlp_rows(mlp: ScalarMLP, x: Tensor) -> Tensor:
    """[..., 2, n_in] -> [..., 2, n_out], values and tangents in the last dimension but one."""
    for k, (weight, scale) in enumerate(zip(mlp.weights, mlp.scales, strict=True)):
        x = x @ (weight * scale)
        if k == 0 and mlp.bias is not None:
            x = x + torch.stack([mlp.bias, torch.zeros_like(mlp.bias)])
        if k < len(mlp.scales) - 1:
            x = activation_rows(mlp, x)
    return x


def activation_rows(mlp: ScalarMLP, x: Tensor) -> Tensor:
    """What follows the hidden layers of a network; values and tangents as there."""
    value, change = activation(mlp.spec.activation, *x.unbind(dim=-2))
    return torch.stack([value, change], dim=-2) * mlp.spec.activation_scale


def norm(module: RMSNorm, x: list[Tensor]) -> list[Tensor]:
    """`RMSNorm` of features with tangents."""
    values, tangents = zip(*(split(block) for block in x), strict=True)
    moved = torch.func.jvp(lambda *v: tuple(module(list(v))), values, tangents)
    return [torch.cat([v, t]) for v, t in zip(*moved, strict=True)]


def weighted_energies(network: NequIP, x: Tensor, species: Tensor, weights: Tensor) -> Tensor:
    """sum_i a_i E_i + sum_i dE_i from the last features [2 atoms, 1, channels]; float64.

    Nuclear repulsion has no weights and is left out.
    """
    values, tangents = split(x.squeeze(1))
    e = mlp_rows(network.readout, torch.stack([values, tangents], dim=1)).squeeze(2)
    e = e.to(torch.float64)
    energies = network.scale[species] * e[:, 0] + network.shift[species]
    return (weights * energies).sum() + (network.scale[species] * e[:, 1]).sum()


class _Silu(torch.autograd.Function):
    """(s(v), s'(v) t); s'(v) and s''(v) are made once and serve both directions."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        sigmoid = torch.sigmoid(v)
        value = v * sigmoid
        first = sigmoid + value - value * sigmoid
        ctx.save_for_backward(t, sigmoid, value, first)
        return value, first * t

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dvalue: Tensor, dchange: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        t, sigmoid, value, first = ctx.saved_tensors
        # s'' = sigma (1 - sigma) + s' - s' sigma - s sigma (1 - sigma)
        second = sigmoid * (1 - sigmoid) * (1 - value) + first * (1 - sigmoid)
        return dvalue * first + dchange * t * second, dchange * first
