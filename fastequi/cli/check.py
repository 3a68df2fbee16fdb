"""`fastequi run --check`: one force call, and what a run would cost and write."""

import math
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from fastequi.device import peak_memory_MB
from fastequi.md.observers import thermodynamics
from fastequi.md.trajectory.directory import (
    CHECKPOINTS,
    FINAL,
    LOG,
    PLUMED,
    RESOLVED_CONFIG,
    SUMMARY,
    TRAJECTORIES,
)
from fastequi.run import Setup
from fastequi.running.summary import ns_per_day


def print_check(setup: Setup) -> None:
    """Energy, largest force, pressure, memory, speed and the files, without writing any."""
    with TemporaryDirectory() as folder:
        if setup.batch.bias is not None:
            setup.batch.bias.directory = Path(folder)
        _print_check(setup)


def _print_check(setup: Setup) -> None:
    simulation, output = setup.simulation, setup.config.output
    simulation.compute_forces_()
    largest = simulation.state.forces.norm(dim=1).max()
    print()
    if setup.has_many:
        print(f"of the first batch: largest force {largest:.4f} eV/Å")
    else:
        row = thermodynamics(simulation)
        print(f"energy {row['potential_energy_eV']:.6f} eV, largest force {largest:.4f} eV/Å")
        known = [f"{what} {row[name]:.{digits}f} {unit}" for name, what, unit, digits in (
            ("temperature_K", "temperature", "K", 1), ("pressure_GPa", "pressure", "GPa", 3)
        ) if not math.isnan(row[name])]  # fmt: skip
        if known:
            print(", ".join(known))
    seconds = _seconds_per_step(setup)
    timestep_fs = simulation.integrator.timestep_fs
    speed = len(setup.batch.systems) * ns_per_day(1 / seconds, timestep_fs)
    simulated = f"{speed:.3g} ns/day, " if speed else ""
    print(
        f"estimate: {simulated}{seconds * setup.steps_left:.3g} s for "
        f"{setup.steps_left} steps, memory {peak_memory_MB(setup.potential.device):.0f} MB"
    )
    files = [RESOLVED_CONFIG, LOG, TRAJECTORIES[output.trajectory_format], FINAL,
             f"{CHECKPOINTS}/", SUMMARY]  # fmt: skip
    if setup.batch.bias is not None:
        files.append(f"{PLUMED}/")
    print(f"would write to {output.directory}: {', '.join(files)}")
    print("all is well; nothing was written")


def _seconds_per_step(setup: Setup) -> float:
    """Time of one step: the better of two, the first may have to warm up."""
    times = []
    for _ in range(2):
        started = perf_counter()
        setup.simulation.run(1)
        times.append(perf_counter() - started)
    return min(times)
