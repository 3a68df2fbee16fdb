"""Molecules and small cells as people compute them: a call of the ASE calculator beside others.

    python -m benchmarks.small --cache FOLDER

needs an environment with the peers (pip install 'fastequi[peers]'). Every calculator keeps its
defaults, ours its list with a skin; structures move by 0.01 Å between calls, as in dynamics. Energy
and forces in float32, taking turns in one process. No speed is printed unless forces agree.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator
from ase.io import read

from benchmarks.calculators import COMPARISONS, Setting
from benchmarks.common import (
    RESULTS,
    ROOT,
    Results,
    add_common_options,
    row,
    say,
    silicon,
    start,
)
from benchmarks.peers import FORCE_TOLERANCE, OURS
from benchmarks.timing import interleaved, ratio
from fastequi import FastEquiCalculator

MODE = "energy, forces"
#: Whose own calculators are asked, by model; what is compiled for minutes first is left to `peers`.
PEERS = {"sevennet-0": "sevenn", "nequip-m": "nequip, eager"}
MOVE_A = 0.01


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Raw)
    parser.add_argument("--models", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--cache", type=Path, default=Path("peers-run"), help="kept files")
    parser.add_argument("--repeats", type=int, default=15)
    add_common_options(parser, RESULTS / "small.jsonl")
    options = parser.parse_args(arguments)
    results = start(options)
    for model in options.models:
        for name, atoms in structures():
            compare(results, model, name, atoms, Setting(options.cache), options.repeats)


_Raw = argparse.RawDescriptionHelpFormatter


def structures() -> Iterator[tuple[str, Atoms]]:
    """From 8 to 216 atoms: a molecule, crystals, and a liquid where the data for it is."""
    yield "ethanol", molecule("CH3CH2OH")
    for n_atoms in (8, 64, 216):
        yield "silicon", silicon(n_atoms)
    folder = Path(os.environ.get("FASTEQUI_DATA", ROOT.parent / "shared" / "data"))
    water = folder / "deepmd_water" / "water192.extxyz"
    if not water.exists():
        say(f"water is skipped: no {water}")
        return
    frame = read(water, index=0)
    assert isinstance(frame, Atoms)
    yield "water", frame


def compare(
    results: Results, model: str, name: str, atoms: Atoms, setting: Setting, repeats: int
) -> None:
    """One structure: agreement, then times."""
    comparison, peer = COMPARISONS[model], PEERS[model]
    if obstacle := comparison.obstacle():
        say(f"{model} is skipped: {obstacle}")
        return
    ours = comparison.ours(setting)
    assert isinstance(ours, FastEquiCalculator)
    if unknown := set(atoms.numbers.tolist()) - set(ours.potential.atomic_numbers or ()):
        say(f"{model} is skipped for {name}: it does not know the elements {sorted(unknown)}")
        return
    calculators = {OURS: FastEquiCalculator(ours.potential), peer: comparison.peers[peer](setting)}
    found = {who: _moving(calculator, atoms)() for who, calculator in calculators.items()}
    apart = float(np.abs(found[peer] - found[OURS]).max())
    what = f"{model}, {name}"
    results.add(row(what, peer, MODE, "forces differ by", "eV/Å", len(atoms), apart))
    if apart > FORCE_TOLERANCE:
        say(f"{what}, {peer}: NO SPEED, forces differ by {apart:.1e} > {FORCE_TOLERANCE} eV/Å")
        return
    calls = {who: _moving(calculator, atoms) for who, calculator in calculators.items()}
    timings = interleaved(calls, results.device, repeats, warmup=4, budget_s=60.0)
    for who, timing in timings.items():
        results.add(row(what, who, MODE, "time", "ms/call", len(atoms), timing.per(1e-3)))
    faster = ratio(timings[peer], timings[OURS])
    results.add(row(what, peer, MODE, "fastequi is faster", "x", len(atoms), faster))


def _moving(calculator: Calculator, atoms: Atoms) -> Callable[[], np.ndarray]:
    """Forces of atoms that oscillate, the same for everybody."""
    random = np.random.default_rng(1)
    moved = atoms.copy()
    moved.calc = calculator

    def call() -> np.ndarray:
        moved.positions = atoms.positions + MOVE_A * random.normal(size=atoms.positions.shape)
        return moved.get_forces()

    return call


if __name__ == "__main__":
    main()
