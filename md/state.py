"""The state of a simulation: a batch of systems with positions, velocities, forces.

Units: Å, Å/fs, amu, eV, eV/Å, eV/Å³, K, GPa. Everything with a fraction is float64.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress
from torch import Tensor

from fastequi.errors import InputError
from fastequi.graph import volumes
from fastequi.md.batch import Batch
from fastequi.md.constraints.from_ase import fix_, fixed_atoms, fixes_centre_of_mass
from fastequi.md.host_copies import HostCopies
from fastequi.units import (
    ASE_VELOCITY_A_PER_FS,
    BOLTZMANN_eV_PER_K,
    GPA_PER_eV_PER_A3,
)

#: Array of Atoms with velocities in Å/fs. Momenta, which ASE knows, cannot give them back exactly:
#: multiplied by a mass and divided by it again, a number may differ in its last bit.
EXACT_VELOCITIES = "velocities_A_per_fs"


class _Remembered:
    """Room for what a state works out once, which is no part of it."""

    __slots__ = ("_batch", "_of")


@dataclass(slots=True)
class State(_Remembered):
    """A batch of systems in motion; integrators write into its tensors, and make no others of them.

    positions       [atoms, 3]       Å, never wrapped
    velocities      [atoms, 3]       Å/fs
    masses          [atoms]          amu
    atomic_numbers  [atoms]          int64
    cell            [systems, 3, 3]  Å, rows are lattice vectors; zero rows where there is none
    pbc             [systems, 3]     bool
    system_idx      [atoms]          int64, sorted
    forces          [atoms, 3]       eV/Å; NaN until they are computed
    energy          [systems]        eV, potential energy; NaN until it is computed
    energies        [atoms]          eV, each atom's share; NaN until they are computed
    stress          [systems, 3, 3]  eV/Å³, ASE's sign; NaN where the cell has no volume
    step            int              steps done; in a chunk a tensor [] of the device: see Chunk
    extra           name -> tensor   what the integrator declares and nobody else looks into
    fixed_atoms     [atoms]          bool, which atoms do not move; None where all do
    fixed_centre    [systems]        bool, whose centre of mass does not move; None where all may
    names           one per system   what messages call the systems; () for their rows
    """

    positions: Tensor
    velocities: Tensor
    masses: Tensor
    atomic_numbers: Tensor
    cell: Tensor
    pbc: Tensor
    system_idx: Tensor
    forces: Tensor
    energy: Tensor
    energies: Tensor
    stress: Tensor
    step: int = 0
    extra: dict[str, Tensor] = field(default_factory=dict)
    fixed_atoms: Tensor | None = None
    fixed_centre: Tensor | None = None
    names: tuple[str, ...] = ()

    @property
    def n_atoms(self) -> int:
        return self.positions.shape[0]

    @property
    def n_systems(self) -> int:
        return self.cell.shape[0]

    @property
    def device(self) -> torch.device:
        return self.positions.device

    @property
    def batch(self) -> Batch:
        """What follows from masses, systems and constraints; made again where these change."""
        of = self.masses, self.system_idx, self.fixed_atoms, self.fixed_centre
        versions = [None if tensor is None else tensor._version for tensor in of]
        if getattr(self, "_batch", None) is None or not self._is_of(of, versions):
            masses, system_idx, *fixed = of
            self._batch = Batch.of(masses, system_idx, self.n_systems, *fixed)
            self._of = of, versions
        return self._batch

    def _is_of(self, tensors: Sequence[Tensor | None], versions: list[int | None]) -> bool:
        """Asked several times a step."""
        (a, b, c, d), then = self._of
        w, x, y, z = tensors
        return a is w and b is x and c is y and d is z and then == versions

    def moving(self) -> dict[str, Tensor]:
        """The tensors that steps write into, by name."""
        return {name: getattr(self, name) for name in MOVING} | self.extra

    def snapshot(self) -> "State":
        """This moment, to return to: copies of what is written into, the rest shared."""
        copies = {name: getattr(self, name).clone() for name in MOVING}
        extra = {name: tensor.clone() for name, tensor in self.extra.items()}
        return replace(self, **copies, extra=extra)

    def copy_(self, other: "State") -> None:
        """Write another moment of the same systems into this state's own tensors."""
        for name in MOVING:
            getattr(self, name).copy_(getattr(other, name))
        for name, tensor in self.extra.items():
            tensor.copy_(other.extra[name])
        self.step = other.step

    def sent(self) -> Callable[[], "State"]:
        """This moment on the CPU, for whoever asks later: it is on its way; without `extra`."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "extra"}
        tensors = {n: v for n, v in values.items() if isinstance(v, Tensor)}
        copies = HostCopies(tensors, kept=tuple(n for n in tensors if n not in MOVING))
        rest = {n: v for n, v in values.items() if n not in tensors}
        return lambda: State(**copies.arrived(), **rest)

    def to(self, device: torch.device | str) -> "State":
        """The same state on another device; itself where it is there already."""
        if self.device == torch.device(device):
            return self
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        moved = {n: v.to(device) for n, v in values.items() if isinstance(v, Tensor)}
        extra = {name: tensor.to(device) for name, tensor in self.extra.items()}
        return replace(self, **moved, extra=extra)


#: Tensors of a state that every step writes into; what an ensemble declares comes on top.
MOVING = ("positions", "velocities", "cell", "forces", "energy", "energies", "stress")


def state_from_atoms(atoms: Atoms | Sequence[Atoms], device: torch.device | str = "cpu") -> State:
    """One system, or a batch of them, at step 0 with the velocities that the atoms carry.

    Constraints are taken over as `fastequi.md.constraints.from_ase` says; fixed atoms are at rest.
    Energies and forces are NaN: results of an attached calculator are not taken over.
    Raises InputError for an empty list.
    """
    systems = [atoms] if isinstance(atoms, Atoms) else list(atoms)
    if not systems:
        raise InputError("there is no system to simulate: the list of structures is empty")
    counts = [len(system) for system in systems]
    n_atoms, n_systems = sum(counts), len(systems)

    def stacked(arrays: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.concatenate(arrays)).to(device)

    def unknown(*shape: int) -> Tensor:
        return torch.full(shape, torch.nan, dtype=torch.float64, device=device)

    fixed = [fixed_atoms(s) for s in systems]
    centres = [np.array([fixes_centre_of_mass(s)]) for s in systems]
    moving = [velocities_A_per_fs(s) * ~f[:, None] for s, f in zip(systems, fixed, strict=True)]
    return State(
        positions=stacked([s.positions.astype(np.float64) for s in systems]),
        velocities=stacked(moving),
        masses=stacked([s.get_masses().astype(np.float64) for s in systems]),
        atomic_numbers=stacked([s.numbers.astype(np.int64) for s in systems]),
        cell=stacked([s.cell.array[None].astype(np.float64) for s in systems]),
        pbc=stacked([s.pbc[None].astype(bool) for s in systems]),
        system_idx=stacked([np.repeat(np.arange(n_systems), counts)]),
        forces=unknown(n_atoms, 3),
        energy=unknown(n_systems),
        energies=unknown(n_atoms),
        stress=unknown(n_systems, 3, 3),
        fixed_atoms=stacked(fixed) if np.concatenate(fixed).any() else None,
        fixed_centre=stacked(centres) if np.concatenate(centres).any() else None,
    )


def velocities_A_per_fs(atoms: Atoms) -> np.ndarray:
    """Velocities [atoms, 3] in Å/fs; zero where atoms carry none.

    Those that `set_velocities_A_per_fs` kept, to the last bit, as long as they are the momenta:
    who has changed momenta or masses since then gets what follows from these.
    """
    if not atoms.has("momenta"):
        return np.zeros((len(atoms), 3))
    momenta = atoms.get_momenta()
    kept = atoms.arrays.get(EXACT_VELOCITIES)
    if kept is not None and kept.shape == momenta.shape:
        if np.array_equal(_ase_momenta(atoms, kept), momenta):
            return kept.copy()
    return atoms.get_velocities() * ASE_VELOCITY_A_PER_FS


def set_velocities_A_per_fs(atoms: Atoms, velocities: np.ndarray) -> None:
    """Give atoms velocities [atoms, 3] in Å/fs: as momenta, for ASE, and as they are."""
    atoms.set_momenta(_ase_momenta(atoms, velocities))
    atoms.set_array(EXACT_VELOCITIES, velocities, np.float64, (3,))


def forget_velocities_(atoms: Atoms) -> None:
    """Leave atoms without velocities, as a structure is that never had any."""
    for name in ("momenta", EXACT_VELOCITIES):
        atoms.arrays.pop(name, None)


def _ase_momenta(atoms: Atoms, velocities: np.ndarray) -> np.ndarray:
    return atoms.get_masses()[:, None] * (velocities / ASE_VELOCITY_A_PER_FS)


def state_to_atoms(state: State) -> list[Atoms]:
    """Every system as ASE Atoms: unwrapped positions, momenta in ASE's unit, and results.

    A SinglePointCalculator carries energy, forces and stress, each only where it is finite. The
    state comes back from `state_from_atoms` to the last bit.
    """
    frames = []
    host = state.to("cpu")
    for k in range(host.n_systems):
        mine = host.system_idx == k
        atoms = Atoms(
            numbers=host.atomic_numbers[mine].numpy(),
            positions=host.positions[mine].numpy(),
            masses=host.masses[mine].numpy(),
            cell=host.cell[k].numpy(),
            pbc=host.pbc[k].numpy(),
        )
        set_velocities_A_per_fs(atoms, host.velocities[mine].numpy())
        if host.fixed_atoms is not None:
            fix_(atoms, torch.nonzero(host.fixed_atoms[mine]).squeeze(1).tolist())
        if host.fixed_centre is not None:
            fix_(atoms, [], centre_of_mass=bool(host.fixed_centre[k]))
        results = {
            "energy": host.energy[k].numpy(),
            "forces": host.forces[mine].numpy(),
            "stress": full_3x3_to_voigt_6_stress(host.stress[k].numpy()),
        }
        finite = {name: value.copy() for name, value in results.items() if np.isfinite(value).all()}
        if "energy" in finite:
            finite["energy"] = float(finite["energy"])
        if finite:
            atoms.calc = SinglePointCalculator(atoms, **finite)
        frames.append(atoms)
    return frames


def system_name(state: State, row: int) -> str:
    """'system 0003', or by its row where systems have no names."""
    return f"system {state.names[row] if state.names else row}"


def atoms_per_system(state: State) -> Tensor:
    """Number of atoms of each system: [systems], int64."""
    return torch.bincount(state.system_idx, minlength=state.n_systems)


def kinetic_energy(state: State) -> Tensor:
    """Kinetic energy [systems] in eV."""
    return state.batch.kinetic(state.velocities)


def momentum(state: State) -> Tensor:
    """Total momentum [systems, 3] in amu Å/fs."""
    return state.batch.sum(state.masses.unsqueeze(1) * state.velocities)


def temperature_K(thermal_energy: Tensor, degrees_of_freedom: Tensor) -> Tensor:
    """Temperature [systems] in K of so much heat [systems] in eV in so many degrees of freedom."""
    return 2.0 * thermal_energy / (degrees_of_freedom * BOLTZMANN_eV_PER_K)


def pressure_GPa(state: State, thermal_energy: Tensor) -> Tensor:
    """Pressure [systems] in GPa, virial plus 2 E / 3 V; NaN where the cell has no volume.

    thermal_energy [systems]: the kinetic energy E that is heat, in eV; see `Integrator`.
    """
    volume = volumes(state.cell)
    kinetic = 2.0 * thermal_energy / (3.0 * volume)
    virial = -state.stress.diagonal(dim1=1, dim2=2).mean(dim=1)
    pressure = (virial + kinetic) * GPA_PER_eV_PER_A3
    return torch.where(volume > 0.0, pressure, torch.nan)
