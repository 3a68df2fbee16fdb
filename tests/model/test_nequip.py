"""The model's physics: symmetries, derivatives, limits, batches."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from e3nn import o3

from fastequi.errors import InputError
from fastequi.graph import Graph
from fastequi.irreps import Parity
from fastequi.md.neighbors import NeighborList
from fastequi.md.state import state_from_atoms
from fastequi.model.nequip import NequIP
from fastequi.model.spec import ModelSpec, new_spec

CHANNELS = (8, 6, 4, 3, 2)
PARITIES: tuple[Parity, ...] = ("natural", "full", "even")
FAMILY = [(l_max, parity) for l_max in (1, 2, 3, 4) for parity in PARITIES]


def graph_of(atoms: Atoms | list[Atoms], cutoff: float = 4.0) -> Graph:
    s = state_from_atoms(atoms)
    return NeighborList(cutoff, 0.0).graph(
        s.positions, s.atomic_numbers, s.cell, s.pbc, s.system_idx
    )


def model_of(l_max: int, parity: Parity, seed: int = 0, **options) -> NequIP:
    torch.manual_seed(seed)
    spec = new_spec(
        [1, 8, 14], layers=3, l_max=l_max, channels=CHANNELS[: l_max + 1], parity=parity,
        cutoff_A=4.0, radial_hidden=(16,), **options,
    )  # fmt: skip
    model = NequIP(spec)
    model.scale.copy_(torch.tensor([1.0, 1.3, 0.8]))
    model.shift.copy_(torch.tensor([-1.0, -2.0, -3.0]))
    for layer in model.interactions():
        layer.message_scale.fill_(0.3)
    return model


def crystal(seed: int = 1) -> Atoms:
    """Eight atoms of three species in a strained triclinic cell smaller than two cutoffs."""
    atoms = bulk("Si", "diamond", 5.4, cubic=True)
    atoms.numbers[:] = [14, 8, 14, 14, 1, 14, 8, 14]
    atoms.set_cell(atoms.cell @ np.array([[1, 0.1, 0], [0, 0.95, 0.05], [0.02, 0, 1.03]]), True)
    atoms.rattle(0.15, seed=seed)
    return atoms


@pytest.mark.parametrize(("l_max", "parity"), FAMILY)
def test_symmetries(l_max: int, parity: Parity):
    model = model_of(l_max, parity)
    atoms = crystal()
    before = model.compute(graph_of(atoms))
    for name, moved, matrix, order in symmetry_images(atoms, with_reflection=parity != "even"):
        after = model.compute(graph_of(moved))
        forces = before.forces[order] @ matrix.T
        stress = matrix @ before.stress[0] @ matrix.T
        assert abs(float(after.energy - before.energy)) < 1e-10, name
        assert float((after.forces - forces).abs().max()) < 1e-10, name
        assert float((after.stress[0] - stress).abs().max()) < 1e-10, name
    assert float(before.forces.abs().max()) > 1e-2  # or nothing was tested


def symmetry_images(atoms: Atoms, with_reflection: bool):
    """(name, transformed atoms, matrix of the rotation, permutation) of each symmetry."""
    identity, keep = torch.eye(3, dtype=torch.float64), np.arange(len(atoms))
    torch.manual_seed(5)
    rotation = o3.rand_matrix(dtype=torch.float64)
    yield "rotation", rotated(atoms, rotation), rotation, keep
    if with_reflection:
        mirror = rotation @ torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
        yield "reflection", rotated(atoms, mirror), mirror, keep
    order = np.random.default_rng(2).permutation(len(atoms))
    yield "permutation", atoms[order], identity, order
    moved = atoms.copy()
    moved.positions += [0.3, -7.0, 11.0]
    yield "translation", moved, identity, keep
    shifted = atoms.copy()
    a, _, c = shifted.cell.array
    shifted.positions[::2] += 2 * a - c
    yield "lattice translation of half the atoms", shifted, identity, keep


def rotated(atoms: Atoms, matrix: torch.Tensor) -> Atoms:
    result = atoms.copy()
    result.set_cell(atoms.cell @ matrix.numpy().T)
    result.positions = atoms.positions @ matrix.numpy().T
    return result


def test_all_even_features_are_chiral():
    """Without parity a model tells left from right; that is what 'even' means, and why it is not
    in the reflection test."""
    atoms = crystal()
    mirrored = rotated(atoms, torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)))
    difference = {}
    for parity in PARITIES:
        model = model_of(2, parity)
        for layer in model.interactions():
            layer.message_scale.fill_(1.0)  # strong messages
        images = [model.compute(graph_of(image)).energy for image in (atoms, mirrored)]
        difference[parity] = abs(float(images[1] - images[0]))
    assert difference["even"] > 1e-6
    assert max(difference["natural"], difference["full"]) < 1e-12


@pytest.mark.parametrize(("l_max", "parity"), FAMILY)
def test_forces_and_stress_are_derivatives(l_max: int, parity: Parity):
    model, atoms, h = model_of(l_max, parity), crystal(), 1e-4
    prediction = model.compute(graph_of(atoms))

    def energy(changed: Atoms) -> float:
        return float(model.compute(graph_of(changed)).energy)

    for atom, axis in [(0, 0), (1, 2), (4, 1)]:
        plus, minus = atoms.copy(), atoms.copy()
        plus.positions[atom, axis] += h
        minus.positions[atom, axis] -= h
        numeric = -(energy(plus) - energy(minus)) / (2 * h)
        assert numeric == pytest.approx(float(prediction.forces[atom, axis]), rel=1e-6, abs=1e-7)
    for a, b in [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)]:
        strain = np.zeros((3, 3))
        strain[a, b] += h / 2
        strain[b, a] += h / 2
        numeric = (energy(strained(atoms, strain)) - energy(strained(atoms, -strain))) / (2 * h)
        expected = float(prediction.stress[0, a, b]) * atoms.get_volume()
        assert numeric == pytest.approx(expected, rel=1e-5, abs=1e-6)


def strained(atoms: Atoms, strain: np.ndarray) -> Atoms:
    result = atoms.copy()
    result.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=True)
    return result


def test_isolated_atom_has_its_shift():
    model = model_of(2, "full")
    prediction = model.compute(graph_of([Atoms("H"), Atoms("O"), Atoms("Si")]))
    assert prediction.energy.tolist() == [-1.0, -2.0, -3.0]
    assert torch.equal(prediction.forces, torch.zeros(3, 3, dtype=torch.float64))
    assert bool(prediction.stress.isnan().all())


@pytest.mark.parametrize("parity", ["natural", "full", "even"])
def test_batch_equals_one_by_one(parity: Parity):
    model = model_of(2, parity)
    surface = crystal(3)
    surface.pbc = [True, True, False]
    wire = crystal(4)
    wire.pbc = [False, False, True]
    molecule = Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    systems = [crystal(), surface, molecule, Atoms("Si"), wire]
    batch = model.compute(graph_of(systems))
    alone = [model.compute(graph_of(system)) for system in systems]
    assert torch.allclose(batch.energy, torch.cat([p.energy for p in alone]), rtol=0, atol=1e-12)
    assert torch.allclose(batch.forces, torch.cat([p.forces for p in alone]), rtol=0, atol=1e-12)
    for mine, other in zip(batch.stress, alone, strict=True):
        assert torch.allclose(mine, other.stress[0], rtol=0, atol=1e-12, equal_nan=True)


def test_supercell_is_extensive():
    model, atoms = model_of(2, "full"), crystal()
    one = float(model.compute(graph_of(atoms)).energy)
    eight = float(model.compute(graph_of(atoms.repeat(2))).energy)
    assert eight == pytest.approx(8 * one, rel=1e-12)


def test_edges_beyond_the_cutoff_contribute_nothing():
    """A list with a skin may be passed as it is."""
    for envelope, parameter in (("polynomial", 6.0), ("xplor", 3.5)):
        spec = replace(
            new_spec([1, 8, 14], layers=2, l_max=2, channels=(4, 4, 4), cutoff_A=4.0),
            envelope=envelope, envelope_parameter=parameter,
        )  # fmt: skip
        torch.manual_seed(0)
        model, atoms = NequIP(spec), crystal()
        exact, wide = model.compute(graph_of(atoms)), model.compute(graph_of(atoms, 6.0))
        assert float((exact.forces - wide.forces).abs().max()) < 1e-13
        assert float((exact.stress - wide.stress).abs().max()) < 1e-13
        assert abs(float(exact.energy - wide.energy)) < 1e-12


def test_float32_is_close_to_float64(device: str):
    from fastequi.model.file import set_precision

    exact = model_of(2, "full").compute(graph_of(crystal()))
    single = set_precision(model_of(2, "full"), torch.float32).to(device)
    rough = single.compute(graph_of(crystal()))
    assert rough.energies.dtype == torch.float64
    assert float((rough.forces.cpu() - exact.forces).abs().max()) < 1e-5
    assert float((rough.energies.cpu() - exact.energies).abs().max()) < 1e-5


def test_unknown_element_is_named():
    with pytest.raises(InputError, match="does not know Au; it knows H, O, Si"):
        model_of(1, "full").compute(graph_of(Atoms("Au2", [[0, 0, 0], [0, 0, 2]])))


@pytest.mark.parametrize(("l_max", "parity"), FAMILY)
def test_spec_survives_json(l_max: int, parity: Parity):
    spec = model_of(l_max, parity).spec
    assert ModelSpec.from_json(spec.to_json()) == spec
    assert spec.parity == parity


def test_second_derivatives_exist_and_are_symmetric():
    """Training on forces needs them: the Hessian by autograd through the edge vectors."""
    from fastequi.graph import edge_vectors

    model, graph = model_of(2, "full"), graph_of(crystal())

    def energy(positions: torch.Tensor) -> torch.Tensor:
        moved = replace(graph, positions=positions)
        return model(moved, edge_vectors(moved)).sum()

    hessian = torch.autograd.functional.hessian(energy, graph.positions)
    assert isinstance(hessian, torch.Tensor)
    hessian = hessian.reshape(24, 24)
    assert float((hessian - hessian.T).abs().max()) < 1e-10 * float(hessian.abs().max())
    rigid = hessian.reshape(24, 8, 3).sum(dim=1)  # moving all atoms together costs nothing
    assert float(rigid.abs().max()) < 1e-10 * float(hessian.abs().max())
