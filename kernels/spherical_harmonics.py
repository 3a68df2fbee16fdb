"""Real spherical harmonics of edge directions, any degree, differentiable to any order.

e3nn's convention: y is the polar axis, components m = -l..l, 'component' normalisation
(|Y_l|^2 = 2l + 1). Degree l is degree l-1 coupled with degree 1,
Y_l = a_l * C(l-1, 1, l) Y_{l-1} Y_1, so that one formula serves every l.
"""

from functools import cache
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from fastequi.irreps import wigner_3j


@cache
def raising_table(l: int) -> np.ndarray:  # noqa: E741
    """a_l * C(l-1, 1, l), [2l-1, 3, 2l+1]; a_l from the value at the pole, sqrt(2l+1) at m = 0."""
    table = wigner_3j(l - 1, 1, l)
    at_pole = table[l - 1, 1, l] * sqrt(2 * l - 1) * sqrt(3)
    return table * (sqrt(2 * l + 1) / at_pole)


def spherical_harmonics(directions: Tensor, l_max: int) -> Tensor:
    """Y_0..Y_lmax of unit vectors [edges, 3]: [edges, (l_max + 1)^2], block l from column l^2.

    Homogeneous polynomials: vectors of length r give r^l Y_l.
    """
    blocks = [torch.ones_like(directions[:, :1]), sqrt(3) * directions][: l_max + 1]
    for degree in range(2, l_max + 1):
        table = torch.tensor(
            raising_table(degree), dtype=directions.dtype, device=directions.device
        )
        pairs = blocks[-1].unsqueeze(2) * blocks[1].unsqueeze(1)  # [edges, 2l-1, 3]
        blocks.append(pairs.flatten(1) @ table.flatten(0, 1))
    return torch.cat(blocks, dim=1)
