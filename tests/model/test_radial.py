"""Slopes of the radial basis, which training uses, against autograd."""

from dataclasses import replace

import pytest
import torch

from fastequi.model.radial import RadialBasis
from fastequi.model.spec import new_spec


@pytest.mark.parametrize(
    "changes",
    [{}, {"envelope_parameter": 4.0}, {"envelope": "xplor", "envelope_parameter": 3.0}],
    ids=["p6", "p4", "xplor"],
)
def test_slope_is_the_derivative(changes):
    basis = RadialBasis(replace(new_spec([14], cutoff_A=4.0), **changes))
    x = torch.linspace(0.05, 1.2, 400, dtype=torch.float64).requires_grad_(True)
    values = basis.of_relative(x)
    for n in range(values.shape[1]):
        (slope,) = torch.autograd.grad(values[:, n].sum(), x, retain_graph=True)
        error = (slope - basis.slope_of_relative(x)[:, n]).abs().max()
        assert float(error.detach()) < 1e-11
