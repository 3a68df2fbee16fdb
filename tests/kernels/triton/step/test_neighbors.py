"""The list that the kernels build, beside brute force and the list of the CPU."""

import itertools

import numpy as np
import pytest
import torch

pytest.importorskip("triton")

from fastequi.kernels.triton.step.definitions import deform, unpack
from fastequi.kernels.triton.step.flags import NOT_FINITE, OUT_OF_RANGE, OVERFLOW
from fastequi.kernels.triton.step.step import build_list_, check_moves_
from fastequi.md.neighbors.reference import reference_neighbors

MASKS = [np.array(mask) for mask in itertools.product([False, True], repeat=3)]
ALL = np.ones(3, bool)


def build_(step, radius: float) -> int:
    """Build, and what is raised."""
    build_list_(
        step.edges, step.work, step.positions, step.cell, step.pbc, step.batch, radius, 0.3,
        step.flags,
    )  # fmt: skip
    return step.raised()


def assert_same_edges(step) -> None:
    """As the list on the CPU has them, in its order, with reverses."""
    n, edges = step.n_edges, step.edges
    assert int(edges.needed) == int(edges.row_start[-1]) == n
    rows = torch.arange(step.batch.n_atoms, device=edges.sender.device)
    receiver = rows.repeat_interleave(edges.row_start.diff())
    assert torch.equal(receiver, step.receiver)
    assert torch.equal(edges.sender[:n].long(), step.sender)
    assert torch.equal(unpack(edges.shift[:n]), step.shift)
    back = edges.reverse[:n].long()
    assert torch.equal(step.sender[back], step.receiver)
    assert torch.equal(step.receiver[back], step.sender)
    assert torch.equal(step.shift[back], -step.shift)


def random_system(random: np.random.Generator, pbc: np.ndarray, edge: float):
    """A triclinic cell of either hand, lattice vectors missing or not, atoms outside or not."""
    cell = edge * (np.eye(3) + random.uniform(-0.3, 0.3, (3, 3)))
    cell = cell[[1, 0, 2]] if random.random() < 0.4 else cell
    positions = random.random((random.integers(2, 5), 3)) @ cell
    if random.random() < 0.5:
        positions += random.integers(-4, 5, positions.shape) @ cell
    return positions, np.where(pbc[:, None], cell, 0.0) if random.random() < 0.5 else cell, pbc


@pytest.mark.parametrize("pbc", MASKS, ids=lambda m: "".join("TF"[not p] for p in m))
def test_edges_equal_those_of_the_cpu_and_brute_force(pbc, new_step):
    """Two systems at once, one cell smaller than the radius."""
    random = np.random.default_rng([7, *map(int, pbc)])
    systems = [random_system(random, pbc, edge) for edge in (2.4, 5.0)]
    step = new_step(systems, radius=2.6, index_dtype=torch.int32)
    assert build_(step, 2.6) == 0
    assert_same_edges(step)
    first = 0
    for k, (positions, cell, periodic) in enumerate(systems):
        expected = reference_neighbors(positions, cell, periodic, 2.6)
        mine = step.batch.system_idx[step.receiver] == k
        got = (step.receiver[mine] - first, step.sender[mine] - first, step.shift[mine])
        for one, other in zip(got, expected, strict=True):
            np.testing.assert_array_equal(one.cpu().numpy(), other)
        first += len(positions)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_random_systems(seed, new_step):
    random = np.random.default_rng([11, seed])
    masks = [MASKS[k] for k in random.integers(0, 8, 3)]
    systems = [random_system(random, mask, random.choice([1.6, 2.5, 6, 9])) for mask in masks]
    radius = random.uniform(1.5, 4.0)
    step = new_step(systems, radius)
    assert build_(step, radius) == 0
    assert_same_edges(step)


def test_an_atom_far_from_all_others_and_one_alone(new_step):
    """No box is made around them; a system may have no edges at all."""
    far = np.array([[0, 0, 0], [1, 0.5, 0], [1e5, -1e5, 1e5], [1e5 + 1, -1e5, 1e5]])
    none = np.zeros((3, 3)), ~ALL
    step = new_step([(far, *none), (np.zeros((1, 3)), *none)], radius=1.5)
    assert build_(step, 1.5) == 0
    assert step.n_edges == 4
    assert_same_edges(step)


def crystal(n: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Body-centred cubic, 2.6 A."""
    corners = 2.6 * np.array(list(itertools.product(range(n), repeat=3)), float)
    return np.concatenate([corners, corners + 1.3]), 2.6 * n * np.eye(3), ALL


@pytest.mark.parametrize("capacity", [0, 5, 15])
def test_overflow_is_a_flag_and_stays_in_bounds(capacity, new_step):
    step = new_step([crystal()], radius=2.4, capacity=capacity)
    assert step.n_edges == 16
    assert build_(step, 2.4) == OVERFLOW
    assert int(step.edges.needed) == 16
    assert step.edges.row_start.diff().min() >= 0
    assert int(step.edges.row_start[-1]) == capacity
    assert step.edges.reverse.max() < capacity if capacity else True
    enough = new_step([crystal()], radius=2.4, capacity=16)
    assert build_(enough, 2.4) == 0


@pytest.mark.filterwarnings("ignore:invalid value")  # NumPy's, in the interpreter
def test_positions_out_of_range_raise_flags(new_step):
    for value, flag in ((torch.nan, NOT_FINITE), (torch.inf, NOT_FINITE), (1e7, OUT_OF_RANGE)):
        step = new_step([crystal()], radius=2.4)
        step.positions[1, 0] = value
        assert build_(step, 2.4) & flag


def test_a_rebuild_begins_anew(new_step):
    """The list forgets moves and strain; the frame is the lattice of now."""
    step = new_step([crystal()], radius=2.4)
    assert build_(step, 2.4) == 0
    step.cell[0] = step.cell[0] @ torch.diag(torch.tensor([1.02, 0.99, 1.0]).double())
    step.positions += torch.tensor([[0.3, 0, 0], [0, -0.3, 0]], dtype=torch.float64)
    step.flags.zero_()
    check_moves_(step.edges, step.positions, step.batch, 1.0, step.flags)
    assert step.raised() > 0
    assert build_(step, 2.4) == 0
    check_moves_(step.edges, step.positions, step.batch, 1.0, step.flags)
    assert step.raised() == 0
    frame, inverse = step.edges.frame, step.edges.inverse
    assert torch.equal(frame, step.cell)
    assert torch.allclose(inverse @ frame, torch.eye(3, dtype=torch.float64), atol=1e-15)
    expected = deform(frame, inverse, step.cell, step.pbc, 2.4, 0.3)
    assert torch.allclose(step.edges.allowance, expected[1], atol=1e-14)


@pytest.mark.slow
def test_cells_of_several_bins(new_step):
    """54 atoms, three bins along each direction."""
    random = np.random.default_rng(0)
    positions, cell, pbc = crystal(3)
    positions += random.normal(0, 0.2, positions.shape)
    step = new_step([(positions, cell, pbc)], radius=2.55)
    assert build_(step, 2.55) == 0
    assert step.work.bins[0, :, 0].tolist() == [3, 3, 3]
    assert_same_edges(step)
