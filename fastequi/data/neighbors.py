"""Neighbour lists of all frames of a data set: built once, kept on disk where that took long.

Tables are small integers, a quarter of the size of a graph's edges; `Dataset` widens them.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import Tensor

from fastequi.data.frames import Frame
from fastequi.data.pairs import undirected_pairs
from fastequi.md.neighbors import NeighborList
from fastequi.storage import cache

#: Frames with so many atoms are built together: one call of each step for many molecules.
ATOMS_AT_ONCE = 4096

#: Lists that took less than this many seconds, or more than this many bytes, are not kept on disk.
WORTH_KEEPING_S = 1.0
LARGEST_KEPT = 2**30

_LAYOUT = "neighbor tables 1"


@dataclass(frozen=True, slots=True)
class NeighborTables:
    """Edges of every frame, one after the other; indices count within their frame.

    edges    [6, all edges]  int32: receiver, sender, three shifts, pair
    first    [all pairs]     int32: the first edge of each pair
    n_edges  edges per frame
    """

    edges: Tensor
    first: Tensor
    n_edges: list[int]

    def by_frame(self) -> tuple[list[NDArray[np.int32]], list[NDArray[np.int32]]]:
        """Views of edges and first for each frame."""
        ends = np.cumsum(self.n_edges)[:-1]
        edges = np.split(self.edges.numpy(), ends, axis=1)
        return edges, np.split(self.first.numpy(), ends // 2)


def neighbor_tables(
    frames: Sequence[Frame], cutoff: float, progress: Callable[[int, int], None] | None = None
) -> NeighborTables:
    """Lists within `cutoff` (Å) of all frames, from the cache or built.

    progress  called with (frames done, frames in all) now and then
    """
    name = f"neighbors-{_key(frames, cutoff)}"
    if (kept := cache.read(name)) is not None:
        tables = load(kept)
        return NeighborTables(tables["edges"], tables["first"], tables["n_edges"].tolist())
    began = time.monotonic()
    tables = _build(frames, cutoff, progress or (lambda done, total: None))
    size = tables.edges.numel() * tables.edges.element_size()
    if time.monotonic() - began >= WORTH_KEEPING_S and size <= LARGEST_KEPT:
        n_edges = torch.tensor(tables.n_edges)
        content = {"edges": tables.edges, "first": tables.first, "n_edges": n_edges}
        cache.write(name, save(content))
    return tables


def _key(frames: Sequence[Frame], cutoff: float) -> str:
    digest = hashlib.sha256(f"{_LAYOUT} {cutoff!r}".encode())
    for frame in frames:
        digest.update(frame.n_atoms.to_bytes(8, "little"))
        for array in (frame.positions, frame.cell, frame.pbc):
            digest.update(array.tobytes())
    return digest.hexdigest()


def _build(
    frames: Sequence[Frame], cutoff: float, progress: Callable[[int, int], None]
) -> NeighborTables:
    edges, first, n_edges = [], [], []
    begin, atoms = 0, 0
    for end, frame in enumerate(frames, start=1):
        atoms += frame.n_atoms
        if atoms < ATOMS_AT_ONCE and end < len(frames):
            continue
        chunk = _build_chunk(frames[begin:end], cutoff)
        edges.append(chunk.edges)
        first.append(chunk.first)
        n_edges += chunk.n_edges
        progress(end, len(frames))
        begin, atoms = end, 0
    return NeighborTables(torch.cat(edges, dim=1), torch.cat(first), n_edges)


def _build_chunk(frames: Sequence[Frame], cutoff: float) -> NeighborTables:
    """Lists of a few frames, as one batch of systems whose offsets are then taken off."""
    counts = torch.tensor([frame.n_atoms for frame in frames])
    system_idx = torch.repeat_interleave(torch.arange(len(frames)), counts)
    graph = NeighborList(cutoff, skin=0.0).graph(
        torch.from_numpy(np.concatenate([frame.positions for frame in frames])),
        torch.from_numpy(np.concatenate([frame.atomic_numbers for frame in frames])),
        torch.from_numpy(np.stack([frame.cell for frame in frames])),
        torch.from_numpy(np.stack([frame.pbc for frame in frames])),
        system_idx,
    )
    pair, first = undirected_pairs(graph.edge_src, graph.edge_dst, graph.edge_shift)
    edge_system = system_idx[graph.edge_dst]
    n_edges = torch.bincount(edge_system, minlength=len(frames))
    first_atom = (counts.cumsum(0) - counts)[edge_system]
    # Both come frame after frame, as edges are sorted by receiver and pairs by their first edge.
    before = n_edges.cumsum(0) - n_edges
    table = torch.stack(
        [
            graph.edge_dst - first_atom,
            graph.edge_src - first_atom,
            *graph.edge_shift.to(torch.int64).unbind(1),
            pair - before[edge_system] // 2,
        ]
    )
    first -= before[edge_system[first]]
    return NeighborTables(table.to(torch.int32), first.to(torch.int32), n_edges.tolist())
