"""Dataset: frames with their neighbour lists, ready to become batches.

Batches are put together with numpy: for a few molecules its calls cost a quarter of torch's.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastequi.data.batch import Batch
from fastequi.data.frames import Frame
from fastequi.data.neighbors import neighbor_tables
from fastequi.errors import InputError
from fastequi.graph import Graph


class Dataset:
    """Frames, and their edges within `cutoff` (Å).

    frames   list of Frame; take them through `fastequi.data.checks.check_frames` first
    n_atoms  [frames] int64
    n_edges  [frames] int64, directed edges
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        cutoff: float,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Build the neighbour lists; progress is called with (frames done, frames in all).

        Raises InputError if there are no frames.
        """
        if not frames:
            raise InputError("there are no frames to make a data set of")
        self.frames = list(frames)
        self.cutoff = float(cutoff)
        tables = neighbor_tables(self.frames, self.cutoff, progress)
        self._edges, self._first = tables.by_frame()
        self.n_atoms = np.array([frame.n_atoms for frame in self.frames])
        self.n_edges = np.array(tables.n_edges)
        self._forces = [
            np.full((f.n_atoms, 3), np.nan) if f.forces is None else f.forces for f in self.frames
        ]
        self._systems = _per_system(self.frames)

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def species(self) -> tuple[int, ...]:
        """The atomic numbers that occur, in order."""
        every = np.concatenate([frame.atomic_numbers for frame in self.frames])
        return tuple(np.unique(every).tolist())

    def neighbors_per_atom(self) -> NDArray[np.int64]:
        """Edges that each atom receives, frame after frame: [atoms of all frames]."""
        counts = zip(self._edges, self.n_atoms, strict=True)
        return np.concatenate([np.bincount(edges[0], minlength=n) for edges, n in counts])

    def collate(self, indices: Sequence[int]) -> Batch:
        """These frames as one batch, in this order."""
        frames = [self.frames[k] for k in indices]
        chosen = np.asarray(indices)
        n_atoms, n_edges = self.n_atoms[chosen], self.n_edges[chosen]
        edges, first = self._joined(indices, n_atoms, n_edges)
        system_idx = np.repeat(np.arange(len(frames)), n_atoms)
        per_system = {k: torch.from_numpy(v[chosen]) for k, v in self._systems.items()}
        graph = Graph(
            positions=torch.from_numpy(np.concatenate([f.positions for f in frames])),
            atomic_numbers=torch.from_numpy(np.concatenate([f.atomic_numbers for f in frames])),
            cell=per_system.pop("cell"),
            pbc=per_system.pop("pbc"),
            system_idx=torch.from_numpy(system_idx),
            edge_src=edges[1],
            edge_dst=edges[0],
            edge_shift=edges[2:5].T.to(torch.float64, memory_format=torch.contiguous_format),
        )
        return Batch(
            graph=graph,
            pair=edges[5],
            first=first,
            forces=torch.from_numpy(np.concatenate([self._forces[k] for k in indices])),
            config_type=tuple([f.config_type for f in frames]),
            **per_system,
        )

    def _joined(
        self, indices: Sequence[int], n_atoms: NDArray[np.int64], n_edges: NDArray[np.int64]
    ) -> tuple[Tensor, Tensor]:
        """Tables [6, edges] and first edges [pairs] of these frames, in numbers of the batch."""
        total = int(n_edges.sum())
        edges = np.empty((6, total), dtype=np.int64)
        np.concatenate([self._edges[k] for k in indices], axis=1, out=edges)
        first = np.empty(total // 2, dtype=np.int64)
        np.concatenate([self._first[k] for k in indices], out=first)
        edges[:2] += np.repeat(np.cumsum(n_atoms) - n_atoms, n_edges)
        edge_offset = np.cumsum(n_edges) - n_edges
        edges[5] += np.repeat(edge_offset // 2, n_edges)
        first += np.repeat(edge_offset, n_edges // 2)
        return torch.from_numpy(edges), torch.from_numpy(first)


def _per_system(frames: list[Frame]) -> dict[str, NDArray]:
    """What frames know as a whole, [frames, ...] each, by its name in `Graph` and `Batch`."""
    nan = np.full((3, 3), np.nan)
    stress = [None if f.volume == 0.0 else f.stress for f in frames]
    return {
        "cell": np.stack([f.cell for f in frames]),
        "pbc": np.stack([f.pbc for f in frames]),
        "energy": np.array([np.nan if f.energy is None else f.energy for f in frames]),
        "stress": np.stack([nan if s is None else s for s in stress]),
        "has_energy": np.array([f.energy is not None for f in frames]),
        "has_forces": np.array([f.forces is not None for f in frames]),
        "has_stress": np.array([s is not None for s in stress]),
        "weight": np.array([f.weight for f in frames], dtype=np.float64),
    }
