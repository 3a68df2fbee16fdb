"""The Triton kernels compute what the reference computes: on a GPU, else in the interpreter."""

from dataclasses import replace

import pytest
import torch

pytest.importorskip("triton")

from torch import Tensor

from fastequi.kernels.convolution import definitions
from fastequi.kernels.convolution.edges import Edges
from fastequi.kernels.convolution.weights import LinearOut, PairWeights
from fastequi.kernels.instructions import Instructions
from fastequi.kernels.radial_table import RadialTable
from fastequi.kernels.testing import Problem, poisoned_memory, problems, relative_rms
from fastequi.kernels.testing_accesses import Accesses
from fastequi.kernels.testing_operations import (
    assert_forward_parity,
    assert_jvp_parity,
    pairs_of,
    random_displacements,
    random_linear_out,
    random_values,
)
from fastequi.kernels.triton import backend, launch, operators, plan
from fastequi.kernels.triton.form import Form
from fastequi.kernels.triton.printer import FORMS

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NAMED = {problem.name: problem for problem in problems()}
IN_FLOAT32 = ("natural", "odd channels")


def cases() -> list:
    """Everything in float64, a choice in float32; the rest where time is no object."""
    slow = pytest.mark.slow if DEVICE == "cpu" else ()
    return [
        pytest.param(problem, dtype, id=f"{problem}-{str(dtype)[-2:]}", marks=marks)
        for problem in problems()
        for dtype in (torch.float32, torch.float64)
        for marks in [() if dtype == torch.float64 or problem.name in IN_FLOAT32 else slow]
    ]


@pytest.fixture(params=[False, True], ids=["atomics", "deterministic"])
def deterministic(request):
    """Both ways to add up what several programs give."""
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode(int(request.param))
    yield request.param
    torch.set_deterministic_debug_mode(before)


def assert_checked(accesses: Accesses | None, problem: Problem) -> None:
    """What the interpreter has run was looked at."""
    if accesses is not None and problem.n_atoms > 0:
        assert min(accesses.counts[:2]) > 0


@pytest.mark.parametrize(("problem", "dtype"), cases())
def test_table(problem: Problem, dtype, accesses):
    assert_forward_parity(backend, problem, dtype, DEVICE)
    assert_checked(accesses, problem)


@pytest.mark.parametrize(("problem", "dtype"), cases())
def test_pair_weights(problem: Problem, dtype, accesses):
    assert_forward_parity(backend, problem, dtype, DEVICE, source="pair_weights")
    assert_checked(accesses, problem)


@pytest.mark.parametrize("has_tangents", [True, False])
@pytest.mark.parametrize(("problem", "dtype"), cases())
def test_jvp(problem: Problem, dtype, has_tangents, accesses):
    assert_jvp_parity(backend, problem, dtype, DEVICE, has_tangents)
    assert_checked(accesses, problem)


@pytest.mark.parametrize("name", ["natural", "even", "first layer", "strided", "no atoms"])
@pytest.mark.parametrize("source", ["table", "pair_weights"])
def test_linear_out_in_ranges_of_receivers(name, source, deterministic, monkeypatch):
    monkeypatch.setattr(backend, "MESSAGES_AT_ONCE", 1)
    monkeypatch.setattr(backend, "ALIGNED", 2)
    monkeypatch.setattr(launch, "TOGETHER_UP_TO", 0)  # a launch per input, as large systems have it
    problem = NAMED[name]
    n = problem.n_atoms
    ranges = list(backend._ranges(problem.instructions, n, torch.float64))
    assert ranges == [(begin, begin + 2) for begin in range(0, n, 2)]
    options = {"source": source, "with_linear_out": True}
    assert_forward_parity(backend, problem, torch.float64, DEVICE, **options)


@pytest.fixture
def many_groups(monkeypatch):
    """Paths split into groups as where registers run out."""
    monkeypatch.setattr(plan, "MOST", dict.fromkeys(plan.MOST, 40))
    caches = (plan.plan, launch.launches)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


