"""The convolution, as its formula reads; the definition that every fast version is held to.

    out_i[path, k, u] = sum over edges (i <- j), sum over a, b:
                        C_path[a, b, k] * x_j[a, u] * Y_b(r_ij) * W_path,u(r_ij)

Plain torch: any device, any dtype, differentiable to any order.
"""

import torch
from torch import Tensor

from fastequi.kernels.instructions import Instructions


def convolution(
    x: list[Tensor],
    harmonics: Tensor,
    weights: Tensor,
    edge_src: Tensor,
    edge_dst: Tensor,
    instructions: Instructions,
    n_receivers: int | None = None,
) -> list[Tensor]:
    """Messages summed over the neighbours of each atom.

    x          per input irrep [senders, 2*l1+1, channels]; n_receivers is the same unless given
    harmonics  Y [edges, (l_max+1)^2]
    weights    W [edges, n_weights]
    returns    per output irrep [atoms, 2*l3+1, channels of all its paths]
    """
    n_atoms = x[0].shape[0] if n_receivers is None else n_receivers
    # index_select, not x[edge_src]: its derivative adds in a fixed order, whatever the threads do
    gathered = [block.index_select(0, edge_src) for block in x]
    y = harmonics.split([2 * degree + 1 for degree in range(instructions.l_max + 1)], dim=1)
    w = weights.split([path.channels for path in instructions.paths], dim=1)
    messages: list[list[Tensor]] = [[] for _ in instructions.irreps_out]
    for path, w_path in zip(instructions.paths, w, strict=True):
        c = torch.tensor(path.coefficients, dtype=harmonics.dtype, device=harmonics.device)
        m = torch.einsum("eb,abk->eka", y[path.l2], c)  # shared by all channels
        messages[path.output].append((m @ gathered[path.input]) * w_path.unsqueeze(1))
    return [_sum_over_edges(torch.cat(parts, dim=2), edge_dst, n_atoms) for parts in messages]


def _sum_over_edges(messages: Tensor, edge_dst: Tensor, n_atoms: int) -> Tensor:
    total = messages.new_zeros((n_atoms, *messages.shape[1:]))
    return total.index_add(0, edge_dst, messages)
