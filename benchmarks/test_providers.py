"""Other packages' layouts, on the CPU: e3nn itself stands in for those that copy its problems."""

import pytest
import torch
from torch import Tensor

from benchmarks.layers import LayerProblem, layer_problem
from benchmarks.parity import faults
from benchmarks.providers import PROVIDERS, Rows, cuequivariance, e3nn_problem, with_network

LAYERS = ("nequip-m", "nequip-l2-64-parity")


def small(name: str) -> LayerProblem:
    return layer_problem(name, 300, torch.float32, torch.device("cpu"))


@pytest.mark.parametrize("name", LAYERS)
def test_e3nn_computes_the_layer(name):
    """The problem that OpenEquivariance is given, in the layout that it is given."""
    from e3nn.o3 import TensorProduct

    problem = small(name)
    unshared = {"shared_weights": False, "internal_weights": False}
    product = TensorProduct(*e3nn_problem(problem.instructions), **unshared)

    def training(x: list[Tensor], y: Tensor, w: Tensor) -> list[Tensor]:
        messages = product(x[0][problem.edges.sender], y, w)
        total = messages.new_zeros(problem.edges.n_receivers, messages.shape[1])
        return [total.index_add(0, problem.edges.receiver, messages)]

    layout = Rows(problem.instructions, channels_last=False)
    assert not faults(with_network(problem, training, layout), problem)


@pytest.mark.parametrize("name", LAYERS)
def test_cuequivariance_computes_the_layer(name):
    pytest.importorskip("cuequivariance_torch", reason="pip install cuequivariance-torch")
    problem = small(name)
    assert not faults(cuequivariance(problem, method="naive"), problem)


def test_a_wrong_gradient_is_a_fault():
    problem = small("nequip-m")
    forms = PROVIDERS["reference"].bind(problem)
    right = forms.training
    assert right is not None

    def training(x: list[Tensor], y: Tensor, w: Tensor) -> list[Tensor]:
        return right(x, y, w + 0.01 * (w - w.detach()))

    found = faults(type(forms)(forms.inference, training), problem)
    assert len(found) == 1
    assert "training, gradient by W" in found[0]
