"""Derivatives of activations against those of torch; a new one is one row."""

import pytest
import torch

from fastequi.model.activations import ACTIVATIONS, Activation
from fastequi.model.mlp import ScalarMLP
from fastequi.model.spec import MLPSpec


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivatives(name: str):
    x = torch.linspace(-6, 6, 241, dtype=torch.float64).requires_grad_()
    value = ACTIVATIONS[name].function(x)
    (first,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    second = torch.zeros_like(x)
    if first.requires_grad:
        (second,) = torch.autograd.grad(first.sum(), x)
    for got, expected in zip(
        ACTIVATIONS[name].derivatives(x.detach()), (value, first, second), strict=True
    ):
        assert torch.allclose(got, expected.detach(), rtol=1e-13, atol=1e-14)


def test_a_new_one_is_a_row(monkeypatch: pytest.MonkeyPatch):
    row = Activation(torch.sin, lambda x: (x.sin(), x.cos(), -x.sin()))
    monkeypatch.setitem(ACTIVATIONS, "sine", row)
    network, x = ScalarMLP(3, MLPSpec((5,), activation="sine"), 2), torch.randn(4, 3).double()
    first, second = network.scaled_weights()
    assert torch.equal(network(x), (x @ first).sin() @ second)
