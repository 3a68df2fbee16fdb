"""Systems of a batch taken out of it, to go on without the others."""

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
