"""A force call as one program: the same numbers as the walk that it notes down, and no more."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from torch import Tensor

from fastequi.engine.force_program import ForceProgram, reverse_edges
from fastequi.engine.fused import FusedNequIP
from fastequi.graph import Graph
from fastequi.irreps import Parity
from fastequi.kernels.cpu import step as cpu_step
from fastequi.md.integrators import VelocityVerlet
from fastequi.md.neighbors import NeighborList
from fastequi.md.simulation import Simulation
from fastequi.md.state import State, state_from_atoms
from fastequi.model.file import set_precision
from fastequi.model.nequip import NequIP
from fastequi.potential import CutCall, Prediction, force_call
from tests.engine.test_fused import FAMILY, network_of, systems


class Moving:
    """Systems, their list with a skin, and a force call that is made anew as a run does it."""

    def __init__(
        self, network: NequIP, atoms: Sequence[Atoms], skin: float = 0.6, kernels: str = "cpu"
    ) -> None:
        self.engine = FusedNequIP(network, kernels)
        self.state: State = state_from_atoms(atoms)
        self.neighbors = NeighborList(network.cutoff, skin)
        self.calls: list[ForceProgram | CutCall] = []

    def graph(self) -> Graph:
        s = self.state
        return self.neighbors.graph_with_skin(
            s.positions, s.atomic_numbers, s.cell, s.pbc, s.system_idx
        )

    def planned(self) -> Prediction:
        s = self.state
        if self.neighbors.update(s.positions, s.cell, s.pbc, s.system_idx):
            last = self.calls[-1] if self.calls else None
            call = force_call(self.engine, self.graph(), last)
            assert isinstance(call, ForceProgram | CutCall)
            self.calls.append(call)
        return self.calls[-1](s.positions, s.cell)

    def walked(self) -> Prediction:
        """Without a skin and without a program."""
        s = self.state
        fresh = NeighborList(self.engine.cutoff, 0.0)
        return self.engine.compute(
            fresh.graph(s.positions, s.atomic_numbers, s.cell, s.pbc, s.system_idx)
        )

    def move(self, step: int, size_A: float = 0.02) -> None:
        random = torch.Generator().manual_seed(step)
        shift = torch.randn(self.state.positions.shape, generator=random, dtype=torch.float64)
        self.state.positions += size_A * shift


def assert_equal(a: Prediction, b: Prediction, tolerance: float) -> None:
    scale = float(b.forces.abs().max())
    for name in ("energy", "energies", "forces", "stress"):
        x, y = getattr(a, name), getattr(b, name)
        assert torch.equal(x.isnan(), y.isnan()), name
        assert float((x - y).nan_to_num().abs().max()) <= tolerance * max(scale, 1.0), name


@pytest.mark.parametrize(("l_max", "parity"), FAMILY)
def test_every_family_gives_what_the_walk_gives(l_max: int, parity: Parity):
    moving = Moving(network_of(l_max, parity), systems())
    for step in range(4):  # eager, noted down, run twice
        assert_equal(moving.planned(), moving.walked(), 1e-12)
        moving.move(step)
    (call,) = moving.calls
    assert isinstance(call, ForceProgram)
    assert call.program is not None


@pytest.mark.parametrize("kind", ["species", "scaled", "pair_cutoffs", "hidden"])
def test_kinds_of_models(kind: str):
    spec, changes = network_of(2, "full").spec, {}
    if kind == "species":
        changes["layers"] = tuple(replace(x, self_connection="species") for x in spec.layers)
    if kind == "pair_cutoffs":
        changes["pair_cutoffs"] = True
    if kind == "hidden":
        readout = replace(spec.readout, hidden=(7, 5), activation="silu")
        changes["readout"] = readout
    network = network_of(2, "full", **changes)
    if kind == "scaled":
        for layer in network.interactions():
            layer.message_scale.copy_(torch.tensor([0.2, 0.3, 0.5]))
    if kind == "pair_cutoffs":
        network.basis.pair_cutoff.copy_(torch.tensor([[2.0, 3, 4], [3, 3.5, 4], [3.0, 4, 3.8]]))
    moving = Moving(network, systems())
    for step in range(3):
        assert_equal(moving.planned(), moving.walked(), 1e-12)
        moving.move(step)
    assert isinstance(moving.calls[0], ForceProgram)


def test_float32():
    moving = Moving(set_precision(network_of(2, "full"), torch.float32), systems())
    for step in range(3):
        assert_equal(moving.planned(), moving.walked(), 1e-6)
        moving.move(step)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads(threads: int, on_threads: Callable[[int], None]):
    on_threads(threads)
    moving = Moving(network_of(2, "natural"), systems())
    for step in range(4):
        assert_equal(moving.planned(), moving.walked(), 1e-12)
        moving.move(step)


def test_threads_that_change_between_calls(on_threads: Callable[[int], None]):
    """Before it is noted down as well as later; what is asked for is what works."""
    moving = Moving(network_of(2, "natural"), systems())
    for step, threads in enumerate((1, 2, 2, 2, 1, 3, 3, 3)):
        on_threads(threads)
        assert_equal(moving.planned(), moving.walked(), 1e-12)
        moving.move(step)
    (call,) = moving.calls
    assert isinstance(call, ForceProgram)
    assert call.program is not None
    assert call.program.n_threads == 3


def test_two_simulations_with_one_model_do_not_share_a_list():
    """In turns, the same elements elsewhere: each has a list and memory of its own."""
    engine = FusedNequIP(network_of(1, "even"), "cpu")
    here = systems()[0]
    there = here.copy()
    there.rattle(0.4, seed=9)
    moved = []
    for other in (None, there):
        first = Simulation(here, engine, VelocityVerlet(0.5), skin_A=0.6)
        second = [] if other is None else [Simulation(other, engine, VelocityVerlet(0.5))]
        for _ in range(4):
            first.run(2)
            for simulation in second:
                simulation.run(2)
        assert first.neighbors.rebuilds == 1
        moved.append(first.state.positions)
    assert torch.equal(*moved)


def test_a_recording_that_was_interrupted_is_not_run(monkeypatch: pytest.MonkeyPatch):
    moving = Moving(network_of(1, "even"), systems())
    moving.planned()
    (call,) = moving.calls
    assert isinstance(call, ForceProgram)
    with monkeypatch.context() as patch:
        patch.setattr(call.edges, "collect", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            moving.planned()
    assert call.program is None
    for step in range(3):
        assert_equal(moving.planned(), moving.walked(), 1e-12)
        moving.move(step)


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("threads", [1, 2])
def test_neither_skin_nor_rebuilds_show_to_the_last_bit(
    dtype: torch.dtype, threads: int, on_threads: Callable[[int], None]
):
    """A run whose list is made seldom, one whose list is made again and again in the same memory,
    and one that begins in the middle, of a crystal and a molecule."""
    on_threads(threads)
    network = set_precision(network_of(2, "full"), dtype)

    def simulation(atoms: list[Atoms] | State, skin_A: float) -> Simulation:
        integrator = VelocityVerlet(0.3)
        return Simulation(atoms, FusedNequIP(network, "cpu"), integrator, skin_A=skin_A)

    hot = systems()
    for atoms in hot:
        atoms.set_momenta(np.random.default_rng(3).normal(scale=3.0, size=(len(atoms), 3)))
    once, often = simulation(hot, 4.0), simulation(hot, 0.1)
    once.run(20)
    often.run(20)
    later = simulation(often.state.snapshot(), 0.1)
    for run in (once, often, later):
        run.run(20)
    assert often.neighbors.rebuilds > 3 * once.neighbors.rebuilds
    for name in ("positions", "velocities", "forces", "energies"):
        expected = getattr(once.state, name)
        assert torch.equal(getattr(often.state, name), expected), name
        assert torch.equal(getattr(later.state, name), expected), name


def test_a_new_list_takes_the_place_of_the_old_one():
    """Rebuilds, with more and with fewer edges, go on in the same memory with the same program."""
    moving = Moving(network_of(2, "even"), systems(), skin=0.2)
    for step in range(25):
        assert_equal(moving.planned(), moving.walked(), 1e-12)
        moving.move(step, 0.03)
    assert moving.neighbors.rebuilds > 3
    assert len({id(call) for call in moving.calls}) == 1


def test_a_list_without_room_is_planned_anew():
    moving = Moving(network_of(1, "even"), [bulk("Si", "diamond", 5.4, cubic=True)], skin=0.2)
    moving.state.atomic_numbers[:4] = 8
    moving.planned()
    (call,) = moving.calls
    assert isinstance(call, ForceProgram)
    moving.state.cell *= 0.8
    moving.state.positions *= 0.8
    for step in range(3):
        assert_equal(moving.planned(), moving.walked(), 1e-12)
        moving.move(step, 0.01)
    _, larger = moving.calls
    assert isinstance(larger, ForceProgram)
    assert larger.edges.room > call.edges.room


def test_a_cell_that_changes():
    """Written in place, as a barostat does, and as another tensor, as a calculator does."""
    moving = Moving(network_of(2, "full"), systems()[:1], skin=0.8)
    for step in range(5):
        assert_equal(moving.planned(), moving.walked(), 1e-12)
        if step % 2:
            moving.state.cell *= 1.003
        else:
            moving.state.cell = moving.state.cell * torch.tensor([1.0, 0.998, 1.001])
        moving.move(step, 0.01)
    assert len(moving.calls) == 1


def test_what_was_returned_does_not_change():
    moving = Moving(network_of(1, "full"), systems())
    for step in range(3):
        first = moving.planned()
        kept = [tensor.clone() for tensor in (first.energy, first.energies, first.forces)]
        moving.move(step)
        moving.planned()
        for tensor, copy in zip((first.energy, first.energies, first.forces), kept, strict=True):
            assert torch.equal(tensor, copy)


@pytest.mark.parametrize("kind", ["norm", "repulsion", "repulsion by pairs"])
def test_norm_and_repulsion_are_planned(kind: str):
    spec = network_of(1, "full").spec
    changes = {"layers": tuple(replace(x, layer_norm=True) for x in spec.layers)}
    if kind != "norm":
        changes = {"zbl": True, "zbl_envelope_p": 5.0, "pair_cutoffs": kind.endswith("pairs")}
    network = network_of(1, "full", **changes)
    if kind.endswith("pairs"):
        network.basis.pair_cutoff.copy_(torch.tensor([[2.0, 3, 4], [3, 3.5, 4], [3.0, 4, 3.8]]))
    moving = Moving(network, systems())
    for step in range(3):
        assert_equal(moving.planned(), moving.walked(), 1e-12)
        moving.move(step)
    assert isinstance(moving.calls[-1], ForceProgram)
    assert moving.calls[-1].program is not None


def test_what_torch_computes_is_not_planned(monkeypatch: pytest.MonkeyPatch):
    """A repulsion that ends with a fraction of a power, or too many atoms: the list is cut, and
    the walk walked, at each call."""
    moving = Moving(network_of(1, "full", zbl=True, zbl_envelope_p=5.5), systems())
    assert_equal(moving.planned(), moving.walked(), 1e-12)
    assert isinstance(moving.calls[0], CutCall)
    monkeypatch.setattr(cpu_step, "MOST_ATOMS", 5)
    moving = Moving(network_of(1, "full"), systems())
    assert_equal(moving.planned(), moving.walked(), 1e-12)
    assert isinstance(moving.calls[0], CutCall)


def test_torch_computes_nothing_and_calls_are_counted():
    """Of a call that runs a program: 8 operations of torch around it, whatever the network; and of
    the program, per layer 9 or 10 plans (forward, linear_out's rest, gate, send; backward the
    same, and memory cleared)."""
    moving = Moving(network_of(2, "even"), systems())
    for _ in range(3):
        moving.planned()
    counted = _count(lambda: moving.calls[0](moving.state.positions, moving.state.cell))
    assert counted <= 8, counted
    (call,) = moving.calls
    assert isinstance(call, ForceProgram)
    program = call.program
    assert program is not None
    assert program.n_stages <= 8 + 10 * 3, program.n_stages


def _count(function) -> int:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counting(TorchDispatchMode):
        n = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.n += not func.is_view
            return func(*args, **(kwargs or {}))

    with Counting() as counting:
        function()
    return counting.n


def test_reverse_edges():
    state = state_from_atoms([bulk("Si", "diamond", 5.4), molecule("H2O")])
    neighbors = NeighborList(4.0, 0.0)
    graph = neighbors.graph(
        state.positions, state.atomic_numbers, state.cell, state.pbc, state.system_idx
    )
    back: Tensor = reverse_edges(graph)
    assert torch.equal(graph.edge_src[back], graph.edge_dst)
    assert torch.equal(graph.edge_dst[back], graph.edge_src)
    assert torch.equal(graph.edge_shift[back], -graph.edge_shift)
    one_way = replace(
        graph, edge_src=graph.edge_src[1:], edge_dst=graph.edge_dst[1:],
        edge_shift=graph.edge_shift[1:],
    )  # fmt: skip
    with pytest.raises(ValueError, match="no reverse"):
        reverse_edges(one_way)


def test_elements_that_change_in_a_run_are_seen():
    """In place, between two runs: as by a Monte Carlo move."""
    network = network_of(1, "even")
    swapped, fresh = (
        Simulation(systems()[0], FusedNequIP(network, "cpu"), VelocityVerlet(0.1)) for _ in range(2)
    )
    swapped.run(3)
    state = swapped.state
    state.atomic_numbers[[0, 1]] = state.atomic_numbers[[1, 0]]
    swapped.compute_forces_()
    fresh.state.positions.copy_(state.positions)
    fresh.state.atomic_numbers.copy_(state.atomic_numbers)
    fresh.compute_forces_()
    assert float((swapped.state.forces - fresh.state.forces).abs().max()) < 1e-12
