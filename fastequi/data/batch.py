"""Batch: a graph of several frames with their labels."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from fastequi.graph import Graph


@dataclass(frozen=True, slots=True)
class Batch:
    """Frames as one graph, and what is known of them; float64, NaN where a label is missing.

    graph        edges within the cutoff, sorted by receiver
    pair         [edges]          int64, the pair of each edge; see `fastequi.data.pairs`
    first        [pairs]          int64, the first edge of each pair
    energy       [systems]        eV
    forces       [atoms, 3]       eV/Å
    stress       [systems, 3, 3]  eV/Å³, ASE's sign
    has_energy, has_forces, has_stress  [systems]  bool
    weight       [systems]        factor of each frame in the loss
    config_type  one per system
    """

    graph: Graph
    pair: Tensor
    first: Tensor
    energy: Tensor
    forces: Tensor
    stress: Tensor
    has_energy: Tensor
    has_forces: Tensor
    has_stress: Tensor
    weight: Tensor
    config_type: tuple[str, ...]

    @property
    def n_atoms(self) -> int:
        return self.graph.n_atoms

    @property
    def n_systems(self) -> int:
        return self.graph.n_systems

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        movable = [f.name for f in fields(self) if f.name != "config_type"]
        return replace(self, **{name: getattr(self, name).to(device) for name in movable})
