"""The two passes of training against their references, and against double backward."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fastequi.irreps import Irreps
from fastequi.kernels.backend import BACKENDS
from fastequi.kernels.convolution import definitions, reference
from fastequi.kernels.convolution.differentiable import differentiable, differentiable_jvp
from fastequi.kernels.convolution.edges import Edges, make_edges
from fastequi.kernels.convolution.weights import PairWeights
from fastequi.kernels.cpu import arrays, backend, kernels
from fastequi.kernels.instructions import make_instructions
from fastequi.kernels.llvm import compiler, threads
from fastequi.kernels.spherical_harmonics import spherical_harmonics
from fastequi.kernels.testing import Problem, problems, relative_rms
from fastequi.kernels.testing_operations import (
    assert_forward_parity,
    assert_jvp_parity,
    pairs_of,
    random_displacements,
    random_values,
)

pytestmark = pytest.mark.widths

Square = Callable[[Tensor], Tensor]

DTYPES = (torch.float32, torch.float64)
#: More edges where a path's gradient would be two numbers, which rounding alone can spoil.
PROBLEMS = [
    replace(problem, degrees=(9, 0, 7)) if problem.degrees == (2,) else problem
    for problem in problems()
]


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_cpu(problem: Problem, dtype: torch.dtype, n_threads: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(threads, "n_threads", lambda: n_threads)
    assert_forward_parity(backend, problem, dtype, source="pair_weights")
    assert_jvp_parity(backend, problem, dtype)
    assert_jvp_parity(backend, problem, dtype, has_tangents=False)


def test_layers_share_the_geometry_until_it_changes(monkeypatch: pytest.MonkeyPatch):
    problem = problems()[0]
    pair, n_pairs = pairs_of(problem)
    weights, edges = PairWeights(random_values(problem, n_pairs), pair), problem.edges()
    vectors, displacements = problem.vectors(), random_displacements(problem)

    def run(operations: Any, edges: Edges) -> list[Tensor]:
        geometry = (vectors, displacements, edges)
        return operations.jvp(problem.features(), *geometry, weights, problem.instructions, False)

    made = []
    make = arrays._arrays
    monkeypatch.setattr(arrays, "_arrays", lambda *a: made.append(a) or make(*a))
    for _ in range(2):
        run(backend, edges)
    assert len(made) == 1
    vectors += 0.1
    got = run(backend, edges)
    assert len(made) == 2
    expected = run(definitions, problem.edges())
    for block, value in zip(got, expected, strict=True):
        assert relative_rms(block, value) < 1e-12


def test_tensors_of_another_type_are_refused():
    """The kernels would read them as they are: other numbers, or memory that is not theirs."""
    problem = problems()[0]
    pair, n_pairs = pairs_of(problem)
    weights, x = PairWeights(random_values(problem, n_pairs), pair), problem.features()
    given = (problem.vectors(), problem.edges())
    single, short = [block.float() for block in x], replace(weights, pair=pair.int())
    with pytest.raises(TypeError, match=r"x0 is a tensor of torch\.float64, got .*float32"):
        backend.forward(single, *given, weights, problem.instructions)
    with pytest.raises(TypeError, match=r"pair is a tensor of torch\.int64, got .*int32"):
        backend.forward(x, *given, short, problem.instructions)


def test_preparing_says_what_it_compiles_and_then_has_all(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FASTEQUI_CACHE", str(tmp_path))
    kernels.compiled.cache_clear()
    layers = Network().layers
    with caplog.at_level(logging.INFO):
        BACKENDS["cpu"].prepare(list(layers), torch.float64, training=True, has_cutoff_scale=False)
    assert caplog.messages[0].startswith("compiling kernel 1 of ")
    caplog.clear()
    monkeypatch.setattr(compiler, "compile_ir", lambda source: pytest.fail("compiled again"))
    with caplog.at_level(logging.INFO):
        BACKENDS["cpu"].prepare(list(layers), torch.float64, training=True, has_cutoff_scale=False)
        by_two_passes(Network(), "cpu")
    assert not caplog.messages


class Network:
    """Two layers on a cluster of atoms, small enough to write values and tangents by hand.

    W(r) = exp(-r) (a + b r); squares of scalars and a linear map between the layers; the energy is
    the sum of squares at the end.
    """

    n_atoms = 5

    def __init__(self) -> None:
        hidden = Irreps.parse("3x0e+2x1o")
        self.layers = (
            make_instructions(Irreps.parse("4x0e"), 2, "natural", hidden),
            make_instructions(hidden, 2, "natural", Irreps.parse("1x0e")),
        )
        random = torch.Generator().manual_seed(0)
        n_weights = [layer.n_weights for layer in self.layers]
        shapes = [(2, 1, 4), (4, 3), (4, 2), (2, n_weights[0]), (2, n_weights[1])]
        self.parameters = [
            torch.randn(shape, generator=random, dtype=torch.float64).requires_grad_()
            for shape in shapes
        ]
        self.species = torch.tensor([0, 1, 1, 0, 1])
        self.positions = 1.5 * torch.randn((self.n_atoms, 3), generator=random).double()
        i, j = torch.triu_indices(self.n_atoms, self.n_atoms, 1)
        self.receiver, order = torch.cat([i, j]).sort(stable=True)
        self.sender = torch.cat([j, i])[order]
        self.pair = torch.arange(len(i)).repeat(2)[order]
        self.lengths = (self.positions[i] - self.positions[j]).norm(dim=1)

    def along_edges(self, per_atom: Tensor) -> Tensor:
        return per_atom[self.sender] - per_atom[self.receiver]

    def edges(self, layer: int) -> Edges:
        sender = self.sender if layer else self.species[self.sender]
        return make_edges(sender, self.receiver, self.n_atoms)

    def weights(self, layer: int, r: Tensor) -> Tensor:
        a, b = self.parameters[3 + layer]
        return torch.exp(-r).unsqueeze(1) * (a + b * r.unsqueeze(1))

    def rows(self, layer: int) -> Tensor:
        one = torch.ones_like(self.lengths)
        dual = torch.func.jvp(lambda r: self.weights(layer, r), (self.lengths,), (one,))
        return torch.stack(dual, dim=1)

    def run(self, convolve: Callable[[int, list[Tensor]], list[Tensor]], square: Square) -> Tensor:
        """Squares whose sum is the energy, [atoms, 1, channels]."""
        embedding, mix_scalars, mix_vectors = self.parameters[:3]
        scalars, vectors = convolve(0, [embedding])
        (last,) = convolve(1, [square(scalars @ mix_scalars), vectors @ mix_vectors])
        return square(last)


def loss_of(energy: Tensor, forces: Tensor) -> Tensor:
    weights = torch.linspace(-1, 1, forces.numel(), dtype=torch.float64).view_as(forces)
    return torch.sin(energy / 10) + (weights * forces + forces.square()).mean()


def by_double_backward(network: Network) -> list[Tensor]:
    positions = network.positions.clone().requires_grad_()
    vectors = network.along_edges(positions)
    lengths = vectors.norm(dim=1)
    harmonics = spherical_harmonics(vectors / lengths.unsqueeze(1), 2)

    def convolve(k: int, x: list[Tensor]) -> list[Tensor]:
        edges, weights = network.edges(k), network.weights(k, lengths)
        arguments = (edges.sender, edges.receiver, network.layers[k], network.n_atoms)
        return reference.convolution(x, harmonics, weights, *arguments)

    energy = network.run(convolve, torch.square).sum()
    (gradient,) = torch.autograd.grad(energy, positions, create_graph=True)
    return list(torch.autograd.grad(loss_of(energy, -gradient), network.parameters))


def by_two_passes(network: Network, implementation: str) -> list[Tensor]:
    operations = BACKENDS[implementation].operations
    rows = [network.rows(k) for k in range(2)]
    vectors = network.along_edges(network.positions).requires_grad_()

    def first(k: int, x: list[Tensor]) -> list[Tensor]:
        weights = PairWeights(rows[k].detach(), network.pair)
        constants = (network.edges(k), weights, network.layers[k])
        x = [block.detach() for block in x] if k == 0 else x
        return differentiable(operations)(x, vectors, *constants)

    energy = network.run(first, torch.square).sum()
    (gradient,) = torch.autograd.grad(energy, vectors)
    forces = torch.zeros_like(network.positions).index_add(0, network.receiver, gradient)
    forces = forces.index_add(0, network.sender, -gradient).requires_grad_()
    leaf = energy.detach().requires_grad_()
    by_energy, by_forces = torch.autograd.grad(loss_of(leaf, forces), [leaf, forces])
    displacements = network.along_edges(-by_forces)

    def second(k: int, x: list[Tensor]) -> list[Tensor]:
        geometry = (vectors.detach(), displacements, network.edges(k))
        weights = PairWeights(rows[k], network.pair)
        return differentiable_jvp(operations)(x, *geometry, weights, network.layers[k], k > 0)

    def square(x: Tensor) -> Tensor:
        value, tangent = x.chunk(2)
        return torch.cat([value * value, 2 * value * tangent])

    energies, derivatives = network.run(second, square).chunk(2)
    total = by_energy * energies.sum() + derivatives.sum()
    return list(torch.autograd.grad(total, network.parameters))


@pytest.mark.parametrize("implementation", ["reference", "cpu"])
def test_two_passes_equal_double_backward(implementation: str):
    network = Network()
    expected = by_double_backward(network)
    for got, value in zip(by_two_passes(network, implementation), expected, strict=True):
        assert relative_rms(got, value) < 1e-10
