"""The gradient that training uses, against differentiating twice, for every kind of network."""

from dataclasses import replace

import pytest
import torch
from ase import Atoms
from ase.build import bulk

from fastequi.engine.gradients import Sample, TangentGradient, by_double_backward
from fastequi.graph import Graph
from fastequi.kernels.llvm import threads
from fastequi.kernels.testing import poisoned_memory
from fastequi.md.neighbors import NeighborList
from fastequi.md.state import state_from_atoms
from fastequi.model.file import set_precision
from fastequi.model.nequip import NequIP
from fastequi.model.spec import LayerSpec, MLPSpec, ModelSpec, Parity, new_spec
from fastequi.potential import Prediction

PARITIES: tuple[Parity, ...] = ("natural", "full", "even")
FAMILY: list[tuple[int, Parity]] = [
    (l_max, parity) for l_max in (0, 1, 2, 3, 4) for parity in PARITIES
]


def spec_of(l_max: int = 2, parity: Parity = "full", **changes) -> ModelSpec:
    spec = new_spec(
        [1, 8, 14], layers=3, l_max=l_max, channels=(8, 6, 4, 3, 2)[: l_max + 1], parity=parity,
        cutoff_A=4.0, radial_hidden=(16,),
    )  # fmt: skip
    return replace(spec, **changes)


def with_layers(spec: ModelSpec, **changes) -> ModelSpec:
    return replace(spec, layers=tuple(replace(layer, **changes) for layer in spec.layers))


def all_linear(spec: ModelSpec) -> ModelSpec:
    return with_layers(spec, self_connection="linear")


VARIANTS: dict[str, ModelSpec] = {
    **{f"l{l_max}-{parity}": spec_of(l_max, parity) for l_max, parity in FAMILY},
    "sevennet-like": replace(
        all_linear(with_layers(spec_of(2, "even"), scalar_bias=True)),
        bessel_trainable=True, envelope="xplor", envelope_parameter=3.0, attributes="one-hot",
    ),
    "nequix-like": with_layers(spec_of(3, "natural"), layer_norm=True),
    "one-hot": spec_of(attributes="one-hot"),
    "zbl": spec_of(zbl=True),
    "solid-harmonics": spec_of(3, normalize_harmonics=False),
    "pair-cutoffs": spec_of(pair_cutoffs=True),
    "deep-readout": spec_of(readout=MLPSpec((5,)), readout_bias=True),
    "mish-readout": spec_of(readout=MLPSpec((5,), activation="mish")),
    "two-hidden": with_layers(spec_of(), radial=MLPSpec((12, 10))),
    "first-self-connection": with_layers(spec_of(), self_connection="species"),
    "one-layer": replace(
        spec_of(), layers=(LayerSpec(spec_of().layers[-1].irreps, MLPSpec((8,)), "none"),)
    ),
}  # fmt: skip


def network_of(spec: ModelSpec) -> NequIP:
    torch.manual_seed(0)
    network = NequIP(spec)
    network.scale.copy_(torch.tensor([1.0, 1.3, 0.8]))
    network.shift.copy_(torch.tensor([-1.0, -2.0, -3.0]))
    for layer in network.interactions():
        layer.message_scale.copy_(torch.tensor([0.3, 0.35, 0.4]))
    if spec.pair_cutoffs:
        network.basis.pair_cutoff.copy_(torch.tensor([[3, 3.5, 4], [3.1, 4, 3.9], [4, 4, 4]]))
    for name, parameter in network.named_parameters():
        if "bias" in name:
            torch.nn.init.normal_(parameter)
    return network


def systems() -> list[Atoms]:
    """A crystal smaller than two cutoffs, a molecule without a cell, an isolated atom."""
    crystal = bulk("Si", "diamond", 5.4, cubic=True)
    crystal.numbers[:] = [14, 8, 14, 14, 1, 14, 8, 14]
    crystal.rattle(0.15, seed=1)
    return [crystal, Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]), Atoms("Si")]


def sample_of(atoms: list[Atoms]) -> Sample:
    s = state_from_atoms(atoms)
    graph = NeighborList(4.0, 0.0).graph(s.positions, s.atomic_numbers, s.cell, s.pbc, s.system_idx)
    pair, first = pairs_by_search(graph)
    return Sample(graph, pair, first)


