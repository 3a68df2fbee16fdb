"""Shear viscosity: how long a liquid remembers its stress (Green and Kubo).

    viscosity = V / k T  integral of  <p(0) p(t)>  over t

averaged over five components p that make up the traceless pressure tensor, which all have the same
correlation in an isotropic liquid (Daivis and Evans, J. Chem. Phys. 100, 541, 1994). Their
differences are the error: five estimates that are independent of each other.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress
from numpy.typing import NDArray

from fastequi.errors import InputError
from fastequi.md.analysis.analysis import Analysis, Column, Columns, Finding
from fastequi.md.analysis.correlation import autocorrelation_sums
from fastequi.md.analysis.frames import fully_periodic, interval_fs, velocities_of
from fastequi.md.velocities import internal_temperature_K
from fastequi.units import BOLTZMANN_eV_PER_K, GPA_PER_eV_PER_A3, KINETIC_eV

#: Components of a traceless symmetric tensor.
COMPONENTS = 5
#: Errors known from five values alone are wider by so much, to cover the truth in 68 %: Student's t
#: with four degrees of freedom, at one standard deviation of a normal distribution.
_STUDENT = 1.1417
#: 1 GPa fs in mPa s.
_MPA_S_PER_GPA_FS = 1e-3
#: The stress is forgotten where its correlation crosses zero and then is, in the mean over twice as
#: long again, no more than so many of its errors.
_QUIET = 2.0
#: The viscosity is the mean of the integral from there to so many times later: right there an
#: integral is at its highest.
_PLATEAU = 1.5
#: The correlation of one frame with the next, below which frames miss what they are to show.
_SMOOTH = 0.5
_WAY_OUT = '[[analysis]] kind = "viscosity" follows it while a run goes on'
#: The largest error, as a share of a viscosity, beyond which there is nothing to tell.
_LARGEST_ERROR = 0.5


def shear_pressures(frame: Atoms) -> NDArray[np.float64]:
    """The five components [5] in eV/Å³: xy, xz, yz, (xx - yy)/2, (xx + yy - 2 zz)/sqrt(12).

    Half of the sum of squares of the traceless pressure tensor is the sum of their squares, and in
    an isotropic liquid no two are correlated. Motion is relative to the centre of mass. InputError
    for a frame without stress, velocities, or a cell in three directions.
    """
    if not fully_periodic([frame]):
        raise InputError("a viscosity needs three periodic directions")
    results = frame.calc.results if frame.calc else {}
    if "stress" not in results:
        raise InputError("a viscosity needs frames with stress; these have none")
    masses, velocities = frame.get_masses(), velocities_of([frame])[0]
    away = velocities - masses @ velocities / masses.sum()
    kinetic = KINETIC_eV * (masses[:, None] * away).T @ away / frame.get_volume()
    p = kinetic - voigt_6_to_full_3x3_stress(results["stress"])
    along = [(p[0, 0] - p[1, 1]) / 2.0, (p[0, 0] + p[1, 1] - 2.0 * p[2, 2]) / np.sqrt(12.0)]
    return np.array([p[0, 1], p[0, 2], p[1, 2], *along])


def green_kubo(
    correlations: NDArray[np.float64], interval_fs: float, volume_A3: float, temperature_K: float
) -> Columns:
    """The integral up to each time, with its error, from correlations [5, times] in (eV/Å³)².

    One value every `interval_fs`, the first at 0; by the trapezoid rule. `lower` and `upper` are
    an error away, between which the truth is in 68 %.
    """
    steps = 0.5 * interval_fs * (correlations[:, 1:] + correlations[:, :-1])
    integrals = np.concatenate([np.zeros((COMPONENTS, 1)), np.cumsum(steps, axis=1)], axis=1)
    factor = volume_A3 / (BOLTZMANN_eV_PER_K * temperature_K) if temperature_K > 0.0 else 0.0
    each = integrals * (factor * GPA_PER_eV_PER_A3 * _MPA_S_PER_GPA_FS)
    mean, error = _mean(each)
    correlation, correlation_error = _mean(correlations * GPA_PER_eV_PER_A3**2)
    return {
        "time_ps": np.arange(correlations.shape[1], dtype=np.float64) * (interval_fs * 1e-3),
        "correlation_GPa2": correlation,
        "error_GPa2": correlation_error,
        "viscosity_mPa_s": mean,
        "lower_mPa_s": mean - error,
        "upper_mPa_s": mean + error,
    }


def _mean(each: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of five estimates, and the error of it that covers the truth in 68 %."""
    return each.mean(axis=0), _STUDENT * each.std(axis=0, ddof=1) / np.sqrt(COMPONENTS)


