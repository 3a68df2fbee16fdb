"""Nothing in a step asks the device or allocates: on the meta device, and operator by operator."""

from collections import Counter
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

pytest.importorskip("triton")

from fastequi.kernels.triton.step.buffers import EdgeRows
from fastequi.kernels.triton.step.kernels import KERNELS
from fastequi.kernels.triton.step.operators import launch_
from fastequi.kernels.triton.step.step import (
    build_list_,
    change_cell_,
    check_moves_,
    draw_noise_,
    edge_vectors_,
    sum_forces_,
    sum_systems_,
)
from fastequi.md.noise import AtomNoise


class Watch(TorchDispatchMode):
    """Counts operators and launched kernels, and holds every operator to one device."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: Counter[str] = Counter()
        self.kernels: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().split(".")[0]
        self.operators[name] += 1
        if name == "fastequi::step_kernel_":
            self.kernels[args[0]] += 1
        out = func(*args, **(kwargs or {}))
        leaves = tree_leaves((args, kwargs, out))
        devices = {leaf.device for leaf in leaves if isinstance(leaf, Tensor)}
        assert len(devices) <= 1, f"{name} on {devices}"
        return out


def moved(thing: Any, device: str) -> Any:
    """The same with all tensors on another device."""
    found = {f.name: getattr(thing, f.name) for f in fields(thing)}
    return replace(
        thing, **{name: v.to(device) for name, v in found.items() if isinstance(v, Tensor)}
    )


def all_of_it(step, noise: AtomNoise, device: str) -> Callable[[], list[Tensor]]:
    """A rebuild and a step with buffers of their own; returns what it writes."""
    n_atoms, n_systems, capacity = step.batch.n_atoms, step.batch.n_systems, step.edges.capacity

    def real(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device=device)

    vectors, gradients = (real(capacity, 3, dtype=torch.float32) for _ in range(2))
    forces, virials, energies = real(n_atoms, 3), real(n_atoms, 6), real(n_atoms)
    totals, energy = real(n_systems, step.batch.n_parts, 7), real(n_systems)
    stress, drawn = real(n_systems, 3, 3), real(n_atoms, 3)
    counter = torch.zeros(1, dtype=torch.int64, device=device)
    key, atom, replica = (t.to(device) for t in (noise.key, noise.atom, noise.replica))
    edges, work, batch, flags = (
        moved(step.edges, device), moved(step.work, device), moved(step.batch, device),
        step.flags.to(device),
    )  # fmt: skip
    rows = EdgeRows(
        torch.arange(n_atoms).to(device), edges.sender, edges.row_start, edges.reverse, edges.shift
    )
    x, cell, pbc = step.positions.to(device), step.cell.to(device), step.pbc.to(device)

    def run() -> list[Tensor]:
        build_list_(edges, work, x, cell, pbc, batch, 2.9, 0.4, flags)
        change_cell_(edges, cell, pbc, 2.9, 0.4)
        draw_noise_(counter, key, atom, replica, 0, drawn)
        check_moves_(edges, x, batch, 1.0, flags)
        edge_vectors_(rows, x, cell, batch, vectors)
        sum_forces_(rows, gradients, vectors, forces, virials, flags)
        sum_systems_(batch, energies, virials, cell, totals, energy, stress, flags)
        of_list = [edges.row_start, edges.sender, edges.shift, edges.reverse]
        return [*of_list, drawn, vectors, forces, virials, energy, flags]

    return run


DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize("device", ["meta", DEVICE])
def test_only_kernels_run(crystals, device):
    """All but those of networks and integrators; what fills and copies needs no kernel of ours."""
    step = crystals()
    run = all_of_it(step, AtomNoise(3, step.batch.system_idx), device)
    with Watch() as watch:
        run()
    others = {"aten::zero_", "aten::copy_", "fastequi::step_kernel_"}
    assert set(watch.operators) == others
    assert watch.operators["aten::zero_"] == 1
    assert watch.operators["aten::copy_"] == 2
    others = ("products", "gates", "chains", "repulsion")
    assert set(watch.kernels) == {k for k in KERNELS if KERNELS[k].module not in others}
    assert {k: n for k, n in watch.kernels.items() if n > 1} == {
        "sum_blocks": 2, "running_sum": 2, "deform": 2,
    }  # fmt: skip


def test_a_question_would_be_caught(crystals):
    """The meta device raises where a step wants to know something; the watch, where devices mix."""
    x, here = crystals().positions.to("meta"), torch.ones((), device="cpu")
    questions: list[Callable[[], Any]] = [
        lambda: bool((x > 0).any()), lambda: x[0, 0].item(), lambda: x[x > 0], lambda: x.cpu(),
        lambda: torch.bincount(x[:, 0].long()), lambda: torch.equal(x, x),
    ]  # fmt: skip
    for question in questions:
        with pytest.raises((RuntimeError, NotImplementedError)), Watch():
            question()
    with pytest.raises(AssertionError, match="aten::add on"), Watch():
        torch.add(x, here)


@pytest.mark.gpu
def test_a_replayed_graph_does_the_same(crystals):
    """Captured after one run that compiles, and replayed, without a question."""
    if not torch.cuda.is_available():
        pytest.skip("NO GRAPH WAS CAPTURED: there is no GPU")
    step = crystals()
    run = all_of_it(step, AtomNoise(3, step.batch.system_idx), DEVICE)
    found = run()
    expected = [tensor.clone() for tensor in found]
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.cuda.graph(graph):
            run()
        for tensor in found:
            tensor.zero_()
        graph.replay()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_strided_buffers_are_refused():
    with pytest.raises(ValueError, match="edge_vectors: positions has strides"):
        launch_(
            "edge_vectors", (3,), positions=torch.zeros(3, 6)[:, ::2], vectors=torch.zeros(3, 3)
        )  # fmt: skip


def test_no_atoms_launch_nothing():
    with Watch() as watch:
        launch_(
            "edge_vectors", (0,), positions=torch.zeros(0, 3), vectors=torch.zeros(0, 3)
        )  # fmt: skip
    assert not watch.kernels
