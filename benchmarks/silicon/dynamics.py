"""The crystal in motion: energy drift of NVE, and NPT through ASE with its thermal expansion.

Both in float32, as people run it: NVE in fastequi's own engine, NPT by ASE's Martyna, Tobias and
Klein barostat, with forces and stress from FastEquiCalculator.
"""

import numpy as np
from ase import units
from ase.calculators.calculator import Calculator
from ase.md.nose_hoover_chain import IsotropicMTKNPT
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary

from benchmarks.silicon.crystal import crystal
from benchmarks.silicon.properties import MEASURED, Effort, Property, Section
from fastequi.md.integrators import VelocityVerlet
from fastequi.md.observers import thermodynamics
from fastequi.md.simulation import Simulation
from fastequi.md.velocities import maxwell_boltzmann_
from fastequi.potential import Potential

TEMPERATURE_K, TIMESTEP_FS = 300.0, 1.0
#: Allowed drift of the total energy, in meV per atom and ps.
DRIFT_LIMIT = 0.01
EVERY, SEED = 10, 1
#: Before this, in ps, kinetic energy turns into that of the springs; the drift is fitted after it.
SETTLE_PS = 0.1
CURVE_POINTS = 1000
THERMOSTAT_FS, BAROSTAT_FS = 100.0, 500.0
EXPANSION = f"classical estimate; {MEASURED} 0.02"


class Log:
    """An observer that keeps time in ps, total energy in eV and temperature in K."""

    every = EVERY

    def __init__(self) -> None:
        self.rows: list[tuple[float, float, float]] = []

    def __call__(self, simulation: Simulation) -> None:
        row = thermodynamics(simulation)
        self.rows.append((row["time_ps"], row["total_energy_eV"], row["temperature_K"]))


def check_nve(potential: Potential, a: float, effort: Effort) -> Section:
    """Velocity Verlet of 1 fs from twice the temperature, half of which the springs take."""
    atoms = crystal(a).repeat(effort.nve_cells)
    log = Log()
    simulation = Simulation(atoms, potential, VelocityVerlet(TIMESTEP_FS), observers=[log])
    maxwell_boltzmann_(simulation.state, 2 * TEMPERATURE_K, seed=SEED)
    simulation.run(round(effort.nve_ps * 1e3 / TIMESTEP_FS))
    time, energy, temperature = np.array(log.rows).T
    late = time >= SETTLE_PS
    per_atom = (energy - energy[late].mean()) / len(atoms) * 1e3
    drift = abs(np.polyfit(time[late], per_atom[late], 1)[0])
    what = f"{len(atoms)} atoms, {time[-1]:g} ps"
    found = [
        Property(f"NVE drift ({what})", float(drift), "meV/atom/ps", 0.0, "", high=DRIFT_LIMIT),
        Property("NVE energy, spread", float(per_atom[late].std()), "meV/atom"),
        Property("NVE temperature", float(temperature[late].mean()), "K"),
    ]
    thin = slice(None, None, max(1, len(time) // CURVE_POINTS))
    curve = {"time": time[thin].round(3).tolist(), "energy": per_atom[thin].round(6).tolist()}
    return Section(found, curve)


def check_npt(calculator: Calculator, a: float, effort: Effort) -> Section:
    """300 K and no pressure: the mean lattice constant, and by how much it is above that at 0 K."""
    atoms = crystal(a).repeat(effort.npt_cells)
    atoms.calc = calculator
    rng = np.random.default_rng(SEED)
    MaxwellBoltzmannDistribution(atoms, temperature_K=2 * TEMPERATURE_K, rng=rng)
    Stationary(atoms)
    barostat = IsotropicMTKNPT(
        atoms,
        TIMESTEP_FS * units.fs,
        temperature_K=TEMPERATURE_K,
        pressure_au=0.0,
        tdamp=THERMOSTAT_FS * units.fs,
        pdamp=BAROSTAT_FS * units.fs,
    )
    lengths: list[tuple[float, float]] = []
    barostat.run(round(effort.npt_settle_ps * 1e3 / TIMESTEP_FS))
    barostat.attach(
        lambda: lengths.append((atoms.get_volume() ** (1 / 3), atoms.get_temperature())),
        interval=EVERY,
    )
    barostat.run(round(effort.npt_ps * 1e3 / TIMESTEP_FS))
    length, temperature = np.array(lengths).mean(axis=0)
    mean = length / effort.npt_cells
    expansion = (mean / a - 1.0) * 100.0
    what = f"{len(atoms)} atoms, {effort.npt_ps:g} ps"
    found = [
        Property(f"NPT temperature ({what})", float(temperature), "K", TEMPERATURE_K, "", 270, 330),
        Property("NPT lattice constant", float(mean), "Å"),
        # The classical crystal expands more than the real one, whose cold modes do not move.
        Property("expansion, 0 to 300 K", float(expansion), "%", 0.1, EXPANSION, -0.1, 0.4),
    ]
    return Section(found, {})
