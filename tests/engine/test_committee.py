"""A committee is the mean of its members, and says how far they are apart."""

import pytest
import torch
from ase.build import bulk

from fastequi.engine.committee import Committee
from fastequi.engine.loaded import LoadedModel, loaded
from fastequi.errors import InputError
from fastequi.graph import Graph
from fastequi.md.neighbors import NeighborList
from fastequi.md.state import state_from_atoms
from fastequi.model.file import model_data
from fastequi.model.nequip import NequIP
from fastequi.model.spec import new_spec
from fastequi.potential import Potential


def member(seed: int, elements: tuple[int, ...] = (8, 14), cutoff_A: float = 4.0) -> LoadedModel:
    torch.manual_seed(seed)
    spec = new_spec(list(elements), layers=2, l_max=1, channels=(4, 4), radial_hidden=(8,),
                    cutoff_A=cutoff_A)  # fmt: skip
    data = model_data(NequIP(spec))
    return loaded(data, f"m{seed}", torch.device("cpu"), "float64", ("reference", "as asked"))


def silicon(cutoff_A: float = 4.0) -> Graph:
    """Two systems in one batch."""
    systems = [bulk("Si", cubic=True), bulk("Si")]
    for atoms in systems:
        atoms.rattle(0.1, seed=1)
    s = state_from_atoms(systems)
    neighbors = NeighborList(cutoff_A, 0.5)
    return neighbors.graph(s.positions, s.atomic_numbers, s.cell, s.pbc, s.system_idx)


def test_mean_and_scatter():
    members, graph = [member(k) for k in range(3)], silicon()
    committee = Committee(members)
    assert isinstance(committee, Potential)
    mean, found = committee.compute(graph), [m.compute(graph) for m in members]
    for name in ("energy", "energies", "forces", "stress"):
        expected = sum(getattr(p, name) for p in found) / 3
        torch.testing.assert_close(getattr(mean, name), expected, rtol=1e-12, atol=1e-12)
    forces = torch.stack([p.forces for p in found])
    expected = forces.var(dim=0, correction=0).sum(dim=1).sqrt()
    torch.testing.assert_close(committee.disagreement(), expected, rtol=1e-10, atol=1e-12)
    assert committee.disagreement().shape == (10,)
    assert float(committee.disagreement().max()) > 0.01


def test_twins_agree():
    committee = Committee([member(5), member(5)])
    committee.compute(silicon())
    assert float(committee.disagreement().max()) < 1e-12


def test_members_of_different_range_and_elements():
    """The longer list serves both; an element must be known to all."""
    short, long = member(1, (8, 14), 3.0), member(2, (14, 29), 4.0)
    committee = Committee([short, long])
    assert committee.cutoff == 4.0
    assert committee.atomic_numbers == (14,)
    energy = committee.compute(silicon(4.0)).energy
    expected = (short.compute(silicon(3.0)).energy + long.compute(silicon(4.0)).energy) / 2
    torch.testing.assert_close(energy, expected, rtol=1e-10, atol=1e-10)


def test_identity_depends_on_every_member():
    one, other, same = (Committee([member(0), member(k)]) for k in (1, 2, 1))
    assert one.sha256 == same.sha256 != other.sha256
    assert one.name == "the mean of m0, m1"


def test_too_few_or_strangers():
    with pytest.raises(InputError, match="needs two or more models, got 1"):
        Committee([member(0)])
    with pytest.raises(InputError, match="no element in common"):
        Committee([member(0, (8,)), member(1, (14,))])
    with pytest.raises(ValueError, match="nothing was computed yet"):
        Committee([member(0), member(1)]).disagreement()
