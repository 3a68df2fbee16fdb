"""The Triton kernels compute what the reference computes: on a GPU, else in the interpreter."""

from dataclasses import replace
from importlib.metadata import version

import pytest
import torch

pytest.importorskip("triton")

from torch import Tensor

from fastequi.kernels.convolution import triton_launch, triton_op
from fastequi.kernels.convolution.definitions import forward as fused_convolution
from fastequi.kernels.convolution.edges import Edges
from fastequi.kernels.convolution.reference import convolution
from fastequi.kernels.instructions import Instructions
from fastequi.kernels.radial_table import RadialTable
from fastequi.kernels.testing import (
    Problem,
    assert_training_parity,
    poisoned_memory,
    problems,
    relative_rms,
)
from fastequi.kernels.testing_operations import assert_forward_parity
from fastequi.kernels.triton import backend

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def release(package: str) -> tuple[int, ...]:
    """Major and minor number of what is installed."""
    return tuple(int(part) for part in version(package).split(".")[:2])


if DEVICE == "cpu" and release("triton") < (3, 7) and release("numpy") >= (2, 4):
    pytest.skip(
        "TRITON KERNELS ARE NOT CHECKED: Triton's interpreter before 3.7 fails with NumPy from 2.4 "
        "on; pip install 'numpy<2.4', or a newer Triton where torch allows it",
        allow_module_level=True,
    )
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


@pytest.mark.parametrize(("problem", "dtype"), cases())
def test_training_form(problem: Problem, dtype):
    order = 1 if problem.name == "many neighbors" and DEVICE == "cpu" else 2
    assert_training_parity(triton_op.convolution, problem, dtype, DEVICE, order)


@pytest.mark.parametrize(("problem", "dtype"), cases())
def test_fused_form(problem: Problem, dtype):
    assert_forward_parity(backend, problem, dtype, DEVICE)


@pytest.fixture
def many_groups(monkeypatch):
    """Paths split into groups as where registers run out."""
    monkeypatch.setattr(triton_launch, "MOST", 40)
    caches = (triton_launch.plan, triton_launch.launches)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


@pytest.mark.parametrize("deterministic", [False, True])
def test_split_paths(many_groups, deterministic):
    problem = NAMED["natural"]
    steps = triton_launch.plan(problem.instructions, True, True, torch.float64)
    assert len(steps) > len(problem.instructions.irreps_in)

    def training(*arguments):
        return triton_op.convolution(*arguments, deterministic=deterministic)

    assert_training_parity(training, problem, torch.float64, DEVICE, order=1)
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode(int(deterministic))
    try:
        assert_forward_parity(backend, problem, torch.float64, DEVICE)
    finally:
        torch.set_deterministic_debug_mode(before)


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


@pytest.mark.parametrize("deterministic", [False, True])
def test_adjoint_without_autograd(deterministic):
    x, vectors, edges, table, instructions = arguments(NAMED["natural"], torch.float64)
    for leaf in (*x, vectors):
        leaf.requires_grad_(True)
    out = fused_convolution(x, vectors, edges, table, instructions)
    g = [torch.randn_like(block) for block in out]
    *dx, dvectors = torch.autograd.grad(out, [*x, vectors], g)

    inputs = (g, x, vectors, edges, table, instructions)
    with torch.no_grad(), poisoned_memory():
        got = triton_op.fused_adjoint(*inputs, deterministic=deterministic)
        none, alone = triton_op.fused_adjoint(*inputs, needs_dx=False)
    assert none == []
    for a, b in zip([*got[0], got[1], alone], [*dx, dvectors, dvectors], strict=True):
        assert relative_rms(a, b) < 1e-12


def test_loss_of_forces_and_third_derivatives():
    """Terms whose gradient is absent are skipped; orders beyond the second exist."""
    problem = NAMED["last layer"]
    x, _, edges, _, instructions = arguments(problem, torch.float64)
    shape = (edges.n_edges, (instructions.l_max + 1) ** 2)
    y = torch.linspace(-1, 1, shape[0] * shape[1], dtype=torch.float64).view(shape).to(DEVICE)
    w = problem.weights().to(DEVICE)
    leaves = [leaf.requires_grad_(True) for leaf in (*x, y, w)]

    def derivatives(form) -> list[Tensor]:
        out = form(x, y, w, edges.sender, edges.receiver, instructions, edges.n_receivers)
        energy = torch.stack([block.square().sum() for block in out]).sum()
        (forces,) = torch.autograd.grad(energy, y, create_graph=True)
        second = torch.autograd.grad(forces.square().sum(), leaves, create_graph=True)
        size = torch.stack([value.square().sum() for value in second]).sum()
        third = torch.autograd.grad(size, leaves)
        return [*second, *third]

    expected = derivatives(convolution)
    for a, b in zip(derivatives(triton_op.convolution), expected, strict=True):
        assert relative_rms(a.detach(), b.detach()) < 1e-12


