"""The forces on atoms and cells are the gradient of the enthalpy in the coordinates that move."""

from dataclasses import replace

import ase.build
import pytest
import torch
from ase.constraints import FixAtoms
from torch import Tensor

from fastequi.graph import volumes
from fastequi.md.barostats.strain import Coupling
from fastequi.md.integrators import VelocityVerlet
from fastequi.md.minimizers.coordinates import Coordinates
from fastequi.md.simulation import Simulation
from fastequi.md.state import State, state_from_atoms
from fastequi.md.testing import LennardJones

ARGON = LennardJones(switch_A=4.5, cutoff=5.5)
PRESSURE = 0.01  # eV/Å³
EVERY = [Coupling(k, axes) for k in ("isotropic", "axes", "flexible") for axes in ("xyz", "xz")]
ACTIVE = torch.ones(2, dtype=torch.bool)


def two_crystals(fixed: tuple[int, ...] = ()) -> State:
    systems = [ase.build.bulk("Ar", a=5.2, cubic=True), ase.build.bulk("Ar", a=5.1).repeat(2)]
    for k, atoms in enumerate(systems):
        atoms.rattle(0.1, seed=k)
    systems[0].set_constraint(FixAtoms(fixed))
    return state_from_atoms(systems)


def coordinates_of(state: State, coupling: Coupling | None) -> Coordinates:
    pressure = torch.tensor([PRESSURE, 2 * PRESSURE], dtype=torch.float64)
    made = Coordinates.of(state, coupling, pressure)
    state.extra = made.extra_state(state)
    return made


def with_forces(state: State) -> State:
    """The same moment with energies, forces and stress."""
    bare = replace(state.snapshot(), extra={})
    Simulation(bare, ARGON, VelocityVerlet(1.0)).compute_forces_()
    return replace(bare, extra=state.extra)


def random_move(coordinates: Coordinates, state: State, random: torch.Generator) -> Tensor:
    """Of atoms, and of cells by strains that the coupling allows: [rows, 3]."""
    n_rows = len(coordinates.rows.owner)
    move = torch.randn(n_rows, 3, dtype=torch.float64, generator=random)
    if coordinates.coupling is not None:
        cells = move[state.n_atoms :].view(-1, 3, 3)
        cells.copy_(coordinates.coupling.project(0.5 * (cells + cells.mT)))
    return move


@pytest.mark.parametrize("coupling", [None, *EVERY], ids=str)
def test_forces_are_the_gradient(coupling: Coupling | None) -> None:
    """At cells that are strained a good deal, where exp(A) and its derivative matter."""
    state, random = two_crystals(fixed=(1,)), torch.Generator().manual_seed(3)
    coordinates = coordinates_of(state, coupling)
    start = random_move(coordinates, state, random)
    start[: state.n_atoms] *= 0.02
    coordinates.move_(state, 0.5 * start, ACTIVE)

    def enthalpy(move: Tensor) -> Tensor:
        moved = state.snapshot()
        coordinates.move_(moved, move, ACTIVE)
        return with_forces(moved).energy + coordinates.pressure * volumes(moved.cell)

    forces = coordinates.forces(with_forces(state))
    for _ in range(3):
        way = random_move(coordinates, state, random)
        slope = (enthalpy(3e-5 * way) - enthalpy(-3e-5 * way)) / 6e-5
        found = -coordinates.rows.dot(forces, way)
        torch.testing.assert_close(found, slope, rtol=1e-5, atol=1e-7)


def test_what_is_done_stays_to_the_last_bit_and_axes_that_may_not_change_too() -> None:
    state, random = two_crystals(), torch.Generator().manual_seed(3)
    coordinates = coordinates_of(state, Coupling("flexible", "xy"))
    before = state.snapshot()
    for _ in range(5):
        move = 0.1 * random_move(coordinates, state, random)
        coordinates.move_(state, move, torch.tensor([True, False]))
    there = state.system_idx == 1
    assert torch.equal(state.positions[there], before.positions[there])
    assert torch.equal(state.cell[1], before.cell[1])
    assert torch.equal(state.cell[0][2], before.cell[0][2])
    assert float((state.cell[0] - before.cell[0]).abs().max()) > 0.01
    assert float((state.positions[~there] - before.positions[~there]).abs().min()) > 1e-4


def test_fixed_atoms_stay_alone_and_go_with_a_cell() -> None:
    state, random = two_crystals(fixed=(1, 2)), torch.Generator().manual_seed(3)
    alone = coordinates_of(state, None)
    before = state.snapshot()
    alone.move_(state, random_move(alone, state, random), ACTIVE)
    assert torch.equal(state.positions[1:3], before.positions[1:3])
    coordinates = coordinates_of(state, Coupling("flexible", "xyz"))
    coordinates.move_(state, random_move(coordinates, state, random), ACTIVE)
    between = state.positions[2] - state.positions[1]
    expected = (
        (before.positions[2] - before.positions[1]) @ before.cell[0].inverse() @ state.cell[0]
    )
    torch.testing.assert_close(between, expected, rtol=0.0, atol=1e-12)
    assert float((state.cell[0] - before.cell[0]).abs().max()) > 0.01


def test_a_move_that_is_too_long_is_shortened_for_its_system_alone() -> None:
    state = two_crystals()
    coordinates = coordinates_of(state, Coupling("isotropic", "xyz"))
    move = torch.zeros(len(coordinates.rows.owner), 3, dtype=torch.float64)
    assert coordinates.limit(state, move, 0.2, 0.03).tolist() == [1.0, 1.0]
    move[1, 2] = 0.5
    assert coordinates.limit(state, move, 0.2, 0.03).tolist() == [pytest.approx(0.4), 1.0]
    move[state.n_atoms + 3] = 50.0  # a strain that would tear the second cell apart
    factor = coordinates.limit(state, move, 0.2, 0.03)
    coordinates.move_(state, coordinates.rows.of_rows(factor) * move, ACTIVE)
    assert 0.0 < float(state.extra["strain"][1].abs().max()) <= 0.03 + 1e-12
