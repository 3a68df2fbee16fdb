"""What must be true of structures before a simulation starts; every problem is named at once."""

from collections.abc import Sequence

import torch
from ase import Atoms
from ase.data import chemical_symbols
from torch import Tensor

from fastequi.errors import InputError
from fastequi.graph import edge_vectors, volumes
from fastequi.md.constraints.from_ase import refused
from fastequi.md.neighbors import NeighborList
from fastequi.md.state import State, atoms_per_system, state_from_atoms, system_name
from fastequi.potential import Potential, Prediction

#: Atoms closer than this are on top of each other.
SHORTEST_DISTANCE_A = 0.1

#: They are searched among the pairs within this radius: cells as small as the shortest distance
#: would cost more than all forces of a small model.
_SEARCH_RADIUS_A = 2.0

#: Atoms or pairs that a message names before it counts the rest.
NAMED_AT_MOST = 5


def check_atoms(atoms: Atoms | Sequence[Atoms], potential: Potential) -> None:
    """Raise InputError, listing everything that keeps these structures from being simulated."""
    systems = [atoms] if isinstance(atoms, Atoms) else list(atoms)
    problems = [f"system {k} has {what}" for k, one in enumerate(systems) for what in refused(one)]
    _raise_if_any(problems + find_problems(state_from_atoms(systems), potential))


def check_state(state: State, potential: Potential) -> None:
    """The same for a state; see `check_atoms`."""
    _raise_if_any(find_problems(state, potential))


def check_prediction(state: State, prediction: Prediction, nearest_A: float) -> None:
    """Raise InputError, naming what and where, unless all that a potential says is finite.

    `nearest_A`, the shortest distance between atoms in Å, is told to who looks for the cause. A
    stress is not asked of a cell without volume.
    """
    problems = [
        f"{what} of {_atoms_where(state, wrong)}"
        for what, wrong in (
            ("forces", ~torch.isfinite(prediction.forces).all(dim=1)),
            ("energies", ~torch.isfinite(prediction.energies)),
        )
        if wrong.any()
    ]
    has_volume = volumes(state.cell) > 0.0
    for what, values in (("energy", prediction.energy), ("stress", prediction.stress[has_volume])):
        if not torch.isfinite(values).all():
            problems.append(what)
    if problems:
        raise InputError(
            f"what the potential says of this structure is not finite: {'; '.join(problems)} (the "
            f"nearest atoms are {nearest_A:.3g} Å apart). What may help: atoms further apart; a "
            "model that was trained on this chemistry, at this density"
        )


def find_problems(state: State, potential: Potential) -> list[str]:
    """A sentence for each problem: empty, not finite, unknown elements, cell, overlaps."""
    state = state.to("cpu")
    empty = torch.nonzero(atoms_per_system(state) == 0).squeeze(1).tolist()
    problems = [f"{system_name(state, k)} has no atoms" for k in empty]
    problems += _not_finite(state)
    problems += _bad_masses(state)
    problems += _bad_constraints(state)
    problems += _unknown_elements(state, potential)
    problems += _bad_cells(state)
    if torch.isfinite(state.positions).all() and not _bad_cells(state):
        problems += _overlaps(state)
    return problems


def _raise_if_any(problems: list[str]) -> None:
    if problems:
        raise InputError("the structure cannot be simulated:\n- " + "\n- ".join(problems))


def atom_name(state: State, atom: int) -> str:
    """'atom 3 (Si)', and of which system where there are several; counted within its system."""
    name = atom_within(state, atom)
    if state.n_systems == 1:
        return name
    return f"{name} of {system_name(state, int(state.system_idx[atom]))}"


def atom_within(state: State, atom: int) -> str:
    """'atom 3 (Si)', counted within its system."""
    first = int(torch.searchsorted(state.system_idx, state.system_idx[atom].item()))
    return f"atom {atom - first} ({chemical_symbols[int(state.atomic_numbers[atom])]})"


def _list(names: list[str], total: int) -> str:
    more = f" and {total - len(names)} more" if total > len(names) else ""
    return ", ".join(names) + more


def _atoms_where(state: State, wrong: Tensor) -> str:
    atoms = torch.nonzero(wrong).squeeze(1).tolist()
    return _list([atom_name(state, a) for a in atoms[:NAMED_AT_MOST]], len(atoms))


