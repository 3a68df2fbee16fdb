"""Programs: plans that are noted down and run again."""

import threading
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch

from fastequi.kernels.cpu import linear
from fastequi.kernels.cpu.rows import Rows, cleared
from fastequi.kernels.llvm.program import recorded, recording


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_runs_again_on_the_same_memory(threads: int, on_threads: Callable[[int], None]):
    """More threads than cores as well; each stage waits for the one before."""
    on_threads(threads)
    x = torch.rand(40, 30, dtype=torch.float64)
    two = torch.full((40,), 2.0, dtype=torch.float64)
    memory = [x, *(torch.empty_like(x) for _ in range(30))]
    with recording() as program:
        for a, y in pairwise(memory):
            linear.run([Rows("scale", {"y": y, "a": a, "factor": two})])
    assert program.n_stages == 30
    assert torch.equal(memory[-1], x * 2.0**30)
    for k in range(50):
        x.fill_(k + 1.0)
        program.run()
        assert torch.equal(memory[-1], torch.full_like(x, (k + 1) * 2.0**30))


def test_memory_lives_as_long_as_the_program():
    x = torch.ones(4, 8)
    with recording() as program:
        (y,) = [torch.empty_like(x)]
        linear.run([Rows("times", {"y": y, "a": x, "b": x})])
        linear.run(cleared([torch.empty(1000, 8)]))
    program.run()
    assert torch.equal(y, torch.ones(4, 8))


@pytest.mark.parametrize(
    "compute",
    [
        lambda x: x + 1,
        lambda x: x.clone(),
        lambda x: x.T.contiguous(),
        lambda x: x.zero_(),
        lambda x: torch.zeros_like(x),
        lambda x: x.double(),
        lambda x: x.sum().item(),
    ],
)
def test_what_torch_computes_is_refused(compute):
    """It would be missing when the program runs."""
    x = torch.rand(3, 4)
    with pytest.raises(RuntimeError, match="while a program is recorded"), recording():
        compute(x)
    assert recorded() is None
    assert float((x + 1).min()) >= 1  # and nothing is refused behind


def test_views_and_new_memory_are_no_arithmetic():
    x = torch.rand(3, 4)
    with recording() as program:
        x.view(4, 3), x[1:], x.T, x.unsqueeze(0), torch.empty_like(x), x.new_empty(3), x.detach()
    assert program.n_stages == 0
    program.run()


def test_another_thread_is_not_recorded():
    x = torch.ones(3, 4)
    with recording() as program:
        other = threading.Thread(target=lambda: linear.run(cleared([x])))
        other.start()
        other.join()
    assert program.n_stages == 0
    assert not x.any()
