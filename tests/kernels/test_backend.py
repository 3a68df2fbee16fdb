"""A backend is one module and one row: a toy moves atoms and trains like those that are there."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from ase.build import bulk

from fastequi.engine.fused import FusedNequIP
from fastequi.engine.gradients import Sample, TangentGradient, by_double_backward
from fastequi.errors import InputError
from fastequi.graph import Graph
from fastequi.importers import load_model
from fastequi.kernels import c_compiler
from fastequi.kernels.backend import BACKENDS, Backend, choose_kernels
from fastequi.kernels.testing import Problem, problems
from fastequi.kernels.testing_operations import assert_forward_parity, assert_jvp_parity
from fastequi.md.neighbors import NeighborList
from fastequi.md.state import state_from_atoms
from fastequi.model.nequip import NequIP
from fastequi.model.spec import new_spec
from fastequi.potential import Prediction

CPU = torch.device("cpu")
#: As a network of two layers calls them.
DYNAMICS, TRAINING = {"forward": 2, "vjp": 2}, {"forward": 2, "vjp": 2, "jvp": 2, "jvp_vjp": 2}


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The toy's module, and its row in the table."""
    path = Path(__file__).with_name("toy_backend.py")
    spec = importlib.util.spec_from_file_location("toy_backend", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "toy_backend", module)
    monkeypatch.setitem(BACKENDS, "toy", Backend("toy", "toy_backend"))
    return module


def network() -> NequIP:
    """In float64, of two layers."""
    torch.manual_seed(0)
    spec = new_spec([14], layers=2, l_max=1, channels=(4, 4), radial_hidden=(8,), cutoff_A=4.0)
    found = NequIP(spec).to(torch.float64)
    for layer in found.interactions():
        layer.message_scale.fill_(0.3)
    return found


def silicon(cutoff: float) -> Graph:
    """Eight rattled atoms."""
    atoms = bulk("Si", cubic=True)
    atoms.rattle(0.1, seed=1)
    s = state_from_atoms(atoms)
    return NeighborList(cutoff, 0.0).graph(
        s.positions, s.atomic_numbers, s.cell, s.pbc, s.system_idx
    )


@pytest.mark.parametrize("problem", problems()[:3], ids=str)
def test_it_is_held_to_the_definitions(toy: ModuleType, problem: Problem) -> None:
    for source in ("table", "pair_weights"):
        assert_forward_parity(toy, problem, source=source, with_linear_out=True)
    assert_jvp_parity(toy, problem)


def test_it_is_chosen_by_name_alone(toy: ModuleType) -> None:
    assert choose_kernels("toy", CPU) == ("toy", "as asked")
    assert choose_kernels("auto", CPU)[0] != "toy"
    with pytest.raises(InputError, match="allowed: auto, reference, cpu, triton, toy"):
        choose_kernels("tpu", CPU)


def test_a_model_loaded_with_it_is_the_same_potential(toy: ModuleType) -> None:
    """Up to what the tables of radial weights are off."""
    potential = load_model("silicon", "cpu", "float64", "toy")
    assert (potential.kernels, potential.kernels_reason) == ("toy", "as asked")
    exact = load_model("silicon", "cpu", "float64", "reference")
    graph = silicon(potential.cutoff)
    found, expected = potential.compute(graph), exact.compute(graph)
    assert toy.calls["forward"] == toy.calls["vjp"] > 0
    torch.testing.assert_close(found.energies, expected.energies, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.forces, expected.forces, rtol=0, atol=1e-5)


def test_dynamics_is_forward_and_vjp(toy: ModuleType) -> None:
    net, graph = network(), silicon(4.0)
    found, expected = (FusedNequIP(net, name).compute(graph) for name in ("toy", "reference"))
    assert toy.calls == DYNAMICS
    assert float(expected.forces.abs().max()) > 1e-3
    torch.testing.assert_close(found.energies, expected.energies, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.forces, expected.forces, rtol=0, atol=1e-12)


def test_training_is_all_four(toy: ModuleType) -> None:
    """The gradient by all weights is that of differentiating twice, and a step lowers the loss."""
    graph = silicon(4.0)
    edges = torch.arange(graph.n_edges)
    sample, net, twin = Sample(graph, edges, edges), network(), network()
    losses: list[float] = []

    def loss(prediction: Prediction) -> torch.Tensor:
        value = prediction.energy.square().sum() + prediction.forces.square().sum()
        losses.append(float(value.detach()))
        return value

    gradient = TangentGradient(net, "toy")
    gradient(sample, loss)
    assert toy.calls == TRAINING
    by_double_backward(twin, sample, loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    for (name, weight), exact in zip(net.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(weight.grad, exact.grad, rtol=1e-9, atol=1e-9, msg=name)
    with torch.no_grad():
        for weight in net.parameters():
            if weight.grad is not None:
                weight -= 1e-4 * weight.grad / weight.grad.norm().clamp(min=1e-12)
    gradient(sample, loss)
    assert losses[2] < losses[0]


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton would say so at the first step, of a run that has been waiting for its turn."""
    cuda = torch.device("cuda")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(c_compiler.shutil, "which", lambda _: None)
    assert choose_kernels("auto", cuda)[0] == "reference"
    assert "needs a C compiler (apt install gcc" in choose_kernels("auto", cuda)[1]
    with pytest.raises(InputError, match="'triton' needs a C compiler"):
        choose_kernels("triton", cuda)
    monkeypatch.setenv("CC", "gcc")
    monkeypatch.setattr(c_compiler.sysconfig, "get_paths", lambda: {"include": "/nowhere"})
    with pytest.raises(InputError, match=r"needs Python's header /nowhere/Python\.h"):
        choose_kernels("triton", cuda)
