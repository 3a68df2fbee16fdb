"""The neighbour list against brute force, and the skin against no skin."""

import itertools

import ase.build
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fastequi.errors import InputError, PhysicsError
from fastequi.graph import Graph, edge_vectors
from fastequi.md.neighbors import NeighborList
from fastequi.md.neighbors.build import build_edges
from fastequi.md.neighbors.list import skin_used
from fastequi.md.neighbors.reference import reference_neighbors

MASKS = [np.array(mask) for mask in itertools.product([False, True], repeat=3)]
CELLS_PER_MASK = 28  # 224 random cells in all


def random_system(
    rng: np.random.Generator, pbc: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions and a triclinic cell: either hand, tiny or large, rows missing, atoms outside."""
    edge = rng.choice([1.6, 2.5, 6.0, 9.0])
    cell = edge * (np.eye(3) + rng.uniform(-0.4, 0.4, (3, 3)))
    if rng.random() < 0.4:
        cell = cell[[1, 0, 2]]
    positions = rng.random((rng.integers(1, 14), 3)) @ cell
    if rng.random() < 0.5:
        positions += rng.integers(-4, 5, positions.shape) @ cell
    if rng.random() < 0.5:
        cell = np.where(pbc[:, None], cell, 0.0)
    return positions, cell


def query(
    neighbors: NeighborList,
    positions: NDArray[np.float64],
    cell: NDArray[np.float64],
    pbc: NDArray[np.bool_],
) -> Graph:
    """The graph of a single system."""
    n = len(positions)
    return neighbors.graph(
        torch.from_numpy(positions),
        torch.ones(n, dtype=torch.int64),
        torch.from_numpy(cell)[None],
        torch.from_numpy(pbc)[None],
        torch.zeros(n, dtype=torch.int64),
    )


def assert_same_edges(graph: Graph, expected: tuple[NDArray[np.int64], ...]) -> None:
    for got, want in zip((graph.edge_dst, graph.edge_src, graph.edge_shift), expected, strict=True):
        np.testing.assert_array_equal(got.numpy(), want)


@pytest.mark.parametrize("pbc", MASKS, ids=lambda m: "".join("TF"[not p] for p in m))
@pytest.mark.parametrize("skin", [0.0, 1.0])
def test_edges_equal_brute_force(pbc: NDArray[np.bool_], skin: float) -> None:
    rng = np.random.default_rng([3, *map(int, pbc)])
    left_handed = edges = outside = 0
    for _ in range(CELLS_PER_MASK):
        positions, cell = random_system(rng, pbc)
        cutoff = rng.uniform(1.5, 4.0)
        graph = query(NeighborList(cutoff, skin), positions, cell, pbc)
        assert_same_edges(graph, reference_neighbors(positions, cell, pbc, cutoff))
        left_handed += np.linalg.det(cell) < 0
        edges += graph.n_edges
        outside += len(positions) > 1 and bool((np.ptp(positions, axis=0) > 9.0).any())
    assert edges > 30
    assert outside > 3
    assert left_handed > 3


def test_brute_force_counts_a_simple_cubic_lattice() -> None:
    """The oracle itself: 6 neighbours at a, 12 at sqrt(2) a, 8 at sqrt(3) a; by images alone."""
    for cutoff, expected in ((1.01, 6), (1.42, 18), (1.74, 26)):
        dst, src, shift = reference_neighbors(
            np.zeros((1, 3)), np.eye(3), np.array([True] * 3), cutoff
        )
        assert len(dst) == expected
        assert set(dst) == set(src) == {0}
        assert {tuple(s) for s in shift} == {tuple(-s) for s in shift}


def test_a_batch_is_its_systems_one_after_the_other() -> None:
    rng = np.random.default_rng(5)
    masks = [MASKS[7], MASKS[0], MASKS[3]]
    systems = [random_system(rng, pbc) for pbc in masks]
    counts = [len(x) for x, _ in systems]
    graph = NeighborList(3.0, 0.5).graph(
        torch.from_numpy(np.concatenate([x for x, _ in systems])),
        torch.ones(sum(counts), dtype=torch.int64),
        torch.from_numpy(np.stack([cell for _, cell in systems])),
        torch.from_numpy(np.stack(masks)),
        torch.from_numpy(np.repeat(np.arange(3), counts)),
    )
    alone = [
        reference_neighbors(x, cell, pbc, 3.0)
        for (x, cell), pbc in zip(systems, masks, strict=True)
    ]
    first = np.cumsum([0, *counts[:-1]])
    dst = np.concatenate([edges[0] + start for edges, start in zip(alone, first, strict=True)])
    src = np.concatenate([edges[1] + start for edges, start in zip(alone, first, strict=True)])
    assert_same_edges(graph, (dst, src, np.concatenate([edges[2] for edges in alone])))


def test_isolated_atoms_have_no_edges() -> None:
    graph = query(NeighborList(3.0), np.array([[0.0, 0, 0], [9, 0, 0]]), np.zeros((3, 3)), MASKS[0])
    assert graph.n_edges == 0
    assert graph.edge_shift.shape == (0, 3)


def test_atoms_far_away_do_not_upset_the_list() -> None:
    """Far apart along non-periodic directions, where a list of bins alone is slow or dies."""
    slab = np.diag([6.0, 6.0, 0.0])
    rng = np.random.default_rng(0)
    near = rng.random((8, 3)) * 6.0
    for far, pbc in (([0.0, 0.0, 5e4], MASKS[6]), ([1e7, -3e6, 2e8], MASKS[0])):
        positions = np.concatenate([near, near + far])
        graph = query(NeighborList(3.0), positions, slab, pbc)
        half = reference_neighbors(near, slab, pbc, 3.0)
        assert graph.n_edges == 2 * len(half[0])
        np.testing.assert_array_equal(graph.edge_dst[: len(half[0])].numpy(), half[0])


def test_order_is_canonical_when_the_packed_integer_does_not_fit() -> None:
    """Shifts of 10⁶ lattice vectors between many atoms: sorted column by column instead."""
    rng = np.random.default_rng(1)
    cell, pbc = 3.0 * np.eye(3), MASKS[7]
    wrapped = rng.random((40, 3)) * 3.0
    jumps = rng.integers(-(10**6), 10**6, wrapped.shape)
    edges = build_edges(wrapped + jumps @ cell, cell, pbc, 2.0)
    dst, src, shift = reference_neighbors(wrapped, cell, pbc, 2.0)
    expected = np.column_stack([dst, src, shift + jumps[dst] - jumps[src]])
    expected = expected[np.lexsort(expected.T[::-1])]
    np.testing.assert_array_equal(edges.T, expected)


def liquid(seed: int, cell: NDArray[np.float64], n: int = 60) -> NDArray[np.float64]:
    return np.random.default_rng(seed).random((n, 3)) @ cell


@pytest.mark.parametrize("pbc", MASKS, ids=lambda m: "".join("TF"[not p] for p in m))
def test_no_edge_is_missed_while_atoms_move_and_the_cell_deforms(pbc: NDArray[np.bool_]) -> None:
    """Random walk plus shear, compression and rotation, against brute force at every step."""
    rng = np.random.default_rng(11)
    cell = 7.0 * np.eye(3) + rng.uniform(-2.0, 2.0, (3, 3))
    positions = liquid(2, cell, 30)
    neighbors = NeighborList(3.0, 0.8)
    for _ in range(40):
        strain = np.eye(3) + rng.normal(0.0, 0.01, (3, 3)) - 0.004 * np.eye(3)
        cell = cell @ strain
        positions = positions @ strain + rng.normal(0.0, 0.02, positions.shape)
        graph = query(neighbors, positions, cell, pbc)
        assert_same_edges(graph, reference_neighbors(positions, cell, pbc, 3.0))
    assert 1 < neighbors.rebuilds < 40


def test_the_graph_does_not_depend_on_when_the_list_was_built() -> None:
    rng = np.random.default_rng(12)
    cell, pbc = np.diag([8.0, 9.0, 10.0]), MASKS[7]
    positions = liquid(3, cell)
    old = NeighborList(3.0, 1.5)
    for _ in range(6):
        positions = positions + rng.normal(0.0, 0.05, positions.shape)
        kept, fresh = (
            query(old, positions, cell, pbc),
            query(NeighborList(3.0), positions, cell, pbc),
        )
        for name in ("edge_dst", "edge_src", "edge_shift"):
            assert torch.equal(getattr(kept, name), getattr(fresh, name))
    assert old.rebuilds < old.queries == 6


def test_edge_vectors_are_within_the_cutoff_and_antisymmetric() -> None:
    cell = np.array([[5.0, 0, 0], [2, 6, 0], [-1, 1, 7]])
    graph = query(NeighborList(4.0), liquid(4, cell, 20), cell, MASKS[7])
    vectors = edge_vectors(graph)
    assert float(vectors.norm(dim=1).max()) < 4.0
    edges = {
        (i, j, *s)
        for i, j, s in zip(
            graph.edge_dst.tolist(), graph.edge_src.tolist(), graph.edge_shift.tolist(), strict=True
        )
    }
    assert edges == {(j, i, -a, -b, -c) for i, j, a, b, c in edges}
    assert len(edges) == graph.n_edges


def used(
    x0: torch.Tensor, h0: torch.Tensor, x1: torch.Tensor, h1: torch.Tensor, pbc: list[bool]
) -> float:
    idx = torch.zeros(len(x0), dtype=torch.int64)
    mask = torch.tensor([pbc])
    return float(skin_used(x0, h0[None], x1, h1[None], mask, idx, 4.0))


def test_skin_counts_motion_compression_and_shear_but_not_expansion() -> None:
    cell = 8.0 * torch.eye(3, dtype=torch.float64)
    x = torch.rand(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 8.0
    periodic = [True] * 3
    moved = x.clone()
    moved[3, 1] += 0.2
    assert used(x, cell, moved, cell, periodic) == pytest.approx(0.4 * 19 / 20)
    assert used(x, cell, x + 5.0, cell, periodic) < 1e-12
    assert used(x, cell, x * 1.1, cell * 1.1, periodic) < 1e-12
    assert used(x, cell, x * 0.9, cell * 0.9, periodic) == pytest.approx(4.0 * 0.1)
    shear = torch.eye(3, dtype=torch.float64)
    shear[0, 1] = 0.2
    smallest = (1.0 + 0.1**2) ** 0.5 - 0.1  # of [[1, 0.2], [0, 1]]
    assert used(x, cell, x @ shear, cell @ shear, periodic) == pytest.approx(4.0 * (1 - smallest))
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    assert used(x, cell, x @ turn, cell @ turn, periodic) < 1e-12


def test_only_lattice_vectors_that_exist_count_as_strain() -> None:
    x = torch.zeros(1, 3, dtype=torch.float64)
    slab = torch.diag(torch.tensor([8.0, 8.0, 0.0], dtype=torch.float64))
    squeezed = torch.diag(torch.tensor([8.0, 7.2, 0.0], dtype=torch.float64))
    boxed = torch.diag(torch.tensor([8.0, 8.0, 3.0], dtype=torch.float64))
    assert used(x, slab, x, squeezed, [True, True, False]) == pytest.approx(4.0 * 0.1)
    assert used(x, slab, x, boxed, [True, True, False]) == pytest.approx(0.0, abs=1e-12)
    assert used(x, slab, x, squeezed, [False, False, False]) == pytest.approx(0.0, abs=1e-12)


def test_only_the_system_that_moved_is_rebuilt() -> None:
    atoms = ase.build.bulk("Cu", cubic=True)
    x = torch.from_numpy(np.concatenate([atoms.positions] * 2))
    cell = torch.from_numpy(np.stack([atoms.cell.array] * 2))
    idx = torch.repeat_interleave(torch.arange(2), 4)
    neighbors = NeighborList(3.0, 0.5)

    def edges(positions: torch.Tensor) -> int:
        ones = torch.ones(8, dtype=torch.int64)
        pbc = torch.ones(2, 3, dtype=torch.bool)
        return neighbors.graph(positions, ones, cell, pbc, idx).n_edges

    edges(x)
    x = x.clone()
    x[5, 0] += 0.6  # system 1 uses up its skin
    x[1, 0] += 0.2  # system 0 some of its own
    edges(x)
    x = x.clone()
    x[1, 0] += 0.2  # now system 0 does
    edges(x)
    assert neighbors.rebuilds == 3
    x = x.clone()
    x[5, 0] += 0.1
    edges(x)
    assert (neighbors.rebuilds, neighbors.queries) == (3, 4)


def test_another_system_or_periodicity_means_another_list() -> None:
    atoms = ase.build.bulk("Cu", cubic=True)
    neighbors = NeighborList(3.0)
    for n, pbc in ((4, MASKS[7]), (3, MASKS[7]), (3, MASKS[5])):
        graph = query(neighbors, atoms.positions[:n], atoms.cell.array, pbc)
        assert_same_edges(
            graph, reference_neighbors(atoms.positions[:n], atoms.cell.array, pbc, 3.0)
        )
    assert neighbors.rebuilds == 3


def test_the_shortest_distance_is_that_of_the_last_query() -> None:
    """Of pairs that the cutoff leaves out too, without a rebuild when atoms move."""
    atoms = ase.build.bulk("Cu", cubic=True)
    neighbors = NeighborList(2.0, 1.0)
    for shift_A in (0.0, 0.2, 0.4):
        positions = atoms.positions.copy()
        positions[0, 0] += shift_A
        query(neighbors, positions, atoms.cell.array, MASKS[7])
        moved = ase.Atoms("Cu4", positions, cell=atoms.cell, pbc=True)
        distances = moved.get_all_distances(mic=True)[np.triu_indices(4, 1)]
        assert neighbors.shortest_distance_A() == pytest.approx(distances.min(), rel=1e-14)
    assert neighbors.rebuilds == 1
    query(neighbors, np.zeros((1, 3)), np.zeros((3, 3)), MASKS[0])
    assert neighbors.shortest_distance_A() == np.inf


def test_errors_say_what_is_wrong() -> None:
    with pytest.raises(InputError, match=r"cutoff is -1\.0"):
        NeighborList(-1.0)
    with pytest.raises(InputError, match=r"skin is -0\.5"):
        NeighborList(3.0, -0.5)
    positions = np.zeros((3, 3))
    positions[1, 2] = np.nan
    with pytest.raises(PhysicsError, match=r"atoms \[1\]"):
        query(NeighborList(3.0), positions, np.eye(3), MASKS[7])