def viscosity_columns(frames: Sequence[Atoms]) -> Columns:
    """`green_kubo` of a trajectory, over half of its time."""
    every, number, shown = interval_fs(frames), len(frames), len(frames) // 2 + 1
    pressures = np.array([shear_pressures(frame) for frame in frames])
    sums = np.array([autocorrelation_sums(series) for series in pressures.T])
    correlations = (sums / (number - np.arange(number)))[:, :shown]
    volume = np.mean([frame.get_volume() for frame in frames])
    temperature = np.mean([internal_temperature_K(frame) for frame in frames])
    return green_kubo(correlations, every, float(volume), float(temperature))


def forgotten_at(columns: Columns) -> int | None:
    """The row at which a liquid has forgotten its stress, and integrals end; None if none has.

    That is where the correlation crosses zero and stays within its errors for twice as long again;
    of an oscillation, as in a crystal, no crossing does.
    """
    correlation, error = columns["correlation_GPa2"], columns["error_GPa2"]
    for k in np.flatnonzero((correlation[1:] <= 0.0) & (correlation[:-1] > 0.0)) + 1:
        after = slice(k, 3 * k)
        if 3 * k > len(correlation):
            return None
        if np.square(correlation[after]).mean() <= _QUIET**2 * np.square(error[after]).mean():
            return int(k)
    return None


def viscosity_mPa_s(columns: Columns) -> tuple[float, float, float]:
    """The viscosity, its error, and the time in ps at which the stress is forgotten.

    InputError where the columns of `green_kubo` do not say.
    """
    correlation, times = columns["correlation_GPa2"], columns["time_ps"]
    if len(times) < 2 or correlation[1] < _SMOOTH * correlation[0]:
        every = f"{1e3 * times[1]:.3g} fs apart" if len(times) > 1 else "too few"
        raise InputError(
            f"frames are {every}: the stress is another one from each to the next; {_WAY_OUT}, "
            "every few fs"
        )
    end = forgotten_at(columns)
    if end is None:
        raise InputError(
            f"the stress is not forgotten within {times[-1] / 3.0:.2g} ps, a third of the time "
            "over which it is correlated: a solid, or too few steps or lags"
        )
    plateau = slice(end, round(_PLATEAU * end) + 1)
    value = float(columns["viscosity_mPa_s"][plateau].mean())
    error = float(columns["upper_mPa_s"][plateau].mean()) - value
    if error > _LARGEST_ERROR * value:
        raise InputError(
            f"{value:.2g} ± {error:.2g} mPa s says nothing yet: a longer run has a smaller error; "
            f"{_WAY_OUT}"
        )
    return value, error, float(times[end])


def viscosity_findings(source: object, columns: Columns) -> Iterable[Finding | str]:
    """The viscosity, with its error, and how long the stress lasts. InputError as above."""
    value, error, forgotten_ps = viscosity_mPa_s(columns)
    yield Finding("viscosity_mPa_s", "shear viscosity", value, "mPa s", error)
    yield Finding("stress_forgotten_ps", "stress is forgotten after", forgotten_ps, "ps")


VISCOSITY = Analysis(
    viscosity_columns,
    (
        Column("time_ps", "ps", "time"),
        Column("correlation_GPa2", "GPa²", "correlation"),
        Column("error_GPa2", "GPa²", "correlation"),
        Column("viscosity_mPa_s", "mPa s", "integral"),
        Column("lower_mPa_s", "mPa s", "integral"),
        Column("upper_mPa_s", "mPa s", "integral"),
    ),
    title="shear viscosity (Green and Kubo)",
    findings=viscosity_findings,
    level=0.0,
    wants_on_the_fly=True,
)
