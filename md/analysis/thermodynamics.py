"""What the log says: means with errors, and whether what should be conserved is."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastequi.errors import InputError
from fastequi.md.analysis.analysis import Analysis, Column, Columns, Finding
from fastequi.md.analysis.statistics import (
    Mean,
    equilibrated_from,
    is_steady,
    mean_of,
    statistical_inefficiency,
)
from fastequi.units import G_PER_CM3_PER_AMU_PER_A3

#: Rows below which a log has no statistics.
FEWEST_ROWS = 8
#: Columns that tell whether a run has settled: energy, and what a barostat changes.
_SETTLING = ("potential_energy_eV", "volume_A3")


@dataclass(frozen=True)
class Average:
    """The mean of a column of the log over what is left after equilibration.

    from_ps    when that begins
    tau_ps     its autocorrelation time
    is_steady  whether both halves of what is left have the same mean
    """

    mean: Mean
    from_ps: float
    tau_ps: float
    is_steady: bool


def thermodynamics_columns(log: Columns, mass_amu: float | None = None) -> Columns:
    """Temperature, pressure, density and energies over time; given the mass in amu, the density.

    log: columns as `read_log` returns them. What a system does not have (the pressure of a
    molecule) is left out.
    """
    if len(log["time_ps"]) == 0:
        raise InputError("the log has no rows")
    columns = {name: log[name] for name in _LOGGED if np.isfinite(log[name]).all()}
    if (log["volume_A3"] > 0.0).all():
        columns["volume_A3"] = log["volume_A3"]
        if mass_amu is not None:
            columns["density_g_per_cm3"] = mass_amu * G_PER_CM3_PER_AMU_PER_A3 / log["volume_A3"]
    return {"time_ps": log["time_ps"], **columns}


_LOGGED = (
    "temperature_K", "pressure_GPa", "potential_energy_eV", "kinetic_energy_eV", "total_energy_eV",
)  # fmt: skip


def averages(columns: Columns) -> dict[str, Average]:
    """The mean of each of `thermodynamics_columns` but the time, each from when it is steady."""
    times = columns["time_ps"]
    interval = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    found = {}
    for name, values in list(columns.items())[1:]:
        start = equilibrated_from(values) if len(values) >= FEWEST_ROWS else 0
        mean = mean_of(values[start:])
        tau = 0.5 * (mean.inefficiency - 1.0) * interval
        found[name] = Average(mean, float(times[start]), tau, is_steady(values[start:]))
    return found


def settled_ps(found: Mapping[str, Average]) -> float | None:
    """From when on `averages` say that energy and volume are steady, in ps; None: they are not."""
    telling = [found[name] for name in _SETTLING if name in found]
    return max(a.from_ps for a in telling) if all(a.is_steady for a in telling) else None


THERMODYNAMICS = Analysis(
    thermodynamics_columns,
    (
        Column("time_ps", "ps", "time"),
        Column("temperature_K", "K", "temperature"),
        Column("pressure_GPa", "GPa", "pressure"),
        Column("density_g_per_cm3", "g/cm³", "density"),
        Column("volume_A3", "Å³", "volume"),
        Column("potential_energy_eV", "eV", "potential energy"),
        Column("kinetic_energy_eV", "eV", "kinetic energy"),
        Column("total_energy_eV", "eV", "total energy"),
    ),
    title="temperature, pressure, density, energies",
)


# -- the conserved energy ------------------------------------------------------------------------


def slope(times: NDArray[np.float64], values: NDArray[np.float64]) -> tuple[float, float]:
    """Slope of a straight line and its error, for residuals that are correlated.

    The error of independent residuals, times the square root of their statistical inefficiency.
    NaN for less than three values, or times that are all the same.
    """
    away = times - times.mean()
    extent = float(np.square(away).sum())
    if len(times) < 3 or extent == 0.0:
        return float("nan"), float("nan")
    gradient = float(away @ (values - values.mean())) / extent
    residuals = values - values.mean() - gradient * away
    variance = float(np.square(residuals).sum()) / (len(times) - 2)
    inefficiency = statistical_inefficiency(residuals)
    return gradient, float(np.sqrt(variance * inefficiency / extent))


def drift_columns(log: Columns, atoms: int = 1) -> Columns:
    """Conserved energy of so many atoms since the first row, per atom."""
    if len(log["time_ps"]) < 3 or np.ptp(log["time_ps"]) == 0.0:
        raise InputError(f"{len(log['time_ps'])} rows in the log: too few for a drift")
    conserved = (log["conserved_eV"] - log["conserved_eV"][0]) / atoms * 1e3
    return {"time_ps": log["time_ps"], "conserved_meV_per_atom": conserved}


def drift_findings(source: object, columns: Columns) -> Iterable[Finding | str]:
    """The slope of a straight line."""
    gradient, error = slope(columns["time_ps"], columns["conserved_meV_per_atom"])
    key = "drift_meV_per_atom_per_ps"
    yield Finding(key, "drift of the conserved energy", gradient, "meV/atom/ps", error)


DRIFT = Analysis(
    drift_columns,
    (
        Column("time_ps", "ps", "time"),
        Column("conserved_meV_per_atom", "meV/atom", "conserved energy since the start"),
    ),
    title="conserved energy",
    findings=drift_findings,
    level=0.0,
)
