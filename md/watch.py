"""A watch over steps that nobody looks at: what goes wrong raises a bit of a flag word.

The bits are those of `fastequi.kernels.triton.step.flags`.
"""

import torch

from fastequi.kernels.triton.step.flags import NOT_FINITE, STRAINED, raise_
from fastequi.md.barostats.checks import LARGEST_STRAIN
from fastequi.md.failures import FURTHEST_MOVE_A
from fastequi.md.integrators import Integrator
from fastequi.md.neighbors.skin import SkinGauge
from fastequi.md.state import State


class Watch:
    """flags int32 [1], in a place that stays."""

    def __init__(self, state: State, integrator: Integrator) -> None:
        self.flags = torch.zeros(1, dtype=torch.int32, device=state.device)
        self._integrator = integrator

    def start_(self, state: State, gauge: SkinGauge) -> None:
        """Nothing has happened yet."""
        self.flags.zero_()
        gauge.start_(state.positions, state.cell, state.batch)

    def motion_(self, state: State, gauge: SkinGauge) -> None:
        """Of cell and atoms, before forces are computed."""
        strain = self._integrator.strain_of_step(state)
        if strain is not None:
            raise_(self.flags, STRAINED, strain <= LARGEST_STRAIN)
        cell = None if strain is None else state.cell
        gauge.watch_(state.positions, cell, state.batch, FURTHEST_MOVE_A, self.flags)

    def forces_(self, state: State) -> None:
        """Of what a potential says that does not look itself."""
        total = state.forces.abs().sum() + state.energy.abs().sum()  # NaN or inf if any term is
        raise_(self.flags, NOT_FINITE, total.isfinite())
