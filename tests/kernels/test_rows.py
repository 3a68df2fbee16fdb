"""What is done to rows besides products, among products, against torch."""

import pytest
import torch
from torch import Tensor

from fastequi.kernels.cpu import linear
from fastequi.kernels.cpu.rows import Rows, cleared
from fastequi.kernels.parts import Segments, Term
from fastequi.model.activations import ACTIVATIONS

pytestmark = pytest.mark.widths

TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-14}


def rows(dtype: torch.dtype, n: int = 5, *shape: int) -> Tensor:
    random = torch.Generator().manual_seed(n)
    return torch.randn((n, *(shape or (3, 23))), generator=random, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n_atoms", [0, 1, 5])
def test_against_torch(dtype: torch.dtype, n_atoms: int):
    """Rows whose length is no multiple of a vector's."""
    a, b, y = (rows(dtype, n_atoms) + k for k in range(3))
    row, factor = rows(dtype, 3, 23)[:1], rows(dtype, max(n_atoms, 1), 1)[:n_atoms, 0].contiguous()
    bias, flat = torch.empty_like(row).copy_(row), rows(dtype, n_atoms, 23)
    before = flat.clone()
    scaled, times = torch.empty_like(y), torch.empty_like(y)
    linear.run(
        [
            *cleared([y]),
            Rows("scale", {"y": scaled, "a": a, "factor": factor}),
            Rows("times", {"y": times, "a": a, "b": b}),
            Rows("add_row", {"y": flat, "row": bias[0]}),
        ]
    ) if n_atoms else linear.run([])
    if n_atoms:
        assert not y.any()
        assert torch.equal(scaled, a * factor.view(-1, 1, 1))
        assert torch.equal(times, a * b)
        assert torch.equal(flat, before + row)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", sorted(linear.ACTIVATIONS))
def test_activations(dtype: torch.dtype, name: str):
    """Small and large arguments: relative errors of the value, where e^x - 1 would cancel."""
    x = torch.cat([torch.logspace(-9, 2, 200, dtype=torch.float64), torch.linspace(0, 9, 31)])
    x = torch.cat([x, -x]).to(dtype).unsqueeze(1)
    value, slope = torch.empty_like(x), torch.empty_like(x)
    tensors = {"y": value, "slope": slope, "a": x}
    linear.run([Rows("activate", tensors, name, 1.7)])
    exact, first, _ = (1.7 * t for t in ACTIVATIONS[name].derivatives(x.double()))
    tolerance = TOLERANCE[dtype]
    assert float(((value - exact) / exact.abs().clamp(min=1e-30)).abs().max()) < 30 * tolerance or (
        float((value - exact).abs().max()) < tolerance
    )
    small = exact.abs() > 0
    relative = ((value - exact).abs() / exact.abs())[small & (x.abs() < 1)]
    assert float(relative.max()) < 4 * tolerance
    assert float((slope - first).abs().max()) < tolerance


def test_among_products():
    """A product adds to what was cleared before it, and a bias comes on top, share by share."""
    x, matrix, bias = rows(torch.float64, 7, 1, 12), rows(torch.float64, 12, 9), torch.arange(9.0)
    y = torch.full((7, 1, 9), 5.0, dtype=torch.float64)
    term = Term(0, 0, 1, 12, 9)
    multiply = linear.Multiply((term,), Segments.one(7), [x], [matrix], [y], add=True)
    linear.run([*cleared([y]), multiply, Rows("add_row", {"y": y, "row": bias.double()})])
    assert torch.allclose(y, x @ matrix + bias, rtol=1e-14, atol=1e-14)
