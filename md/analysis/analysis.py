"""What an analysis is, to those who offer all of them: a function, its columns and their units."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

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


@dataclass(frozen=True)
class Analysis:
    """A row of `ANALYSES`; call it with the frames of a trajectory.

    function  frames -> columns; further arguments are its settings, each with a default and a unit
              in its name. Raises InputError for frames that it cannot use
    columns   what it gives; the first is what the others depend on
    """

    function: Callable[..., Columns]
    columns: tuple[Column, ...]

    def __call__(self, frames: Sequence[Atoms], **settings: object) -> Columns:
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
