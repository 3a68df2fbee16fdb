"""Crystals at constant pressure: is a cubic one cubic, and does it expand as it should?

    python -m benchmarks.npt                         # everything, 20 minutes on one core
    python -m benchmarks.npt --parts silicon --ps 2  # a look

silicon: both barostats with flexible cells at 300 K and 0 GPa, the bundled potential. Their mean
lattice constants and angles must agree within their errors, and be those of a cubic cell.
nacl: SevenNet-0 at 300 and 600 K, isotropic, beside two others on the same potential: ase, which is
ASE's own Martyna-Tobias-Klein integrator, and qha, quasi-harmonic phonons (`quasi_harmonic.py`),
with atoms that move classically, as in dynamics, and as quanta.

Each sample of a row is a replica with velocities of its own. What is before equilibrium is left
out. Cells of crystals ring, and what is slow shows little beside that: blocking, which stops at the
first block that seems long enough, may find errors several times too small. Errors here are at
least those of the means over sixths of each replica, and of the replicas: in a crystal that is
nearly harmonic the modes of the cell keep their energies for long.
"""

import argparse
import math
from collections.abc import Callable, Sequence

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.md.nose_hoover_chain import IsotropicMTKNPT
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary
from numpy.typing import NDArray

import fastequi
from benchmarks.common import RESULTS, Results, add_common_options, row, say, start
from benchmarks.npt_report import draw, write
from benchmarks.quasi_harmonic import quasi_harmonic
from benchmarks.tables import README
from benchmarks.timing import Timing
from fastequi import FastEquiCalculator, Simulation
from fastequi.md.analysis.statistics import Mean, is_steady, mean_of
from fastequi.md.integrators import CellRescaling, Integrator, MartynaTobiasKlein
from fastequi.md.state import state_from_atoms
from fastequi.md.velocities import maxwell_boltzmann_
from fastequi.properties.relaxation import relaxed

#: Cells of eight atoms along each axis, 64 atoms; steps between looks; ps before equilibrium.
CELLS, EVERY, SETTLE_PS = 2, 10, 5.0
REPLICAS, SILICON_FS, NACL_FS = 4, 2.0, 2.0
#: Parts of each replica whose means are compared.
SERIES_PARTS = 6
THERMOSTAT_FS, BAROSTAT_FS = 100.0, 1000.0
TEMPERATURES_K = (300.0, 600.0)
#: Metric and unit of the columns of `np.column_stack` below.
LENGTHS, ANGLES = ("a", "b", "c"), ("alpha", "beta", "gamma")
#: Errors by which two means of this kind may differ: of a dozen numbers, one in a hundred runs.
SIGMAS = 3.5


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--ps", type=float, default=30.0, help="of each replica")
    parser.add_argument("--write", action="store_true", help="tables, into benchmarks/README.md")
    add_common_options(parser, RESULTS / "npt.jsonl")
    options = parser.parse_args(arguments)
    results = start(options)
    for part in options.parts:
        PARTS[part](results, options.ps)
    if options.output:
        draw(options.output, options.output.with_suffix(".png"))
    if options.write:
        write(options.output, README)


# -- silicon -------------------------------------------------------------------------------------


def check_silicon(results: Results, ps: float) -> None:
    """Lengths and angles of both barostats."""
    at_rest = crystal_at_rest(bulk("Si", cubic=True), "silicon", results)
    potential = fastequi.load_model("silicon", device=str(results.device))
    atoms = at_rest.repeat(CELLS)
    report(results, "silicon", "at rest", "0 K", "a", [at_rest.cell.lengths()[:1]])
    temperature = TEMPERATURES_K[0]
    common = (SILICON_FS, temperature, 0.0, THERMOSTAT_FS, BAROSTAT_FS)
    ensembles: dict[str, Integrator] = {
        "npt-mtk": MartynaTobiasKlein(*common, coupling="flexible"),
        "npt-scr": CellRescaling(*common, coupling="flexible", seed=1),
    }
    found = {}
    for name, integrator in ensembles.items():
        (cells,) = in_dynamics(atoms, potential, integrator, [temperature], ps)
        series = np.array([cell_parameters(replica) for replica in cells])  # [replicas, times, 6]
        mode = f"flexible, {temperature:g} K, 0 GPa"
        found[name] = [
            report(results, "silicon", name, mode, metric, series[:, :, k])
            for k, metric in enumerate((*LENGTHS, *ANGLES))
        ]
    compare(found)


