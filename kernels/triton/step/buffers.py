"""Memory of a step: everything that the kernels read and write, made once for a batch."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fastequi.kernels.triton.step.kernels import ATOMS_PER_PART, SUM_BLOCK


@dataclass(frozen=True)
class Batch:
    """Which atoms belong to which system.

    system_idx  [atoms] int64, sorted
    first_atom  [systems + 1] int64
    n_parts     pieces that the largest system is summed in
    """

    system_idx: Tensor
    first_atom: Tensor
    n_parts: int

    @property
    def n_atoms(self) -> int:
        return self.system_idx.shape[0]

    @property
    def n_systems(self) -> int:
        return self.first_atom.shape[0] - 1

    @classmethod
    def of(cls, atoms_per_system: list[int], device: torch.device | str) -> "Batch":
        counts = torch.tensor(atoms_per_system, dtype=torch.int64)
        first = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
        system_idx = torch.repeat_interleave(torch.arange(len(counts)), counts)
        return cls.between(system_idx.to(device), first.to(device))

    @classmethod
    def sorted(cls, system_idx: Tensor, n_systems: int) -> "Batch":
        """Of the system of each atom."""
        ends = torch.arange(n_systems + 1, device=system_idx.device)
        first_atom = torch.searchsorted(system_idx.contiguous(), ends)
        return cls.between(system_idx.clone(), first_atom)

    @classmethod
    def between(cls, system_idx: Tensor, first_atom: Tensor) -> "Batch":
        """The largest system is asked for."""
        most = max(first_atom.diff().tolist(), default=0)
        return cls(system_idx, first_atom, max(-(-most // ATOMS_PER_PART), 1))


@dataclass(frozen=True)
class SkinList:
    """A neighbour list at fixed capacity; sorted by (receiver, sender, shift).

    row_start      [atoms + 1] int64; what atom i receives is row_start[i]:row_start[i+1]
    sender         [capacity] int32 or int64, as reverse
    reverse        [capacity], the edge that leads back
    shift          [capacity] int64, three whole numbers packed (`definitions.unpack`)
    needed         [1] int64, edges that there are, also beyond the capacity
    positions      [atoms, 3] at the build; those of the last call in last_positions
    frame, inverse, deformation [systems, 3, 3], allowance [systems]: `definitions.deform`
    moves          [systems, parts, 3] sums of moves
    """

    row_start: Tensor
    sender: Tensor
    reverse: Tensor
    shift: Tensor
    needed: Tensor
    positions: Tensor
    last_positions: Tensor
    frame: Tensor
    inverse: Tensor
    deformation: Tensor
    allowance: Tensor
    moves: Tensor

    @property
    def capacity(self) -> int:
        return self.sender.shape[0]


@dataclass(frozen=True)
class EdgeRows:
    """Edges as a force call reads them; rows, those of a receiver, may be in another order.

    atoms        [rows] int64, which atom of positions, systems and forces receives
    sender_atom  [capacity], which one sends
    row_start, reverse, shift  as those of `SkinList`
    """

    atoms: Tensor
    sender_atom: Tensor
    row_start: Tensor
    reverse: Tensor
    shift: Tensor


@dataclass(frozen=True)
class Workspace:
    """What a build needs besides, not read by anybody after it; [atoms], [places] or [capacity].

    The number of places, a power of two, is at least that of atoms.
    """

    bins: Tensor
    bin: Tensor
    image: Tensor
    occupants: Tensor
    place_in_bin: Tensor
    first_occupant: Tensor
    atoms: Tensor
    counts: Tensor
    sums: Tensor
    total: Tensor
    found_sender: Tensor
    found_shift: Tensor


def new_list(
    batch: Batch, capacity: int, index_dtype: torch.dtype = torch.int64
) -> tuple[SkinList, Workspace]:
    """Memory for so many edges, where the batch is."""
    n_atoms, n_systems = batch.n_atoms, batch.n_systems
    n_places = 1 << max(n_atoms - 1, 0).bit_length()

    def whole(*shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
        return batch.first_atom.new_zeros(shape, dtype=dtype)

    def real(*shape: int) -> Tensor:
        return whole(*shape, dtype=torch.float64)

    edges = SkinList(
        row_start=whole(n_atoms + 1), sender=whole(capacity, dtype=index_dtype),
        reverse=whole(capacity, dtype=index_dtype), shift=whole(capacity),
        needed=whole(1), positions=real(n_atoms, 3), last_positions=real(n_atoms, 3),
        frame=real(n_systems, 3, 3), inverse=real(n_systems, 3, 3),
        deformation=real(n_systems, 3, 3), allowance=real(n_systems),
        moves=real(n_systems, batch.n_parts, 3),
    )  # fmt: skip
    workspace = Workspace(
        bins=whole(n_systems, 3, 2), bin=whole(n_atoms), image=whole(n_atoms),
        occupants=whole(n_places), place_in_bin=whole(n_atoms),
        first_occupant=whole(n_places + 1), atoms=whole(n_atoms), counts=whole(n_atoms),
        sums=whole(-(-max(n_atoms, n_places) // SUM_BLOCK)), total=whole(1),
        found_sender=whole(capacity), found_shift=whole(capacity),
    )  # fmt: skip
    return edges, workspace
