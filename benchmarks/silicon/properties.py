"""What a check of a potential reports: numbers beside those of PBE, and what is allowed.

References. `data` was computed from the labels of the strained frames of mlearn, so it is the very
PBE that the bundled potential learned. The other numbers are quoted from memory of the papers, not
copied from them: good for judging a potential, not for citing.
"""

from dataclasses import dataclass, replace
from typing import Any

DATA = "PBE, strained frames of the data"
ZUO = "PBE, Zuo et al. 2020"
PBE = "PBE, literature"
MEASURED = "measured"


@dataclass(frozen=True)
class Property:
    """One number of a potential.

    reference  what it should be, None where there is nothing to compare with; `source` says whose
    low, high  what is allowed, in `unit`; None where the number is for information
    """

    name: str
    value: float
    unit: str
    reference: float | None = None
    source: str = ""
    low: float | None = None
    high: float | None = None

    @property
    def bounded(self) -> bool:
        return self.low is not None or self.high is not None

    @property
    def holds(self) -> bool:
        """Whether the value is within what is allowed; NaN never is."""
        above = self.low is None or self.value >= self.low
        below = self.high is None or self.value <= self.high
        return above and below and self.value == self.value


def near(
    name: str, value: float, unit: str, reference: float, source: str, percent: float
) -> Property:
    """A property that may be so many per cent off its reference."""
    margin = abs(reference) * percent / 100.0
    low, high = reference - margin, reference + margin
    return Property(name, value, unit, reference, source, low, high)


@dataclass(frozen=True)
class Section:
    """The outcome of one check: its properties, and the curves that pictures are drawn from."""

    properties: list[Property]
    curves: dict[str, Any]


@dataclass(frozen=True)
class Effort:
    """How much is computed. Sizes are in cubic cells of 8 atoms along each axis, times in ps.

    phonon_cells  primitive cells along each axis: even, so that X and L fit; with 6 the speeds of
                  sound are those of the elastic constants
    """

    phonon_cells: int
    nve_cells: int
    nve_ps: float
    npt_cells: int
    npt_settle_ps: float
    npt_ps: float
    melt_cells: int
    melt_ps: float
    quench_ps: float

    def scaled(self, share: float) -> "Effort":
        """The same with all times multiplied."""
        times = {name: share * value for name, value in vars(self).items() if name.endswith("_ps")}
        return replace(self, **times)


FULL = Effort(6, 2, 100.0, 2, 5.0, 20.0, 3, 5.0, 20.0)
QUICK = Effort(4, 1, 0.3, 1, 0.1, 0.3, 2, 0.3, 0.3)
