"""The exponential of small matrices and its derivative, without a question from the host.

torch.matrix_exp chooses its series by the norms that it finds, which a captured step cannot.
"""

import torch
from torch import Tensor

#: Terms of the series, and squarings: to rounding where the sum of the squares of all elements is
#: below 10, far beyond any strain of a cell.
_TERMS, _SQUARINGS = 12, 5


def exp(m: Tensor) -> Tensor:
    """Exponential of matrices [systems, n, n]."""
    identity = torch.eye(m.shape[-1], dtype=m.dtype, device=m.device)
    small = m / 2.0**_SQUARINGS
    total = identity + small / _TERMS
    for k in range(_TERMS - 1, 0, -1):
        total = identity + (small / k) @ total
    for _ in range(_SQUARINGS):
        total = total @ total
    return total


def exp_derivative(a: Tensor, direction: Tensor) -> Tensor:
    """Derivative of the exponential at A in a direction, [systems, n, n].

    A corner of the exponential of a matrix of twice the size: Mathias, SIAM J. Matrix Anal. Appl.
    17, 610 (1996). Its adjoint, which turns dE/d exp(A) into dE/dA, is that at A
    transposed.
    """
    n = a.shape[-1]
    scale = direction.abs().amax(dim=(1, 2), keepdim=True).clamp(min=1e-300)
    above = torch.cat([a, direction / scale], dim=2)
    below = torch.cat([torch.zeros_like(a), a], dim=2)
    return exp(torch.cat([above, below], dim=1))[:, :n, n:] * scale
