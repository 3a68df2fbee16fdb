"""Chunks: no result depends on their length, whatever goes wrong inside them."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from chunked import CROWDED, ENSEMBLES, SHORT, STEPS, argon, assert_same_bits
from torch import Tensor

from fastequi.errors import PhysicsError
from fastequi.graph import Graph
from fastequi.kernels.triton.step.flags import OVERFLOW, SKIN_USED
from fastequi.md.chunk import Chunks
from fastequi.md.integrators import Integrator, MartynaTobiasKlein, VelocityVerlet
from fastequi.md.simulation import Simulation
from fastequi.md.state import State
from fastequi.md.testing import LennardJones, NoForces
from fastequi.md.testing_static import StaticCall
from fastequi.potential import Potential, Prediction


def after(
    potential: Potential, integrator: Integrator, length: int | None, steps: int = STEPS
) -> Simulation:
    simulation = Simulation(argon(), potential, integrator, skin_A=0.5, chunk_steps=length)
    simulation.run(steps)
    return simulation


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_the_length_of_a_chunk_does_not_show(ensemble: str) -> None:
    """To the last bit, with lists that are used up and rooms that are too small among the steps."""
    looking = after(CROWDED, ENSEMBLES[ensemble](), 1)
    assert (looking.chunks.n_chunks, looking.neighbors.rebuilds > 4) == (0, True)
    repeated = 0
    for length in (3, 7, 20):
        blind = after(CROWDED, ENSEMBLES[ensemble](), length)
        assert_same_bits(blind.state, looking.state)
        assert blind.chunks.n_chunks >= STEPS // length
        repeated += blind.chunks.n_repeated
        call = blind.chunks._forces.call
        assert isinstance(call, StaticCall)
        assert call.room > CROWDED.room
    assert repeated > 0


@pytest.mark.parametrize("ensemble", ["nve", "npt-mtk"])
def test_a_potential_that_asks_goes_the_same_road(ensemble: str) -> None:
    looking = after(SHORT, ENSEMBLES[ensemble](), None)
    for length in (3, 20):
        assert_same_bits(after(SHORT, ENSEMBLES[ensemble](), length).state, looking.state)


def test_skin_and_room_run_out_inside_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks, so that the flags are the only ones who know."""
    seen: list[int] = []
    tried = Chunks._try_

    def noted(self: Chunks, state: State, steps: int) -> int:
        seen.append(tried(self, state, steps))
        return seen[-1]

    monkeypatch.setattr(Chunks, "_try_", noted)
    for length in (7, 20):
        after(CROWDED, VelocityVerlet(4.0), length)
    assert any(flags & OVERFLOW for flags in seen)
    assert any(flags & SKIN_USED for flags in seen)
    assert seen.count(0) > len(seen) / 2


@dataclass
class Noted:
    """Remembers when it was called; asks for a stop."""

    every: int
    stop_at: int = -1
    steps: list[int] = field(default_factory=list)

    def __call__(self, simulation: Simulation) -> None:
        self.steps.append(simulation.state.step)
        if simulation.state.step == self.stop_at:
            simulation.request_stop()


def test_chunks_end_where_somebody_looks() -> None:
    often, seldom = Noted(6), Noted(10, stop_at=30)
    simulation = Simulation(
        argon(), SHORT, VelocityVerlet(4.0), observers=[often, seldom], chunk_steps=8
    )
    simulation.run(100)
    assert often.steps == [0, 6, 12, 18, 24, 30]
    assert seldom.steps == [0, 10, 20, 30]
    assert (simulation.stopped, simulation.state.step) == (True, 30)


@dataclass(frozen=True)
class Breaks(LennardJones):
    """Lennard-Jones with an infinite force on an atom that is beyond a plane."""

    beyond_A: float = 0.0

    def compute(self, graph: Graph) -> Prediction:
        found = super().compute(graph)
        found.forces[5] = torch.where(graph.positions[5, 0] > self.beyond_A, torch.inf, 0.0)
        return found


