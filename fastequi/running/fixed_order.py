"""Whether a GPU adds up in a fixed order: [dynamics] deterministic.

On a GPU many programs add to the gradient of one atom, in whatever order they come: a run from a
checkpoint may differ in its last bits, and after some ps in its whole trajectory. In a fixed order,
each edge is stored in a row of its own, and a sender's rows are added by the edges that lead back:
to the same bits always, for memory per edge and, by estimate, a tenth of the time. No GPU has
measured that yet. A CPU has an order that is fixed anyway.
"""

import torch

from fastequi.md.config import Config

#: Atoms of a run up to which 'auto' takes the fixed order: with SevenNet-0, rows of 0.5 GB.
UP_TO_ATOMS = 5_000


def in_fixed_order(config: Config, device: torch.device, n_atoms: int) -> bool:
    """Whether a run of so many atoms, of all its systems together, adds up in a fixed order."""
    asked = config.dynamics.deterministic
    if device.type == "cpu":
        return True
    return n_atoms <= UP_TO_ATOMS if asked == "auto" else asked


def described(config: Config, device: torch.device, n_atoms: int) -> str:
    """For the header of a run."""
    asked = config.dynamics.deterministic
    if device.type == "cpu":
        why = ", as always on a CPU"
    elif asked == "auto":
        why = f": deterministic = auto means up to {UP_TO_ATOMS} atoms, and here are {n_atoms}"
    else:
        why = ", as asked"
    if in_fixed_order(config, device, n_atoms):
        return f"in a fixed order{why}; a restart is the same to the last bit"
    return f"in any order{why}; a restart may differ in last bits"
