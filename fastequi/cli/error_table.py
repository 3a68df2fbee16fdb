"""Errors of a model as a table for people; the same for `evaluate` and `train`."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

#: Heading and unit of a column, and its key in results.
_COLUMNS = (
    ("energy\nMAE\nmeV/atom", "energy_mae_meV_per_atom"),
    ("energy\nRMSE\nmeV/atom", "energy_rmse_meV_per_atom"),
    ("offset-\nfree MAE\nmeV/atom", "energy_mae_beside_shifts_meV_per_atom"),
    ("offset-\nfree RMSE\nmeV/atom", "energy_rmse_beside_shifts_meV_per_atom"),
    ("force\nMAE\nmeV/Å", "force_mae_meV_per_A"),
    ("force\nRMSE\nmeV/Å", "force_rmse_meV_per_A"),
    ("stress\nMAE\nmeV/Å³", "stress_mae_meV_per_A3"),
    ("stress\nRMSE\nmeV/Å³", "stress_rmse_meV_per_A3"),
)

Rows = Mapping[str, Mapping[str, Any]]


def error_table(sections: Sequence[Rows]) -> Table:
    """Rows of results by their names, with a line between sections; no columns without numbers."""
    every = [results for rows in sections for results in rows.values()]
    shown = [(head, key) for head, key in _COLUMNS if any(r.get(key) is not None for r in every)]
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("")
    for head, _ in shown:
        table.add_column(head, justify="right")
    for rows in sections:
        for name, results in rows.items():
            table.add_row(name, *(_cell(results.get(key)) for _, key in shown))
        table.add_section()
    return table


def _cell(value: float | None) -> str:
    """Four digits that count, without powers of ten; '-' for none."""
    if value is None:
        return "-"
    return f"{value:.4g}" if not value >= 1000 else f"{value:,.0f}"
