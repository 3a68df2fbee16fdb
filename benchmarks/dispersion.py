"""What D3 dispersion takes of a step of dynamics: NVE with and without it, taking turns.

    python -m benchmarks.dispersion

Rattled silicon at 300 K; every sample is some steps, and rebuilt lists are part of them. 'share' is
the part of a step with D3 that goes when D3 does. No speed is printed unless D3 agrees with
simple-dftd3, where that is installed.
"""

import argparse
from importlib.util import find_spec

from ase import Atoms
from ase.units import Bohr, Hartree

import fastequi
from benchmarks.common import RESULTS, Results, add_common_options, row, say, silicon, start
from benchmarks.timing import Timing, interleaved
from fastequi import FastEquiCalculator, Simulation
from fastequi.dispersion import with_dispersion
from fastequi.md.integrators import VelocityVerlet
from fastequi.md.state import state_from_atoms
from fastequi.md.velocities import maxwell_boltzmann_

STEPS = 5
#: Of the energy, relative.
TOLERANCE = 1e-8


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["sevennet-0"])
    parser.add_argument("--atoms", nargs="+", type=int, default=[64, 1000])
    parser.add_argument("--repeats", type=int, default=15)
    add_common_options(parser, RESULTS / "dispersion.jsonl")
    options = parser.parse_args(arguments)
    results = start(options)
    for model in options.models:
        for n_atoms in options.atoms:
            compare(results, model, silicon(n_atoms), options.repeats)


def compare(results: Results, model: str, atoms: Atoms, repeats: int) -> None:
    """One model and size: agreement, then times."""
    plain = fastequi.load_model(model, device=str(results.device))
    corrected = with_dispersion(plain)
    if find_spec("dftd3"):
        apart = difference(atoms, plain, corrected)
        if apart > TOLERANCE:
            say(f"{model}, {len(atoms)} atoms: NO SPEED, energies differ by {apart:.1e}")
            return
    calls = {}
    for name, potential in (("none", plain), ("d3bj", corrected)):
        state = state_from_atoms(atoms)
        maxwell_boltzmann_(state, 300.0, seed=1)
        simulation = Simulation(state, potential, VelocityVerlet(1.0))
        calls[name] = lambda simulation=simulation: simulation.run(STEPS)
    timings = interleaved(calls, results.device, repeats, budget_s=120.0)
    for name, timing in timings.items():
        results.add(
            row(model, name, "nve", "time", "ms/step", len(atoms), timing.per(1e-3 * STEPS))
        )
    pairs = zip(timings["none"].samples, timings["d3bj"].samples, strict=True)
    share = Timing(tuple(100.0 * (1.0 - without / with_) for without, with_ in pairs))
    results.add(row(model, "d3bj", "nve", "share", "%", len(atoms), share))


def difference(atoms: Atoms, plain, corrected) -> float:
    """Of the energies of D3, ours and simple-dftd3's, relative."""
    from dftd3.interface import DispersionModel, RationalDampingParam

    theirs = DispersionModel(
        atoms.numbers, atoms.positions / Bohr, atoms.cell.array / Bohr, atoms.pbc
    ).get_dispersion(RationalDampingParam(method="pbe", atm=False), grad=False)
    expected = float(theirs["energy"]) * Hartree
    with_, without = (
        float(FastEquiCalculator(p).get_property("energy", atoms)) for p in (corrected, plain)
    )
    return abs((with_ - without) / expected - 1.0)


if __name__ == "__main__":
    main()
