"""D3 by itself: its derivatives, its lists, batches."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from fastequi.dispersion.clusters import build_clusters
from fastequi.dispersion.d3 import D3, SKIN
from fastequi.dispersion.tables import damping_of, elements_of
from fastequi.errors import InputError
from fastequi.potential import Prediction
from tests.dispersion.conftest import graph_of, structures

PBE = damping_of("PBE")


def energy_of(atoms: Atoms) -> float:
    return float(D3(PBE)(graph_of(atoms)).energy[0])


def assert_same(a: Prediction, b: Prediction) -> None:
    """To the last bit."""
    for name in ("energy", "energies", "forces", "stress"):
        x, y = getattr(a, name), getattr(b, name)
        assert torch.equal(x.nan_to_num(7.0), y.nan_to_num(7.0)), name


@pytest.mark.widths
def test_compiled_equals_definition(atoms: Atoms):
    graph = graph_of(atoms)
    fast, plain = D3(PBE)(graph), D3(PBE, compiled=False)(graph)
    # 1/r is right to 2e-12 there, and e^(-16 R/r) is twenty times as wrong as that.
    for name in ("energy", "energies", "forces", "stress"):
        a, b = getattr(fast, name), getattr(plain, name)
        torch.testing.assert_close(a, b, rtol=1e-10, atol=4e-11 * float(b.abs().nan_to_num().max()),
                                   equal_nan=True)  # fmt: skip


def test_slopes_kept_or_computed_twice(monkeypatch: pytest.MonkeyPatch):
    """Large systems do not keep them."""
    graph = graph_of(structures()["silicon"])
    for compiled in (True, False):
        kept = D3(PBE, compiled)(graph)
        with monkeypatch.context() as patch:
            patch.setattr("fastequi.dispersion.d3._KEPT_BYTES", 0)
            twice = D3(PBE, compiled)(graph)
        assert_same(kept, twice)


@pytest.mark.widths
def test_compiled_lists_hold_all_pairs(monkeypatch: pytest.MonkeyPatch):
    """The definition's lists are longer; what they have more is beyond the cutoffs."""
    atoms = structures()["alloy"] * (2, 2, 1)
    graph = graph_of(atoms)
    compiled = D3(PBE)(graph)
    monkeypatch.setattr(
        "fastequi.dispersion.d3.build_clusters",
        lambda *arguments: build_clusters(*arguments[:-1], compiled=False),
    )
    assert_same(compiled, D3(PBE)(graph))


def test_forces_are_derivatives(atoms: Atoms):
    forces, h = D3(PBE)(graph_of(atoms)).forces, 1e-3
    for i, axis in ((0, 0), (len(atoms) - 1, 2)):
        moved = [atoms.copy() for _ in range(4)]
        for a, k in zip(moved, (-2, -1, 1, 2), strict=True):
            a.positions[i, axis] += k * h
        e = [energy_of(a) for a in moved]
        slope = (e[0] - 8 * e[1] + 8 * e[2] - e[3]) / (12 * h)
        # Atoms that cross the sharp cutoff, 1e-7 eV each, are in the difference, not in the force.
        assert float(forces[i, axis]) == pytest.approx(
            -slope, abs=2e-4 if atoms.pbc.any() else 1e-8
        )


def test_stress_is_a_derivative():
    """Of molecules in a box so wide that no pair crosses a cutoff."""
    atoms = structures()["ethanol"]
    atoms.set_cell([80.0, 81.0, 82.0])
    atoms.pbc = True
    stress = D3(PBE)(graph_of(atoms)).stress[0] * atoms.get_volume()
    for a, b in ((0, 0), (1, 2)):
        e = []
        for h in (-2e-4, 2e-4):
            strain = np.eye(3)
            strain[a, b] += h / 2
            strain[b, a] += h / 2
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ strain, scale_atoms=False)
            strained.positions = atoms.positions @ strain
            e.append(energy_of(strained))
        assert float(stress[a, b]) == pytest.approx((e[1] - e[0]) / 4e-4, abs=1e-8)


def test_energies_add_up_and_forces_cancel(atoms: Atoms):
    found = D3(PBE)(graph_of(atoms))
    assert float(found.energies.sum()) == pytest.approx(float(found.energy[0]), rel=1e-13)
    assert float(found.forces.sum(dim=0).abs().max()) < 1e-13


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "definition"])
def test_a_batch_is_its_systems(compiled: bool):
    systems = list(structures().values())
    together = D3(PBE, compiled)(graph_of(systems))
    first = 0
    for k, atoms in enumerate(systems):
        alone = D3(PBE, compiled)(graph_of(atoms))
        mine = slice(first, first + len(atoms))
        torch.testing.assert_close(together.energy[k], alone.energy[0], rtol=1e-13, atol=0)
        torch.testing.assert_close(together.forces[mine], alone.forces, rtol=0, atol=1e-14)
        torch.testing.assert_close(
            together.stress[k], alone.stress[0], rtol=1e-12, atol=1e-16, equal_nan=True
        )
        first += len(atoms)


def test_neither_age_nor_place_of_a_list_shows():
    """Motion within the skin, out of the cell, then a rebuild: as a new list says, to the bit."""
    atoms = bulk("NaCl", "rocksalt", 5.64, cubic=True) * (2, 1, 1)
    atoms.rattle(0.05, seed=3)
    old, rng, rebuilds = D3(PBE), np.random.default_rng(5), []
    for _ in range(6):
        assert_same(old(graph_of(atoms)), D3(PBE)(graph_of(atoms)))
        atoms.positions += rng.normal(size=(len(atoms), 3)) * 0.12
        atoms.set_cell(atoms.cell.array * (1.0 + 0.002 * rng.normal()), scale_atoms=True)
        rebuilds.append(old.rebuilds)
    assert 1 < rebuilds[-1] < 6
    assert_same(old(graph_of(atoms)), D3(PBE)(graph_of(atoms)))


def test_arguments_may_be_written_into():
    """As integrators do; the list remembers where the atoms were."""
    graph, old = graph_of(structures()["silicon"]), D3(PBE)
    old(graph)
    graph.positions[0, 0] += 1.2 * SKIN
    assert_same(old(graph), D3(PBE)(graph))
    assert old.rebuilds == 2


def test_other_elements_or_no_atoms():
    atoms, d3 = structures()["NaCl"], D3(PBE)
    d3(graph_of(atoms))
    atoms.numbers[0] = 19
    assert_same(d3(graph_of(atoms)), D3(PBE)(graph_of(atoms)))
    nothing = d3(graph_of(Atoms()))
    assert float(nothing.energy[0]) == 0.0
    assert nothing.forces.shape == (0, 3)


def test_an_atom_alone_has_none():
    found = D3(PBE)(graph_of(Atoms("Xe")))
    assert float(found.energy[0]) == 0.0
    assert not found.forces.any()


def test_unknown_functional_and_element():
    with pytest.raises(InputError, match=r"'PBEE'.*did you mean pbe.*known: .*r2scan"):
        damping_of("PBEE")
    with pytest.raises(InputError, match="no parameters for Rf, X; it knows H to Fm"):
        elements_of((1, 104, 0))


def test_functionals_by_any_spelling():
    assert damping_of("B3-LYP").a1 == damping_of("b3lyp").a1 == 0.3981
    assert damping_of("PBE").description == (
        "D3(BJ) for PBE: s6 1, s8 0.7875, a1 0.4289, a2 4.4407 bohr"
    )
