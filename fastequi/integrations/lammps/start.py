"""From a state of fastequi to what LAMMPS needs to begin: box, types, atoms, commands."""

from typing import Any

import numpy as np
from ase.data import chemical_symbols

from fastequi.integrations.lammps.box import Box, wrapped
from fastequi.integrations.lammps.ensembles import MOBILE, Constants, commands_of, is_tilting
from fastequi.integrations.lammps.worker import Start
from fastequi.md.integrators import Integrator
from fastequi.md.ramps import Ramp
from fastequi.md.state import State
from fastequi.md.velocities import all_degrees_of_freedom, internal_degrees_of_freedom

#: Å that a box of LAMMPS has beyond the atoms along open directions, where it then shrinks.
_MARGIN_A = 1.0


def start_of(
    state: State, integrator: Integrator, box: Box, constants: Constants, skin_A: float,
    restart: bytes | None,
) -> Start:  # fmt: skip
    """Of one system, at the beginning or where a restart file goes on."""
    kinds, types = np.unique(
        np.stack([state.atomic_numbers.numpy(), state.masses.numpy()], axis=1),
        axis=0, return_inverse=True,
    )  # fmt: skip
    masses = [f"mass {k + 1} {constants.mass(mass):.17g}" for k, (_, mass) in enumerate(kinds)]
    positions = box.inwards(state.positions.numpy())
    is_first = restart is None
    return Start(
        elements=[chemical_symbols[int(number)] for number, _ in kinds],
        box=[*_box_commands(state, integrator, box, positions, len(kinds)), *masses],
        atoms=_atoms(state, box, positions, types.reshape(-1)) if is_first else {},
        restart=restart,
        groups=_groups(state) if is_first else [],
        motion=commands_of(integrator, constants, state.step, _is_all_heat(state)),
        timestep_fs=integrator.timestep_fs,
        skin_A=skin_A,
        ramp=_ramp_steps(integrator),
    )


def _box_commands(
    state: State, integrator: Integrator, box: Box, positions: Any, n_types: int
) -> list[str]:
    pbc, lengths = state.pbc[0].tolist(), np.diag(box.triangle)
    bounds = [
        (0.0, lengths[k]) if pbc[k]
        else (positions[:, k].min() - _MARGIN_A, positions[:, k].max() + _MARGIN_A)
        for k in range(3)
    ]  # fmt: skip
    numbers = [bound for pair in bounds for bound in pair]
    shape = "block"
    if any(box.tilts) or is_tilting(integrator):
        shape, numbers = "prism", [*numbers, *box.tilts]
    return [
        f"boundary {' '.join('p' if periodic else 's' for periodic in pbc)}",
        "atom_style atomic", "atom_modify sort 0 0",
        f"region box {shape} {' '.join(f'{x:.17g}' for x in numbers)} units box",
        f"create_box {n_types} box",
    ]  # fmt: skip


def _atoms(state: State, box: Box, positions: Any, types: Any) -> dict[str, Any]:
    """The arguments of create_atoms, in Å and Å/ps."""
    velocities = box.inwards(state.velocities.numpy()) * 1e3
    inside, images = wrapped(positions, box.triangle, state.pbc[0].numpy())
    return {
        "atomid": np.arange(1, state.n_atoms + 1),
        "atype": types + 1,
        "x": inside.reshape(-1),
        "v": velocities.reshape(-1),
        "image": images,
    }


def _groups(state: State) -> list[str]:
    if state.fixed_atoms is None:
        return [f"group {MOBILE} union all"]
    fixed = [f"group fixed id {span}" for span in _spans(state.fixed_atoms.numpy())]
    return [*fixed, f"group {MOBILE} subtract all fixed"]


def _spans(chosen: Any) -> list[str]:
    """Numbers from 1, as LAMMPS takes them: 'first:last'."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], chosen.astype(np.int8), [0]])))
    return [f"{first + 1}:{end}" for first, end in edges.reshape(-1, 2)]


def _is_all_heat(state: State) -> bool:
    """Whether nothing moves as a whole without being heat."""
    return bool(internal_degrees_of_freedom(state)[0] == all_degrees_of_freedom(state)[0])


def _ramp_steps(integrator: Integrator) -> int | None:
    """Of the ramp that temperature or pressure have; None without one."""
    targets = [getattr(integrator, name, None) for name in ("temperature_K", "pressure_GPa")]
    return max((t.steps for t in targets if isinstance(t, Ramp)), default=None)
