"""What is said of a structure when its forces are known, before the first step.

Atoms that are far too close end a simulation within a step or two, with a message about the atom
that was thrown away. The cause is visible before.
"""

import warnings

import torch
from ase.data import covalent_radii

from fastequi.errors import PhysicsError
from fastequi.md.checks import NAMED_AT_MOST, atom_name
from fastequi.md.failures import FURTHEST_MOVE_A
from fastequi.md.integrators import Integrator
from fastequi.md.nearest import nearest_name, pair_name, pairs_within
from fastequi.md.state import State

#: Share of the sum of two covalent radii below which no two atoms are. Of the bonds of molecules,
#: that of N2 has the least: 0.77 of it.
CLOSEST_SHARE = 0.6

#: Forces beyond it are rare in the hottest dynamics, and frequent in structures that are wrong.
SUSPICIOUS_FORCE_eV_per_A = 50.0


def check_first_step(state: State, integrator: Integrator) -> None:
    """Look at distances, forces and velocities at step 0, where dynamics are to begin.

    Raises PhysicsError where the first step would throw an atom away, naming it and its neighbour;
    warns of atoms that are too close, and of forces that are too large.
    """
    if not integrator.is_dynamics:
        return  # what a minimisation is for
    acceleration = (state.forces * state.batch.acceleration).norm(dim=1)
    dt = integrator.timestep_fs
    moves = dt * state.velocities.norm(dim=1) + 0.5 * dt**2 * acceleration
    furthest = int(moves.argmax())
    if float(moves[furthest]) > FURTHEST_MOVE_A:
        force = float(state.forces[furthest].norm())
        speed = float(state.velocities[furthest].norm())
        raise PhysicsError(
            "the simulation failed at step 0, before it began: the first step would move "
            f"{atom_name(state, furthest)} by {float(moves[furthest]):.3g} Å: the force on it is "
            f"{force:.3g} eV/Å, its velocity {speed:.3g} Å/fs ({nearest_name(state, furthest)}). "
            'What may help: ensemble = "minimize" first; other positions or velocities; a smaller '
            f"timestep_fs (now {dt:g})",
            int(state.system_idx[furthest]) if state.n_systems > 1 else None,
        )
    for sentence in suspicions(state):
        warnings.warn(sentence, stacklevel=2)


def suspicions(state: State) -> list[str]:
    """Sentences about atoms that are too close to each other, and about the largest force."""
    radii = torch.from_numpy(covalent_radii)[state.atomic_numbers.to("cpu")]
    pairs = pairs_within(state, CLOSEST_SHARE * 2.0 * float(radii.max()))
    share = pairs.distance / (radii[pairs.first] + radii[pairs.second])
    close = torch.nonzero(share < CLOSEST_SHARE).squeeze(1)
    close = close[share[close].argsort()].tolist()
    found = []
    if close:
        named = "; ".join(pair_name(state, pairs, k) for k in close[:NAMED_AT_MOST])
        more = f" and {len(close) - NAMED_AT_MOST} more" if len(close) > NAMED_AT_MOST else ""
        found.append(
            f"atoms are closer than any bond ({named}{more}): no model was trained there, and what "
            'it says may be anything. ensemble = "minimize" may pull them apart'
        )
    forces = state.forces.norm(dim=1)
    largest = int(forces.argmax())
    if float(forces[largest]) > SUSPICIOUS_FORCE_eV_per_A:
        found.append(
            f"the force on {atom_name(state, largest)} is {float(forces[largest]):.3g} eV/Å "
            f"({nearest_name(state, largest)}): far more than in dynamics. Relax the structure "
            'first, for example with ensemble = "minimize"'
        )
    return found
