"""What an analysis is, to those who offer all of them: a function, its columns and their units."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

#: Name of a column -> its values [rows]; all columns have as many.
Columns = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Column:
    """A column of a result.

    name     as it is in the result, with its unit; a `*` in it stands for the elements of a column
             for each of them, or for each pair
    unit     as people write it; empty for a number without one
    meaning  in a few words, for axes and headings
    """

    name: str
    unit: str
    meaning: str

    @property
    def title(self) -> str:
        """For an axis: the meaning, and the unit if there is one."""
        return f"{self.meaning} ({self.unit})" if self.unit else self.meaning


@dataclass(frozen=True)
class Finding:
    """A number that columns come down to.

    key      its name with its unit, for programs
    text     its name for people; empty where another one says it along with its own
    unit     as people write it
    error    one standard deviation, if it is known
    """

    key: str
    text: str
    value: float
    unit: str = ""
    error: float | None = None


#: Frames (or a log) and the columns made of them -> numbers, and remarks for people.
Reading = Callable[[Any, Columns], Iterable[Finding | str]]


def nothing_to_read(source: object, columns: Columns) -> Iterable[Finding | str]:
    """For an analysis whose columns speak for themselves."""
    return ()


@dataclass(frozen=True)
class Analysis:
    """A row of `ANALYSES`; call it with the frames of a trajectory.

    function  frames -> columns; further arguments are its settings, each with a default and a unit
              in its name. Raises InputError for frames that it cannot use
    columns   what it gives; the first is what the others depend on
    title     in a few words, for headings
    findings  what the columns come down to
    relative  whether a picture shows each column as a share of its first value
    level     where a picture has a thin line, if anywhere
    shown     share of the rows that a picture shows: late ones may be all noise
    trimmed   whether a picture leaves out the end of the rows where there is next to nothing
    peaked    whether a picture cuts a column that towers above all others
    highest   where a picture ends at the top, at the latest
    wants_on_the_fly   whether what a run has accumulated itself ([[analysis]]) goes before what its
              frames say, which are too far apart
    """

    function: Callable[..., Columns]
    columns: tuple[Column, ...]
    title: str = ""
    findings: Reading = nothing_to_read
    relative: bool = False
    level: float | None = None
    shown: float = 1.0
    trimmed: bool = False
    peaked: bool = False
    highest: float = np.inf
    wants_on_the_fly: bool = False

    def __call__(self, frames: Sequence[Atoms] | Columns, **settings: object) -> Columns:
        """The columns, in the order of `columns`."""
        found = self.function(frames, **settings)
        names = [n for c in self.columns for n in found if self.column(n) is c]
        assert len(names) == len(found), f"{set(found) - set(names)} of {self.function.__name__}"
        assert len({len(values) for values in found.values()}) == 1, "columns differ in length"
        return {name: found[name] for name in names}

    def column(self, name: str) -> Column | None:
        """Which column a name of the result belongs to; one without a `*` goes first."""
        exact = {column.name: column for column in self.columns}
        fitting = (column for column in self.columns if fnmatchcase(name, column.name))
        return exact.get(name) or next(fitting, None)

    def elements(self, name: str) -> str:
        """Whose column it is: what stands for the `*` in its name; empty where there is none."""
        column = self.column(name)
        if column is None or "*" not in column.name:
            return ""
        begin, end = column.name.split("*")[0], column.name.rsplit("*", 1)[-1]
        return name[len(begin) : len(name) - len(end)]


def in_digits(value: float, error: float | None = None) -> str:
    """A number to the second digit of its error, and the error: 339.3 ± 1.3; or to five digits."""
    if error is None or not np.isfinite(error) or error <= 0.0:
        return f"{value:.5g}"
    size = max(abs(value), error)
    if not 1e-3 <= size < 1e7:
        power = int(np.floor(np.log10(size)))
        return f"({in_digits(value / 10.0**power, error / 10.0**power)})e{power:+03d}"
    digits = max(0, 1 - int(np.floor(np.log10(error))))
    return f"{value:.{digits}f} ± {error:.{digits}f}"
