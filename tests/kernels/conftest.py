"""Shared by the kernel tests. Without a GPU, Triton's kernels run in its interpreter."""

import os
import sys
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from fastequi.graph import Graph
from fastequi.kernels.llvm.target import VARIABLE
from fastequi.kernels.testing_accesses import Accesses, checked_accesses

if not torch.cuda.is_available():
    assert "triton" not in sys.modules, "Triton was imported before its interpreter was chosen"
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    _skip_what_cannot_be_interpreted(items)
    _leave_out_what_a_width_does_not_change(config, items)


def _skip_what_cannot_be_interpreted(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available() or find_spec("triton") is None:
        return
    if _release("triton") >= (3, 7) or _release("numpy") < (2, 4):
        return
    skip = pytest.mark.skip(
        reason="TRITON KERNELS ARE NOT CHECKED: Triton's interpreter before 3.7 fails with NumPy "
        "from 2.4 on; pip install 'numpy<2.4', or a newer Triton where torch allows it"
    )
    here = Path(__file__).parent
    for item in items:
        inside = item.path.relative_to(here) if item.path.is_relative_to(here) else Path()
        if "triton" in str(inside) or inside.name == "test_testing_accesses.py":
            item.add_marker(skip)


def _release(package: str) -> tuple[int, ...]:
    """Major and minor number of what is installed."""
    return tuple(int(part) for part in version(package).split(".")[:2])


def _leave_out_what_a_width_does_not_change(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """At the width of another processor (`make test-widths`) three threads prove what one would:
    who does what is decided in the same way, and both run where the width is the machine's own.
    """
    if VARIABLE not in os.environ:
        return
    fewer = [item for item in items if _n_threads(item) < 3 and item.get_closest_marker("widths")]
    config.hook.pytest_deselected(items=fewer)
    items[:] = [item for item in items if item not in fewer]


def _n_threads(item: pytest.Item) -> int:
    """What a test is given under this name; three where it is not asked."""
    given = getattr(item, "callspec", None)
    return given.params.get("n_threads", 3) if given else 3


@pytest.fixture(autouse=True)
def accesses() -> Iterator[Accesses | None]:
    """Interpreted kernels are held to a GPU's rules of memory; None where none is interpreted."""
    if torch.cuda.is_available() or find_spec("triton") is None:
        yield None
        return
    with checked_accesses() as found:
        yield found


@pytest.fixture
def triangle() -> Graph:
    """Three atoms without edges."""
    none = torch.zeros(0, dtype=torch.int64)
    return Graph(
        positions=torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 2, 1]], dtype=torch.float64),
        atomic_numbers=torch.full((3,), 14),
        cell=torch.zeros(1, 3, 3, dtype=torch.float64),
        pbc=torch.zeros(1, 3, dtype=torch.bool),
        system_idx=torch.zeros(3, dtype=torch.int64),
        edge_src=none,
        edge_dst=none,
        edge_shift=torch.zeros(0, 3, dtype=torch.float64),
    )
