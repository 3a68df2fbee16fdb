"""Watches whether the members of a committee still agree on the forces, and acts if they do not.

Any potential that offers `disagreement` will do. It is looked at whenever the log is written.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from torch import Tensor

from fastequi.errors import PhysicsError
from fastequi.md.checks import NAMED_AT_MOST, atom_name
from fastequi.md.host_copies import HostCopies

if TYPE_CHECKING:
    from fastequi.md.simulation import Simulation

#: The column of log.csv: the largest disagreement of all atoms.
COLUMN = "force_disagreement_eV_per_A"
ACTIONS = ("warn", "save", "stop")


@runtime_checkable
class Disagreeing(Protocol):
    """A potential of several members."""

    def disagreement(self) -> Tensor:
        """How far the forces on each atom scatter over the members, eV/Å [atoms], in the last
        graph that was computed."""
        ...


class TooUncertain(PhysicsError):
    """The members disagree by more than the user accepts; the state is good to go on from."""


def sent_disagreement(simulation: "Simulation") -> Callable[[], list[dict[str, float]]]:
    """The column of the log of each system, of a committee; nothing for any other potential.

    For whoever asks later: it is on its way.
    """
    potential, state = simulation.potential, simulation.state
    if not isinstance(potential, Disagreeing):
        nothing = [{}] * state.n_systems
        return lambda: nothing
    found = potential.disagreement()
    largest = found.new_zeros(state.n_systems).scatter_reduce(0, state.system_idx, found, "amax")
    copies = HostCopies({COLUMN: largest}, kept=(COLUMN,))
    return lambda: [{COLUMN: value} for value in copies.arrived()[COLUMN].tolist()]


@dataclass
class DisagreementWatch:
    """An observer that acts where an atom's force is more uncertain than `limit_eV_per_A`.

    action  'warn' (once), 'save' the frame, or 'stop' (and save it, too)
    save    writes the present frames of systems, by their rows in the batch; None for 'warn'
    """

    limit_eV_per_A: float
    action: str
    save: Callable[["Simulation", Sequence[int]], None] | None = None
    has_warned: bool = False

    def __call__(self, simulation: "Simulation") -> None:
        """Look at the forces of this step; raises TooUncertain where that is the action."""
        potential = simulation.potential
        assert isinstance(potential, Disagreeing)
        found = potential.disagreement()
        above = found > self.limit_eV_per_A
        if not bool(above.any()):
            return
        if self.save:
            self.save(simulation, simulation.state.system_idx[above].unique().tolist())
        if self.action == "stop":
            raise TooUncertain(self._message(simulation, found))
        if not self.has_warned:
            warnings.warn(self._message(simulation, found) + "; told once", stacklevel=2)
            self.has_warned = True

    def _message(self, simulation: "Simulation", found: Tensor) -> str:
        order = found.argsort(descending=True)
        above = [int(k) for k in order if found[k] > self.limit_eV_per_A]
        named = [f"{atom_name(simulation.state, k)}: {float(found[k]):.3g} eV/Å"
                 for k in above[:NAMED_AT_MOST]]  # fmt: skip
        more = f" and {len(above) - len(named)} more" if len(above) > len(named) else ""
        return (
            f"the models disagree on forces at step {simulation.state.step} by more than "
            f"{self.limit_eV_per_A:g} eV/Å ({'; '.join(named)}{more})"
        )
