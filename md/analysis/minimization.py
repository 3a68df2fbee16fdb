"""What the log of a minimisation says: the way down. It has no time, and means of it are none."""

from collections.abc import Iterable

import numpy as np

from fastequi.errors import InputError
from fastequi.md.analysis.analysis import Analysis, Column, Columns, Finding
from fastequi.md.integrators.minimize import FORCE_COLUMN, STRESS_COLUMN

#: Said once, in place of everything that is an average over steps or over time.
NO_MEANS = (
    "steps of a minimisation are no moments in time: there are no means, spreads or drifts of "
    "them, and what is said of the structure is said of its last frame"
)


def minimization_columns(log: Columns) -> Columns:
    """Energy, largest force and, with a cell, largest stress and volume, step by step."""
    if len(log["step"]) == 0:
        raise InputError("the log has no rows")
    names = ("potential_energy_eV", FORCE_COLUMN, STRESS_COLUMN, "volume_A3")
    there = {name: log[name] for name in names if name in log and np.isfinite(log[name]).all()}
    if STRESS_COLUMN not in there:  # the cell stays
        there.pop("volume_A3", None)
    return {"step": log["step"], **there}


def minimization_findings(source: object, columns: Columns) -> Iterable[Finding | str]:
    """The last row."""
    for name, values in list(columns.items())[1:]:
        column = MINIMIZATION.column(name)
        assert column is not None
        yield Finding(name, f"{column.meaning} at the end", float(values[-1]), column.unit)


MINIMIZATION = Analysis(
    minimization_columns,
    (
        Column("step", "", "step"),
        Column("potential_energy_eV", "eV", "potential energy"),
        Column(FORCE_COLUMN, "eV/Å", "largest force"),
        Column(STRESS_COLUMN, "GPa", "largest stress"),
        Column("volume_A3", "Å³", "volume"),
    ),
    title="minimisation",
    findings=minimization_findings,
)
