"""Lattice parameters in the course of a run."""

from collections.abc import Iterable, Sequence

import numpy as np
from ase import Atoms

from fastequi.errors import InputError
from fastequi.md.analysis.analysis import Analysis, Column, Columns, Finding
from fastequi.md.analysis.frames import fully_periodic, same_atoms
from fastequi.md.analysis.statistics import mean_of

#: Columns that are lengths, angles and a volume.
_PARAMETERS = ("a_A", "b_A", "c_A", "alpha_deg", "beta_deg", "gamma_deg")
_TEXTS = ("a", "b", "c", "alpha", "beta", "gamma", "volume")


def lattice_columns(frames: Sequence[Atoms]) -> Columns:
    """Lengths and angles of the cell, as it is (a supercell's are not divided), and its volume."""
    same_atoms(frames)
    if not fully_periodic(frames):
        raise InputError("lattice parameters need three periodic directions")
    if not all("time_ps" in frame.info for frame in frames):
        raise InputError("lattice parameters need frames with time_ps in their info")
    parameters = np.array([frame.cell.cellpar() for frame in frames])
    return {
        "time_ps": np.array([frame.info["time_ps"] for frame in frames]),
        **dict(zip(_PARAMETERS, parameters.T, strict=True)),
        "volume_A3": np.array([frame.get_volume() for frame in frames]),
    }


def lattice_findings(frames: Sequence[Atoms], columns: Columns) -> Iterable[Finding | str]:
    """Mean of each, with its error by blocking where the cell changes."""
    means = {name: mean_of(values) for name, values in list(columns.items())[1:]}
    changes = any(mean.spread > 0.0 for mean in means.values())
    for text, (name, mean) in zip(_TEXTS, means.items(), strict=True):
        column = LATTICE.column(name)
        error = mean.error if mean.spread > 0.0 else None
        yield Finding(
            name, text if changes else "", mean.mean, column.unit if column else "", error
        )
    if not changes:
        a, b, c, alpha, beta, gamma, _ = (f"{mean.mean:.5g}" for mean in means.values())
        cell = "the cell does not change" if len(frames) > 1 else "the cell"
        yield f"{cell}: {a} x {b} x {c} Å, {alpha} {beta} {gamma}°"


LATTICE = Analysis(
    lattice_columns,
    (
        Column("time_ps", "ps", "time"),
        *(Column(name, "Å", "cell length") for name in _PARAMETERS[:3]),
        *(Column(name, "°", "cell angle") for name in _PARAMETERS[3:]),
        Column("volume_A3", "Å³", "volume"),
    ),
    title="lattice parameters",
    findings=lattice_findings,
)
