"""What is said of a step that failed: where, how much, and what may help."""

import torch
from torch import Tensor

from fastequi.errors import PhysicsError
from fastequi.md.barostats.checks import LARGEST_STRAIN
from fastequi.md.checks import NAMED_AT_MOST, atom_within
from fastequi.md.state import State

#: An atom that moves further in one step is not a simulation any more.
FURTHEST_MOVE_A = 1.0


def check_strain(state: State, last_good: int, strain: Tensor | None, timestep_fs: float) -> None:
    """Raise PhysicsError where a barostat has strained a cell too far; strain [systems]."""
    if strain is None or not bool((strain > LARGEST_STRAIN).any()):
        return
    worst = int(strain.argmax())
    raise PhysicsError(
        f"the barostat is too fast: at step {state.step + 1} it strained the cell by "
        f"{100.0 * float(strain[worst]):.2g} % (limit {100 * LARGEST_STRAIN:g} %).\nThe last "
        f"good step is {last_good}. What may help: a longer barostat_time_fs; a smaller "
        f"timestep_fs (now {timestep_fs:g}); with npt-scr, a smaller compressibility_per_GPa; a "
        "larger supercell; relaxing structure and cell first.",
        worst if state.n_systems > 1 else None,
    )


def check_motion(state: State, before: Tensor, failed: int, good: int, timestep_fs: float) -> None:
    """Raise PhysicsError where an atom has moved too far from [atoms, 3] in Å.

    failed, good: the step that this is, and the last one that was good.
    """
    moved = (state.positions - before).norm(dim=1)
    wrong = ~(moved <= FURTHEST_MOVE_A)  # in this form NaN is wrong too
    if bool(wrong.any()):
        happened = [f"moved {d:.3g} Å in one step" for d in moved.tolist()]
        raise _failure(state, wrong, happened, failed, good, timestep_fs)


def check_forces(state: State, failed: int, good: int, timestep_fs: float) -> None:
    """Raise PhysicsError where forces or energies are not finite."""
    total = state.forces.abs().sum() + state.energy.abs().sum()  # NaN or inf if any term is
    if bool(torch.isfinite(total)):
        return
    wrong = ~(torch.isfinite(state.forces).all(dim=1) & torch.isfinite(state.energies))
    happened = [
        f"energy {energy:.3g} eV, force ({x:.3g}, {y:.3g}, {z:.3g}) eV/Å"
        for energy, (x, y, z) in zip(state.energies.tolist(), state.forces.tolist(), strict=True)
    ]
    raise _failure(state, wrong, happened, failed, good, timestep_fs)


def _failure(
    state: State, wrong: Tensor, happened: list[str], failed: int, good: int, timestep_fs: float
) -> PhysicsError:
    """Of the first system that failed, if several did."""
    system = _first_system(state, wrong)
    atoms = torch.nonzero(wrong & (state.system_idx == system)).squeeze(1).tolist()
    lines = [f"{atom_within(state, a)}: {happened[a]}" for a in atoms[:NAMED_AT_MOST]]
    if len(atoms) > len(lines):
        lines.append(f"and {len(atoms) - len(lines)} more atoms")
    return PhysicsError(
        f"the simulation failed at step {failed}:\n- "
        + "\n- ".join(lines or ["the energy is not finite"])
        + f"\nThe last good step is {good}. What may help: a smaller timestep_fs (now "
        f"{timestep_fs:g}); relaxing the structure first; a model that was trained on this "
        "chemistry, at this density and temperature.",
        system if state.n_systems > 1 else None,
    )


def _first_system(state: State, wrong: Tensor) -> int:
    """Whose atoms are `wrong`; where none are, whose energy is not finite."""
    systems = state.system_idx[wrong]
    if len(systems) == 0:
        systems = torch.nonzero(~torch.isfinite(state.energy)).squeeze(1)
    return int(systems[0]) if len(systems) else 0
