"""Nonlinearities that keep equivariance: the gate, and nequix's RMS norm before it."""

import torch
from torch import Tensor, nn

from fastequi.irreps import PSEUDOSCALAR, SCALAR, Irreps
from fastequi.model.activations import ACTIVATIONS
from fastequi.model.spec import LayerShapes


class Gate(nn.Module):
    """irreps_conv -> irreps_out: scalars through an activation, the rest times an activated gate.

    0e: silu; 0o: tanh (odd, so that parity is kept); l > 0: times silu of the block's own gates,
    which follow the true scalars in the 0e block. Both scaled to unit second moment (NequIP 2022,
    'gated equivariant nonlinearity').
    """

    def __init__(self, shapes: LayerShapes, silu_scale: float, tanh_scale: float) -> None:
        super().__init__()
        self.shapes, self.silu_scale, self.tanh_scale = shapes, silu_scale, tanh_scale

    def forward(self, x: list[Tensor]) -> list[Tensor]:
        conv, out_irreps = self.shapes.irreps_conv, self.shapes.irreps_out
        activated = self.silu_scale * ACTIVATIONS["silu"].function(x[conv.index(SCALAR)])
        used = out_irreps.channels(SCALAR)
        out = []
        for mul, ir in out_irreps:
            if ir == SCALAR:
                out.append(activated[:, :, :mul])
            elif ir == PSEUDOSCALAR:
                out.append(self.tanh_scale * ACTIVATIONS["tanh"].function(x[conv.index(ir)]))
            else:
                out.append(x[conv.index(ir)] * activated[:, :, used : used + mul])
                used += mul
        return out


class RMSNorm(nn.Module):
    """Divide by a norm over all irreps (nequix's RMSLayerNorm, 'balanced degrees').

    n^2 = mean over irreps of |x|^2 / (2l+1)^2, |x|^2 summed over channels and components (as
    nequix computes it; its comments say a mean over channels); x <- weight * x / sqrt(n^2 + eps).
    """

    EPSILON = 1e-12

    def __init__(self, irreps: Irreps) -> None:
        super().__init__()
        self.irreps = irreps
        self.weights = nn.ParameterDict(
            {str(ir): nn.Parameter(torch.ones(mul, dtype=torch.float64)) for mul, ir in irreps}
        )

    def forward(self, x: list[Tensor]) -> list[Tensor]:
        squares = torch.stack([b.square().sum(dim=(1, 2)) / b.shape[1] ** 2 for b in x])
        inverse = (squares.mean(dim=0) + self.EPSILON) ** -0.5
        return [
            block * self.weights[str(ir)] * inverse.view(-1, 1, 1)
            for block, (_, ir) in zip(x, self.irreps, strict=True)
        ]
