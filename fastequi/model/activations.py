"""Activations by name, with their first two derivatives: a new one is a row here.

What is differentiated by hand (the passes of fastequi/engine) takes `derivatives`; what torch
differentiates takes `function`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Activation:
    """function(x) = f; derivatives(x) = (f, f', f''), of the same shape, without a graph."""

    function: Callable[[Tensor], Tensor]
    derivatives: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]


def _none(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return x, torch.ones_like(x), torch.zeros_like(x)


def _silu(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    sigmoid, rest = torch.sigmoid(x), torch.sigmoid(-x)  # 1 - sigmoid would cancel
    value = x * sigmoid
    first = torch.addcmul(sigmoid, value, rest)
    return value, first, sigmoid * rest * (1 - value) + first * rest


def _tanh(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    value = torch.tanh(x)
    first = 1 - value * value
    return value, first, -2 * value * first


def _gelu(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x P(x), P the normal distribution and p its density: f' = P + x p, f'' = (2 - x^2) p."""
    below = 0.5 * (1 + torch.erf(x / math.sqrt(2)))
    density = torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return x * below, torch.addcmul(below, x, density), (2 - x * x) * density


def _mish(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x t, t = tanh(softplus(x)): t' = (1 - t^2) s, s the sigmoid, and t'' = t' (1 - s - 2 t s)."""
    t, s = torch.tanh(functional.softplus(x)), torch.sigmoid(x)
    t1 = (1 - t * t) * s
    return x * t, torch.addcmul(t, x, t1), t1 * (2 + x * (1 - s - 2 * t * s))


def _shifted_softplus(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """ln(1 + e^x) - ln 2, zero at zero: f' is the sigmoid s, f'' = s (1 - s)."""
    s = torch.sigmoid(x)
    return functional.softplus(x) - math.log(2), s, s * (1 - s)


ACTIVATIONS: dict[str, Activation] = {
    "none": Activation(lambda x: x, _none),
    "silu": Activation(functional.silu, _silu),
    "tanh": Activation(torch.tanh, _tanh),
    "gelu": Activation(functional.gelu, _gelu),
    "mish": Activation(functional.mish, _mish),
    "ssp": Activation(lambda x: functional.softplus(x) - math.log(2), _shifted_softplus),
}
