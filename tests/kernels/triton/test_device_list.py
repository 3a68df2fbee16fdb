"""The list that dynamics on a GPU takes: that of the host, edge by edge, and its gauge."""

import numpy as np
import pytest
import torch
from ase import Atoms
from torch import Tensor

pytest.importorskip("triton")

from fastequi.errors import PhysicsError
from fastequi.graph import Graph
from fastequi.kernels.triton.step.flags import MOVED_TOO_FAR, SKIN_USED
from fastequi.md.neighbors import NeighborList
from fastequi.md.neighbors.device import DeviceBuilder, DeviceGauge
from fastequi.md.neighbors.skin import SkinGauge
from fastequi.md.state import State, state_from_atoms
from tests.kernels.triton.as_on_a_gpu import as_on_a_gpu
from tests.kernels.triton.step.test_step import Watch
from tests.md.asking import nobody_asks, on_meta

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CUTOFF_A, SKIN_A = 2.6, 0.4


def batch() -> tuple[State, State]:
    """A sheared cell smaller than the cutoff with a slab of other hand; the slab with an atom."""
    sheared = Atoms("Si2", [[0, 0, 0], [1.4, 1.2, 1.1]], pbc=True)
    sheared.set_cell([[2.5, 0.4, 0], [0.2, 2.4, 0.3], [0.0, -0.5, 2.7]])
    slab = Atoms("Al3", [[0.0, 0, 0], [2.1, 0.2, 1.5], [-4.0, 7.1, 0.4]], pbc=[True, False, True])
    slab.set_cell([[0, 0, 3.1], [0, 0, 0], [3.3, 0.4, 0]])
    first, second = state_from_atoms([sheared, slab]), state_from_atoms([slab, Atoms("H")])
    return first.to(DEVICE), second.to(DEVICE)


def topology(s: State) -> tuple[Tensor, Tensor, Tensor]:
    return s.cell, s.pbc, s.system_idx


def listed(neighbors: NeighborList, s: State) -> Graph:
    neighbors.update(s.positions, *topology(s))
    return neighbors.graph_with_skin(s.positions, s.atomic_numbers, *topology(s))


def assert_list_of_the_host(neighbors: NeighborList, state: State) -> Graph:
    """What such a list is now, beside a new one of the host."""
    with as_on_a_gpu(True):
        got = listed(neighbors, state)
    with as_on_a_gpu(False):
        expected = listed(NeighborList(neighbors.cutoff, neighbors.skin), state)
    for name in Graph.__slots__:
        one, other = getattr(got, name), getattr(expected, name)
        assert one.dtype == other.dtype, name
        assert torch.equal(one, other), name
    return got


def test_the_list_is_that_of_the_host_and_grows_by_a_quarter(accesses):
    """Triclinic cells of either hand, smaller than the cutoff or not; some or no periodicity."""
    state, neighbors = batch()[0], NeighborList(CUTOFF_A, SKIN_A)
    first = assert_list_of_the_host(neighbors, state)
    assert first.n_edges > 30
    gauge = neighbors.gauge
    assert isinstance(gauge, DeviceGauge)
    room = gauge.edges.capacity
    assert first.n_edges < room == int(1.25 * first.n_edges) + 1

    state.positions[:2] += torch.tensor([[0.5, 0, 0], [0, -7.5, 0.1]]).to(state.positions)
    assert_list_of_the_host(neighbors, state)
    assert (neighbors.rebuilds, neighbors.gauge) == (2, gauge)  # in the same memory

    state.cell[0] *= 0.7
    state.positions[:2] *= 0.7
    dense = assert_list_of_the_host(neighbors, state)
    assert dense.n_edges > room
    assert isinstance(neighbors.gauge, DeviceGauge)
    assert neighbors.gauge is not gauge
    assert neighbors.gauge.edges.capacity == int(1.25 * dense.n_edges) + 1
    assert accesses is None or min(accesses.counts) > 0


