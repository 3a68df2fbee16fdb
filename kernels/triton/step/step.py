"""What a step asks of its kernels, each with buffers of its caller; all write, none allocates."""

import torch
from torch import Tensor

from fastequi.kernels.parts import PairRepulsion
from fastequi.kernels.triton.plan import LANES
from fastequi.kernels.triton.step.buffers import Batch, EdgeRows, SkinList, Workspace
from fastequi.kernels.triton.step.flags import OVERFLOW
from fastequi.kernels.triton.step.kernels import CHAIN_BLOCK, SUM_BLOCK
from fastequi.kernels.triton.step.operators import launch_


def build_list_(
    edges: SkinList, work: Workspace, positions: Tensor, cell: Tensor, pbc: Tensor, batch: Batch,
    radius: float, skin: float, flags: Tensor,
) -> None:  # fmt: skip
    """All edges shorter than `radius` in Å, as `reference_neighbors` has them.

    positions [atoms, 3], anywhere; cell [systems, 3, 3], of either hand, rows that are not periodic
    ignored; pbc [systems, 3]; `skin` of the radius is what atoms may use up. Raises OVERFLOW where
    edges do not fit (`needed` says how many there are), OUT_OF_RANGE, NOT_FINITE.
    """
    n_atoms, blocks, rows = batch.n_atoms, (_blocks(batch.n_atoms),), (batch.n_atoms,)
    n_places = work.occupants.shape[0]
    systems = {"system_idx": batch.system_idx, "bins": work.bins}
    launch_(
        "make_frame", (batch.n_systems,), cell=cell, pbc=pbc, frame=edges.frame,
        inverse=edges.inverse, bins=work.bins, radius=radius,
    )  # fmt: skip
    work.occupants.zero_()
    in_bins = {"bin": work.bin, "place_in_bin": work.place_in_bin}
    sizes = {"n_atoms": n_atoms, "n_places": n_places}
    launch_(
        "put_into_bins", blocks, positions=positions, inverse=edges.inverse, image=work.image,
        occupants=work.occupants, flags=flags, radius=radius, **systems, **in_bins, **sizes,
    )  # fmt: skip
    _running_sum_(work, work.occupants, work.first_occupant, work.total, flags, n_atoms)
    launch_(
        "list_by_bin", blocks, system_idx=batch.system_idx, first_occupant=work.first_occupant,
        atoms=work.atoms, **in_bins, **sizes,
    )  # fmt: skip
    search = {
        "positions": positions, "cell": cell, "bin": work.bin, "image": work.image,
        "first_occupant": work.first_occupant, "atoms": work.atoms, "n_places": n_places,
        "radius": radius,
    }  # fmt: skip
    launch_("count_neighbors", rows, counts=work.counts, **search, **systems)
    _running_sum_(work, work.counts, edges.row_start, edges.needed, flags, edges.capacity)
    found = {"found_sender": work.found_sender, "found_shift": work.found_shift}
    launch_(
        "fill_neighbors", rows, row_start=edges.row_start, capacity=edges.capacity,
        **search, **systems, **found,
    )  # fmt: skip
    row = {"row_start": edges.row_start, "sender": edges.sender, "shift": edges.shift}
    launch_("sort_rows", rows, **row, **found)
    launch_("find_reverses", rows, reverse=edges.reverse, flags=flags, **row)
    edges.positions.copy_(positions)
    edges.last_positions.copy_(positions)
    change_cell_(edges, cell, pbc, radius, skin)


def change_cell_(edges: SkinList, cell: Tensor, pbc: Tensor, radius: float, skin: float) -> None:
    """What the skin still allows for a cell that has changed."""
    launch_(
        "deform", (cell.shape[0],), frame=edges.frame, inverse=edges.inverse, cell=cell, pbc=pbc,
        deformation=edges.deformation, allowance=edges.allowance, radius=radius, skin=skin,
    )  # fmt: skip


def check_moves_(
    edges: SkinList, positions: Tensor, batch: Batch, furthest: float, flags: Tensor
) -> None:
    """Raises SKIN_USED, MOVED_TOO_FAR (beyond `furthest` in Å since the last call), NOT_FINITE."""
    parts = (batch.n_systems, batch.n_parts)
    moved = {
        "positions": positions, "built_positions": edges.positions, "first_atom": batch.first_atom,
        "deformation": edges.deformation, "moves": edges.moves,
    }  # fmt: skip
    launch_("sum_moves", parts, **moved)
    launch_(
        "check_moves", parts, allowance=edges.allowance, last_positions=edges.last_positions,
        flags=flags, furthest=furthest, **moved,
    )  # fmt: skip


