"""log.csv: one row of thermodynamic quantities per logged step, exact to the last bit."""

import csv
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastequi.errors import InputError
from fastequi.storage.appending import AppendFile

#: Column of the stage's name, in runs that have stages; all others hold numbers.
STAGE = "stage"

#: The header, in order; units are part of the names.
LOG_COLUMNS = (
    "step", "time_ps", "potential_energy_eV", "kinetic_energy_eV", "total_energy_eV",
    "temperature_K", "pressure_GPa", "volume_A3", "conserved_eV",
)  # fmt: skip


class LogFile:
    """A CSV file with the header `LOG_COLUMNS`, and more if asked; floats parse back exactly.

    What has no meaning, as the pressure of a molecule, is an empty cell.
    """

    def __init__(
        self, path: Path, offset: int | None = None, more_columns: Sequence[str] = ()
    ) -> None:
        """A new log with its header, or an old one cut back to `offset` bytes."""
        self.path, self.columns = path, (*LOG_COLUMNS, *more_columns)
        self._file = AppendFile(path, offset)
        if offset is None:
            self._file.write((",".join(self.columns) + "\n").encode())

    def append(self, record: Mapping[str, Any]) -> None:
        """One row from a mapping that has exactly the columns."""
        if set(record) != set(self.columns):
            raise ValueError(f"a row of the log has {self.columns}, got {tuple(record)}")
        values = [_cell(name, record[name]) for name in self.columns]
        self._file.write((",".join(values) + "\n").encode())

    def sync(self) -> int:
        """fsync; the length in bytes."""
        return self._file.sync()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _cell(column: str, value: Any) -> str:
    if column == STAGE:
        return value
    if column == "step":
        return str(int(value))
    return "" if math.isnan(value) else repr(float(value))


def read_log(path: str | Path, stage: str | None = None) -> dict[str, NDArray[np.float64]]:
    """The columns of a log.csv by name, [rows] each; of one stage's rows, if asked.

    The column with the name of the stage is left out: `stages_of_log` has it. A last row cut short
    by a kill is left out with a warning. Raises InputError if there is no such file, it is not a
    log of fastequi, or a row in its midst is not all numbers.
    """
    header, rows = _read(Path(path))
    place = header.index(STAGE) if STAGE in header else None
    numbers = [
        _numbers(path, line, row, len(header), place)
        for line, row in enumerate(rows, start=2)
        if stage is None or place is None or row[place : place + 1] == [stage]
    ]
    names = [name for name in header if name != STAGE]
    table = np.array(numbers, dtype=np.float64).reshape(-1, len(names))
    return dict(zip(names, table.T, strict=True))


def stages_of_log(path: str | Path) -> list[str]:
    """The stages of a log.csv in their order; none where the run has none. As `read_log`."""
    header, rows = _read(Path(path), warns=False)
    if STAGE not in header:
        return []
    place = header.index(STAGE)
    return list(dict.fromkeys(row[place] for row in rows if len(row) > place))


def _read(path: Path, warns: bool = True) -> tuple[list[str], list[list[str]]]:
    """Header and whole rows; whether to warn of one that is cut short."""
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
    if rest and whole and warns:
        warnings.warn(f"{path}: the last row is cut short, left out", stacklevel=2)
    return header, rows


def _numbers(
    path: str | Path, line: int, row: list[str], width: int, word: int | None
) -> list[float]:
    """The cells of a row but for its `word`-th, which is none."""
    try:
        numbers = [float(cell or "nan") for k, cell in enumerate(row) if k != word]
    except ValueError:
        numbers = []
    if len(row) != width or not numbers:
        raise InputError(f"{path}: line {line} is not a row of {width} numbers: {','.join(row)!r}")
    return numbers
