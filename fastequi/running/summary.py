"""What a run leaves in its summary.json, of one system and of several."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastequi.device import peak_memory_MB
from fastequi.md.config import Config
from fastequi.md.observers import thermodynamics_of_all
from fastequi.md.trajectory.directory import SUMMARY
from fastequi.running.identity import LoadedModel, dispersion_of
from fastequi.running.running_batch import RunningBatch
from fastequi.running.systems import System, seed_of


def summarize(
    potential: LoadedModel, atoms: int, steps: int, time_ps: float, elapsed_s: Mapping[str, float]
) -> dict[str, Any]:
    """Of so many atoms after so many steps; `elapsed_s` is over all sessions, as `steps` is."""
    wall_s = elapsed_s["wall"]
    steps_per_s = steps / wall_s if wall_s > 0 else 0.0
    return {
        "atoms": atoms,
        "steps": steps,
        "wall_s": wall_s,
        "steps_per_s": steps_per_s,
        "atom_steps_per_s": atoms * steps_per_s,
        "ns_per_day": time_ps * 1e-3 / wall_s * 86400 if wall_s > 0 else 0.0,
        "device": str(potential.device),
        "kernels": potential.kernels,
        "dtype": potential.dtype_name,
        "model": potential.name,
        "model_sha256": potential.sha256,
        **dispersion_of(potential, "dispersion"),
        "peak_memory_MB": peak_memory_MB(potential.device),
        "phases_s": {name: s for name, s in elapsed_s.items() if name != "wall"},
    }


def ns_per_day(steps_per_s: float, timestep_fs: float) -> float:
    """Simulated nanoseconds per day of wall time."""
    return steps_per_s * timestep_fs * 1e-6 * 86400


def system_summaries(
    batch: RunningBatch, potential: LoadedModel, elapsed_s: Mapping[str, float]
) -> dict[int, dict[str, Any]]:
    """Of each of the systems of a finished batch: number -> summary.

    Speeds and times are those of the whole batch, which `systems_in_batch` counts.
    """
    config, simulation = batch.config, batch.simulation
    rows = dict(zip((s.index for s in batch.systems), thermodynamics_of_all(simulation),
                    strict=True)) if batch.systems else {}  # fmt: skip
    found = {}
    for system in batch.everyone:
        failure, left = (of.get(str(system.index)) for of in (batch.failed, batch.done))
        steps = failure["step"] if failure else simulation.state.step
        row = rows.get(system.index, {})
        if left:
            steps, row = left["steps"], left["last"]
        common = summarize(potential, len(system.atoms), steps, simulation.time_ps, elapsed_s)
        last = {name: value for name, value in row.items() if name not in ("step", "time_ps")}
        found[system.index] = {
            "system": system.folder,
            "status": "failed" if failure else "done",
            "error": failure["error"] if failure else None,
            **facts_of(config, system),
            **common,
            "systems_in_batch": len(batch.everyone),
            "last": {name: value if value == value else None for name, value in last.items()},
        }
    return found


def facts_of(config: Config, system: System) -> dict[str, Any]:
    """Where a system is from, and what distinguishes it."""
    return {
        "structure": system.structure,
        "frame": system.frame,
        "replica": system.replica,
        "formula": system.atoms.get_chemical_formula(),
        "seed": seed_of(config.stages[0].dynamics, system),
    }


#: Of a system's own summary, what its row in the summary above has.
_ROW = ("system", "status", "error", "structure", "frame", "replica", "formula", "seed", "atoms",
        "steps")  # fmt: skip


def summary_of_all(
    directory: Path, potential: LoadedModel, batches: Sequence[RunningBatch]
) -> dict[str, Any]:
    """Of a run of several systems, from the summaries of its systems: totals, and a row for each.

    atom_steps_per_s counts the atoms of all systems, ns_per_day is their simulated time together.
    """
    every = [
        [json.loads((directory / system.folder / SUMMARY).read_bytes()) for system in b.everyone]
        for b in batches
    ]
    systems = [one for batch in every for one in batch]
    elapsed_s: dict[str, float] = {"wall": sum(batch[0]["wall_s"] for batch in every)}
    for batch in every:
        for name, seconds in batch[0]["phases_s"].items():
            elapsed_s[name] = elapsed_s.get(name, 0.0) + seconds
    steps = max(one["steps"] for one in systems)
    total = summarize(potential, sum(one["atoms"] for one in systems), steps, 0.0, elapsed_s)
    wall_s = elapsed_s["wall"]
    done = sum(one["atoms"] * one["steps"] for one in systems)
    simulated_ns = sum(one["ns_per_day"] * one["wall_s"] for one in systems) / 86400
    total["steps_per_s"] = sum(one["steps"] for one in systems) / wall_s if wall_s > 0 else 0.0
    total["atom_steps_per_s"] = done / wall_s if wall_s > 0 else 0.0
    total["ns_per_day"] = simulated_ns / wall_s * 86400 if wall_s > 0 else 0.0
    return total | {
        "n_systems": len(systems),
        "n_failed": sum(one["status"] == "failed" for one in systems),
        "systems": [{**{name: one[name] for name in _ROW}, **one["last"]} for one in systems],
    }
