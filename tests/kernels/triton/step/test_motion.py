"""Edge vectors, and whether atoms have moved too far for their list, as the definitions say."""

import numpy as np
import pytest
import torch

pytest.importorskip("triton")

from fastequi.graph import image_vectors
from fastequi.kernels.triton.step import definitions
from fastequi.kernels.triton.step.buffers import Batch, new_list
from fastequi.kernels.triton.step.flags import MOVED_TOO_FAR, NOT_FINITE, SKIN_USED
from fastequi.kernels.triton.step.operators import launch_
from fastequi.kernels.triton.step.step import change_cell_, check_moves_, edge_vectors_
from fastequi.md.neighbors.list import skin_used

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
RADIUS, SKIN, FURTHEST = 2.9, 0.4, 1.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("index_dtype", [torch.int32, torch.int64])
def test_vectors_are_those_of_the_definition(crystals, dtype, index_dtype):
    """To the last bit, and nothing is written behind the last edge."""
    step = crystals(index_dtype=index_dtype)
    n = step.n_edges
    vectors = torch.full((step.edges.capacity, 3), 7.0, dtype=dtype, device=step.positions.device)
    edge_vectors_(step.rows, step.positions, step.cell, step.batch, vectors)
    images = image_vectors(step.cell, step.batch.system_idx[step.receiver], step.shift.double()).T
    expected = definitions.edge_vectors(step.positions, images, step.sender, step.receiver, dtype)
    assert torch.equal(vectors[:n], expected)
    assert (vectors[n:] == 7.0).all()
    assert n > 20


def build_(step) -> None:
    """Frame and inverse of the lattice as it is, and no strain."""
    bins = torch.zeros(2, 3, 2, dtype=torch.int64, device=step.cell.device)
    launch_(
        "make_frame", (2,), cell=step.cell, pbc=step.pbc, frame=step.edges.frame,
        inverse=step.edges.inverse, bins=bins, radius=RADIUS,
    )  # fmt: skip
    change_cell_(step.edges, step.cell, step.pbc, RADIUS, SKIN)


def strained(step, by: np.ndarray, times: float = 1.0) -> None:
    """Another cell, atoms with it."""
    deformation = torch.from_numpy(np.eye(3) + times * by).to(step.cell)
    step.positions[:4] = step.positions[:4] @ deformation
    step.cell[0] = step.cell[0] @ deformation


SHEAR = np.array([[0.0, 0.03, 0.0], [0.0, 0.0, 0.02], [0.0, 0.0, 0.0]])
STRAINS = {
    "none": np.zeros((3, 3)),
    "axes": np.diag([-0.05, 0.02, 0.01]),
    "expansion": 0.04 * np.eye(3),
    "shear": SHEAR,
}


@pytest.mark.parametrize("name", STRAINS)
def test_strain_uses_up_the_skin(crystals, name):
    """As the definition says; never less than what the list on the CPU counts."""
    step = crystals()
    build_(step)
    old_cell, old_positions = step.cell.clone(), step.positions.clone()
    strained(step, STRAINS[name])
    change_cell_(step.edges, step.cell, step.pbc, RADIUS, SKIN)
    frame, inverse = step.edges.frame, step.edges.inverse
    expected = definitions.deform(frame, inverse, step.cell, step.pbc, RADIUS, SKIN)
    assert torch.allclose(step.edges.deformation, expected[0], rtol=0, atol=1e-15)
    assert torch.allclose(step.edges.allowance, expected[1], rtol=0, atol=1e-14)
    used = skin_used(
        old_positions, old_cell, step.positions, step.cell, step.pbc, step.batch.system_idx, RADIUS
    )
    counted = SKIN - step.edges.allowance
    assert (counted >= used - 1e-12).all()
    if name in ("none", "expansion"):
        assert torch.allclose(counted, torch.zeros_like(counted), atol=1e-14)


MOVES = {
    "nothing": ({}, 0),
    "all of a system": ({i: (0.9, 0, 0) for i in range(4)}, 0),
    "too far together": ({i: (0.9, 0.6, 0) for i in range(4)}, MOVED_TOO_FAR),
    "within the skin": ({1: (0.2, 0, 0), 5: (0, 0.2, 0)}, 0),
    "beyond the skin": ({5: (0, 0.4, 0)}, SKIN_USED),
    "out": ({6: (0, 0, 1.1)}, SKIN_USED | MOVED_TOO_FAR),
    "not a number": ({2: (0, torch.nan, 0)}, SKIN_USED | MOVED_TOO_FAR | NOT_FINITE),
    "infinite": ({0: (0, torch.inf, 0)}, SKIN_USED | MOVED_TOO_FAR | NOT_FINITE),
}


@pytest.mark.filterwarnings("ignore:invalid value")  # NumPy's, in the interpreter
@pytest.mark.parametrize("name", MOVES)
def test_flags_are_those_of_the_definition(crystals, name):
    step = crystals()
    build_(step)
    strained(step, STRAINS["shear"], 0.3)
    change_cell_(step.edges, step.cell, step.pbc, RADIUS, SKIN)
    moves, expected = MOVES[name]
    for atom, move in moves.items():
        step.positions[atom] += torch.tensor(move, dtype=torch.float64)
    edges = step.edges
    defined = definitions.move_flags(
        step.positions, edges.positions, edges.last_positions, edges.deformation,
        step.batch.system_idx, edges.allowance, FURTHEST,
    )  # fmt: skip
    check_moves_(edges, step.positions, step.batch, FURTHEST, step.flags)
    assert step.raised() == defined == expected
    assert torch.equal(edges.last_positions.isnan(), step.positions.isnan())
    check_moves_(edges, step.positions, step.batch, FURTHEST, step.flags)
    stays = SKIN_USED | (NOT_FINITE | MOVED_TOO_FAR if expected & NOT_FINITE else 0)
    assert step.raised() == expected & stays


def test_large_systems_are_summed_in_parts():
    """1100 atoms in one system, 3 in another; only the last of the first has moved."""
    batch = Batch.of([1100, 3], DEVICE)
    assert batch.n_parts == 2
    edges, _ = new_list(batch, 0)
    random = np.random.default_rng(0)
    positions = torch.from_numpy(random.normal(size=(1103, 3))).to(DEVICE)
    edges.positions.copy_(positions)
    edges.last_positions.copy_(positions)
    edges.deformation.copy_(torch.eye(3, dtype=torch.float64))
    edges.allowance.fill_(SKIN)
    flags = torch.zeros(1, dtype=torch.int32)
    positions += 0.5  # together
    check_moves_(edges, positions, batch, FURTHEST, flags)
    assert int(flags[0]) == 0
    wanted = torch.full((2, 3), 0.5, dtype=torch.float64)
    counts = torch.tensor([[1100.0], [3.0]])
    assert torch.allclose(edges.moves.sum(dim=1) / counts, wanted, atol=1e-12)
    positions[1099, 1] += 0.5 * SKIN + 0.01
    check_moves_(edges, positions, batch, FURTHEST, flags)
    assert int(flags[0]) == SKIN_USED
