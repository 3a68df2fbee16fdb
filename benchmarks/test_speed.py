"""Regressions of speed, a few seconds each: `pytest benchmarks` (needs pytest-benchmark).

`--benchmark-autosave` keeps a run, `--benchmark-compare --benchmark-compare-fail=median:20%` holds
the next one on the same machine to it.
"""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.common import silicon
from benchmarks.layers import LayerProblem, layer_problem
from benchmarks.ops import call_of
from benchmarks.providers import PROVIDERS
from benchmarks.work import FORCES, FORWARD
from fastequi.data import Dataset, Frame, frame_from_atoms
from fastequi.errors import InputError
from fastequi.importers import load_model
from fastequi.kernels.backend import choose_kernels
from fastequi.md.integrators import VelocityVerlet
from fastequi.md.simulation import Simulation
from fastequi.md.state import state_from_atoms
from fastequi.md.testing import NoForces
from fastequi.md.velocities import maxwell_boltzmann_
from fastequi.model.file import set_precision
from fastequi.model.nequip import NequIP
from fastequi.model.spec import new_spec
from fastequi.potential import Potential
from fastequi.training.config import TrainingConfig
from fastequi.training.trainer import Trainer

pytest.importorskip("pytest_benchmark", reason="pip install pytest-benchmark")

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@functools.cache
def layer() -> LayerProblem:
    return layer_problem("sevennet-0", 20_000, torch.float32, DEVICE)


@pytest.mark.parametrize("mode", [FORWARD, FORCES])
def test_middle_layer(benchmark, mode):
    """SevenNet-0's middle layer on 20,000 edges, by the implementation that 'auto' takes."""
    name = choose_kernels("auto", DEVICE)[0]
    call = call_of(PROVIDERS[name].bind(layer()), layer(), mode)
    benchmark.extra_info["kernels"] = name
    found = benchmark.pedantic(call, rounds=8, warmup_rounds=2)
    assert all(bool(t.isfinite().all()) and float(t.abs().max()) > 0 for t in found)


def _simulation(potential: Potential, n_atoms: int) -> Simulation:
    state = state_from_atoms(silicon(n_atoms, rattle_A=0.02), potential.device)
    maxwell_boltzmann_(state, 300.0, seed=0)
    return Simulation(state, potential, VelocityVerlet(1.0))


def test_step_of_a_model(benchmark):
    """One NVE step of 216 silicon atoms with SevenNet-0."""
    try:
        model = load_model("sevennet-0", str(DEVICE))
    except InputError as error:
        pytest.skip(f"NOT MEASURED: {error}")
    simulation = _simulation(model, 216)
    benchmark.extra_info["kernels"] = model.kernels
    benchmark.pedantic(lambda: simulation.run(1), rounds=8, warmup_rounds=2)
    assert simulation.state.step > 0
    assert bool(torch.isfinite(simulation.state.energy).all())


def test_step_without_a_model(benchmark):
    """One NVE step of 1000 atoms that costs nothing: the engine and its neighbour list."""
    simulation = _simulation(NoForces(device=DEVICE), 1000)
    benchmark.pedantic(lambda: simulation.run(1), rounds=50, warmup_rounds=5)
    assert simulation.state.step > 0
    assert bool(torch.isfinite(simulation.state.positions).all())


def test_step_of_training(benchmark):
    """One step on five rattled silicon crystals of eight atoms, architecture of train.toml."""
    frames = [labelled_silicon(seed) for seed in range(5)]
    dataset = Dataset(frames, 5.0)
    torch.manual_seed(0)
    network = set_precision(NequIP(new_spec([14])), torch.float32).to(DEVICE)
    kernels = choose_kernels("auto", DEVICE)[0]
    trainer = Trainer(network, kernels, dataset, dataset, TrainingConfig(learning_rate=0.001))
    benchmark.extra_info["kernels"] = kernels
    benchmark.pedantic(lambda: trainer.train_step(range(5)), rounds=8, warmup_rounds=2)
    assert trainer.step > 0


def labelled_silicon(seed: int) -> Frame:
    """Eight atoms with random labels."""
    atoms = silicon(8, seed=seed)
    forces = np.random.default_rng(seed).normal(size=(8, 3))
    return replace(frame_from_atoms(atoms), energy=-40.0, forces=forces)
