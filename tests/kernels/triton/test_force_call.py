"""A force call on a GPU: the numbers of the CPU's, with nothing asked of the device."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from torch import Tensor
from torch.overrides import TorchFunctionMode

pytest.importorskip("triton")

from fastequi.engine import walk
from fastequi.engine.force_program import ForceProgram, StaticProgram
from fastequi.kernels.testing import poisoned_memory
from fastequi.kernels.triton import backend, gate, linear, skin_edges
from fastequi.kernels.triton.step.flags import NOT_FINITE
from fastequi.model.file import set_precision
from fastequi.model.nequip import NequIP
from fastequi.model.spec import new_spec
from fastequi.potential import Prediction, StaticForceCall
from tests.engine.test_force_program import Moving, assert_equal
from tests.kernels.triton.step.test_step import Watch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CUTOFF_A = 3.0


def network_of(**changes: Any) -> NequIP:
    """Two layers with odd channels and both parities."""
    torch.manual_seed(0)
    spec = new_spec(
        [1, 8, 14], layers=2, l_max=1, channels=(5, 3), parity="full", cutoff_A=CUTOFF_A,
        radial_hidden=(8,),
    )  # fmt: skip
    network = NequIP(replace(spec, **changes)).requires_grad_(False)
    for layer in network.interactions():
        layer.message_scale.fill_(0.4)
    return network


def systems() -> list[Atoms]:
    """Species in no order: a crystal smaller than two cutoffs, an isolated atom, a molecule."""
    crystal = bulk("Si", "diamond", 5.0)
    crystal.numbers[1] = 8
    crystal.rattle(0.1, seed=1)
    return [crystal, Atoms("Si"), molecule("H2O")]


def moving(network: NequIP, atoms: list[Atoms] | None = None, skin: float = 0.3) -> Moving:
    made = Moving(network, atoms or systems(), skin, "triton")
    made.state = made.state.to(DEVICE)
    return made


def on_cpu(given: Moving) -> Prediction:
    """Of the edges within the cutoff now, by the CPU's kernels."""
    other = Moving(given.engine.network, systems())
    other.state = given.state.to("cpu")
    return other.walked()


def assert_steps(given: Moving, steps: int = 2, tolerance: float = 1e-12) -> StaticProgram:
    where = set()
    for step in range(steps):
        with poisoned_memory():
            found = given.planned()
        where |= {id(found.forces), id(found.energy), id(found.energies), id(found.stress)}
        assert_equal(found, on_cpu(given), tolerance)
        given.move(step, 0.01)
    assert len(where) == 4  # the same tensors, written anew
    call = given.calls[-1]
    assert isinstance(call, StaticProgram)
    return call


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_is_what_the_cpu_computes(dtype: torch.dtype, accesses):
    call = assert_steps(
        moving(set_precision(network_of(), dtype)), 2, {torch.float32: 2e-6}.get(dtype, 1e-12)
    )
    assert int(call.flags[0]) == 0
    assert accesses is None or min(accesses.counts) > 0


def test_to_the_same_bits_where_asked():
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode(1)
    given = moving(network_of())
    assert_steps(given, 1)
    torch.set_deterministic_debug_mode(before)


@pytest.mark.parametrize(
    "kind", ["species", "scaled", "pair_cutoffs", "activated", "norm", "repulsion"]
)
def test_kinds_of_models(kind: str):
    spec, changes = network_of().spec, {}
    if kind == "species":
        changes["layers"] = tuple(replace(x, self_connection="species") for x in spec.layers)
    if kind in ("pair_cutoffs", "repulsion"):
        changes["pair_cutoffs"] = True
    if kind == "norm":
        changes["layers"] = tuple(replace(x, layer_norm=True) for x in spec.layers)
    if kind == "repulsion":
        changes |= {"zbl": True, "zbl_envelope_p": 5.0}
    if kind == "activated":
        readout = replace(spec.readout, hidden=(7,), activation="silu")
        changes |= {"readout": readout, "readout_bias": True}
    network = network_of(**changes)
    if kind == "scaled":
        for layer in network.interactions():
            layer.message_scale.copy_(torch.tensor([0.2, 0.3, 0.5]))
    if changes.get("pair_cutoffs"):
        network.basis.pair_cutoff.copy_(torch.tensor([[2.0, 2.5, 3], [2.5, 2.8, 3], [3.0, 3, 2.9]]))
    if kind == "activated":
        assert network.readout.bias is not None
        network.readout.bias.uniform_(-1, 1)
    assert_steps(moving(network), 1)


def test_lists_follow_in_the_same_memory_while_there_is_room():
    given = moving(network_of(), systems()[:1], skin=0.1)
    first = assert_steps(given, 1)
    given.state.positions += 0.2 * torch.eye(3, dtype=torch.float64, device=DEVICE)[:2]
    assert assert_steps(given, 1) is first
    assert given.neighbors.rebuilds == 2
    given.state.cell *= 0.5
    given.state.positions *= 0.5
    larger = assert_steps(given, 1)
    assert larger is not first
    assert larger.edges.room > first.edges.room


def test_a_cell_that_is_strained_in_place():
    given = moving(network_of(), systems()[:1], skin=0.6)
    assert_steps(given, 1)
    given.state.cell *= 1.01
    assert_steps(given, 1)
    assert given.neighbors.rebuilds == 1


