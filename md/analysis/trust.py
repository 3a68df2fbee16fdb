"""Whether to trust a run: what was asked of it, beside what its log says."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from fastequi.md.analysis import LOG_ANALYSES
from fastequi.md.analysis.analysis import in_digits
from fastequi.md.analysis.run import Results

#: Drift of the conserved energy that no other error of a potential is small beside.
LARGEST_DRIFT_meV_PER_ATOM_PER_PS = 0.1
#: How many errors a mean may be off.
_SIGMAS = 3.0
#: Shares by which mean and spread of a temperature may be off, whatever their errors.
_OFF, _SPREAD_OFF = 0.01, 0.2


@dataclass(frozen=True)
class Check:
    """A sentence, and whether it is as it should be."""

    text: str
    good: bool


def checks_of(results: Results) -> list[Check]:
    """How it ended, equilibration, conserved energy, temperature, pressure, disagreement."""
    every = (_ending, _settling, _drift, _temperature, _pressure, _committee)
    return [check for checks in every for check in checks(results)]


def _ending(results: Results) -> Iterator[Check]:
    if results.status.state in ("failed", "stopped"):
        yield Check(results.status.text, False)


def _settling(results: Results) -> Iterator[Check]:
    if not results.averages:
        return
    if results.settled_ps is None:
        yield Check("energy or volume still change: a longer run is needed", False)
    elif results.settled_ps > results.times_ps[0]:
        yield Check(
            f"settled from {results.settled_ps:.4g} ps on: means leave out what is before, curves "
            f"do not (fastequi analyze --from {results.settled_ps:.4g} leaves it out everywhere)",
            True,
        )
    else:
        yield Check("settled from the start", True)
    guesses = [n for n, a in results.averages.items() if a.mean.spread and not a.mean.is_certain]
    if guesses:
        columns = map(LOG_ANALYSES["thermodynamics"].column, guesses)
        yield Check(
            "fewer than 20 independent blocks, so that errors are guesses: "
            + ", ".join(column.meaning for column in columns if column),
            False,
        )


def _drift(results: Results) -> Iterator[Check]:
    for finding in results.findings.get("drift", []):
        error = finding.error or 0.0
        limit = LARGEST_DRIFT_meV_PER_ATOM_PER_PS
        text = f"conserved energy drifts by {in_digits(finding.value, error)} {finding.unit}"
        good = bool(abs(finding.value) <= max(limit, _SIGMAS * error))
        yield Check(text if good else f"{text}: more than {limit:g}; a shorter timestep?", good)


def _temperature(results: Results) -> Iterator[Check]:
    """Mean beside the thermostat's, spread beside that of the canonical ensemble, T sqrt(2 / f)."""
    dynamics, average = results.config.get("dynamics", {}), results.averages.get("temperature_K")
    target = dynamics.get("temperature_K")
    if not average or not isinstance(target, float) or not target or not _has_bath(dynamics):
        return
    mean = average.mean
    good = bool(abs(mean.mean - target) <= max(_SIGMAS * mean.error, _OFF * target))
    yield Check(
        f"temperature {in_digits(mean.mean, mean.error)} K, {target:g} K was asked for", good
    )
    freedom = 3.0 * results.facts.get("atoms", 0)
    expected = target * np.sqrt(2.0 / freedom) if freedom else 0.0
    independent = max(1.0, mean.values / mean.inefficiency)
    allowed = max(_SPREAD_OFF, _SIGMAS / np.sqrt(2.0 * independent))
    if expected:
        good = bool(abs(mean.spread / expected - 1.0) <= allowed)
        yield Check(
            f"temperature spreads by {mean.spread:.3g} K, {expected:.3g} K is canonical", good
        )


def _pressure(results: Results) -> Iterator[Check]:
    """Mean beside the barostat's. Single values scatter by much more than it: errors decide."""
    dynamics, average = results.config.get("dynamics", {}), results.averages.get("pressure_GPa")
    target = dynamics.get("pressure_GPa")
    if not average or not isinstance(target, float) or not _has_barostat(dynamics):
        return
    mean = average.mean
    good = bool(abs(mean.mean - target) <= max(_SIGMAS * mean.error, _OFF * abs(target)))
    text = f"pressure {in_digits(mean.mean, mean.error)} GPa, {target:g} GPa was asked for"
    yield Check(text if good else f"{text}: a longer run, or a shorter barostat_time_fs?", good)


def _has_barostat(dynamics: Mapping[str, object]) -> bool:
    return str(dynamics.get("ensemble", "")).startswith("npt")


def _has_bath(dynamics: Mapping[str, object]) -> bool:
    return str(dynamics.get("ensemble", "")).startswith(("nvt", "npt"))


def _committee(results: Results) -> Iterator[Check]:
    found = results.disagreement_eV_per_A
    limit = results.config.get("model", {}).get("disagreement_limit_eV_per_A")
    if found is not None:
        text = f"models disagree on forces by at most {found:.3g} eV/Å"
        yield Check(text + (f" (limit {limit:g})" if limit else ""), not limit or found <= limit)
