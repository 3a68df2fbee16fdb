"""Shared by the tests of a step's kernels: batches, and lists that the CPU has built."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from fastequi.kernels.triton.step.buffers import Batch, EdgeRows, SkinList, Workspace, new_list
from fastequi.kernels.triton.step.definitions import pack
from fastequi.md.neighbors.build import build_edges

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
#: Positions, lattice vectors, periodicity.
System = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(autouse=True)
def default_device() -> Iterator[None]:
    """Tensors are made where the kernels run."""
    with torch.device(DEVICE):
        yield


@dataclass
class Step:
    """A batch with the buffers of its list, and its edges as the CPU has them, [edges]."""

    batch: Batch
    positions: Tensor
    cell: Tensor
    pbc: Tensor
    edges: SkinList
    rows: EdgeRows
    work: Workspace
    flags: Tensor
    receiver: Tensor
    sender: Tensor
    shift: Tensor

    @property
    def n_edges(self) -> int:
        return len(self.receiver)

    def raised(self) -> int:
        """The flags, which are cleared."""
        found = int(self.flags[0])
        self.flags.zero_()
        return found


@pytest.fixture
def new_step() -> Callable[..., Step]:
    """A step of systems with the edges up to a radius, and some room behind them."""

    def make(
        systems: Sequence[System], radius: float, capacity: int | None = None,
        index_dtype: torch.dtype = torch.int64,
    ) -> Step:  # fmt: skip
        batch = Batch.of([len(positions) for positions, _, _ in systems], DEVICE)
        parts = []
        for first, (positions, cell, pbc) in zip(batch.first_atom.tolist(), systems, strict=False):
            found = build_edges(positions, cell, pbc, radius)
            parts.append(found + np.array([first, first, 0, 0, 0])[:, None])
        table = torch.from_numpy(np.concatenate(parts, axis=1)).to(DEVICE)
        capacity = table.shape[1] + 5 if capacity is None else capacity
        edges, work = new_list(batch, capacity, index_dtype)
        positions = torch.from_numpy(np.concatenate([s[0] for s in systems])).to(DEVICE)
        cell, pbc = (torch.from_numpy(np.stack([s[i] for s in systems])).to(DEVICE) for i in (1, 2))
        flags = torch.zeros(1, dtype=torch.int32, device=DEVICE)
        ends = table[0], table[1], table[2:].T
        rows = EdgeRows(
            torch.arange(batch.n_atoms), edges.sender, edges.row_start, edges.reverse, edges.shift
        )
        return Step(batch, positions, cell, pbc, edges, rows, work, flags, *ends)

    return make


def put_in_(step: Step) -> None:
    """Fill the list as a build on the device would, as far as steps read it."""
    n, edges = step.n_edges, step.edges
    counts = torch.bincount(step.receiver, minlength=step.batch.n_atoms)
    edges.row_start[1:] = counts.cumsum(0)
    edges.sender[:n] = step.sender.to(edges.sender.dtype)
    edges.shift[:n] = pack(step.shift)
    names = {
        (int(i), int(j), *map(int, s)): e
        for e, (i, j, s) in enumerate(zip(step.receiver, step.sender, step.shift, strict=True))
    }
    back = [
        names[int(j), int(i), *map(int, -s)]
        for i, j, s in zip(step.receiver, step.sender, step.shift, strict=True)
    ]
    edges.reverse[:n] = torch.tensor(back, dtype=edges.reverse.dtype)
    edges.positions.copy_(step.positions)
    edges.last_positions.copy_(step.positions)


@pytest.fixture
def crystals(new_step) -> Callable[..., Step]:
    """Two rattled systems, a sheared crystal and a chain, with the list of the CPU."""

    def make(radius: float = 2.9, index_dtype: torch.dtype = torch.int64) -> Step:
        random = np.random.default_rng(5)
        lattice = np.array([[3.6, 0.2, 0.0], [0.1, 3.4, 0.3], [0.0, -0.2, 3.8]])
        corners = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
        crystal = corners @ lattice + random.normal(0, 0.1, (4, 3))
        chain = np.outer(np.arange(3), [1.9, 0.0, 0.2]) + random.normal(0, 0.1, (3, 3))
        along_x = np.diag([5.7, 0.0, 0.0]), np.array([True, False, False])
        step = new_step(
            [(crystal, lattice, np.ones(3, bool)), (chain, *along_x)], radius,
            index_dtype=index_dtype,
        )  # fmt: skip
        put_in_(step)
        return step

    return make
