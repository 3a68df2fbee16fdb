"""A step of training through the Triton kernels, in the interpreter where there is no GPU."""

import pytest
import torch

pytest.importorskip("triton")

from ase import Atoms
from torch import Tensor

from fastequi.engine.gradients import Sample, TangentGradient, by_double_backward
from fastequi.kernels.testing import poisoned_memory
from fastequi.md.neighbors import NeighborList
from fastequi.md.state import state_from_atoms
from fastequi.model.nequip import NequIP
from fastequi.model.spec import new_spec
from fastequi.potential import Prediction

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def sample() -> Sample:
    """A molecule and an isolated atom; each edge and the one that leads back are a pair."""
    state = state_from_atoms(
        [Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]), Atoms("O")]
    )
    graph = NeighborList(4.0, 0.0).graph(
        state.positions, state.atomic_numbers, state.cell, state.pbc, state.system_idx
    )
    graph = graph.to(DEVICE)
    low = torch.minimum(graph.edge_src, graph.edge_dst)
    high = torch.maximum(graph.edge_src, graph.edge_dst)
    _, pair = torch.unique(low * graph.n_atoms + high, return_inverse=True)
    first = torch.stack([(pair == k).nonzero()[0, 0] for k in range(int(pair.max()) + 1)])
    return Sample(graph, pair, first)


def loss(prediction: Prediction) -> Tensor:
    target = torch.linspace(-1, 1, prediction.forces.numel()).to(prediction.forces)
    error = prediction.forces - target.view_as(prediction.forces)
    return error.square().mean() + (prediction.energy + 3.0).square().mean()


@pytest.mark.parametrize("parity", ["natural", "full"])
def test_gradient_is_that_of_differentiating_twice(parity):
    torch.manual_seed(0)
    network = NequIP(
        new_spec([1, 8], layers=3, l_max=2, channels=(4, 3, 2), parity=parity, cutoff_A=4.0)
    ).to(DEVICE)
    batch = sample()
    expected = by_double_backward(network, batch, loss)
    wanted = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    for parameter in network.parameters():
        parameter.grad = None
    with poisoned_memory():
        got = TangentGradient(network, "triton")(batch, loss)
    assert torch.allclose(got.forces, expected.forces, atol=1e-11)
    assert len(wanted) > 5
    for name, gradient in wanted.items():
        found = network.get_parameter(name).grad
        assert found is not None, name
        error = float((found - gradient).norm())
        assert error <= 1e-10 * max(float(gradient.norm()), 1e-3), f"{name}: {error:.1e}"
