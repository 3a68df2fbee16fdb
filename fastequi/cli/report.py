"""What `fastequi run` prints before and after: the plan, where the time went, the result."""

import math
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

import torch
from ase import Atoms

from fastequi._version import __version__
from fastequi.cli.systems import describe_systems, print_systems
from fastequi.cli.threads import describe_threads
from fastequi.dispersion import Corrected
from fastequi.md.analysis.thermodynamics import slope
from fastequi.md.constraints.from_ase import fixed_atoms, fixes_centre_of_mass
from fastequi.md.integrators.integrator import parameters
from fastequi.md.integrators.minimize import FORCE_COLUMN, STRESS_COLUMN
from fastequi.md.ramps import first_value
from fastequi.md.remarks import ignored, isotopes, other_temperature
from fastequi.md.state import kinetic_energy
from fastequi.md.trajectory.directory import LOG, own_files
from fastequi.md.trajectory.log import read_log
from fastequi.md.velocities import drift_velocity
from fastequi.run import Setup
from fastequi.running.fixed_order import described
from fastequi.running.systems import integrator_of

#: How the names of parameters end -> how the unit is written.
_SYMBOLS = {
    "eV_per_A": "eV/Å",
    "per_ps": "/ps",
    "per_GPa": "/GPa",
    "fs": "fs",
    "K": "K",
    "GPa": "GPa",
}

#: Values and systems that are listed one by one, before they are counted.
_NAMED_AT_MOST = 6

#: Columns of the log that an ensemble may hold at a value -> what, in which unit, decimals.
_CONTROLLED = {"temperature_K": ("temperature", "K", 1), "pressure_GPa": ("pressure", "GPa", 3)}


def print_setup(setup: Setup, resume: bool) -> None:
    """Say what is about to be computed, with what."""
    print(f"fastequi {__version__}")
    width = max(40, min(get_terminal_size().columns, 160)) - 13 if sys.stdout.isatty() else 10**6
    for name, text in describe(setup, resume).items():
        # Paths and numbers stay whole: words are what a line breaks between.
        lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
        print(f"  {name:<10} " + f"\n{'':<13}".join(lines))


def describe(setup: Setup, resume: bool) -> dict[str, str]:
    """The plan of a run, one line per topic."""
    output, potential = setup.config.output, setup.potential
    is_corrected = isinstance(potential, Corrected)
    return {
        **(describe_systems(setup) if setup.has_many else _describe_one(setup)),
        "model": f"{potential.name}, {potential.dtype_name}, cutoff {potential.cutoff:g} Å",
        **({"dispersion": potential.damping.description} if is_corrected else {}),
        "kernels": f"{potential.kernels} ({potential.kernels_reason})",
        "device": _device(potential.device),
        **({"engine": setup.engine.words} if setup.engine else {}),
        "sums": described(setup.config, potential.device, setup.n_atoms),
        **_describe_dynamics(setup, resume),
        **_describe_bias(setup),
        "output": f"{output.directory}: log every {output.log_every}, {output.trajectory_format} "
        f"every {output.trajectory_every}, checkpoint every {output.checkpoint_every} steps",
    }


def _describe_bias(setup: Setup) -> dict[str, str]:
    bias = setup.batch.bias
    if bias is None:
        return {}
    on_cpu = setup.potential.device.type == "cpu"
    where = "" if on_cpu else "; it is asked on the host: forces come there and go back each step"
    return {"bias": f"PLUMED, {bias.input}, in {bias.directory}{where}"}


def _describe_one(setup: Setup) -> dict[str, str]:
    return {
        "atoms": f"{len(setup.atoms)} ({_formula(setup.atoms)}){_fixed(setup)}",
        **_describe_ignored(setup.atoms),
        "cell": _cell(setup),
    }


def _formula(atoms: Atoms) -> str:
    found = isotopes(atoms)
    return atoms.get_chemical_formula() + (f"; {found}" if found else "")


def _describe_ignored(atoms: Atoms) -> dict[str, str]:
    found = ignored(atoms)
    return {"ignored": f"{found} of the structure: the model has no such input"} if found else {}


