"""`fastequi bench`: how fast, and with --check how exact, the kernels are on your structure."""

from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Literal

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk

import fastequi
from fastequi.cli.info import machine
from fastequi.cli.threads import respect_quota
from fastequi.conservation import hessian_asymmetry
from fastequi.device import choose_device, synchronize
from fastequi.engine.loaded import LoadedModel
from fastequi.errors import InputError, PhysicsError
from fastequi.graph import Graph
from fastequi.kernels.backend import BACKENDS, choose_kernels
from fastequi.md.checks import check_atoms
from fastequi.md.integrators import VelocityVerlet
from fastequi.md.neighbors import NeighborList
from fastequi.md.simulation import Simulation
from fastequi.md.state import state_from_atoms
from fastequi.md.structure import read_structure
from fastequi.md.velocities import maxwell_boltzmann_

#: The reference keeps every message of every edge; beyond so many edges it is not timed.
REFERENCE_EDGES = 300_000
#: Each measurement takes about so long, and at least three calls.
SECONDS, CALLS = 2.0, 3
TEMPERATURE_K, TIMESTEP_FS, SKIN_A = 300.0, 1.0, 1.0

#: What deviations from the reference may be, in float32 and float64 (tables are the same in both).
LIMITS = {"energy": (2e-5, "eV/atom"), "forces": (2e-5, "eV/Å"), "stress": (2e-6, "eV/Å³")}
HESSIAN_LIMIT = 1e-5


def bench(
    model: str = "silicon",
    structure: Path | None = None,
    /,
    *,
    check: bool = False,
    device: str = "auto",
    dtype: Literal["float32", "float64"] = "float32",
) -> int:
    """Time a model on this machine, with every implementation of its kernels that runs here.

    Energy with forces and stress, and steps of NVE dynamics at 300 K, timed after a warm-up.

    Parameters
    ----------
    model
        a bundled name or the path of a model
    structure
        any file that ASE reads, or a trajectory.h5; without it, 216 atoms of rattled silicon
    check
        compare the kernels with the plain reference on the structure instead; exit code 3 if they
        deviate
    device
        auto, cpu, cuda or cuda:N
    dtype
        arithmetic of the model: float32 or float64
    """
    respect_quota()
    atoms = _silicon() if structure is None else read_structure(str(structure))
    atoms.set_constraint()
    place = choose_device(device)
    names = [name for name in BACKENDS if _runs_on(name, place)]
    models = {name: fastequi.load_model(model, str(place), dtype, name) for name in names}
    any_model = models[names[0]]
    try:
        check_atoms(atoms, any_model)
    except InputError as error:
        raise InputError(f"{structure or 'the default structure (silicon)'}: {error}") from error
    graph = _graph(atoms, any_model, any_model.cutoff)
    print(f"{any_model.name}, {dtype}, {place}: {machine()['processor']}")
    print(f"{len(atoms)} atoms ({atoms.get_chemical_formula()}), {graph.n_edges} edges")
    if check:
        _check(models, model, atoms, graph)
    else:
        _print_speeds(models, atoms, graph)
    return 0


def _silicon() -> Atoms:
    atoms = bulk("Si", "diamond", 5.43, cubic=True).repeat(3)
    atoms.positions += 0.05 * np.random.default_rng(0).normal(size=atoms.positions.shape)
    return atoms


def _runs_on(name: str, device: torch.device) -> bool:
    try:
        choose_kernels(name, device)
    except InputError as error:
        print(f"{name} is left out: {error}")
        return False
    return True


def _graph(atoms: Atoms, model: LoadedModel, radius: float) -> Graph:
    state = state_from_atoms(atoms, model.device)
    neighbors = NeighborList(radius, skin=0.0)
    return neighbors.graph(
        state.positions, state.atomic_numbers, state.cell, state.pbc, state.system_idx
    )


# -- speed ---------------------------------------------------------------------------------------