def test_split_paths(many_groups, deterministic):
    problem = NAMED["natural"]
    for form in FORMS:
        steps = plan.plan(problem.instructions, form, torch.float64)
        assert len(steps) > len(problem.instructions.irreps_in)
    assert_forward_parity(backend, problem, torch.float64, DEVICE)
    assert_forward_parity(backend, problem, torch.float64, DEVICE, source="pair_weights")
    assert_jvp_parity(backend, problem, torch.float64, DEVICE)


Arguments = tuple[list[Tensor], Tensor, Edges, RadialTable, Instructions]


def arguments(problem: Problem, dtype: torch.dtype = torch.float32) -> Arguments:
    x = [block.to(DEVICE, dtype) for block in problem.features()]
    edges = problem.edges()
    sender, receiver, row_start = (
        t.to(DEVICE) for t in (edges.sender, edges.receiver, edges.row_start)
    )
    edges = replace(edges, sender=sender, receiver=receiver, row_start=row_start)
    vectors, table = problem.vectors().to(DEVICE, dtype), problem.table().to(dtype, DEVICE)
    return x, vectors, edges, table, problem.instructions


def pair_weights(problem: Problem, dtype: torch.dtype = torch.float32) -> PairWeights:
    pair, n_pairs = pairs_of(problem)
    return PairWeights(random_values(problem, n_pairs).to(DEVICE, dtype), pair.to(DEVICE))


def test_gradients_are_added_to_what_is_there(deterministic):
    x, vectors, edges, table, instructions = arguments(NAMED["natural"], torch.float64)
    out = definitions.forward(x, vectors, edges, table, instructions)
    g = [torch.randn_like(block) for block in out]
    rest = (x, vectors, edges, table, instructions)
    wanted, got = ([torch.ones_like(block) for block in x] for _ in range(2))
    expected = definitions.vjp(g, *rest, dx=wanted)
    with poisoned_memory():
        dvectors = backend.vjp(g, *rest, dx=got)
        alone = backend.vjp(g, *rest)
    pairs = zip([*got, dvectors, alone], [*wanted, expected, expected], strict=True)
    for a, b in pairs:
        assert relative_rms(a, b) < 1e-12


def test_deterministic_results_are_equal_bit_for_bit(deterministic):
    """The interpreter runs programs in order, so only a GPU can fail this."""
    if not deterministic:
        return
    problem = NAMED["many neighbors" if DEVICE == "cuda" else "natural"]
    x, vectors, edges, table, instructions = arguments(problem)
    weights, displacements = pair_weights(problem), random_displacements(problem).to(vectors)

    def results() -> list[Tensor]:
        out = backend.forward(x, vectors, edges, table, instructions)
        dx = [torch.zeros_like(block) for block in x]
        dvectors = backend.vjp(out, x, vectors, edges, table, instructions, dx=dx)
        rest = (x, vectors, displacements, edges, weights, instructions, False)
        both = backend.jvp(*rest)
        d_values, d_x = backend.jvp_vjp(both, *rest)
        return [dvectors, *dx, *both, d_values, *d_x]

    first = results()
    for _ in range(2):
        assert all(torch.equal(a, b) for a, b in zip(results(), first, strict=True))


def test_skin_edges_change_no_bit():
    """A list with a skin may be passed: edges beyond the cutoff are as if they were not there."""
    x, vectors, edges, table, instructions = arguments(NAMED["natural"])
    far = vectors.norm(dim=1) >= table.cutoff
    assert far.any()
    moved = torch.where(far.unsqueeze(1), 7 * vectors, vectors)
    a = backend.forward(x, vectors, edges, table, instructions)
    b = backend.forward(x, moved, edges, table, instructions)
    assert all(torch.equal(p, q) for p, q in zip(a, b, strict=True))
    g = [torch.ones_like(block) for block in a]
    dvectors = backend.vjp(g, x, vectors, edges, table, instructions)
    assert torch.equal(dvectors[far], torch.zeros_like(dvectors[far]))