@pytest.mark.parametrize("length", [3, 20])
def test_a_failure_is_named_as_if_every_step_had_been_looked_at(length: int) -> None:
    start = float(argon().positions[5, 0])
    said, states = [], []
    for chunk in (1, length):
        state = argon()
        state.velocities[5] = torch.tensor([2e-3, 0.0, 0.0])
        potential = Breaks(beyond_A=start + 0.125, switch_A=5.0, cutoff=6.1)
        simulation = Simulation(state, potential, VelocityVerlet(4.0), chunk_steps=chunk)
        with pytest.raises(PhysicsError, match="failed at step 16:") as caught:
            simulation.run(40)
        said.append(str(caught.value))
        states.append(state)
    assert said[0] == said[1]
    assert_same_bits(*states)


def test_atoms_that_fly_away_and_cells_that_explode_are_named() -> None:
    state = argon()
    state.velocities.fill_(2.0)
    simulation = Simulation(state, NoForces(), VelocityVerlet(1.0), chunk_steps=5)
    simulation.observe_start = False  # or its first step would be refused
    with pytest.raises(PhysicsError, match=r"system 0: .* step 1:\n- atom 0 \(Ar\): moved 3.46 Å"):
        simulation.run(10)
    state = argon()
    simulation = Simulation(state, SHORT, MartynaTobiasKlein(4.0, 60.0), chunk_steps=5)
    simulation.run(5)
    state.extra["strain_rate"][1] = 0.05 * torch.eye(3)
    with pytest.raises(PhysicsError, match=r"system 1: .* at step 6 it strained the cell by 1\d %"):
        simulation.run(5)
    assert state.step == 5


@dataclass(frozen=True)
class Careless(VelocityVerlet):
    """Makes a tensor of its own at every step, which nobody sees."""

    def step_(self, state: State, forces_: Callable[[State], None]) -> None:
        super().step_(state, forces_)
        state.velocities = state.velocities * 0.99


def test_a_step_that_makes_tensors_of_its_own_is_refused() -> None:
    simulation = Simulation(argon(), SHORT, Careless(4.0), chunk_steps=5)
    with pytest.raises(TypeError, match="nve has made another tensor of 'velocities': a step writ"):
        simulation.run(5)


def test_what_observers_change_is_noticed() -> None:
    """Cell and positions that are not those of the last chunk: its list may not be good."""

    @dataclass
    class Squeeze:
        every: int = 10

        def __call__(self, simulation: Simulation) -> None:
            simulation.state.cell *= 0.99
            simulation.state.positions *= 0.99

    ends = []
    for length in (1, 10):
        simulation = Simulation(
            argon(), SHORT, VelocityVerlet(4.0), observers=[Squeeze()], chunk_steps=length
        )
        simulation.run(40)
        ends.append(simulation.state)
    assert_same_bits(*ends)


@dataclass(frozen=True)
class Ends(VelocityVerlet):
    """Is done with a system when its atom has moved so far."""

    def finished(self, state: State) -> Tensor:
        return torch.tensor([state.step >= 12, state.step >= 8])


def test_a_run_ends_where_its_integrator_does() -> None:
    for length, end in ((1, 12), (5, 15)):
        simulation = Simulation(argon(), SHORT, Ends(4.0), chunk_steps=length)
        simulation.run(40)
        assert (simulation.state.step, simulation.finished, simulation.stopped) == (
            end,
            True,
            False,
        )


def test_a_cell_that_an_observer_has_strained_counts_in_every_chunk() -> None:
    """The list is good still, with less of its skin left."""
    simulation = Simulation(argon(), SHORT, VelocityVerlet(4.0), skin_A=2.0, chunk_steps=4)
    simulation.run(4)
    state, gauge = simulation.state, simulation.neighbors.gauge
    before = gauge.used(state.positions, None, state.batch)
    state.cell *= 0.99
    state.positions *= 0.99
    simulation.forces_are_current = False
    simulation.run(4)
    assert simulation.neighbors.rebuilds == 1
    used = gauge.used(state.positions, None, state.batch)
    assert bool((used - before > 0.009 * 8.1).all())
