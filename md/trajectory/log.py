"""log.csv: one row of thermodynamic quantities per logged step, exact to the last bit."""

from collections.abc import Mapping, Sequence
from pathlib import Path

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
