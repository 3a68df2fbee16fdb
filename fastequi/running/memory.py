"""How many atoms fit into memory, and the batches that follow from it.

What an atom costs is measured: the peaks of two force calls, of which one has twice the atoms.
"""

import os
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from ase import Atoms

from fastequi.device import field_of, free_bytes
from fastequi.graph import Graph
from fastequi.kernels.cpu.step import MOST_ATOMS
from fastequi.md.neighbors import NeighborList
from fastequi.md.state import state_from_atoms
from fastequi.potential import Potential, force_call
from fastequi.running.systems import System

#: Atoms of the smaller of the two calls.
_PROBE_ATOMS = {"cpu": 300, "cuda": 2000}
#: Of the free memory, what a run may take; and of what was measured, what it may take.
_SHARE, _MARGIN = 0.8, 1.3
#: Files that a system has open, and those that a process needs besides.
_FILES_PER_SYSTEM, _OTHER_FILES = 3, 64


@dataclass(frozen=True)
class Room:
    """What fits at once.

    atoms      that fit into free_bytes of memory; None where it cannot be known
    fastest    atoms beyond which a batch is no faster than two; None where there is no such limit
    systems    whose files may be open at once
    """

    atoms: int | None
    free_bytes: int
    fastest: int | None
    systems: int

    @property
    def most_atoms(self) -> int | None:
        """Atoms in a batch, at most."""
        limits = [limit for limit in (self.atoms, self.fastest) if limit is not None]
        return min(limits, default=None)

    def __str__(self) -> str:
        known = self.atoms is not None
        fit = f"about {self.atoms:,} atoms fit into {self.free_bytes / 1e9:.3g} GB" if known else ""
        fast = f"up to {self.fastest:,} at once are fastest" if self.fastest else ""
        return "; ".join(part for part in (fit, fast) if part)


def room_for(potential: Potential, systems: Sequence[System], skin_A: float) -> Room:
    """Measure it with copies of the largest system."""
    device = potential.device
    free = free_bytes(device)
    largest = max((system.atoms for system in systems), key=len)
    per_atom = bytes_per_atom(potential, largest, skin_A)
    atoms = max(1, int(_SHARE * free / (_MARGIN * per_atom))) if free and per_atom else None
    fastest = MOST_ATOMS if device.type == "cpu" else None
    return Room(atoms, free or 0, fastest, (_files_allowed() - _OTHER_FILES) // _FILES_PER_SYSTEM)


def split(systems: Sequence[System], room: Room) -> list[list[System]]:
    """Systems in their order, as many in a batch as there is room for, one at least."""
    batches: list[list[System]] = []
    atoms, most = 0, room.most_atoms
    for system in systems:
        n = len(system.atoms)
        is_full = batches and (
            (most is not None and atoms + n > most) or len(batches[-1]) >= room.systems
        )
        if is_full or not batches:
            batches.append([])
            atoms = 0
        batches[-1].append(system)
        atoms += n
    return batches


def bytes_per_atom(potential: Potential, atoms: Atoms, skin_A: float) -> float | None:
    """Of a force call on copies of a system; None where it cannot be measured."""
    device = potential.device
    copies = max(1, _PROBE_ATOMS.get(device.type, 300) // len(atoms))
    peaks = []
    for n in (copies, copies, 2 * copies):  # the first also compiles
        graph = _graph([atoms] * n, potential, skin_A)
        _reset_peak(device)
        call = force_call(potential, graph, None)
        for _ in range(2):
            call(graph.positions, graph.cell)
        peak = _peak(device)
        if peak is None:
            return None
        peaks.append(peak)
    grown = peaks[2] - peaks[1]
    return grown / (copies * len(atoms)) if grown > 0 else None


def _graph(systems: list[Atoms], potential: Potential, skin_A: float) -> Graph:
    state = state_from_atoms(systems, potential.device)
    neighbors = NeighborList(potential.cutoff, skin_A)
    topology = state.cell, state.pbc, state.system_idx
    neighbors.update(state.positions, *topology)
    return neighbors.graph_with_skin(state.positions, state.atomic_numbers, *topology)


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak begins anew
    except OSError:
        pass


def _peak(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return field_of("/proc/self/status", "VmHWM")


def _files_allowed() -> int:
    """How many files may be open, after asking for as many as the system grants."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(hard, os.sysconf("SC_OPEN_MAX")) if hard != resource.RLIM_INFINITY else 65_536
    if soft < most:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
        except (OSError, ValueError):
            pass
    return soft
