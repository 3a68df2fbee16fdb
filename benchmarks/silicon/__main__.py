"""Whether a potential for silicon is one: a table beside PBE, JSON, pictures.

    python -m benchmarks.silicon                       # the bundled potential, 10 minutes
    python -m benchmarks.silicon my.safetensors --quick --only crystal phonons
    python -m benchmarks.silicon --write --summary silicon/summary.json

Sections that are not run keep their results, as long as they are of the same weights. --write puts
the tables into fastequi/models/silicon.md. The exit code is 1 if anything is out of bounds.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.common import RESULTS, circumstances
from benchmarks.markdown import errors_table, replace_between
from benchmarks.silicon import crystal, defects, dynamics, melt, phonons, pictures, report
from benchmarks.silicon.properties import FULL, QUICK, Effort, Property, Section
from fastequi import FastEquiCalculator, load_model
from fastequi.importers import BUNDLED

#: In the order in which they run.
SECTIONS = ("crystal", "defects", "phonons", "nve", "npt", "melt")
#: What --quick judges too; of the others it shows that they run, averages take longer.
AT_REST = ("crystal", "defects", "phonons")
PAGE = BUNDLED / "silicon.md"


class Checks:
    """The checks of one potential: float64 at rest, float32 in motion."""

    def __init__(self, model: str, device: str, effort: Effort) -> None:
        self.effort = effort
        self.exact = FastEquiCalculator(load_model(model, device, "float64"))
        self.potential = load_model(model, device, "float32")
        self.fast = FastEquiCalculator(self.potential)
        self.a = crystal.lattice_constant(self.exact)

    def run(self, name: str) -> Section:
        match name:
            case "crystal":
                return crystal.check(self.exact)
            case "defects":
                return defects.check(self.exact, self.a)
            case "phonons":
                return phonons.check(self.exact, self.a, self.effort)
            case "nve":
                return dynamics.check_nve(self.potential, self.a, self.effort)
            case "npt":
                return dynamics.check_npt(self.fast, self.a, self.effort)
            case "melt":
                return melt.check(self.potential, self.a, self.effort)
        raise ValueError(name)


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    effort = QUICK if options.quick else FULL.scaled(options.share)
    checks = Checks(options.model, options.device, effort)
    facts = {
        "model": options.model,
        "model_sha256": checks.potential.sha256,
        "quick": options.quick,
        **circumstances(checks.potential.device),
    }
    sections = report.read_sections(options.output, facts)
    for name in options.only:
        started = perf_counter()
        section = checks.run(name)
        seconds = perf_counter() - started
        judged = name in AT_REST or not options.quick
        report.print_section(name, section.properties, seconds, judged)
        sections[name] = {**asdict(section), "seconds": seconds}
        report.write_json(options.output, facts, _in_order(sections))
    curves = {name: section["curves"] for name, section in sections.items()}
    pictures.draw(curves, Path(options.model).stem, options.output.with_suffix(".png"))
    if options.write:
        replace_between(PAGE, "physics", report.physics_table(_in_order(sections), facts))
    if options.summary:
        summary = json.loads(options.summary.read_text())
        replace_between(PAGE, "errors", errors_table(summary))
    wrong = [
        p["name"] for s in sections.values() for p in s["properties"] if not Property(**p).holds
    ]
    print("\nout of bounds: " + "; ".join(wrong) if wrong else "\neverything is within bounds")
    return 1 if wrong else 0


def _in_order(sections: dict[str, Any]) -> dict[str, Any]:
    return {name: sections[name] for name in SECTIONS if name in sections}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("model", nargs="?", default="silicon", help="a name or a file")
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--quick", action="store_true", help="everything small: does it run?")
    parser.add_argument("--share", type=float, default=1.0, help="of the full times of dynamics")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, default=RESULTS / "silicon.json")
    parser.add_argument("--write", action="store_true", help=f"the table into {PAGE.name}")
    parser.add_argument(
        "--summary", type=Path, help=f"summary.json of its training, into {PAGE.name}"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