@pytest.mark.filterwarnings("ignore:invalid value")  # NumPy's, in the interpreter
def test_broken_positions_are_not_hidden():
    """As in the reference: what is not a number, or two atoms in one place, gives NaN."""
    x, vectors, edges, table, instructions = arguments(NAMED["natural"])
    for broken in (torch.nan, 0.0):
        vectors[0] = broken
        out = backend.forward(x, vectors, edges, table, instructions)
        expected = definitions.forward(x, vectors, edges, table, instructions)
        assert out[0][0].isnan().any()
        assert torch.equal(out[0].isnan().any(2).any(1), expected[0].isnan().any(2).any(1))


def test_operators_are_well_formed():
    """Schemas, and shapes without data."""
    x, vectors, edges, table, instructions = arguments(NAMED["last layer"], torch.float64)
    out = [x[0].new_zeros(edges.n_receivers, ir.dim, mul) for mul, ir in instructions.irreps_out]
    read = {f"x{i}": block for i, block in enumerate(x)}
    read |= {"sender": edges.sender, "row_start": edges.row_start, "vectors": vectors}
    read |= {"knots": table.knots}
    names = " ".join([*read, *(f"out{i}" for i in range(len(out)))])
    form = operators.text_of_form(Form("forward", "table"))
    texts = operators.text_of_layer(instructions), form, names
    convolution = (*texts, list(read.values()), out, table.grid.constants, False)
    sums = (
        torch.randn(edges.n_edges, 3, device=DEVICE),
        torch.arange(edges.n_edges, device=DEVICE),
        edges.row_start,
        x[0].new_zeros((edges.n_receivers, 3)),
    )
    tests = ("test_schema", "test_faketensor")
    torch.library.opcheck(operators._convolution_, convolution, test_utils=tests)
    torch.library.opcheck(operators.sum_rows_, sums, test_utils=tests)


def test_nothing_asks_the_device(deterministic):
    """All operations run on the meta device, which has shapes and no numbers."""
    problem = NAMED["natural"]
    x, vectors, edges, table, instructions = arguments(problem)
    weights = pair_weights(problem)
    meta = torch.device("meta")
    edges = Edges(*(t.to(meta) for t in (edges.sender, edges.receiver, edges.row_start)))
    x, vectors = [block.to(meta) for block in x], vectors.to(meta)
    weights = PairWeights(weights.values.to(meta), weights.pair.to(meta))
    behind = LinearOut([m.to(meta) for m in random_linear_out(problem, torch.float32).matrices])
    for source in (table.to(torch.float32, meta), weights):
        rest = (x, vectors, edges, source, instructions, behind)
        out = backend.forward(*rest)
        assert [block.shape[2] for block in out] == [m.shape[1] for m in behind.matrices]
        dx = [torch.zeros_like(block) for block in x]
        assert backend.vjp(out, *rest, dx=dx).shape == vectors.shape
    rest = (x, vectors, vectors, edges, weights, instructions, False)
    d_values, dx = backend.jvp_vjp(backend.jvp(*rest), *rest)
    assert d_values.shape == weights.values.shape
    assert [block.shape for block in dx] == [block.shape for block in x]


def test_wrong_arguments_are_refused():
    problem = NAMED["natural"]
    x, vectors, edges, table, instructions = arguments(problem)
    with pytest.raises(ValueError, match=r"vectors: got shape \[5, 3\], expected \[6, 3\]"):
        backend.forward(x, vectors[:-1], edges, table, instructions)
    mixed = [x[0], x[1].double(), x[2]]
    with pytest.raises(ValueError, match=r"x\[1\]: got torch.float64"):
        backend.forward(mixed, vectors, edges, table, instructions)
    weights = pair_weights(problem)
    short = PairWeights(weights.values, weights.pair[:-1])
    with pytest.raises(ValueError, match=r"weights.pair: got shape \[5\], expected \[6\]"):
        backend.jvp(x, vectors, vectors, edges, short, instructions, has_tangents=False)
