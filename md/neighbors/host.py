"""Builds lists on the host, with vesin, wherever the atoms are; of systems that need a new one."""

import numpy as np
import torch
from torch import Tensor

from fastequi.md.neighbors.build import build_edges


class HostBuilder:
    """Of one batch of systems; radius in Å."""

    builds_all = False

    def __init__(self, radius: float, system_idx: Tensor, n_systems: int) -> None:
        self.radius = radius
        counts = torch.bincount(system_idx, minlength=n_systems).cpu().numpy()
        self._first = np.concatenate([[0], np.cumsum(counts)])
        self._of_system = [np.empty((5, 0), dtype=np.int64)] * n_systems

    def build_(
        self, stale: list[int], positions: Tensor, cell: Tensor, pbc: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """edge_dst, edge_src and edge_shift of all systems, those of `stale` made anew."""
        x, h, periodic = (tensor.detach().cpu().numpy() for tensor in (positions, cell, pbc))
        for k in stale:
            atoms = slice(int(self._first[k]), int(self._first[k + 1]))
            self._of_system[k] = build_edges(x[atoms], h[k], periodic[k], self.radius)
        edges = np.concatenate(self._of_system, axis=1)
        edges[:2] += np.repeat(self._first[:-1], [e.shape[1] for e in self._of_system])
        table = torch.from_numpy(edges).to(positions.device)
        return table[0], table[1], table[2:].T.to(positions.dtype).contiguous()
