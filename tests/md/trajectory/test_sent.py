"""Output without a stop: what a step writes is on its way before anybody waits for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk

from fastequi.md import host_copies
from fastequi.md.clock import Clock
from fastequi.md.integrators import Integrator, LangevinBAOAB, MartynaTobiasKlein, VelocityVerlet
from fastequi.md.simulation import Simulation
from fastequi.md.testing import LennardJones
from fastequi.md.trajectory.checkpoint import Progress
from fastequi.md.trajectory.frame import sent_frames
from fastequi.md.trajectory.outputs import Outputs
from tests.md.asking import HostAsked, nobody_asks, on_meta

ENSEMBLES: dict[str, Callable[[], Integrator]] = {
    "nve": lambda: VelocityVerlet(2.0),
    "nvt-langevin": lambda: LangevinBAOAB(2.0, 100.0, 5.0, seed=3),
    "npt-mtk": lambda: MartynaTobiasKlein(2.0, 100.0, 0.1),
}


def simulation_of(ensemble: str) -> Simulation:
    systems = [bulk("Ar", a=5.3, cubic=True).repeat(2), bulk("Ar").repeat(3)]
    simulation = Simulation(systems, LennardJones(), ENSEMBLES[ensemble]())
    simulation.run(1)
    return simulation


class Events:
    """In the place of torch.cuda: an event is passed once somebody has waited for it."""

    def __init__(self) -> None:
        self.now_ms, self.made, self.is_capturing = 0.0, [], False

    def Event(self, enable_timing: bool = False) -> "Event":
        self.made.append(Event(self))
        return self.made[-1]

    def is_current_stream_capturing(self) -> bool:
        return self.is_capturing


class Event:
    def __init__(self, gpu: Events) -> None:
        self.gpu, self.at_ms, self.is_passed, self.waited = gpu, -1.0, False, 0

    def record(self) -> None:
        self.at_ms = self.gpu.now_ms

    def query(self) -> bool:
        return self.is_passed

    def synchronize(self) -> None:
        self.waited += 1

    def elapsed_time(self, other: "Event") -> float:
        assert self.is_passed
        assert other.is_passed
        return other.at_ms - self.at_ms


@pytest.fixture
def outputs(tmp_path: Path) -> Any:
    made = Outputs(
        tmp_path, ["0000", "0001"], None, tmp_path, 1, 1, "extxyz", ("forces",), 1, 2, {}, Progress
    )
    yield made
    made.close()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Events:
    """Copies to pinned memory cannot be made of tensors without numbers: the same tensor."""
    events = Events()
    monkeypatch.setattr(host_copies, "_GPU", events)
    monkeypatch.setattr(host_copies, "_pinned", lambda tensor: tensor)
    return events


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_output_asks_the_host_nothing(
    ensemble: str, outputs: Outputs, gpu: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of the log, frames and checkpoints; the thread alone would wait for the events."""
    simulation, jobs = simulation_of(ensemble), []
    monkeypatch.setattr(outputs._writer, "submit", lambda path, job: jobs.append(job))
    moved = on_meta(simulation)
    with nobody_asks():
        for observer in outputs.observers:
            observer(moved)
    assert len(jobs) == len(gpu.made) == 3
    assert all(event.at_ms == 0.0 and not event.waited for event in gpu.made)
    with pytest.raises((RuntimeError, NotImplementedError)):
        jobs[0]()
    assert gpu.made[0].waited == 1


def test_a_look_at_a_frame_would_be_caught(gpu: Events) -> None:
    moved = on_meta(simulation_of("nve"))
    with pytest.raises((HostAsked, RuntimeError, NotImplementedError)), nobody_asks():
        sent_frames(moved)()


def test_what_was_sent_is_of_its_step(outputs: Outputs, tmp_path: Path) -> None:
    """Though it is written later."""
    simulation = simulation_of("nve")
    sent = sent_frames(simulation)
    then = simulation.state.positions.numpy().copy()
    simulation.run(3)
    assert not np.array_equal(simulation.state.positions.numpy(), then)
    np.testing.assert_array_equal(np.concatenate([f.positions for f in sent()]), then)
    assert sent()[1].info["step"] == 1


def test_a_gpu_is_timed_by_events_that_nobody_waits_for() -> None:
    gpu = Events()
    clock = Clock(gpu)
    with clock.timed("integrate"):
        gpu.now_ms = 1.0
        with clock.timed("model"):
            gpu.now_ms = 5.0
            gpu.is_capturing = True
            with clock.timed("neighbors"):
                gpu.now_ms = 6.0
            gpu.is_capturing = False
        gpu.now_ms = 6.5
    assert sum(clock.phases_s.values()) == 0.0
    for event in gpu.made[:3]:
        event.is_passed = True
    assert clock.phases_s["model"] == pytest.approx(5e-3)
    gpu.made[3].is_passed = True
    assert clock.phases_s["integrate"] == pytest.approx(1.5e-3)
    assert clock.phases_s["neighbors"] == 0.0
