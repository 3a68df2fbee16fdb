"""How the channels of a layer are shared among kernels and threads.

forward and jvp: threads share the receivers, split where the edges are evenly many. vjp and
jvp_vjp: threads share the channels of the input irreps, so that each owns the columns of dx that it
adds to; there is no race, no atomic, and the result does not depend on timing.
"""

import functools
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from fastequi.kernels.cpu.spec import Source
from fastequi.kernels.instructions import Instructions, Path
from fastequi.kernels.llvm.target import lanes_of


@dataclass(frozen=True, slots=True)
class ChannelRange:
    """Channels [begin, end) of one input irrep, done by the kernel with so many lanes."""

    irrep: int
    lanes: int
    begin: int
    end: int


def channel_ranges(
    instructions: Instructions, dtype: torch.dtype, source: Source
) -> list[ChannelRange]:
    """All channels of all input irreps that have paths; odd counts end in narrower vectors.

    With tables, scalars go two vectors at a time (LLVM splits them): their paths hold few sums, and
    what an edge brings, addresses and coefficients, serves both. Their kernels take 0.80 to 0.95 of
    the time (AVX2); those of vectors, for which registers are too few, 1.1 to 1.35; steps of
    training, if theirs did so too, 1.1.
    """
    vectors_of_scalars = 2 if source == "table" else 1
    result = []
    for i, (channels, ir) in enumerate(instructions.irreps_in):
        begin, lanes = 0, lanes_of(dtype) * (vectors_of_scalars if ir.l == 0 else 1)
        while begin < channels and any(path.input == i for path in instructions.paths):
            end = begin + (channels - begin) // lanes * lanes
            if end > begin:
                result.append(ChannelRange(i, lanes, begin, end))
            begin, lanes = end, max(lanes // 2, 1)
    return result


def paths_of(instructions: Instructions, irrep: int) -> list[Path]:
    return [path for path in instructions.paths if path.input == irrep]


def split_receivers(row_start: Tensor, parts: int) -> list[tuple[int, int]]:
    """Ranges of receivers with about equally many edges (and atoms, where edges are few)."""
    n_atoms = len(row_start) - 1
    load = row_start + torch.arange(n_atoms + 1)
    cuts = [int(load[-1]) * k // parts for k in range(1, parts)]
    bounds = [0, *torch.searchsorted(load, torch.tensor(cuts)).tolist(), n_atoms]
    return [(a, b) for a, b in pairwise(bounds) if b > a]


def _adjoint_operations(paths: list[Path]) -> int:
    """Vector operations of a vjp per edge and chunk of channels, as they are printed."""
    total = 3 * (max(path.l2 for path in paths) + 1) ** 2  # sums of dY kept between chunks
    for path in paths:
        pairs = int((path.coefficients != 0).any(axis=2).sum())  # entries of G[a, b]
        total += 8 + 2 * (2 * path.l1 + 1) + pairs
        if path.l2 > 0:
            total += pairs + 2 * path.l1 + 1
    return total


@functools.cache
def split_channels(
    instructions: Instructions, dtype: torch.dtype, source: Source, parts: int
) -> list[list[ChannelRange]]:
    """Contiguous shares of all channels with about equally much arithmetic."""
    chunks: list[tuple[int, ChannelRange]] = []
    for s in channel_ranges(instructions, dtype, source):
        cost = _adjoint_operations(paths_of(instructions, s.irrep))
        chunks += [
            (cost, ChannelRange(s.irrep, s.lanes, u, u + s.lanes))
            for u in range(s.begin, s.end, s.lanes)
        ]
    total = sum(cost for cost, _ in chunks)
    shares: list[list[ChannelRange]] = [[] for _ in range(parts)]
    done = 0.0
    for cost, chunk in chunks:
        share = shares[min(int((done + cost / 2) / total * parts), parts - 1)]
        if share and (share[-1].irrep, share[-1].lanes, share[-1].end) == (
            chunk.irrep, chunk.lanes, chunk.begin,
        ):  # fmt: skip
            share[-1] = ChannelRange(chunk.irrep, chunk.lanes, share[-1].begin, chunk.end)
        else:
            share.append(chunk)
        done += cost
    return [share for share in shares if share]
