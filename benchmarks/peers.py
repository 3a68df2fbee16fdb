"""Whole models, fastequi beside the package that each comes from: time, memory, agreement.

    python -m benchmarks.peers --cache FOLDER

needs an environment with the peers (pip install 'fastequi[peers]'); those that are missing are
named and skipped. Same weights, same rattled silicon, float32, energy with forces and stress,
taking turns in one process; every call has new positions, so that all search neighbours anew. No
speed is printed unless forces agree. The AOT-compiled NequIP is made once per cache folder, which
takes minutes.
"""

import argparse
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from benchmarks.calculators import COMPARISONS, Comparison, Setting
from benchmarks.common import RESULTS, Results, add_common_options, row, say, silicon, start
from benchmarks.memory import peak_memory
from benchmarks.timing import interleaved, measure, ratio

#: eV/Å: forces of fastequi and of a peer, both in float32, differ by less.
FORCE_TOLERANCE = 2e-5

OURS = "fastequi"
MODE = "energy, forces, stress"
PROPERTIES = ["energy", "forces", "stress"]


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    results = start(options)
    setting = Setting(options.cache, options.device)
    for name in options.models:
        run(results, name, setting, options.quick, options.repeats, options.atoms)
    size = options.atoms or (64 if options.quick else 1000)
    _symmetrix(results, options.symmetrix, size, options.repeats)


def run(
    results: Results,
    name: str,
    setting: Setting,
    quick: bool = False,
    repeats: int = 5,
    n_atoms: int | None = None,
    memory: bool = True,
) -> None:
    """One comparison: agreement, then time, then memory."""
    comparison = COMPARISONS[name]
    if obstacle := comparison.obstacle():
        say(f"{name} is skipped: {obstacle}")
        return
    atoms = silicon(n_atoms or (comparison.quick_atoms if quick else comparison.atoms))
    calculators = {OURS: comparison.ours(setting)}
    for peer, make in comparison.peers.items():
        try:
            calculators[peer] = make(setting)
        except Exception as error:  # whatever another package raises: go on with the others
            say(f"{name}, {peer} is skipped: {type(error).__name__}: {error}")
    sound = _those_who_agree(results, name, calculators, atoms)
    if len(sound) > 1:
        _time(results, name, sound, atoms, 3 if quick else repeats)
        if memory:
            _measure_memory(results, name, list(sound), setting, len(atoms))


def _those_who_agree(
    results: Results, name: str, calculators: dict[str, Calculator], atoms: Atoms
) -> dict[str, Calculator]:
    """Ours and the peers whose forces are ours; the deviations are rows."""
    found = {who: compute(calculator, atoms) for who, calculator in calculators.items()}
    sound = {OURS: calculators[OURS]}
    for peer in calculators.keys() - {OURS}:
        energy = abs(found[peer]["energy"] - found[OURS]["energy"]) / len(atoms)
        force = np.abs(found[peer]["forces"] - found[OURS]["forces"]).max()
        stress = np.abs(found[peer]["stress"] - found[OURS]["stress"]).max()
        for metric, unit, value in (
            ("energy differs by", "eV/atom", energy),
            ("forces differ by", "eV/Å", force),
            ("stress differs by", "eV/Å³", stress),
        ):
            results.add(row(name, peer, MODE, metric, unit, len(atoms), float(value)))
        if force <= FORCE_TOLERANCE:
            sound[peer] = calculators[peer]
        else:
            say(f"{name}, {peer}: NO SPEED, forces differ by {force:.1e} > {FORCE_TOLERANCE} eV/Å")
    return sound


def compute(calculator: Calculator, atoms: Atoms, changes: Sequence[str] = all_changes) -> dict:
    """Results of one structure, computed now whatever was computed before."""
    calculator.calculate(atoms, PROPERTIES, list(changes))
    return calculator.results


def moving(calculator: Calculator, atoms: Atoms) -> Callable[[], object]:
    """A call that computes a slightly different structure each time, the same for everybody; ASE
    tells a calculator that positions changed, and nothing else."""
    random = np.random.default_rng(1)
    moved = atoms.copy()

    def call() -> None:
        moved.positions = atoms.positions + 0.01 * random.normal(size=atoms.positions.shape)
        compute(calculator, moved, ["positions"])

    return call


