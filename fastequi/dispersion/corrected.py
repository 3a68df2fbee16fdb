"""A potential and the dispersion that it leaves out, as one potential."""

from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from fastequi.dispersion.d3 import D3
from fastequi.dispersion.tables import Damping, damping_of, largest_element
from fastequi.errors import InputError
from fastequi.graph import Graph
from fastequi.md.disagreement import Disagreeing
from fastequi.potential import ForceCall, Potential, Prediction, force_call

Model = TypeVar("Model", bound=Potential)

#: What [model] dispersion may be.
METHODS = ("none", "d3bj")
#: Whose damping parameters are taken unless another functional is named.
FUNCTIONAL = "PBE"


def with_dispersion(
    potential: Model, method: str = "d3bj", functional: str | None = None
) -> "Model | Corrected":
    """The potential plus DFT-D3(BJ) for the functional that it was trained on.

        potential = with_dispersion(fastequi.load_model("sevennet-0"), functional="PBE")

    method 'none' gives the potential as it is; functional None is PBE. Raises InputError for other
    methods and for functionals without parameters.
    """
    if method not in METHODS:
        raise InputError(f"dispersion = {method!r}; allowed: {', '.join(METHODS)}")
    if method == "none":
        return potential
    kind = CorrectedCommittee if isinstance(potential, Disagreeing) else Corrected
    return kind(potential, damping_of(functional or FUNCTIONAL))


class Corrected:
    """A `Potential`: the sum of a model, and of D3 with lists of its own.

    Name, kernels and identity are the model's.
    """

    def __init__(self, model: Potential, damping: Damping) -> None:
        self.model, self.damping = model, damping
        self.cutoff, self.device = model.cutoff, model.device
        known = range(1, largest_element() + 1)
        mine = model.atomic_numbers
        self.atomic_numbers = tuple(known if mine is None else (z for z in mine if z in known))
        self.name, self.sha256 = (getattr(model, key, "") for key in ("name", "sha256"))
        self.dtype_name = getattr(model, "dtype_name", "")
        self.kernels = getattr(model, "kernels", "")
        self.kernels_reason = getattr(model, "kernels_reason", "")
        self._d3 = self.d3()

    def d3(self) -> D3:
        """Dispersion alone, with no list yet."""
        return D3(self.damping, compiled=self.kernels != "reference")

    def compute(self, graph: Graph) -> Prediction:
        """Energies, forces and stress of every system of the batch."""
        return _sum(self.model.compute(graph), self._d3(graph))

    def force_call(self, graph: Graph, last: ForceCall | None = None) -> ForceCall:
        """Of a graph whose edges reach up to the model's cutoff and a skin."""
        return _Call(self, graph, last)


class CorrectedCommittee(Corrected):
    """Of several models, which may disagree; about dispersion they do not."""

    def disagreement(self) -> Tensor:
        """As the committee's own."""
        assert isinstance(self.model, Disagreeing)
        return self.model.disagreement()


class _Call:
    """A `ForceCall`; the lists of dispersion outlast those of the model."""

    def __init__(self, potential: Corrected, graph: Graph, last: ForceCall | None) -> None:
        self.potential, self.graph = potential, graph
        mine = last if isinstance(last, _Call) and last.potential is potential else None
        self.d3 = mine.d3 if mine else potential.d3()
        self.call = force_call(potential.model, graph, mine and mine.call)

    def __call__(self, positions: Tensor, cell: Tensor) -> Prediction:
        graph = replace(self.graph, positions=positions, cell=cell)
        return _sum(self.call(positions, cell), self.d3(graph))

    def shortest_distance_A(self) -> float:
        return self.call.shortest_distance_A()


@torch.no_grad()
def _sum(a: Prediction, b: Prediction) -> Prediction:
    names = Prediction.__dataclass_fields__
    return Prediction(*(getattr(a, name) + getattr(b, name) for name in names))
