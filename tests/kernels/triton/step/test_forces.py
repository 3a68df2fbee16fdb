"""Forces, energy and stress from edge gradients, as the definition and the potentials have them."""

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from fastequi.graph import Graph
from fastequi.kernels.triton.step import definitions
from fastequi.kernels.triton.step.buffers import Batch
from fastequi.kernels.triton.step.flags import NOT_FINITE
from fastequi.kernels.triton.step.step import edge_vectors_, sum_forces_, sum_systems_
from fastequi.potential import prediction_from_edges


def filled(step, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors, gradients that depend on the vector alone, energies; NaN behind the last edge."""
    vectors = torch.full((step.edges.capacity, 3), torch.nan, dtype=dtype)
    edge_vectors_(step.rows, step.positions, step.cell, step.batch, vectors)
    x, y, z = vectors.unbind(1)
    inside = (2.9**2 - (x * x + y * y + z * z)).unsqueeze(1)  # no function that rounds by its place
    gradients = torch.where(inside > 0, 0.1 * inside * inside * vectors * vectors.abs(), 0.0)
    gradients[step.n_edges :] = torch.nan
    return vectors, gradients, torch.linspace(-3, -1, step.batch.n_atoms).to(dtype)


def run(step, vectors, gradients, energies) -> tuple[Tensor, Tensor, Tensor]:
    n_atoms, n_systems, parts = step.batch.n_atoms, step.batch.n_systems, step.batch.n_parts

    def real(*shape: int) -> Tensor:
        return torch.full(shape, torch.nan, dtype=torch.float64)

    forces, virials, totals = real(n_atoms, 3), real(n_atoms, 6), real(n_systems, parts, 7)
    energy, stress = real(n_systems), real(n_systems, 3, 3)
    sum_forces_(step.rows, gradients, vectors, forces, virials, step.flags)
    sum_systems_(step.batch, energies, virials, step.cell, totals, energy, stress, step.flags)
    return forces, energy, stress


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("index_dtype", [torch.int32, torch.int64])
def test_sums_are_those_of_the_definition(crystals, dtype, index_dtype):
    step = crystals(index_dtype=index_dtype)
    vectors, gradients, energies = filled(step, dtype)
    forces, energy, stress = run(step, vectors, gradients, energies)
    assert step.raised() == 0
    n = step.n_edges
    expected = definitions.forces_and_stress(
        gradients[:n], vectors[:n], step.edges.reverse[:n], step.receiver, energies, step.cell,
        step.batch.system_idx,
    )  # fmt: skip
    graph = Graph(
        step.positions, torch.ones(7, dtype=torch.int64), step.cell, step.pbc,
        step.batch.system_idx, step.sender, step.receiver, step.shift.double(),
    )  # fmt: skip
    prediction = prediction_from_edges(graph, energies, vectors[:n], gradients[:n])
    assert float(forces.abs().max()) > 0.1
    for wanted in (expected, (prediction.forces, prediction.energy, prediction.stress)):
        for got, value in zip((forces, energy, stress), wanted, strict=True):
            assert torch.allclose(got, value, rtol=1e-13, atol=1e-14, equal_nan=True)
    assert stress[1].isnan().all()  # a chain has no volume


def test_a_wider_list_changes_no_bit(crystals):
    """Edges whose gradient is zero are as if they were not there."""
    found = []
    for radius in (2.9, 3.9):
        step = crystals(radius)
        found.append((step.n_edges, run(step, *filled(step, torch.float32))))
    assert found[1][0] > found[0][0]
    for near, far in zip(found[0][1], found[1][1], strict=True):
        assert torch.equal(near.nan_to_num(7.0), far.nan_to_num(7.0))


@pytest.mark.filterwarnings("ignore:invalid value")  # NumPy's, in the interpreter
@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_what_is_not_finite_raises_a_flag(crystals, broken):
    step = crystals()
    vectors, gradients, energies = filled(step, torch.float64)
    energies[3] = broken
    run(step, vectors, gradients, energies)
    assert step.raised() == NOT_FINITE
    gradients[4, 1] = broken
    run(step, vectors, gradients, torch.zeros_like(energies))
    assert step.raised() == NOT_FINITE


def test_systems_are_summed_in_parts(crystals):
    """2500 atoms in one system, none in another, 2 in the last."""
    step = crystals()
    batch = Batch.of([2500, 0, 2], step.flags.device)
    random = np.random.default_rng(0)
    energies = torch.from_numpy(random.normal(size=2502)).to(step.cell)
    virials = torch.from_numpy(random.normal(size=(2502, 6))).to(step.cell)
    cell = 2.0 * torch.eye(3, dtype=torch.float64).repeat(3, 1, 1)
    totals, energy, stress = (
        torch.zeros(shape, dtype=torch.float64) for shape in ((3, 3, 7), (3,), (3, 3, 3))
    )
    sum_systems_(batch, energies, virials, cell, totals, energy, stress, step.flags)
    for k, atoms in enumerate((slice(0, 2500), slice(2500, 2500), slice(2500, 2502))):
        assert torch.allclose(energy[k], energies[atoms].sum(), atol=1e-12)
        xx, yy, zz, yz, xz, xy = virials[atoms].sum(dim=0) / 8.0
        wanted = torch.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz]).view(3, 3)
        assert torch.allclose(stress[k], wanted, atol=1e-12)
