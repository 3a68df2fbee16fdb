"""Committee: several models as one potential, their mean, which knows how far they disagree.

Models that were trained alike but from other random weights agree where the training frames say
what is right, and disagree where none is near. The mean of energies is a potential like any other,
with the mean of the forces as its gradient, so energy is conserved.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from fastequi.engine.loaded import LoadedModel
from fastequi.errors import InputError
from fastequi.graph import Graph
from fastequi.potential import Prediction


def mean_of(models: Sequence[LoadedModel]) -> "LoadedModel | Committee":
    """The mean of several models, or the one there is."""
    return models[0] if len(models) == 1 else Committee(models)


class Committee:
    """A `Potential` with its identity, made of at least two members on one device.

    cutoff          the longest one's; edges beyond a member's own contribute nothing to it
    atomic_numbers  those that every member knows
    """

    def __init__(self, members: Sequence[LoadedModel]) -> None:
        """Raises InputError where there are too few members, or no element that all know."""
        if len(members) < 2:
            raise InputError(f"a committee needs two or more models, got {len(members)}")
        self.members = tuple(members)
        first = members[0]
        common = set(first.atomic_numbers).intersection(*(m.atomic_numbers for m in members))
        self.atomic_numbers = tuple(z for z in first.atomic_numbers if z in common)
        if not common:
            raise InputError("the models of a committee have no element in common")
        self.cutoff = max(member.cutoff for member in members)
        self.device, self.dtype_name = first.device, first.dtype_name
        self.name = f"the mean of {', '.join(member.name for member in members)}"
        text = " ".join(member.sha256 for member in members)
        self.sha256 = hashlib.sha256(text.encode()).hexdigest()
        self.kernels = ", ".join(dict.fromkeys(member.kernels for member in members))
        self.kernels_reason = first.kernels_reason
        self._disagreement: Tensor | None = None

    def compute(self, graph: Graph) -> Prediction:
        """Means of energies, forces and stress over the members, of every system of the batch."""
        found = [member.compute(graph) for member in self.members]
        names = Prediction.__dataclass_fields__
        mean = Prediction(
            *(torch.stack([getattr(p, name) for p in found]).mean(dim=0) for name in names)
        )
        apart = torch.stack([p.forces for p in found]) - mean.forces
        self._disagreement = apart.square().sum(dim=2).mean(dim=0).sqrt()
        return mean

    def disagreement(self) -> Tensor:
        """Of the graph that `compute` saw last, in eV/Å [atoms]: how far the forces scatter.

        The root mean square over the members of |F - mean F|.
        """
        if self._disagreement is None:
            raise ValueError("nothing was computed yet")
        return self._disagreement
