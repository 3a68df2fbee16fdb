"""The products of training on the CPU against plain torch: all rows, columns, shares, species."""

import pytest
import torch
from torch import Tensor

from fastequi.kernels.cpu import linear
from fastequi.kernels.cpu.linear import Multiply, Outer
from fastequi.kernels.llvm import threads
from fastequi.kernels.parts import Segments, Term
from fastequi.kernels.testing import relative_rms

pytestmark = pytest.mark.widths

#: Channels in and out: whole tiles, tails of every width, single numbers.
WIDTHS = [(1, 1), (5, 3), (8, 64), (64, 49), (33, 17), (256, 64), (64, 192)]
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-14}
BY_SPECIES = Segments(((0, 3), (3, 4), (4, 13)), (0, 1, 2))
TOGETHER = Segments.one(13)


@pytest.fixture(params=[1, 3], autouse=True)
def n_threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "n_threads", lambda: request.param)


def randn(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, dtype=torch.float64).to(dtype)


def per_atom(matrices: Tensor, segments: Segments) -> Tensor:
    """[atoms, n_in, n_out] from those of the segments."""
    sizes = torch.tensor([end - begin for begin, end in segments.bounds])
    return matrices[torch.tensor(segments.matrices).repeat_interleave(sizes)]


def assert_close(got: Tensor, expected: Tensor) -> None:
    assert relative_rms(got, expected) < TOLERANCE[got.dtype]


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("segments", [TOGETHER, BY_SPECIES, BY_SPECIES.doubled])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("n_in", "n_out"), WIDTHS)
def test_multiply(n_in: int, n_out: int, dtype: torch.dtype, segments: Segments, add: bool):
    torch.manual_seed(0)
    n = segments.bounds[-1][1]
    terms = (Term(0, 1, 1, n_in, n_out, 0.5), Term(1, 0, 5, n_out, n_in, -2.0))
    x = [randn(n, 1, n_in, dtype=dtype), randn(n, 5, n_out, dtype=dtype)]
    matrices = [randn(3, n_in, n_out, dtype=dtype), randn(3, n_out, n_in, dtype=dtype)]
    y = [randn(n, 5, n_in, dtype=dtype), randn(n, 1, n_out, dtype=dtype)]
    expected = [block.double() * add for block in y]
    for term, m in zip(terms, matrices, strict=True):
        expected[term.target] += (
            term.scale * x[term.source].double() @ per_atom(m, segments).double()
        )
    if not add:
        for block in y:
            block.fill_(torch.nan)  # what was there must not matter
    linear.run([Multiply(terms, segments, x, matrices, y, add)])
    for got, value in zip(y, expected, strict=True):
        assert_close(got, value)


@pytest.mark.parametrize("segments", [TOGETHER, BY_SPECIES, BY_SPECIES.doubled])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("n_in", "n_out"), WIDTHS)
def test_outer(n_in: int, n_out: int, dtype: torch.dtype, segments: Segments):
    torch.manual_seed(1)
    n = segments.bounds[-1][1]
    x, g = randn(n, 3, n_in, dtype=dtype), randn(n, 3, n_out, dtype=dtype)
    found = torch.full((max(segments.matrices) + 1, n_in, n_out), torch.nan, dtype=dtype)
    term = Term(0, 0, 3, n_in, n_out, 0.25)
    linear.run([Outer((term,), segments, [x], [g], [found])])
    expected = torch.zeros(found.shape, dtype=torch.float64)
    for (begin, end), matrix in zip(segments.bounds, segments.matrices, strict=True):
        rows = x[begin:end].double().flatten(0, 1)
        expected[matrix] += 0.25 * rows.T @ g[begin:end].double().flatten(0, 1)
    assert_close(found, expected)


def test_later_products_add_to_earlier_ones():
    """As the self-connection adds to the linear map behind the convolution, atom by atom."""
    torch.manual_seed(2)
    x, matrices = randn(13, 1, 9, dtype=torch.float64), randn(4, 9, 9, dtype=torch.float64)
    y, term = torch.full((13, 1, 9), torch.nan, dtype=torch.float64), (Term(0, 0, 1, 9, 9),)
    linear.run(
        [
            Multiply(term, TOGETHER, [x], [matrices[3]], [y], add=False),
            Multiply(term, BY_SPECIES, [x], [matrices[:3]], [y], add=True),
        ]
    )
    assert_close(y, x @ matrices[3] + x @ per_atom(matrices[:3], BY_SPECIES))


@pytest.mark.parametrize(("n_species", "n_attributes"), [(1, 1), (3, 64), (5, 12)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_matrices_of_species(n_species: int, n_attributes: int, dtype: torch.dtype):
    torch.manual_seed(3)
    mix, scales = randn(n_species, n_attributes, dtype=dtype), (0.5, 3.0)
    weights = [randn(n_attributes, *shape, dtype=dtype) for shape in ((7, 3), (64, 96))]
    out = [torch.full((n_species, *w.shape[1:]), torch.nan, dtype=dtype) for w in weights]
    linear.combine(mix, weights, out, scales)
    for got, weight, scale in zip(out, weights, scales, strict=True):
        assert_close(got, scale * torch.einsum("sa,aio->sio", mix.double(), weight.double()))
    back = [torch.full_like(weight, torch.nan) for weight in weights]
    linear.spread(mix, out, back, scales)
    for got, gradient, scale in zip(back, out, scales, strict=True):
        assert_close(got, scale * torch.einsum("sa,sio->aio", mix.double(), gradient.double()))