def _time(
    results: Results, name: str, calculators: dict[str, Calculator], atoms: Atoms, repeats: int
) -> None:
    calls = {who: moving(calculator, atoms) for who, calculator in calculators.items()}
    timings = interleaved(calls, results.device, repeats, warmup=1, budget_s=240.0)
    for who, timing in timings.items():
        per_atom = timing.per(len(atoms) * 1e-3)
        results.add(row(name, who, MODE, "time", "ms/atom", len(atoms), per_atom))
    for who in timings.keys() - {OURS}:
        faster = ratio(timings[who], timings[OURS])
        results.add(row(name, who, MODE, "fastequi is faster", "x", len(atoms), faster))


def _measure_memory(
    results: Results, name: str, who: list[str], setting: Setting, n_atoms: int
) -> None:
    above = {}
    for provider in who:
        where = (setting.cache, setting.device, n_atoms, torch.get_num_threads())
        peak = peak_memory("benchmarks.peers", "memory_case", name, provider, *where)
        above[provider] = peak.above_import_MB
        what = (name, provider, MODE, "memory above import", "MB", n_atoms)
        results.add(row(*what, peak.above_import_MB))
    for provider in above.keys() - {OURS}:
        share = above[provider] / above[OURS]
        what = (name, provider, MODE, "fastequi needs less memory", "x", n_atoms)
        results.add(row(*what, share))


def memory_case(
    name: str, provider: str, cache: str, device: str, n_atoms: str, threads: str
) -> Callable[[], object]:
    """For `memory.py`: imports the package; the calculation loads the model and runs it twice."""
    torch.set_num_threads(int(threads))
    comparison: Comparison = COMPARISONS[name]
    make = comparison.ours if provider == OURS else comparison.peers[provider]
    for module in _MODULES[provider]:
        import_module(module)
    atoms = silicon(int(n_atoms))

    def calculation() -> None:
        call = moving(make(Setting(Path(cache), device)), atoms)
        call()
        call()

    return calculation


#: Who needs which modules: imported before memory is measured, so that they do not count.
_MODULES = {
    OURS: ("fastequi.calculators.ase", "fastequi.importers.sevennet"),
    "sevenn": ("sevenn.calculator", "fastequi.importers.sevennet"),
    "nequip, eager": ("nequip.integrations.ase", "nequip.model.saved_models.load_utils"),
    "nequip, AOT": ("nequip.integrations.ase", "nequip.model.inference_models"),
    "nequix, torch": ("nequix.calculator",),
}


def _symmetrix(results: Results, model: Path | None, n_atoms: int, repeats: int) -> None:
    """MACE as symmetrix computes it: another model, so its time stands alone."""
    if model is None or find_spec("symmetrix") is None:
        missing = "no model given by --symmetrix" if model is None else "not installed: symmetrix"
        say(f"MACE with symmetrix is skipped: {missing}")
        return
    calculator = import_module("symmetrix").Symmetrix(str(model))
    atoms = silicon(n_atoms)
    timing = measure(moving(calculator, atoms), results.device, repeats=repeats, warmup=1)
    per_atom = timing.per(len(atoms) * 1e-3)
    results.add(row(model.stem, "symmetrix", MODE, "time", "ms/atom", len(atoms), per_atom))


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--models", nargs="+", choices=COMPARISONS, default=list(COMPARISONS))
    parser.add_argument("--cache", type=Path, default=Path("peers-run"), help="kept compiled files")
    parser.add_argument("--quick", action="store_true", help="small crystals, three repeats")
    parser.add_argument("--atoms", type=int, help="instead of each model's own size")
    parser.add_argument("--symmetrix", type=Path, help="a MACE model as symmetrix reads it")
    parser.add_argument("--repeats", type=int, default=5)
    add_common_options(parser, RESULTS / "peers.jsonl")
    return parser


if __name__ == "__main__":
    main()