def pairs_by_search(graph: Graph) -> tuple[torch.Tensor, torch.Tensor]:
    """Two directed edges of one pair have opposite ends and shifts."""
    seen: dict[tuple, int] = {}
    pair, first = [], []
    edges = zip(
        graph.edge_dst.tolist(), graph.edge_src.tolist(), graph.edge_shift.tolist(), strict=True
    )
    for k, (i, j, shift) in enumerate(edges):
        opposite = (j, i, tuple(-x + 0.0 for x in shift))
        if opposite in seen:
            pair.append(seen[opposite])
        else:
            seen[i, j, tuple(x + 0.0 for x in shift)] = len(first)
            pair.append(len(first))
            first.append(k)
    return torch.tensor(pair), torch.tensor(first)


def loss_of(prediction: Prediction) -> torch.Tensor:
    """Nonlinear in everything; random targets."""
    g = torch.Generator().manual_seed(3)
    target = torch.randn(prediction.forces.shape, generator=g, dtype=torch.float64)
    huber = torch.nn.functional.huber_loss(prediction.forces, target, delta=0.5)
    stress = prediction.stress[:1]
    return huber + (prediction.energy + 3.0).square().mean() + 7.0 * stress.square().sum()


def gradients(network: NequIP) -> dict[str, torch.Tensor]:
    trained = {**dict(network.named_parameters()), "scale": network.scale, "shift": network.shift}
    found = {n: t.grad.clone() for n, t in trained.items() if t.grad is not None}
    for tensor in trained.values():
        tensor.grad = None
    return found


@pytest.mark.parametrize("implementation", ["reference", "cpu"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_gradient_is_that_of_differentiating_twice(variant: str, implementation: str):
    spec = VARIANTS[variant]
    network = network_of(spec)
    network.scale.requires_grad_(True)
    network.shift.requires_grad_(True)
    sample = sample_of(systems())

    expected = by_double_backward(network, sample, loss_of)
    wanted = gradients(network)
    with poisoned_memory():
        found = TangentGradient(network, implementation)(sample, loss_of)
    got = gradients(network)

    assert torch.allclose(found.forces, expected.forces, atol=1e-11)
    assert torch.allclose(found.energy, expected.energy, rtol=1e-12)
    assert torch.allclose(found.stress[0], expected.stress[0], atol=1e-12)
    assert set(wanted) <= set(got)
    assert len(wanted) > 5
    for name, gradient in got.items():  # what autograd leaves out is zero
        reference = wanted.get(name, torch.zeros_like(gradient))
        size = float(reference.norm())
        error = float((gradient - reference).norm())
        assert error <= 1e-10 * max(size, 1e-3), f"{name}: {error:.1e} of {size:.1e}"


@pytest.mark.parametrize("variant", ["l2-full", "sevennet-like", "nequix-like", "one-layer"])
@pytest.mark.parametrize("n_threads", [2, 3])
def test_gradient_does_not_depend_on_the_number_of_threads(
    variant: str, n_threads: int, monkeypatch: pytest.MonkeyPatch
):
    network, sample = network_of(VARIANTS[variant]), sample_of(systems())
    TangentGradient(network, "cpu")(sample, loss_of)
    alone = gradients(network)
    monkeypatch.setattr(threads, "n_threads", lambda: n_threads)
    TangentGradient(network, "cpu")(sample, loss_of)
    for name, gradient in gradients(network).items():
        assert torch.allclose(gradient, alone[name], rtol=1e-10, atol=1e-13), name


def test_float32_is_as_good_as_its_rounding():
    exact = network_of(spec_of())
    sample = sample_of(systems())
    by_double_backward(exact, sample, loss_of)
    wanted = gradients(exact)
    single = set_precision(network_of(spec_of()), torch.float32)
    TangentGradient(single, "cpu")(sample, loss_of)
    got = gradients(single)
    for name, gradient in wanted.items():
        error = float((got[name] - gradient).norm() / gradient.norm().clamp(min=1e-3))
        assert error < 2e-4, f"{name}: {error:.1e}"


def test_prediction_follows_the_weights():
    network = network_of(spec_of())
    sample = sample_of(systems())
    gradient = TangentGradient(network, "cpu")
    before = gradient.predict(sample)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.01)
    after = gradient.predict(sample)
    exact = network.compute(sample.graph)
    assert float((after.forces - before.forces).abs().max()) > 1e-3
    assert torch.allclose(after.forces, exact.forces, atol=1e-11)
    assert torch.allclose(after.energies, exact.energies, atol=1e-11)
