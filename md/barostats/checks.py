"""What must be true before a barostat may change a cell; every problem in words of the input."""

import torch
from torch import Tensor

from fastequi.errors import InputError
from fastequi.graph import volumes
from fastequi.md.barostats.strain import AXES, COUPLINGS, Coupling
from fastequi.md.state import State, atoms_per_system, system_name

#: Largest thermal strain in one step that a barostat may be expected to make.
TYPICAL_STRAIN = 0.01

#: Strain in one step, far beyond thermal ones, at which a simulation is stopped: it explodes.
LARGEST_STRAIN = 0.1


def check_coupling(coupling: Coupling) -> None:
    """Raise InputError for words that mean nothing."""
    if coupling.kind not in COUPLINGS:
        raise InputError(f"coupling is {coupling.kind!r}; allowed: {', '.join(COUPLINGS)}")
    if coupling.axes not in AXES:
        raise InputError(f"barostat_axes is {coupling.axes!r}; allowed: {', '.join(AXES)}")


def check_cells(
    state: State, coupling: Coupling, ensemble: str, moves_fixed_atoms: bool = False
) -> None:
    """Raise InputError unless every cell has a volume and is periodic where it may change.

    moves_fixed_atoms: whether fixed atoms may go with the cell.
    """
    problems = []
    if state.fixed_atoms is not None and not moves_fixed_atoms:
        problems.append(
            f"atoms are fixed, which {ensemble} cannot hold: a cell that changes moves all its "
            "atoms, and what holds some of them would press on it. nvt-* can; fixed_centre_of_mass "
            "holds the whole in place"
        )
    volume = volumes(state.cell).tolist()
    for k in range(state.n_systems):
        cell, pbc, name = state.cell[k].cpu(), state.pbc[k].cpu(), system_name(state, k)
        open_axes = [axis for axis in coupling.axes if _is_open(cell[pbc], "xyz".index(axis))]
        if not volume[k] > 0.0:
            problems.append(
                f"{name} has no volume: {ensemble} needs three lattice vectors; along an open "
                "direction one that spans atoms and vacuum"
            )
        elif open_axes:
            free = "".join(axis for axis in "xyz" if not _is_open(cell[pbc], "xyz".index(axis)))
            way_out = 'an ensemble that leaves cells alone, or coupling = "none" of minimize'
            if free:
                way_out = f'barostat_axes = "{free}" leaves the rest alone'
            problems.append(
                f"{name} is open along {', '.join(open_axes)}, where {ensemble} cannot change "
                f"its cell; {way_out}"
            )
    if problems:
        raise InputError("\n".join(problems))


def check_speed(
    state: State, strain: Tensor, ensemble: str, barostat_time_fs: float, power: float
) -> None:
    """Raise InputError where thermal strains in one step [systems] are too large.

    They fall with the barostat's time to the `power`.
    """
    worst = int(strain.argmax())
    largest = float(strain[worst])
    if largest > TYPICAL_STRAIN:
        needed = barostat_time_fs * (largest / TYPICAL_STRAIN) ** (1.0 / power)
        atoms, volume = int(atoms_per_system(state)[worst]), float(volumes(state.cell)[worst])
        name = system_name(state, worst) if state.n_systems > 1 else "this cell"
        raise InputError(
            f"barostat_time_fs = {barostat_time_fs:g} is too fast for {name} "
            f"({atoms} atoms, {volume:.4g} Å³): {ensemble} would strain its cell by "
            f"{100 * largest:.2g} % in one step; allowed: {needed:.2g} fs or more. A larger "
            "supercell or a smaller timestep_fs help too"
        )


def _is_open(periodic: Tensor, axis: int) -> bool:
    """Whether a Cartesian direction is not within the periodic ones, rows [n, 3]."""
    unit = torch.zeros(3, dtype=torch.float64)
    unit[axis] = 1.0
    if len(periodic) == 0:
        return True
    within = torch.linalg.pinv(periodic) @ periodic  # projects onto them
    return bool((unit @ within - unit).abs().max() > 1e-6)
