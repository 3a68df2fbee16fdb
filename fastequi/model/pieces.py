"""One layer of a fused network, for all atoms at once or in pieces that bound its memory.

The widest tensors of a layer are the summed messages (12 kB per atom for SevenNet-0) and their
gradient. For large systems a layer runs over ranges of receivers and keeps nothing but its input;
its adjoint computes each range again. That costs a second forward pass and keeps 100,000 atoms
within a few GB.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from fastequi.kernels.convolution.edges import Edges
from fastequi.model.interaction import Interaction

#: Receivers per piece; smaller systems are one piece.
ATOMS_PER_PIECE = 12_500


@dataclass(frozen=True)
class LayerRun:
    """A layer applied to one graph.

    convolution of what is sent, edge vectors and edges; with the linear map behind it
    edges       by sender atom; of the first layer by sender species
    species     [atoms]; senders [rows of what is sent] their species
    attributes  what species self-connections mix with
    """

    layer: Interaction
    convolution: Callable[..., list[Tensor]]
    edges: Edges
    species: Tensor
    senders: Tensor
    attributes: Tensor

    def __call__(self, sources: list[Tensor], x: list[Tensor], vectors: Tensor) -> list[Tensor]:
        """New features from those of the atoms, x, and of what sends, sources."""
        n = len(self.species)
        if n <= ATOMS_PER_PIECE:
            return self.piece(self.send(sources), x, vectors, 0, n)
        with_sources = sources is not x
        blocks = [*x, *sources] if with_sources else x
        return list(_InPieces.apply(self, with_sources, vectors, *blocks))

    def send(self, sources: list[Tensor]) -> list[Tensor]:
        return self.layer.send(sources, self.senders)

    def piece(
        self, sent: list[Tensor], x: list[Tensor], vectors: Tensor, begin: int, end: int
    ) -> list[Tensor]:
        """New features of the receivers begin:end; x and vectors are theirs alone."""
        edges = self.edges.of_receivers(begin, end)
        mixed = self.layer.linear_out.completed(self.convolution(sent, vectors, edges))
        return self.layer.finish(mixed, x, self.species[begin:end], self.attributes)

    def ranges(self) -> list[tuple[int, int, slice]]:
        """(first receiver, end, their edges) of each piece."""
        n = len(self.species)
        bounds = [*range(0, n, ATOMS_PER_PIECE), n]
        starts = self.edges.row_start[bounds].tolist()
        return [
            (a, b, slice(e, f))
            for (a, b), (e, f) in zip(pairwise(bounds), pairwise(starts), strict=True)
        ]


class _InPieces(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, run: LayerRun, with_sources: bool, vectors: Tensor, *blocks: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.run, ctx.with_sources = run, with_sources
        ctx.save_for_backward(vectors, *blocks)
        x, sources = _split(blocks, with_sources)
        sent = run.send(sources)
        pieces = [
            run.piece(sent, [block[a:b] for block in x], vectors[e], a, b)
            for a, b, e in run.ranges()
        ]
        return tuple(torch.cat(parts) for parts in zip(*pieces, strict=True))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        run, with_sources = ctx.run, ctx.with_sources
        vectors, *blocks = ctx.saved_tensors
        wants_x = any(ctx.needs_input_grad[3:])
        leaves = [block.detach().requires_grad_(wants_x) for block in blocks]
        x, sources = _split(leaves, with_sources)
        with torch.enable_grad():
            sent = run.send(sources)
        dsent = [torch.zeros_like(block) for block in sent] if wants_x else []
        dvectors, dx = torch.empty_like(vectors), [torch.zeros_like(block) for block in x]
        for a, b, e in run.ranges():
            own = [vectors[e].detach().requires_grad_(True)]
            if wants_x:
                own += [block[a:b].detach().requires_grad_(True) for block in x]
                own += [block.detach().requires_grad_(True) for block in sent]
            n = len(x)
            with torch.enable_grad():
                features, messages = (own[1 : n + 1], own[n + 1 :]) if wants_x else (x, sent)
                mine = [block[a:b] for block in features] if not wants_x else features
                out = run.piece(messages, mine, own[0], a, b)
            found = torch.autograd.grad(out, own, [g[a:b] for g in gradients], allow_unused=True)
            dvectors[e] = found[0]
            for total, part in zip([block[a:b] for block in dx] + dsent, found[1:], strict=False):
                if part is not None:  # what a layer does not use
                    total += part
        if not wants_x:
            return None, None, dvectors, *[None] * len(blocks)
        through = torch.autograd.grad(sent, sources, dsent)
        if with_sources:
            return None, None, dvectors, *dx, *through
        return None, None, dvectors, *[a + b for a, b in zip(dx, through, strict=True)]


def _split(blocks: Any, with_sources: bool) -> tuple[list[Tensor], list[Tensor]]:
    """(x, sources) of the arguments of `_InPieces`."""
    if not with_sources:
        return list(blocks), list(blocks)
    half = len(blocks) // 2
    return list(blocks[:half]), list(blocks[half:])