def _not_finite(state: State) -> list[str]:
    problems = []
    for what in ("positions", "velocities"):
        wrong = ~torch.isfinite(getattr(state, what)).all(dim=1)
        if wrong.any():
            problems.append(f"{what} are not finite: {_atoms_where(state, wrong)}")
    return problems


def _bad_masses(state: State) -> list[str]:
    wrong = ~((state.masses > 0.0) & torch.isfinite(state.masses))
    return [f"masses must be positive: {_atoms_where(state, wrong)}"] if wrong.any() else []


def _bad_constraints(state: State) -> list[str]:
    if state.fixed_atoms is None and state.fixed_centre is None:
        return []
    atoms, problems = atoms_per_system(state).tolist(), []
    for k in range(state.n_systems):
        mine, name = state.system_idx == k, system_name(state, k)
        fixed = 0 if state.fixed_atoms is None else int(state.fixed_atoms[mine].sum())
        fixes_centre = state.fixed_centre is not None and bool(state.fixed_centre[k])
        if fixed and fixed == atoms[k]:
            problems.append(f"all atoms of {name} are fixed: nothing is left to move")
        elif fixes_centre and fixed:
            problems.append(
                f"{name} has fixed atoms, and its centre of mass is fixed too; choose one"
            )
        elif fixes_centre and atoms[k] == 1:
            problems.append(f"{name} is one atom, whose centre of mass is fixed: nothing moves")
    return problems


def _unknown_elements(state: State, potential: Potential) -> list[str]:
    if potential.atomic_numbers is None:
        return []
    unknown = sorted(set(state.atomic_numbers.tolist()) - set(potential.atomic_numbers))
    if not unknown:
        return []
    known = ", ".join(chemical_symbols[z] for z in sorted(potential.atomic_numbers))
    given = ", ".join(chemical_symbols[z] for z in unknown)
    return [f"the potential does not know {given}; it knows {known}"]


def _bad_cells(state: State) -> list[str]:
    problems = []
    for k in range(state.n_systems):
        cell, pbc, name = state.cell[k], state.pbc[k], system_name(state, k)
        if not torch.isfinite(cell).all():
            problems.append(f"the cell of {name} is not finite")
            continue
        missing = (pbc & (cell == 0.0).all(dim=1)).nonzero().squeeze(1).tolist()
        if missing:
            axes = ", ".join("abc"[axis] for axis in missing)
            problems.append(
                f"{name} is periodic along {axes} but has no lattice vector there; "
                "give one or set pbc to False"
            )
        elif _is_flat(cell[pbc]):
            problems.append(
                f"the lattice vectors of {name} span no volume: {cell[pbc].tolist()} Å; "
                "periodic directions need independent lattice vectors"
            )
    return problems


def _is_flat(vectors: Tensor) -> bool:
    """Whether lattice vectors [n, 3] depend linearly on each other, up to rounding."""
    if len(vectors) == 0:
        return False
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    return bool(torch.linalg.svdvals(unit)[-1] < 1e-8)


def _overlaps(state: State) -> list[str]:
    near = NeighborList(_SEARCH_RADIUS_A, skin=0.0)
    graph = near.graph(
        state.positions, state.atomic_numbers, state.cell, state.pbc, state.system_idx
    )
    distances = edge_vectors(graph).norm(dim=1)
    once = (graph.edge_dst <= graph.edge_src) & (distances < SHORTEST_DISTANCE_A)
    pairs = {}
    for edge in torch.nonzero(once).squeeze(1).tolist():
        pair = (int(graph.edge_dst[edge]), int(graph.edge_src[edge]))
        pairs.setdefault(pair, float(distances[edge]))
    names = [
        f"{atom_name(state, i)} and {'its own image' if i == j else atom_name(state, j)} "
        f"({distance:.3g} Å)"
        for (i, j), distance in list(pairs.items())[:NAMED_AT_MOST]
    ]
    if not names:
        return []
    return [
        f"atoms are on top of each other (closer than {SHORTEST_DISTANCE_A} Å, periodic images "
        f"included): {_list(names, len(pairs))}"
    ]