def _print_speeds(models: dict[str, LoadedModel], atoms: Atoms, graph: Graph) -> None:
    """A row per implementation; ratios are those of energy and forces."""
    print(f"\n{'kernels':<12}{'ms/atom':>10}{'steps/s':>10}{'atom-steps/s':>14}{'speed':>9}")
    reference_s = float("nan")
    for name, model in models.items():
        if name == "reference" and len(models) > 1 and graph.n_edges > REFERENCE_EDGES:
            print(f"{name:<12}   not timed: more than {REFERENCE_EDGES} edges")
            continue
        seconds = _seconds(lambda m=model: m.compute(graph), model.device)
        if name == "reference":
            reference_s = seconds
        steps = 1 / _seconds(_stepper(atoms, model), model.device)
        speed = "" if np.isnan(reference_s) else f"{reference_s / seconds:.3g} x"
        print(
            f"{name:<12}{seconds / len(atoms) * 1e3:>10.4g}{steps:>10.4g}"
            f"{steps * len(atoms):>14.4g}{speed:>9}"
        )
    print("\nms/atom: energy, forces and stress; steps: NVE at 300 K, neighbours included")


def _stepper(atoms: Atoms, model: LoadedModel) -> Callable[[], object]:
    state = state_from_atoms(atoms)
    maxwell_boltzmann_(state, TEMPERATURE_K, seed=0)
    simulation = Simulation(state, model, VelocityVerlet(TIMESTEP_FS), skin_A=SKIN_A)
    return lambda: simulation.run(1)


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    """Median time of one call; the first, which may compile, does not count."""
    call()
    times: list[float] = []
    while len(times) < CALLS or sum(times) < SECONDS:
        synchronize(device)
        started = perf_counter()
        call()
        synchronize(device)
        times.append(perf_counter() - started)
    return median(times)


# -- agreement -----------------------------------------------------------------------------------


def _check(models: dict[str, LoadedModel], source: str, atoms: Atoms, graph: Graph) -> None:
    """Print every deviation. Raises PhysicsError naming those that are too large."""
    if len(models) == 1:
        print("only the reference runs here: there is nothing to compare")
        return
    place = str(models["reference"].device)
    exact = fastequi.load_model(source, place, "float64", "reference")
    expected = exact.compute(graph)
    wrong = []
    for name, model in models.items():
        got = model.compute(graph)
        print(f"\n{name}, against the reference in float64:")
        for what, (limit, unit) in LIMITS.items():
            difference = getattr(got, what) - getattr(expected, what)
            if not bool(torch.isfinite(getattr(expected, what)).all()):
                continue  # a stress without a volume
            if what == "energy":
                difference = difference / len(atoms)
            largest, rms = float(difference.abs().max()), float(difference.square().mean().sqrt())
            print(f"  {what:<8} max {largest:.1e}, RMS {rms:.1e} {unit} (limit {limit:.0e})")
            if not largest <= limit:  # NaN is wrong too
                wrong.append(f"{name}: {what} by {largest:.1e} {unit}, more than {limit:.0e}")
        if name != "reference":
            wrong += _check_hessian(name, source, atoms, place)
            print(f"  tables   {model.summary().get('radial tables', 'none')}")
    if wrong:
        raise PhysicsError("the kernels deviate from the reference:\n- " + "\n- ".join(wrong))
    print("\nall is well")


def _check_hessian(name: str, source: str, atoms: Atoms, place: str) -> list[str]:
    """Whether forces are the gradient of one energy; in float64, where differences are exact."""
    model = fastequi.load_model(source, place, "float64", name)
    asymmetry = hessian_asymmetry(model, _graph(atoms, model, model.cutoff + SKIN_A))
    print(f"  Hessian  asymmetry {asymmetry:.1e} in float64 (limit {HESSIAN_LIMIT:.0e})")
    if asymmetry <= HESSIAN_LIMIT:
        return []
    return [f"{name}: Hessian asymmetry {asymmetry:.1e}, more than {HESSIAN_LIMIT:.0e}"]