def compare(found: dict[str, list[tuple[float, float]]]) -> None:
    """Say what is not as it should be: the two ensembles, and what a cubic cell is."""
    names = (*LENGTHS, *ANGLES)
    pairs = [
        (f"{name} of both", *(means[k] for means in found.values())) for k, name in enumerate(names)
    ]
    for ensemble, means in found.items():
        pairs += [(f"{ensemble}: a and {names[k]}", means[0], means[k]) for k in (1, 2)]
        pairs += [(f"{ensemble}: {names[k]} and 90°", means[k], (90.0, 0.0)) for k in (3, 4, 5)]
    for what, (one, error), (other, other_error) in pairs:
        sigmas = abs(one - other) / math.hypot(error, other_error)
        print(f"{what}: {one:.5f} and {other:.5f} are {sigmas:.1f} errors apart", flush=True)
        if not sigmas < SIGMAS:
            say(f"{what}: NOT WITHIN {SIGMAS} ERRORS")


# -- sodium chloride -----------------------------------------------------------------------------


def sodium_chloride(results: Results) -> Atoms:
    """Eight atoms at rest."""
    return crystal_at_rest(bulk("NaCl", "rocksalt", 5.64, cubic=True), "sevennet-0", results)


def check_nacl(results: Results, ps: float) -> None:
    """fastequi's own integrator, all temperatures in one batch."""
    potential = fastequi.load_model("sevennet-0", device=str(results.device))
    atoms = sodium_chloride(results).repeat(CELLS)
    temperatures = [T for T in TEMPERATURES_K for _ in range(REPLICAS // 2)]
    integrator = MartynaTobiasKlein(NACL_FS, temperatures, 0.0, THERMOSTAT_FS, BAROSTAT_FS)
    cells = in_dynamics(atoms, potential, integrator, temperatures, ps, copies=1)
    by_temperature = np.array_split(np.array([one[0] for one in cells]), len(TEMPERATURES_K))
    expansion(results, "npt-mtk", [np.cbrt(np.linalg.det(c)) / CELLS for c in by_temperature])


def check_ase(results: Results, ps: float) -> None:
    """The same by ASE's integrator, one replica at each temperature."""
    atoms = sodium_chloride(results).repeat(CELLS)
    atoms.calc = FastEquiCalculator("sevennet-0", device=str(results.device))
    lengths = []
    for temperature in TEMPERATURES_K:
        moving = atoms.copy()
        moving.calc = atoms.calc
        rng = np.random.default_rng(round(temperature))
        MaxwellBoltzmannDistribution(moving, temperature_K=2 * temperature, rng=rng)
        Stationary(moving)
        barostat = IsotropicMTKNPT(
            moving, NACL_FS * units.fs, temperature_K=temperature, pressure_au=0.0,
            tdamp=THERMOSTAT_FS * units.fs, pdamp=BAROSTAT_FS * units.fs,
        )  # fmt: skip
        seen: list[float] = []
        barostat.run(steps_in(SETTLE_PS, NACL_FS))
        barostat.attach(lambda m=moving, s=seen: s.append(m.get_volume()), interval=EVERY)
        barostat.run(steps_in(ps, NACL_FS))
        lengths.append(np.cbrt(np.array([seen])) / CELLS)
    expansion(results, "ASE's MTK", lengths)


def check_qha(results: Results, ps: float) -> None:
    """Without dynamics, at the same temperatures and between."""
    del ps
    atoms = sodium_chloride(results)
    for how, curve in quasi_harmonic(atoms).items():
        for temperature, length in curve.items():
            report(results, "nacl", how, f"{temperature:g} K, 0 GPa", "a", [[length]])
        ends = [curve[temperature] for temperature in TEMPERATURES_K]
        grown(results, how, [(length, 0.0) for length in ends])


def expansion(results: Results, who: str, lengths: Sequence[NDArray[np.float64]]) -> None:
    """Lattice constants [replicas, times] at each temperature, and what they grow by."""
    means = [
        report(results, "nacl", who, f"{temperature:g} K, 0 GPa", "a", series)
        for temperature, series in zip(TEMPERATURES_K, lengths, strict=True)
    ]
    grown(results, who, means)


def grown(results: Results, who: str, means: Sequence[tuple[float, float]]) -> None:
    """The mean coefficient of linear expansion from the first to the last temperature."""
    (first, e1), (last, e2) = means[0], means[-1]
    span = TEMPERATURES_K[-1] - TEMPERATURES_K[0]
    value, error = 1e6 * (last / first - 1.0) / span, 1e6 * math.hypot(e1, e2) / first / span
    mode = f"{TEMPERATURES_K[0]:g} to {TEMPERATURES_K[-1]:g} K"
    metric = ("linear expansion", "1e-6/K")
    results.add(row("nacl", who, mode, *metric, 8 * CELLS**3, value), error=error)


# -- common --------------------------------------------------------------------------------------


def crystal_at_rest(atoms: Atoms, model: str, results: Results) -> Atoms:
    """With its calculator, in float64."""
    atoms.calc = FastEquiCalculator(model, dtype="float64", device=str(results.device))
    return relaxed(atoms)


def in_dynamics(
    atoms: Atoms, potential, integrator: Integrator, temperatures: Sequence[float], ps: float,
    copies: int = REPLICAS,
) -> list[list[NDArray[np.float64]]]:  # fmt: skip
    """Cells [times, 3, 3] of each copy at each temperature, after equilibration."""
    state = state_from_atoms([atoms] * (copies * len(temperatures)))
    hot = [2.0 * temperature for temperature in temperatures for _ in range(copies)]
    maxwell_boltzmann_(state, hot, seed=1)
    cells: list[NDArray[np.float64]] = []

    def look(simulation: Simulation) -> None:
        if simulation.time_ps >= SETTLE_PS:
            cells.append(simulation.state.cell.cpu().numpy().copy())

    simulation = Simulation(state, potential, integrator, observers=[(EVERY, look)])
    simulation.run(steps_in(SETTLE_PS + ps, integrator.timestep_fs))
    by_system = np.array(cells).swapaxes(0, 1)
    return [list(part) for part in np.array_split(by_system, len(temperatures))]


def steps_in(ps: float, timestep_fs: float) -> int:
    return round(ps * 1e3 / timestep_fs)


def cell_parameters(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lattice constants in Å and angles in degrees [times, 6] of cells [times, 3, 3]."""
    return np.array([Atoms(cell=cell).cell.cellpar() / ([CELLS] * 3 + [1] * 3) for cell in cells])


def report(
    results: Results, kernel: str, who: str, mode: str, metric: str,
    series: Sequence[Sequence[float]] | NDArray[np.float64],
) -> tuple[float, float]:  # fmt: skip
    """A row of a quantity's series [replicas, times]; its mean and error."""
    replicas = [mean_of(np.asarray(one, dtype=np.float64)) for one in series]
    if not all(is_steady(np.asarray(one)) for one in series):
        say(f"{kernel}, {who}: {metric} still changes; a longer run is needed")
    mean = float(np.mean([one.mean for one in replicas]))
    error = max(_blocked(replicas), _of_parts(series, SERIES_PARTS), _of_parts(series, 1))
    unit = "°" if metric in ANGLES else "Å"
    timing = Timing(tuple(one.mean for one in replicas))
    entry = row(kernel, who, mode, metric, unit, 8 * CELLS**3, timing)
    results.add(entry, mean=mean, error=error)
    print(f"    {metric} = {mean:.5f} +- {error:.5f} {unit}", flush=True)
    return mean, error


def _blocked(replicas: Sequence[Mean]) -> float:
    errors = [one.error for one in replicas if one.values > 1]
    return math.sqrt(sum(error**2 for error in errors)) / len(replicas)


def _of_parts(series: Sequence[Sequence[float]] | NDArray[np.float64], parts: int) -> float:
    """Of the mean over all replicas, from the scatter of the means of so many parts of each."""
    means = [np.mean(part) for one in series for part in np.array_split(one, parts)
             if len(one) >= parts]  # fmt: skip
    return float(np.std(means, ddof=1) / math.sqrt(len(means))) if len(means) > 2 else 0.0


PARTS: dict[str, Callable[[Results, float], None]] = {
    "silicon": check_silicon, "nacl": check_nacl, "ase": check_ase, "qha": check_qha
}  # fmt: skip

if __name__ == "__main__":
    main()