def test_a_list_is_left_alone_while_its_skin_lasts():
    state, neighbors = batch()[1], NeighborList(CUTOFF_A, SKIN_A)
    with as_on_a_gpu(True):
        before = listed(neighbors, state)
        state.positions += 0.3  # of all alike
        after = listed(neighbors, state)
        assert neighbors.rebuilds == 1
        assert after.edge_src is before.edge_src


@pytest.mark.filterwarnings("ignore:invalid value")  # NumPy's, in the interpreter
@pytest.mark.parametrize(
    ("value", "message"),
    [(np.nan, r"not finite \(atoms \[3\]\)"), (1e9, r"atom 3 is at .* from the origin")],
)
def test_positions_that_have_no_list_are_named(value: float, message: str):
    state = batch()[1]
    state.positions[3, 0] = value
    with as_on_a_gpu(True), pytest.raises(PhysicsError, match=message):
        listed(NeighborList(CUTOFF_A, SKIN_A), state)


# -- the gauge -------------------------------------------------------------------------------------


def gauged(device: bool) -> tuple[State, SkinGauge]:
    """A list that was built, and its gauge."""
    state, neighbors = batch()[1], NeighborList(CUTOFF_A, SKIN_A)
    with as_on_a_gpu(device):
        listed(neighbors, state)
        gauge = neighbors.gauge
    assert type(gauge) is (DeviceGauge if device else SkinGauge)
    return state, gauge


def raised(given: tuple[State, SkinGauge], moves_A: float, strain: float) -> tuple[int, Tensor]:
    """Flags, and what of the skin is used, of one atom that moves in a cell that is strained."""
    (built, gauge), flags = given, torch.zeros(1, dtype=torch.int32, device=DEVICE)
    now = built.snapshot()
    gauge.start_(now.positions, now.cell, now.batch)
    now.cell[0] *= 1 + strain
    now.positions[:3] *= 1 + strain
    now.positions[0, 1] += moves_A
    cell = now.cell if strain else None
    gauge.watch_(now.positions, cell, now.batch, 1.0, flags)
    return int(flags), gauge.used(now.positions, cell, now.batch)


def test_the_gauge_raises_what_that_of_the_host_does():
    """Skin that motion and strain have used, atoms that fly."""
    of_device, of_host = gauged(True), gauged(False)
    seen = set()
    for moves_A in (0.0, 0.15, 0.25, 1.5):
        for strain in (0.0, -0.03, -0.2):
            (flags, used), (expected, used_there) = (
                raised(of_device, moves_A, strain), raised(of_host, moves_A, strain)
            )  # fmt: skip
            assert flags == expected
            torch.testing.assert_close(used, used_there, rtol=0, atol=2e-6)
            seen.add(flags)
    assert seen == {0, SKIN_USED, MOVED_TOO_FAR | SKIN_USED}


# -- no question -----------------------------------------------------------------------------------


def test_a_build_and_a_watch_ask_nothing():
    """On the meta device; what the host has to know of a build is one number, read behind it."""
    state = batch()[1]
    builder = DeviceBuilder(CUTOFF_A + SKIN_A, SKIN_A, state.system_idx, state.n_systems)
    builder.build_([], state.positions, *topology(state)[:2])
    gauge = DeviceGauge(builder, state.pbc)
    builder, gauge, x, cell, pbc, parts = on_meta(
        (builder, gauge, state.positions, *topology(state)[:2], state.batch)
    )
    with nobody_asks() as mode:
        builder.try_(x, cell, pbc)
        gauge.start_(x, cell, parts)
        gauge.watch_(x, cell, parts, 1.0, builder.flags)
    assert mode.operators > 15


def test_a_rebuild_asks_twice():
    """Whether the batch is the same, and how many edges there are: one copy to the host."""
    state, neighbors = batch()[1], NeighborList(CUTOFF_A, SKIN_A)
    with as_on_a_gpu():
        listed(neighbors, state)
    with Watch() as watch:
        neighbors.update(state.positions, *topology(state), anew=True)
    asking = {"_local_scalar_dense", "nonzero", "equal", "bincount", "masked_select"}
    asked = {k: n for k, n in watch.operators.items() if k.removeprefix("aten::") in asking}
    assert neighbors.rebuilds == 2
    assert asked == {"aten::equal": 1}
