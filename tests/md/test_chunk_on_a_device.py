"""A step asks the host nothing: proved on torch's meta device, which has no numbers to answer with.

Where there is a GPU, chunks are captured and compared with steps that look.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from ase.build import bulk
from asking import HostAsked, nobody_asks, on_meta
from chunked import CROWDED, ENSEMBLES, argon
from torch import Tensor

from fastequi.md import noise, testing_static, watch
from fastequi.md.barostats.strain import deform_cell_
from fastequi.md.chunk import Chunks
from fastequi.md.integrators import mtk, nve
from fastequi.md.integrators.steps import kick_
from fastequi.md.neighbors.skin import SkinGauge
from fastequi.md.ramps import Schedule
from fastequi.md.simulation import Simulation
from fastequi.md.state import State, state_from_atoms
from fastequi.md.velocities import maxwell_boltzmann_


def crystal() -> State:
    """One system, which has sums of its own."""
    state = state_from_atoms(bulk("Ar", a=5.3, cubic=True).repeat(2))
    maxwell_boltzmann_(state, 150.0, seed=1)
    return state


def on_meta_after_a_chunk(ensemble: str, state: State) -> Chunks:
    """The loop of a simulation that has had a chunk with numbers, without them."""
    simulation = Simulation(state, CROWDED, ENSEMBLES[ensemble](), chunk_steps=2)
    simulation.run(2)
    return on_meta(simulation.chunks)


@pytest.mark.parametrize("systems", [argon, crystal], ids=["batch", "one"])
@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_a_step_asks_the_host_nothing(ensemble: str, systems: Callable[[], State]) -> None:
    """Noise, ramps, chains, cells that turn, the skin, forces, flags."""
    step_ = on_meta_after_a_chunk(ensemble, systems()).one_more_step()
    with nobody_asks() as mode:
        step_()
        step_()
    assert mode.operators > 100


# -- the proof finds what it is for ----------------------------------------------------------------


def kick_with_a_number(state: State, time_fs: float) -> None:
    kick_(state, time_fs * state.masses.mean().item())


def watch_on_the_host(self: watch.Watch, state: State, gauge: SkinGauge) -> None:
    if bool((state.forces.cpu().abs() > 1e3).any()):
        self.flags.fill_(1)


def gauge_with_a_mask(self: SkinGauge, positions: Tensor, cell: Tensor, batch: Any) -> Tensor:
    moved = (positions - self._positions).norm(dim=1)
    return moved[moved > 0.1].sum().view(1)


def draw_with_a_tensor_of_numbers(self: noise.AtomNoise, step: Any, stream: int) -> Tensor:
    return torch.tensor([[0.1, 0.2, 0.3]], dtype=torch.float64, device=self.atom.device) * step


def pack_with_nonzero(self: testing_static.StaticCall, positions: Tensor, cell: Tensor) -> Any:
    listed = replace(self._listed, positions=positions, cell=cell)
    near = torch.nonzero(testing_static.edge_vectors(listed).norm(dim=1) < 5.0)
    return listed, near


def deform_by_a_matrix_of_the_host(state: State, change: Tensor) -> None:
    deform_cell_(state, change * torch.eye(3, dtype=torch.float64))


def ramp_that_reads_its_step(self: Schedule, step: Any) -> Tensor:
    return self._start * min(1.0, int(step) / 10)


FAULTS: dict[str, tuple[Any, str, Any, str]] = {
    ".item()": (nve, "kick_", kick_with_a_number, "nve"),
    ".cpu()": (watch.Watch, "motion_", watch_on_the_host, "nve"),
    "a mask": (SkinGauge, "used", gauge_with_a_mask, "nve"),
    "torch.tensor(device=)": (
        noise.AtomNoise, "normal", draw_with_a_tensor_of_numbers, "nvt-langevin",
    ),
    "nonzero": (testing_static.StaticCall, "_packed", pack_with_nonzero, "nve"),
    "a tensor of the host": (mtk, "deform_cell_", deform_by_a_matrix_of_the_host, "npt-mtk"),
    "int()": (Schedule, "at", ramp_that_reads_its_step, "nvt-csvr"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_question_in_any_module_of_the_step_is_caught(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name, planted, ensemble = FAULTS[fault]
    step_ = on_meta_after_a_chunk(ensemble, argon()).one_more_step()
    monkeypatch.setattr(owner, name, planted)
    with pytest.raises((HostAsked, RuntimeError, NotImplementedError)) as caught, nobody_asks():
        step_()
    assert any(entry.name == planted.__name__ for entry in caught.traceback)


# -- where there is a GPU --------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_captured_chunks_are_the_steps_that_look(ensemble: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("NO GRAPH WAS CAPTURED: there is no GPU")
    device = torch.device("cuda")
    ends = []
    for length in (1, 3, 20):
        state = argon().to(device)
        potential = replace(CROWDED, device=device)
        simulation = Simulation(
            state, potential, ENSEMBLES[ensemble](), skin_A=0.5, chunk_steps=length
        )
        simulation.run(50)
        ends.append(simulation.state.positions)
    for blind in ends[1:]:
        torch.testing.assert_close(blind, ends[0], rtol=0.0, atol=1e-9)


@pytest.mark.gpu
def test_a_chunk_does_not_wait_for_the_device() -> None:
    if not torch.cuda.is_available():
        pytest.skip("NO QUESTION WAS ASKED: there is no GPU")
    device = torch.device("cuda")
    potential = replace(CROWDED, device=device)
    simulation = Simulation(
        argon().to(device), potential, ENSEMBLES["nvt-langevin"](), chunk_steps=4
    )
    simulation.run(4)
    step_ = simulation.chunks.one_more_step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step_()
    finally:
        torch.cuda.set_sync_debug_mode("default")
