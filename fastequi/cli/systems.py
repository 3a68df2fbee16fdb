"""What `fastequi run` prints of several systems: what they are and how they are split; the rows."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from fastequi.run import Setup

#: Systems that have a row on the screen; summary.json has all.
_ROWS_AT_MOST = 40

#: Key of a row of the summary -> heading, decimals.
_COLUMNS = {
    "temperature_K": ("temperature\nK", 1),
    "pressure_GPa": ("pressure\nGPa", 3),
    "potential_energy_eV": ("energy\neV", 4),
}


def describe_systems(setup: Setup) -> dict[str, str]:
    """How many, of what, and how many run at once."""
    formulas = Counter(system.atoms.get_chemical_formula() for system in setup.systems)
    kinds = ", ".join(f"{n} x {formula}" for formula, n in formulas.most_common(6))
    more = ", ..." if len(formulas) > 6 else ""
    sizes = [len(system.atoms) for system in setup.systems]
    room = f" ({setup.room})" if str(setup.room or "") else ""
    return {
        "systems": f"{len(sizes)} of {_range(sizes)} atoms, {sum(sizes)} together ({kinds}{more})",
        "batches": _batches(setup) + room,
    }


def _batches(setup: Setup) -> str:
    batches = setup.batches
    if len(batches) == 1:
        n = len(batches[0].systems)
        everyone = n == len(setup.systems) or setup.checkpoint
        return "all at once" if everyone else f"{n} at once, the next as others are done"
    return f"{len(batches)}, one after the other, of {_range([len(b.everyone) for b in batches])}"


def _range(numbers: list[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def print_systems(setup: Setup, summary: Mapping[str, Any]) -> None:
    """A row for each system, as it was in the end, and which of them failed."""
    rows = summary["systems"]
    table = Table(box=box.SIMPLE_HEAD)
    for head in ("system", "formula", "steps"):
        table.add_column(head, no_wrap=True, justify="left" if head != "steps" else "right")
    shown = {key: column for key, column in _COLUMNS.items()
             if any(row.get(key) is not None for row in rows)}  # fmt: skip
    for head, _ in shown.values():
        table.add_column(head, justify="right")
    table.add_column("")
    for row in rows[:_ROWS_AT_MOST]:
        cells = [_number(row.get(key), digits) for key, (_, digits) in shown.items()]
        status = "" if row["status"] == "done" else row["status"]
        table.add_row(row["system"], row["formula"], str(row["steps"]), *cells, status)
    Console().print(table)
    if len(rows) > _ROWS_AT_MOST:
        print(f"and {len(rows) - _ROWS_AT_MOST} more in summary.json")
    print(f"written to {setup.directory}: summary.json, and a folder for each system")


def failures(summary: Mapping[str, Any]) -> str:
    """Which systems failed, and where it says why; "" where none did."""
    failed = [row for row in summary.get("systems", ()) if row["status"] == "failed"]
    if not failed:
        return ""
    named = [f"{row['system']} after step {row['steps']}" for row in failed[:10]]
    more = f" and {len(failed) - len(named)} more" if len(failed) > len(named) else ""
    return (
        f"{len(failed)} of {len(summary['systems'])} systems failed: {', '.join(named)}{more}; the "
        "others are done. Each has its last good frame and its error in its folder, "
        "last_good.extxyz and error.txt"
    )


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
