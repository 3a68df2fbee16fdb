"""What the operations are given, held to shapes, dtypes and devices before a kernel reads it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fastequi.irreps import Irreps
from fastequi.kernels.convolution.edges import Edges
from fastequi.kernels.convolution.weights import PairWeights, Weights
from fastequi.kernels.instructions import Instructions


def check_blocks(name: str, blocks: Sequence[Tensor], rows: int, irreps: Irreps) -> None:
    """Raises ValueError unless they are [rows, 2l+1, channels], in float32 or float64."""
    if len(blocks) != len(irreps):
        raise ValueError(f"{name}: got {len(blocks)} blocks for the irreps {irreps}")
    for i, (mul, ir) in enumerate(irreps):
        check_tensor(f"{name}[{i}]", blocks[i], (rows, ir.dim, mul), blocks[0])
    if blocks[0].dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"{name}: got {blocks[0].dtype}; the kernels compute in float32 or float64"
        )


def check_weights(weights: Weights, edges: Edges, instructions: Instructions, like: Tensor) -> None:
    n = instructions.n_weights
    if isinstance(weights, PairWeights):
        check_tensor("weights.values", weights.values, (len(weights.values), 2, n), like)
        if tuple(weights.pair.shape) != (edges.n_edges,):
            got = list(weights.pair.shape)
            raise ValueError(f"weights.pair: got shape {got}, expected {[edges.n_edges]}")
        return
    check_tensor("table.knots", weights.knots, (weights.grid.n_rows, 2, n), like)
    if edges.cutoff_scale is not None:
        check_tensor("edges.cutoff_scale", edges.cutoff_scale, (edges.n_edges,), like)


def check_tensor(name: str, got: Tensor, shape: tuple[int, ...], like: Tensor) -> None:
    if tuple(got.shape) != shape:
        raise ValueError(f"{name}: got shape {list(got.shape)}, expected {list(shape)}")
    if got.dtype != like.dtype or got.device != like.device:
        raise ValueError(
            f"{name}: got {got.dtype} on {got.device}, expected {like.dtype} on {like.device}"
        )
