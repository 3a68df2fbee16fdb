"""Forces of a state as it moves: its neighbour list, the force call that belongs to it, the times.

`look_` asks after every part of it and says what went wrong; `blind_` asks nothing.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fastequi.kernels.triton.step.flags import OVERFLOW
from fastequi.md.bias import Bias
from fastequi.md.clock import PHASES, Clock
from fastequi.md.failures import check_forces, check_motion, check_strain
from fastequi.md.integrators import Integrator
from fastequi.md.neighbors import NeighborList
from fastequi.md.state import State
from fastequi.md.watch import Watch
from fastequi.potential import ForceCall, Potential, Prediction, StaticForceCall, force_call


@dataclass(frozen=True)
class _Call:
    """A force call, and what it is of: a potential, and elements that may be written into."""

    potential: Potential
    atomic_numbers: Tensor
    version: int
    call: ForceCall
    flags: Tensor | None

    def is_of(self, potential: Potential, state: State) -> bool:
        numbers = state.atomic_numbers
        return (
            self.potential is potential
            and self.atomic_numbers is numbers
            and self.version == numbers._version
        )


class Forces:
    """potential, neighbors, bias: its parts; clock: where the time goes.

    device: where the state is.
    """

    def __init__(
        self,
        potential: Potential,
        integrator: Integrator,
        skin_A: float,
        device: torch.device,
        bias: Bias | None = None,
    ) -> None:
        self.potential, self.bias = potential, bias
        self.neighbors = NeighborList(potential.cutoff, skin_A)
        self.clock = Clock.on(device, PHASES if bias is None else (*PHASES, "bias"))
        self._integrator = integrator
        self._call: _Call | None = None

    @property
    def call(self) -> ForceCall:
        """Of the list as it is."""
        assert self._call is not None
        return self._call.call

    @property
    def flags(self) -> Tensor | None:
        """Those of a force call that asks the host nothing; None of one that may."""
        return self._call and self._call.flags

    def is_of(self, state: State) -> bool:
        """Whether the force call is of this potential and of these elements."""
        return self._call is not None and self._call.is_of(self.potential, state)

    def look_(self, state: State, good: State, failed: int) -> None:
        """Refresh energies, forces and stress; raises PhysicsError where something is wrong.

        good: the last step that was; failed: which one this is if it is not.
        """
        timestep_fs = self._integrator.timestep_fs
        check_strain(state, good.step, self._integrator.strain_of_step(state), timestep_fs)
        check_motion(state, good.positions, failed, good.step, timestep_fs)
        self.list_(state)
        with self.clock.timed("model"):
            _take_(state, self.call(state.positions, state.cell))
            while self.flags is not None and bool(self.flags & OVERFLOW):
                self.renew_(state)
                self.flags.zero_()
                _take_(state, self.call(state.positions, state.cell))
            check_forces(state, failed, good.step, timestep_fs)
        if self.bias is not None:
            with self.clock.timed("bias"):
                self.bias.add_(state, failed, timestep_fs)

    def blind_(self, state: State, watch: Watch) -> None:
        """The same without a look, under the list as it is; what is wrong raises flags."""
        with self.clock.timed("neighbors"):
            watch.motion_(state, self.neighbors.gauge)
        with self.clock.timed("model"):
            _take_(state, self.call(state.positions, state.cell))
            if self.flags is None:
                watch.forces_(state)

    def list_(self, state: State, anew: bool = False) -> None:
        """See that neighbour list and force call are good for a state; or make them for it."""
        with self.clock.timed("neighbors"):
            topology = state.cell, state.pbc, state.system_idx
            is_new = self.neighbors.update(state.positions, *topology, anew=anew)
            if is_new or not self.is_of(state):
                self.renew_(state)

    def renew_(self, state: State) -> None:
        """The force call of the list as it is, made anew."""
        numbers = state.atomic_numbers
        listed = self.neighbors.graph_with_skin(
            state.positions, numbers, state.cell, state.pbc, state.system_idx
        )
        call = force_call(self.potential, listed, self._call and self._call.call)
        flags = call.flags if isinstance(call, StaticForceCall) else None
        self._call = _Call(self.potential, numbers, numbers._version, call, flags)


def _take_(state: State, prediction: Prediction) -> None:
    """Into the state's own tensors."""
    state.energy.copy_(prediction.energy.detach())
    state.energies.copy_(prediction.energies.detach())
    state.forces.copy_(prediction.forces.detach())
    state.stress.copy_(prediction.stress.detach())
