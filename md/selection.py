"""Systems of a batch taken out of it, to go on without the others; and more of them added to it."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace

import torch
from torch import Tensor

from fastequi.md.state import State


def select_systems(state: State, keep: Sequence[int]) -> State:
    """The systems `keep` of a state, in this order, as a state of their own: copies.

    Without its extra state: see `select_extra`.
    """
    systems, atoms = _places(state, keep)
    own = {}
    for f in fields(State):
        value = getattr(state, f.name)
        if isinstance(value, Tensor):  # of single atoms, systems and atoms are the same
            own[f.name] = value[systems if len(value) == state.n_systems else atoms]
    place = torch.full((state.n_systems,), -1, dtype=torch.int64, device=state.device)
    place[systems] = torch.arange(len(systems), device=state.device)
    own["system_idx"] = place[own["system_idx"]]
    names = tuple(state.names[k] for k in keep) if state.names else ()
    return replace(state, **own, extra={}, names=names)


def select_extra(
    state: State, keep: Sequence[int], like: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The extra state of the systems `keep`: copies, of the shapes that `like` has.

    like: what their integrator declares for them. Where a dimension differs, it counted systems,
    atoms, or atoms and behind them three rows of each cell.
    """
    systems, atoms = _places(state, keep)
    cells = state.n_atoms + 3 * systems.unsqueeze(1) + torch.arange(3, device=state.device)
    by_size = {
        state.n_atoms + 3 * state.n_systems: torch.cat([atoms, cells.flatten()]),
        state.n_atoms: atoms,
        state.n_systems: systems,
    }
    found = {}
    for name, tensor in state.extra.items():
        found[name] = tensor.clone()
        for dimension, (old, new) in enumerate(zip(tensor.shape, like[name].shape, strict=True)):
            if old != new:
                found[name] = found[name].index_select(dimension, by_size[old])
    return found


def _places(state: State, keep: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Numbers of the systems, and of their atoms in the order of these."""
    systems = torch.tensor(list(keep), dtype=torch.int64, device=state.device)
    place = torch.full((state.n_systems,), -1, dtype=torch.int64, device=state.device)
    place[systems] = torch.arange(len(systems), device=state.device)
    now = place[state.system_idx]
    atoms = torch.nonzero(now >= 0).squeeze(1)
    return systems, atoms[torch.sort(now[atoms], stable=True).indices]


def join_systems(state: State, more: State) -> State:
    """Both as one batch, the systems of `more` behind; copies, at the step of `state`.

    Without extra state: see `join_extra`.
    """
    own = {}
    for f in fields(State):
        here, there = getattr(state, f.name), getattr(more, f.name)
        if isinstance(here, Tensor) and isinstance(there, Tensor):
            own[f.name] = torch.cat([here, there.to(here.device)])
    own["system_idx"][state.n_atoms :] += state.n_systems
    for name, n, m in (
        ("fixed_atoms", state.n_atoms, more.n_atoms),
        ("fixed_centre", state.n_systems, more.n_systems),
    ):
        flags = [
            torch.zeros(size, dtype=torch.bool, device=state.device) if value is None else value
            for value, size in ((getattr(state, name), n), (getattr(more, name), m))
        ]
        own[name] = torch.cat(flags) if any(bool(flag.any()) for flag in flags) else None
    return replace(state, **own, extra={}, names=(*state.names, *more.names))


def join_extra(state: State, joined: State, initial: dict[str, Tensor]) -> dict[str, Tensor]:
    """The extra state of `joined`, which begins with the systems of `state`: theirs as it is, that
    of the others as in `initial`, which their integrator declares for all of `joined`."""
    n, m = state.n_atoms, state.n_systems
    device = state.device
    cells = joined.n_atoms + torch.arange(3 * m, device=device)
    by_size = {n + 3 * m: torch.cat([torch.arange(n, device=device), cells])}
    by_size |= {size: torch.arange(size, device=device) for size in (n, m)}
    for name, tensor in state.extra.items():
        into = initial[name]
        sizes = zip(tensor.shape, into.shape, strict=True)
        places = [by_size[old] if old != new else None for old, new in sizes]
        for dimension, place in enumerate(places):
            if place is not None:
                into.index_copy_(dimension, place, tensor)
                break
        else:
            into.copy_(tensor)
    return initial
