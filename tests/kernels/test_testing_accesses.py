"""The checker of accesses finds faults that parity passes, and names the line."""

from collections.abc import Callable, Iterator

import pytest
import torch

pytest.importorskip("triton")

import triton
import triton.language as tl

from fastequi.kernels.testing import Problem, poisoned_memory, problems
from fastequi.kernels.testing_accesses import checked_accesses
from fastequi.kernels.testing_operations import assert_forward_parity
from fastequi.kernels.triton import backend, launch

if torch.cuda.is_available():
    pytest.skip("accesses are checked in Triton's interpreter", allow_module_level=True)

NAMED = {problem.name: problem for problem in problems()}


@pytest.fixture(autouse=True)
def accesses() -> None:
    """Instead of the one that all tests have: here kernels are wrong on purpose."""


@pytest.fixture
def edit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Replaces text in the source of all printed kernels that have it."""
    printed, edits = launch.print_kernel, []

    def replace(old: str, new: str) -> None:
        def edited(*arguments) -> str:
            source = printed(*arguments)
            edits.append(old in source)
            return source.replace(old, new)

        monkeypatch.setattr(launch, "print_kernel", edited)
        monkeypatch.setattr(launch, "TOGETHER_UP_TO", 0)  # which are printed one by one
        launch.launches.cache_clear()

    yield replace
    assert any(edits)
    launch.launches.cache_clear()


def check(problem: Problem) -> str:
    """What is found besides wrong results; '' if nothing."""
    try:
        with checked_accesses() as found:
            try:
                assert_forward_parity(backend, problem, torch.float32)
            except AssertionError as error:
                assert str(error).startswith("problem ")  # noqa: PT017, results are not tested
    except AssertionError as error:
        return str(error)
    assert found.total > 0
    return ""


def test_right_kernels_pass_and_are_seen():
    with checked_accesses() as found:
        assert_forward_parity(backend, NAMED["natural"], torch.float32)
    assert min(found.counts) > 20


FAULTS = {
    "prefetch too wide": (
        ("mask=e + 1 < end", "mask=e + 1 <= end"), "natural",
        "load beyond the end [6 of 6]: next_row = tl.load(sender + (e + 1)",
    ),
    "store for an atomic": (
        ("dx0, mask, DETERMINISTIC", "dx0, mask, True"), "natural",
        "race: load and another program's store: tl.store(pointer, tl.load(pointer",
    ),
    "clamp removed": (
        ("tl.maximum(position.to(tl.int32), 0)", "position.to(tl.int32)"), "not a number",
        "load beyond the end [-",
    ),
    "row too late": (
        ("tl.load(row_start + receiver + 1)", "tl.load(row_start + receiver + 2)"), "natural",
        "load beyond the end [5 of 5]: start, end = tl.load(row_start + receiver)",
    ),
    "mask of channels lost": (
        ("mask = u < 5", "mask = u < 6"), "natural", "load beyond the end [20 of 20]: x0 = tl.load",
    ),
    "lanes in one place": (
        ("mask = u < 5", "mask = (u < 5) | (u == 5)\n    u = u % 5"), "natural",
        "lanes store to one address",
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:invalid value")  # NumPy's, in the interpreter
@pytest.mark.parametrize("name", FAULTS)
def test_planted_faults_are_named(name, edit):
    (old, new), problem, expected = FAULTS[name]
    assert check(NAMED[problem]) == ""
    edit(old, new)
    assert expected in check(NAMED[problem])


@triton.jit
def _copy(source, target, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(target + i, tl.load(source + i))


@triton.jit
def _twice(target, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(target + i, i.to(tl.float32))
    tl.store(target + i, tl.load(target + (i + 1) % BLOCK))


@triton.jit
def _count(counter, slots):
    me = tl.program_id(0)
    tl.store(slots + me, tl.atomic_add(counter, 1))
    tl.store(slots + me, tl.load(counter))


def run(kernel, grid, *arguments, **named) -> str:
    try:
        with checked_accesses():
            kernel[grid](*arguments, **named)
    except AssertionError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_memory_that_nobody_wrote_is_not_read(dtype):
    code = compile("import torch\ndef new(dtype): return torch.empty(4, dtype=dtype)", "x", "exec")
    module: dict = {"__name__": "fastequi.somewhere"}
    with poisoned_memory():
        exec(code, module)
        poison = module["new"](dtype)
    target = torch.zeros(4, dtype=dtype)
    assert "load of what nobody wrote: tl.store(target" in run(_copy, (1,), poison, target, BLOCK=4)
    other = torch.full((4,), torch.nan, dtype=dtype)
    assert run(_copy, (1,), other, target, BLOCK=4) == ""


def test_lanes_that_wait_for_each_other_are_named():
    assert "other lanes of the program" in run(_twice, (1,), torch.zeros(4), BLOCK=4)


def test_views_are_of_one_memory():
    """Two arguments that overlap, each within its bounds."""
    memory = torch.zeros(6)
    assert run(_copy, (1,), memory[:4], torch.zeros(4), BLOCK=4) == ""
    assert "race: load and another program's store" in run(
        _copy, (2,), memory[:4], memory[2:], BLOCK=4
    )


def test_a_counter_must_not_be_read_while_others_add():
    counter, slots = torch.zeros(1, dtype=torch.int32), torch.zeros(3, dtype=torch.int32)
    found = run(_count, (3,), counter, slots)
    assert "race: load and another program's atomic: tl.store(slots + me, tl.load" in found