def edge_vectors_(
    edges: EdgeRows, positions: Tensor, cell: Tensor, batch: Batch, vectors: Tensor
) -> None:
    """vectors [capacity, 3], float32 or float64; rows behind the last edge stay as they are."""
    launch_(
        "edge_vectors", edges.atoms.shape, positions=positions, cell=cell,
        system_idx=batch.system_idx, atoms=edges.atoms, sender_atom=edges.sender_atom,
        shift=edges.shift, row_start=edges.row_start, vectors=vectors,
    )  # fmt: skip


def repel_(
    edges: EdgeRows, sender_species: Tensor, repulsion: PairRepulsion, vectors: Tensor,
    energies: Tensor, gradients: Tensor,
) -> None:  # fmt: skip
    """Adds to energies [rows], float64, and to dE/dr [capacity, 3]."""
    amplitudes, decays = zip(*repulsion.screening, strict=True)
    named = {f"amplitude{k}": float(a) for k, a in enumerate(amplitudes)}
    named |= {f"decay{k}": float(d) for k, d in enumerate(decays)}
    launch_(
        "repel", edges.atoms.shape, species=repulsion.species, sender_species=sender_species,
        pairs=repulsion.pairs, row_start=edges.row_start, vectors=vectors, energies=energies,
        gradients=gradients, n_species=repulsion.pairs.shape[1], power=repulsion.p, **named,
    )  # fmt: skip


def sum_forces_(
    edges: EdgeRows, gradients: Tensor, vectors: Tensor, forces: Tensor, virials: Tensor,
    flags: Tensor,
) -> None:  # fmt: skip
    """forces [atoms, 3] and virials [atoms, 6] from dE/dr [capacity, 3]; raises NOT_FINITE."""
    n_atoms = forces.shape[0]
    launch_(
        "sum_forces", (_blocks(n_atoms),), gradients=gradients, vectors=vectors,
        reverse=edges.reverse, row_start=edges.row_start, atoms=edges.atoms, forces=forces,
        virials=virials, flags=flags, n_atoms=n_atoms,
    )  # fmt: skip


def sum_systems_(
    batch: Batch, energies: Tensor, virials: Tensor, cell: Tensor, totals: Tensor, energy: Tensor,
    stress: Tensor, flags: Tensor,
) -> None:  # fmt: skip
    """energy [systems] and stress [systems, 3, 3]; totals [systems, parts, 7] is between them."""
    launch_(
        "sum_atoms", (batch.n_systems, batch.n_parts), energies=energies, virials=virials,
        first_atom=batch.first_atom, totals=totals,
    )  # fmt: skip
    launch_(
        "sum_systems", (batch.n_systems,), totals=totals, cell=cell, energy=energy, stress=stress,
        flags=flags, n_parts=batch.n_parts,
    )  # fmt: skip


def draw_noise_(
    step: Tensor, key: Tensor, atom: Tensor, replica: Tensor, stream: int, noise: Tensor
) -> None:
    """noise [atoms, 3] as `AtomNoise.normal` of the step, int64 [1]; key, atom, replica are its."""
    n_atoms = atom.shape[0]
    launch_(
        "draw_noise", (_blocks(n_atoms),), step=step, key=key, atom=atom, replica=replica,
        noise=noise, n_atoms=n_atoms, stream=stream,
    )  # fmt: skip


def advance_chain_(
    position: Tensor, velocity: Tensor, freedom: Tensor, kT: Tensor, kinetic: Tensor,
    time_fs: float, step_fs: float,
) -> Tensor:  # fmt: skip
    """`Chain.advance_` of position and velocity [systems, length]; the factor [systems]."""
    n_systems, length = velocity.shape
    factor = torch.empty_like(kinetic)
    launch_(
        "advance_chain", (-(-n_systems // CHAIN_BLOCK),), freedom=freedom, kT=kT, kinetic=kinetic,
        position=position, velocity=velocity, factor=factor, time_fs=time_fs, step_fs=step_fs,
        n_systems=n_systems, length=length,
    )  # fmt: skip
    return factor


# -- parts ---------------------------------------------------------------------------------------


def _running_sum_(
    work: Workspace, values: Tensor, starts: Tensor, total: Tensor, flags: Tensor, most: int
) -> None:
    n = values.shape[0]
    blocks = (-(-n // SUM_BLOCK),)
    launch_("sum_blocks", blocks, values=values, sums=work.sums, n=n)
    launch_(
        "running_sum", blocks, values=values, sums=work.sums, starts=starts, needed=total,
        flags=flags, n=n, most=most, bit=OVERFLOW,
    )  # fmt: skip


def _blocks(n: int) -> int:
    return -(-n // LANES)
