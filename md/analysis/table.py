"""Columns as a file, and back."""

from pathlib import Path

import numpy as np

from fastequi.md.analysis.analysis import Columns
from fastequi.storage.durable import naming_files, write_durably

#: Digits of numbers in tables: more than anything computed here deserves.
_DIGITS = 12


def write_csv(path: Path, columns: Columns) -> None:
    """A header and a line per row; numbers to twelve digits."""
    table = np.column_stack(list(columns.values()))
    lines = [",".join(f"{x:.{_DIGITS}g}" for x in row) for row in table.tolist()]
    with naming_files(path):
        write_durably(path, "\n".join([",".join(columns), *lines, ""]).encode())


def read_csv(path: Path) -> Columns:
    """What `write_csv` wrote."""
    header, *rows = path.read_text(encoding="utf-8").splitlines()
    table = np.array([[float(cell) for cell in row.split(",")] for row in rows], np.float64)
    return dict(zip(header.split(","), table.T, strict=True))