def test_an_edge_just_inside_the_cutoff_and_one_that_is_not_a_number():
    apart = CUTOFF_A * (1 - 1e-7)
    given = moving(network_of(), [Atoms("H2", [[0, 0, 0], [0, 0, apart]]), molecule("H2O")])
    assert_steps(given, 1)
    given.state.positions[0, 0] = torch.nan
    call = given.calls[-1]
    assert isinstance(call, StaticForceCall)
    found = call(given.state.positions, given.state.cell)
    assert found.forces[:2].isnan().all()
    assert found.forces[2:].isfinite().all()
    assert found.energy.isnan().tolist() == [True, False]
    assert int(call.flags[0]) == NOT_FINITE


# -- no question ---------------------------------------------------------------------------------


class NoTensorsOfNumbers(TorchFunctionMode):
    """torch.tensor(..., device=) copies numbers and waits; the meta device would let it pass."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        assert func is not torch.tensor, "a tensor is made of numbers"
        return func(*args, **(kwargs or {}))


class Mover:
    """Puts all that an object holds on the meta device; what shares memory goes on to share it."""

    def __init__(self) -> None:
        self.seen: dict[int, Any] = {}
        self.memory: dict[int, Tensor] = {}

    def __call__(self, thing: Any) -> Any:
        if id(thing) not in self.seen:
            self.seen[id(thing)] = thing, self._moved(thing)
        return self.seen[id(thing)][1]

    def _moved(self, thing: Any) -> Any:
        if isinstance(thing, torch.nn.Module):
            return thing.to("meta")
        if isinstance(thing, Tensor):
            return self._tensor(thing)
        if isinstance(thing, list | dict):
            items = list(enumerate(thing)) if isinstance(thing, list) else list(thing.items())
            for key, value in items:
                thing[key] = self(value)
        elif isinstance(thing, tuple):
            moved = [self(value) for value in thing]
            return type(thing)(*moved) if hasattr(thing, "_fields") else tuple(moved)
        elif is_dataclass(thing) or type(thing).__module__.startswith("fastequi.engine"):
            self._fields(thing)
        elif isinstance(thing, skin_edges.SkinEdges):
            self._fields(thing)
        return thing

    def _fields(self, thing: Any) -> None:
        names = [f.name for f in fields(thing)] if is_dataclass(thing) else []
        for name in {*names, *getattr(thing, "__dict__", {})}:
            value = getattr(thing, name)
            moved = self(value)
            if moved is not value:
                object.__setattr__(thing, name, moved)

    def _tensor(self, t: Tensor) -> Tensor:
        storage = t.untyped_storage()
        if storage._cdata not in self.memory:
            n = storage.nbytes() // t.element_size()
            self.memory[storage._cdata] = torch.empty(n, dtype=t.dtype, device="meta")
        return self.memory[storage._cdata].as_strided(t.shape, t.stride(), t.storage_offset())


@pytest.fixture(scope="module")
def on_meta() -> Callable[[], Prediction]:
    return moved_to_meta(network_of())


def moved_to_meta(network: NequIP) -> Callable[[], Prediction]:
    """A force call, all of it on the meta device, after one that has made what is made once."""
    given = moving(network)
    given.move(0)
    call = force_call_of(given)
    x, cell = given.state.positions.to("meta"), given.state.cell.to("meta")
    Mover()(call)
    call(x, cell)
    return lambda: call(x, cell)


def force_call_of(given: Moving) -> ForceProgram:
    s = given.state
    given.neighbors.update(s.positions, s.cell, s.pbc, s.system_idx)
    call = given.engine.force_call(given.graph())
    assert isinstance(call, ForceProgram)
    return call


def test_nothing_is_asked(on_meta: Callable[[], Prediction]):
    with NoTensorsOfNumbers(), Watch() as watch:
        found = on_meta()
    assert found.forces.is_meta
    assert watch.kernels["multiply"] > 0
    assert watch.kernels["sum_systems"] == 1


def test_norm_and_repulsion_ask_nothing_either():
    layers = tuple(replace(x, layer_norm=True) for x in network_of().spec.layers)
    call = moved_to_meta(network_of(layers=layers, zbl=True))
    with NoTensorsOfNumbers(), Watch() as watch:
        assert call().forces.is_meta
    assert watch.kernels["repel"] == 1


QUESTIONS = {
    "item": (skin_edges, "energies", lambda x: x.sum().item()),
    "cpu": (gate, "whole", lambda x: x.cpu()),
    "mask": (backend, "check_blocks", lambda x: x[x > 0]),
    "numbers": (linear, "by_memory", lambda x: torch.tensor([1.0], device=x.device)),
    "equal": (walk, "Step", lambda x: torch.equal(x, x)),
    "another device": (skin_edges, "edge_vectors_", lambda x: torch.add(x, torch.ones(()))),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_planted_question_is_caught(name: str, on_meta, monkeypatch: pytest.MonkeyPatch):
    module, where, question = QUESTIONS[name]
    own = getattr(module, where)

    def asking(*arguments: Any, **named: Any) -> Any:
        question(torch.ones(3, device="meta"))
        return own(*arguments, **named)

    monkeypatch.setattr(module, where, asking)
    with pytest.raises((RuntimeError, NotImplementedError, AssertionError)):
        with NoTensorsOfNumbers(), Watch():
            on_meta()