def _describe_dynamics(setup: Setup, resume: bool) -> dict[str, str]:
    """Ensemble, velocities and steps; of every stage, if the run has stages."""
    stages, step = setup.config.stages, setup.simulation.state.step
    integrators = [integrator_of(stage.dynamics, setup.systems) for stage in stages]
    total_ps = 1e-3 * sum(
        stage.dynamics.steps * integrator.timestep_fs
        for stage, integrator in zip(stages, integrators, strict=True)
    )
    time = f" ({total_ps:g} ps)" if total_ps else ""
    steps = f"{step} to {setup.config.total_steps}{time}{_start(setup, resume)}"
    found = {}
    if not setup.config.stage:
        found["ensemble"] = in_words(integrators[0].description())
    for k, stage in enumerate(setup.config.stage):
        words = in_words(integrators[k].description())
        now = " <- goes on here" if setup.checkpoint and k == setup.batch.stage else ""
        found[f"stage {k}"] = f"{stage.name}: {stage.steps} steps, {words}{now}"
    return found | {"velocities": _velocities(setup), "steps": steps}


def print_result(setup: Setup, summary: dict[str, Any]) -> None:
    """Where the time went, how fast it was, whether the physics held, which files there are."""
    print(f"\n{'phase':<12}{'seconds':>10}{'share':>9}")
    for name, seconds, share in time_table(summary):
        print(f"{name:<12}{seconds:>10.3f}{share:>8.1f}%")
    speed = f"{summary['ns_per_day']:.4g} ns/day, " if summary["ns_per_day"] else ""
    print(
        f"\n{summary['steps_per_s']:.4g} steps/s, {summary['atom_steps_per_s']:.4g} atom-steps/s, "
        f"{speed}peak memory {summary['peak_memory_MB']:.0f} MB"
    )
    if setup.has_many:
        print_systems(setup, summary)
        return
    for stage in setup.config.stages:
        integrator, log = integrator_of(stage.dynamics, setup.systems), setup.directory / LOG
        if integrator.is_dynamics:
            description = integrator.description()
            text = physics(log, description, len(setup.atoms), stage.name or None)
        else:
            text = minimum(log, integrator.column_names, stage.name or None)
        print(f"{stage.name}: {text}" if stage.name else text)
    print(f"written to {setup.directory}:")
    for path in own_files(setup.directory):
        print(f"  {path.relative_to(setup.directory)} ({_size(path)})")


