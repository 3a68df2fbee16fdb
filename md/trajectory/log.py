"""log.csv: one row of thermodynamic quantities per logged step, exact to the last bit."""

import csv
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastequi.errors import InputError
from fastequi.storage.appending import AppendFile

#: The header, in order; units are part of the names.
LOG_COLUMNS = (
    "step", "time_ps", "potential_energy_eV", "kinetic_energy_eV", "total_energy_eV",
    "temperature_K", "pressure_GPa", "volume_A3", "conserved_eV",
)  # fmt: skip


class LogFile:
    """A CSV file with the header `LOG_COLUMNS`, and more if asked; floats parse back exactly."""

    def __init__(
        self, path: Path, offset: int | None = None, more_columns: Sequence[str] = ()
    ) -> None:
        """A new log with its header, or an old one cut back to `offset` bytes."""
        self.path, self.columns = path, (*LOG_COLUMNS, *more_columns)
        self._file = AppendFile(path, offset)
        if offset is None:
            self._file.write((",".join(self.columns) + "\n").encode())

    def append(self, record: Mapping[str, float]) -> None:
        """One row from a mapping that has exactly the columns."""
        if set(record) != set(self.columns):
            raise ValueError(f"a row of the log has {self.columns}, got {tuple(record)}")
        values = [repr(float(record[name])) for name in self.columns[1:]]
        self._file.write((",".join([str(int(record["step"])), *values]) + "\n").encode())

    def sync(self) -> int:
        """fsync; the length in bytes."""
        return self._file.sync()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_log(path: str | Path) -> dict[str, NDArray[np.float64]]:
    """The columns of a log.csv by name, [rows] each.

    A last row cut short by a kill is left out with a warning. Raises InputError if there is no such
    file, it is not a log of fastequi, or a row in its midst is not all numbers.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file in UTF-8") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    whole, _, rest = text.rpartition("\n")
    header, *rows = csv.reader(whole.splitlines()) if whole else [rest.split(",")]
    if tuple(header[: len(LOG_COLUMNS)]) != LOG_COLUMNS:
        raise InputError(
            f"{path}: not a log of fastequi (its header is not {','.join(LOG_COLUMNS)})"
        )
    if rest and whole:
        warnings.warn(f"{path}: the last row is cut short, left out", stacklevel=2)
    numbers = [_numbers(path, k, row, len(header)) for k, row in enumerate(rows, start=2)]
    table = np.array(numbers, dtype=np.float64).reshape(-1, len(header))
    return dict(zip(header, table.T, strict=True))


def _numbers(path: Path, line: int, row: list[str], width: int) -> list[float]:
    try:
        numbers = [float(cell) for cell in row]
    except ValueError:
        numbers = []
    if len(numbers) != width:
        raise InputError(f"{path}: line {line} is not a row of {width} numbers: {','.join(row)!r}")
    return numbers
