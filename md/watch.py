"""A watch over steps that nobody looks at: what goes wrong raises a bit of a flag word.

The bits are those of `fastequi.kernels.triton.step.flags`.
"""

import torch
from torch import Tensor

from fastequi.kernels.triton.step.flags import MOVED_TOO_FAR, NOT_FINITE, SKIN_USED, STRAINED
from fastequi.md.barostats.checks import LARGEST_STRAIN
from fastequi.md.failures import FURTHEST_MOVE_A
from fastequi.md.integrators import Integrator
from fastequi.md.neighbors.skin import SkinGauge
from fastequi.md.state import State


class Watch:
    """flags int32 [1] and the positions of the step before, in places that stay."""

    def __init__(self, state: State, integrator: Integrator) -> None:
        self.flags = torch.zeros(1, dtype=torch.int32, device=state.device)
        self._before = torch.empty_like(state.positions)
        self._integrator = integrator

    def start_(self, state: State) -> None:
        """Nothing has happened yet."""
        self.flags.zero_()
        self._before.copy_(state.positions)

    def motion_(self, state: State, gauge: SkinGauge) -> None:
        """Of cell and atoms, before forces are computed."""
        strain = self._integrator.strain_of_step(state)
        if strain is not None:
            self._raise_(STRAINED, strain <= LARGEST_STRAIN)
        moved2 = (state.positions - self._before).square_().sum(dim=1)
        self._raise_(MOVED_TOO_FAR, moved2 <= FURTHEST_MOVE_A**2)
        self._before.copy_(state.positions)
        used = gauge.used(state.positions, None if strain is None else state.cell, state.batch)
        self._raise_(SKIN_USED, used <= gauge.skin)

    def forces_(self, state: State) -> None:
        """Of what a potential says that does not look itself."""
        total = state.forces.abs().sum() + state.energy.abs().sum()  # NaN or inf if any term is
        self._raise_(NOT_FINITE, total.isfinite())

    def _raise_(self, bit: int, good: Tensor) -> None:
        """Unless all is good; in this form NaN is not."""
        self.flags |= (~good.all()) * bit