def time_table(summary: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Rows of phase, seconds and share in per cent; `other` completes them to the wall time."""
    phases, wall = dict(summary["phases_s"]), summary["wall_s"]
    phases["other"] = max(0.0, wall - sum(phases.values()))
    total = sum(phases.values())
    rows = [(name, s, 100 * s / total if total else 0.0) for name, s in phases.items()]
    return [*rows, ("total", total, sum(share for _, _, share in rows))]


def in_words(description: Mapping[str, object]) -> str:
    """An integrator's description as a user reads it: 'nve, timestep 1 fs'."""
    parameters = dict(description)
    words = [str(parameters.pop("ensemble"))]
    for name, value in parameters.items():
        unit = next((unit for unit in _SYMBOLS if name.endswith(f"_{unit}")), "")
        text = _several(value) if isinstance(value, tuple) else _number(value)
        what = name.removesuffix(f"_{unit}").replace("_", " ")
        words.append(f"{what} {text} {_SYMBOLS.get(unit, '')}".rstrip())
    return ", ".join(words)


def physics(
    log: Path, description: Mapping[str, object], atoms: int, stage: str | None = None
) -> str:
    """Whether the physics held, from the rows of a log, or of a stage of it: the drift of the
    conserved energy, and mean and spread of what the ensemble controls (of its description)."""
    rows = read_log(log, stage)
    time_ps = rows["time_ps"]
    if len(time_ps) < 3 or time_ps[-1] == time_ps[0]:
        return f"{len(time_ps)} rows in the log: too few for statistics"
    drift, _ = slope(time_ps, rows["conserved_eV"] / atoms * 1e3)
    controlled = [name for name in _CONTROLLED if name in description]
    lines = []
    for name in controlled:
        what, unit, digits = _CONTROLLED[name]
        late = rows[name][len(time_ps) // 2 :]
        lines.append(
            f"{what} {late.mean():.{digits}f} {unit}, spread {late.std():.{digits}f} {unit} "
            f"(last half, {len(late)} rows of the log)"
        )
    energy = "conserved energy" if controlled else "energy"
    span_ps = time_ps[-1] - time_ps[0]
    return "\n".join([*lines, f"{energy} drift {drift:.3g} meV/atom/ps over {span_ps:.4g} ps"])


def minimum(log: Path, columns: Sequence[str], stage: str | None = None) -> str:
    """Where a minimisation ended, from the last row of its log."""
    rows = read_log(log, stage)
    first, last = (int(rows["step"][k]) for k in (0, -1))
    what = {FORCE_COLUMN: ("largest force", "eV/Å"), STRESS_COLUMN: ("largest stress", "GPa")}
    found = [f"{what[name][0]} {rows[name][-1]:.3g} {what[name][1]}" for name in columns]
    energy = f"energy {rows['potential_energy_eV'][-1]:.6f} eV"
    return f"at a minimum after {last - first} steps: " + ", ".join([energy, *found])


def _several(values: tuple[object, ...]) -> str:
    """Each of a few values; of many, how many and their ends."""
    if len(values) <= _NAMED_AT_MOST:
        return ", ".join(map(_number, values))
    return f"{_number(values[0])} to {_number(values[-1])} ({len(values)} systems)"


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _fixed(setup: Setup) -> str:
    fixed = int(fixed_atoms(setup.atoms).sum())
    centre = ", centre of mass fixed" if fixes_centre_of_mass(setup.atoms) else ""
    return f", {fixed} of them fixed" if fixed else centre


def _cell(setup: Setup) -> str:
    atoms = setup.atoms
    axes = "".join(axis for axis, periodic in zip("abc", atoms.pbc, strict=True) if periodic)
    if not axes:
        return "none (not periodic)"
    a, b, c, alpha, beta, gamma = atoms.cell.cellpar()
    periodic = "" if len(axes) == 3 else f", periodic along {axes}"
    return f"{a:.4g} x {b:.4g} x {c:.4g} Å, {alpha:.4g} {beta:.4g} {gamma:.4g}°{periodic}"


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({describe_threads()})"


def _velocities(setup: Setup) -> str:
    if not setup.simulation.integrator.is_dynamics:
        return "none: nothing moves in time"
    if setup.checkpoint:
        return "of the checkpoint" if setup.has_many else f"of the checkpoint{_drift(setup)}"
    if setup.has_many:
        first = setup.config.stages[0].dynamics.seed
        seeds = f"{first} to {first + setup.systems[-1].index}"
        return f"of the structures, else Maxwell-Boltzmann; seeds {seeds}, one per system"
    if setup.drawn_at_K is None:
        return f"of the structure{_warmth(setup)}{_drift(setup)}"
    seed = setup.config.dynamics.seed
    if not setup.atoms.has("momenta"):
        return f"Maxwell-Boltzmann at {setup.drawn_at_K:g} K, seed {seed}"
    return (
        f"Maxwell-Boltzmann at {setup.drawn_at_K:.4g} K, the temperature of the structure, seed "
        f"{seed} (with its own velocities, the {math.prod(setup.config.system.supercell)} copies "
        "would move alike)"
    )


def _warmth(setup: Setup) -> str:
    """That they are not of the temperature that was asked for."""
    dynamics = setup.config.stages[0].dynamics
    other = other_temperature(setup.atoms, first_value(dynamics.temperature_K))
    holds = "temperature_K" in parameters(type(setup.simulation.integrator))
    then = "the thermostat takes them there" if holds else "nothing takes them there"
    return f", at {other} ({then}; without momenta in the file, they are drawn)" if other else ""


def _drift(setup: Setup) -> str:
    """That the whole flies along, where the integrator counts it for no heat."""
    state, integrator = setup.simulation.state, setup.simulation.integrator
    kinetic, thermal = float(kinetic_energy(state)), float(integrator.thermal_energy(state))
    if kinetic - thermal <= 1e-9 * kinetic:  # rounding
        return ""
    A_per_ps = 1e3 * float(drift_velocity(state).norm())
    return (
        f", whose centre of mass moves at {A_per_ps:.3g} Å/ps (no heat: temperature and pressure "
        "leave it out)"
    )


def _start(setup: Setup, resume: bool) -> str:
    if setup.checkpoint:
        return ", going on from a checkpoint"
    return ", no checkpoint to go on from: from the beginning" if resume else ""


def _size(path: Path) -> str:
    size = float(path.stat().st_size)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
