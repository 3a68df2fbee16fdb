"""What Triton has compiled between the convolutions, against plain torch."""

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from fastequi.engine.blocks import Blocks
from fastequi.engine.differentiated import Differentiated
from fastequi.engine.gate import GatePart
from fastequi.irreps import Irreps
from fastequi.kernels.parts import Segments, Term, new_blocks
from fastequi.kernels.testing import poisoned_memory, relative_rms
from fastequi.kernels.triton import gate, linear
from fastequi.kernels.triton.memory import keeping, made_once
from fastequi.model.activations import ACTIVATIONS
from fastequi.model.file import set_precision
from fastequi.model.nequip import NequIP
from fastequi.model.spec import new_spec
from tests.kernels.triton.step.test_step import Watch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-14}
BY_SPECIES = Segments(((0, 3), (3, 4), (4, 13)), (1, 0, 2))


@pytest.fixture(autouse=True)
def default_device():
    with torch.device(DEVICE):
        yield


def blocks_of(irreps: str, n_atoms: int, dtype: torch.dtype) -> Blocks:
    made = new_blocks(Irreps.parse(irreps), torch.empty(0, dtype=dtype), n_atoms)
    return [block.normal_() for block in made]


def per_atom(matrices: Tensor, segments: Segments) -> Tensor:
    """[atoms, n_in, n_out]."""
    counts = torch.tensor([end - begin for begin, end in segments.bounds])
    return matrices[list(segments.matrices)].repeat_interleave(counts, dim=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("segments", [Segments.one(13), BY_SPECIES], ids=["one", "species"])
@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("widths", [(1, 70, 33), (64, 5, 32)])
def test_products(widths, segments: Segments, dtype: torch.dtype, add: bool, accesses):
    """Of blocks of 1 and 3 components, one launch; what is between the blocks stays as it is."""
    a, b, c = widths
    x = blocks_of(f"{a}x0e+{b}x1o", 13, dtype)
    y = blocks_of(f"{c}x0e+{b}x1o", 13, dtype)
    n = len(set(segments.matrices))
    matrices = linear.gathered([torch.randn(n, a, c).to(dtype), torch.randn(n, b, b).to(dtype)])
    terms = (Term(0, 0, 1, a, c, 0.5), Term(1, 1, 3, b, b, -2.0))
    expected = [
        (y[t.target] if add else 0) + t.scale * x[t.source] @ per_atom(m, segments)
        for t, m in zip(terms, matrices, strict=True)
    ]
    with Watch() as watch:
        linear.run([linear.Multiply(terms, segments, x, matrices, y, add)])
    assert watch.kernels["multiply"] == 1
    for got, wanted in zip(y, expected, strict=True):
        assert relative_rms(got, wanted) < TOLERANCE[dtype]
    assert accesses is None or min(accesses.counts[:2]) > 0


def test_what_is_cleared_goes_with_what_is_written():
    x = blocks_of("4x0e", 5, torch.float64)
    y = blocks_of("4x0e+3x1o+2x2e", 5, torch.float64)
    y[1].fill_(torch.nan)
    kept = y[2].clone()
    matrices = linear.gathered([torch.eye(4, dtype=torch.float64)])
    multiply = linear.Multiply((Term(0, 0, 1, 4, 4),), Segments.one(5), x, matrices, y, False)
    with Watch() as watch:
        linear.run([*linear.cleared([y[1]]), multiply])
    assert watch.kernels["multiply"] == 1
    assert torch.equal(y[0], x[0])
    assert (y[1] == 0).all()
    assert torch.equal(y[2], kept)


def test_what_is_added_to_a_product_waits_for_it():
    x, y = blocks_of("3x0e", 4, torch.float64), blocks_of("2x0e", 4, torch.float64)
    m = torch.randn(3, 2, dtype=torch.float64)
    first, second = (
        linear.Multiply((Term(0, 0, 1, 3, 2),), Segments.one(4), x, [m], y, add)
        for add in (False, True)
    )
    row = torch.tensor([1.0, -1.0], dtype=torch.float64)
    linear.run([first, second, linear.Rows("add_row", {"y": y[0], "row": row})])
    assert torch.allclose(y[0], 2 * x[0] @ m + row, rtol=1e-13)


def test_tables_stay_as_long_as_they_are_kept():
    """Whoever has captured a step reads them where they were, whatever else was computed since."""
    kept: dict = {}
    made = made_once(lambda number: torch.tensor([number]))
    with keeping(kept):
        first = made(0)
    others = [made(number) for number in range(1, 400)]
    assert len(others) == 399
    assert [found is first for found in kept.values()] == [True]
    assert made(0) is not first  # it is not the latest any more


def test_no_atoms():
    x, y = blocks_of("3x0e+2x1o", 0, torch.float32), blocks_of("4x0e+2x1o", 0, torch.float32)
    matrices = linear.gathered([torch.randn(3, 4), torch.randn(2, 2)])
    terms = (Term(0, 0, 1, 3, 4), Term(1, 1, 3, 2, 2))
    with Watch() as watch:
        linear.run([linear.Multiply(terms, Segments.one(0), x, matrices, y, False)])
    assert not watch.kernels


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", linear.ACTIVATIONS)
def test_activations(name: str, dtype: torch.dtype):
    """Both tails too: what is lost by 1 - sigmoid would show there."""
    a = torch.cat([torch.linspace(-40, 40, 41), torch.tensor([-800.0, 800.0, 1e-3])]).to(dtype)
    y, slope = torch.empty_like(a), torch.empty_like(a)
    linear.run([linear.Rows("activate", {"y": y, "slope": slope, "a": a}, name, 1.7)])
    value, first, _ = ACTIVATIONS[name].derivatives(a)
    for got, wanted in ((y, value), (slope, first)):
        assert torch.allclose(got, 1.7 * wanted, rtol=10 * TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("parity", ["natural", "full", "even"])
@pytest.mark.parametrize("channels", [(33, 5, 3), (64, 32, 1)])
def test_gates(channels: tuple[int, ...], parity, dtype: torch.dtype, accesses):
    """One launch per direction; full parity has odd scalars, the last layer gates nothing."""
    torch.manual_seed(0)
    spec = new_spec([1, 8], layers=2, l_max=2, channels=channels, parity=parity, cutoff_A=4.0)
    network = set_precision(NequIP(spec), dtype).to(DEVICE)
    for layer in network.interactions():
        y = blocks_of(str(layer.shapes.irreps_conv), 7, dtype)
        g = blocks_of(str(layer.shapes.irreps_out), 7, dtype)
        with Watch() as watch, poisoned_memory():
            part = GatePart(layer.gate, gate, copies=1)
            out, kept = part.forward(y)
            (found,) = part.vjp(kept, g)
        assert watch.kernels == {"gate": 1, "gate_vjp": 1}
        exact = Differentiated(layer.gate)
        wanted, kept = exact.forward(y)
        (gradient,) = exact.vjp(kept, g)
        for a, b in zip([*out, *found], [*wanted, *gradient], strict=True):
            assert relative_rms(a, b) < TOLERANCE[dtype]
    assert accesses is None or min(accesses.counts[:2]) > 0