def test_deterministic_results_are_equal_bit_for_bit():
    """The interpreter runs programs in order, so only a GPU can fail this."""
    inputs = arguments(NAMED["many neighbors" if DEVICE == "cuda" else "natural"])
    g = [torch.randn_like(block) for block in triton_op.fused_convolution(*inputs)]
    runs = [triton_op.fused_adjoint(g, *inputs, deterministic=True) for _ in range(3)]
    for dx, dvectors in runs[1:]:
        assert torch.equal(dvectors, runs[0][1])
        assert all(torch.equal(a, b) for a, b in zip(dx, runs[0][0], strict=True))


def test_skin_edges_change_no_bit():
    """A list with a skin may be passed: edges beyond the cutoff are as if they were not there."""
    x, vectors, edges, table, instructions = arguments(NAMED["natural"])
    far = vectors.norm(dim=1) >= table.cutoff
    assert far.any()
    moved = torch.where(far.unsqueeze(1), 7 * vectors, vectors)
    a = triton_op.fused_convolution(x, vectors, edges, table, instructions)
    b = triton_op.fused_convolution(x, moved, edges, table, instructions)
    assert all(torch.equal(p, q) for p, q in zip(a, b, strict=True))
    g = [torch.ones_like(block) for block in a]
    _, dvectors = triton_op.fused_adjoint(g, x, vectors, edges, table, instructions)
    assert torch.equal(dvectors[far], torch.zeros_like(dvectors[far]))


@pytest.mark.filterwarnings("ignore:invalid value")  # NumPy's, in the interpreter
def test_broken_positions_are_not_hidden():
    """As in the reference: what is not a number, or two atoms in one place, gives NaN."""
    x, vectors, edges, table, instructions = arguments(NAMED["natural"])
    for broken in (torch.nan, 0.0):
        vectors[0] = broken
        out = triton_op.fused_convolution(x, vectors, edges, table, instructions)
        expected = fused_convolution(x, vectors, edges, table, instructions)
        assert out[0][0].isnan().any()
        assert torch.equal(out[0].isnan().any(2).any(1), expected[0].isnan().any(2).any(1))


def test_operators_are_well_formed():
    """Schemas, shapes without data and autograd registration, as torch.compile needs them."""
    x, vectors, edges, table, instructions = arguments(NAMED["last layer"], torch.float64)
    tests = ("test_schema", "test_faketensor", "test_autograd_registration")
    x = [block.requires_grad_(True) for block in x]
    key = triton_op._key(instructions)
    fused = (x, vectors.requires_grad_(True), edges.sender, edges.row_start, None, table.knots)
    grid = table.grid.constants
    torch.library.opcheck(triton_op._fused, (*fused, grid, key, False), test_utils=tests)
    y = torch.randn(edges.n_edges, 9, dtype=torch.float64, device=DEVICE, requires_grad=True)
    w = torch.randn(edges.n_edges, instructions.n_weights, dtype=torch.float64, device=DEVICE)
    stored = (x, y, w.requires_grad_(True), edges.sender, edges.row_start, key, False)
    torch.library.opcheck(triton_op._stored, stored, test_utils=tests)


def test_compiles_without_breaking_the_graph():
    x, vectors, edges, table, instructions = arguments(NAMED["last layer"])

    @torch.compile(backend="aot_eager", fullgraph=True)
    def energy(vectors):
        return triton_op.fused_convolution(x, vectors, edges, table, instructions)[0].square().sum()

    leaf = vectors.clone().requires_grad_(True)
    try:
        (compiled,) = torch.autograd.grad(energy(leaf), leaf)
    except Exception as error:
        if "frozen dataclass" not in str(error):
            raise
        pytest.skip(f"NOT CHECKED: torch.compile of {torch.__version__} cannot hold instructions")
    out = fused_convolution(x, leaf, edges, table, instructions)[0]
    (expected,) = torch.autograd.grad(out.square().sum(), leaf)
    assert relative_rms(compiled, expected) < 3e-6


def test_wrong_arguments_are_refused():
    x, vectors, edges, table, instructions = arguments(NAMED["natural"])
    with pytest.raises(ValueError, match=r"vectors: got shape \[5, 3\], expected \[6, 3\]"):
        triton_op.fused_convolution(x, vectors[:-1], edges, table, instructions)
    mixed = [x[0], x[1].double(), x[2]]
    with pytest.raises(ValueError, match=r"x\[1\]: got torch.float64"):
        triton_op.fused_convolution(mixed, vectors, edges, table, instructions)
