"""What a check prints and writes: JSON, and tables between the marks of a Markdown file."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.silicon.properties import Property

Sections = dict[str, dict[str, Any]]


def print_section(name: str, properties: list[Property], seconds: float, judged: bool) -> None:
    """A line per property; `judged` is whether what is out of bounds counts."""
    print(f"\n{name} ({seconds:.1f} s)")
    for p in properties:
        reference = "" if p.reference is None else f"{p.reference:g}"
        verdict = "" if not judged or not p.bounded else "ok" if p.holds else "FAILED"
        value = f"{_number(p.value):>10} {p.unit:<12}"
        print(f"  {p.name:<54}{value}{reference:>8}  {verdict:<7}{p.source}", flush=True)


def read_sections(path: Path, facts: dict[str, Any]) -> Sections:
    """Sections of an earlier check of the same weights; those of others are dropped."""
    if not path.exists():
        return {}
    found = json.loads(path.read_text())
    same = all(found.get(key) == facts[key] for key in ("model_sha256", "quick"))
    return found["sections"] if same else {}


def write_json(path: Path, facts: dict[str, Any], sections: Sections) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**facts, "sections": sections}, ensure_ascii=False) + "\n")


def physics_table(sections: Sections, facts: dict[str, Any]) -> str:
    """Markdown: every property of every section, with its reference."""
    rows = []
    for section in sections.values():
        for entry in section["properties"]:
            p = Property(**entry)
            reference = "" if p.reference is None else f"{p.reference:g}"
            rows.append((p.name, _number(p.value), p.unit, reference, p.source))
    head = ("property", "silicon", "unit", "reference", "whose")
    note = (
        f"Weights {facts['model_sha256'][:12]}, by `python -m benchmarks.silicon` (fastequi "
        f"{facts['versions']['fastequi']}). References other than those from the data are quoted "
        "from memory."
    )
    return f"{_table(head, rows)}\n\n{note}"


def errors_table(summary: dict[str, Any]) -> str:
    """Markdown: the errors in a training's summary.json."""
    head = ("frames", "how many", "energy MAE / RMSE, meV/atom", "force MAE / RMSE, meV/Å",
            "stress MAE, meV/Å³")  # fmt: skip
    rows = []
    for name, count in summary["frames"].items():
        e = summary[name]
        rows.append((
            name,
            str(count),
            f"{e['energy_mae_meV_per_atom']:.2f} / {e['energy_rmse_meV_per_atom']:.2f}",
            f"{e['force_mae_meV_per_A']:.1f} / {e['force_rmse_meV_per_A']:.1f}",
            f"{e['stress_mae_meV_per_A3']:.2f}",
        ))  # fmt: skip
    note = f"1 meV/Å³ is 0.16 GPa. The weights are those of epoch {summary['best_epoch']}."
    return f"{_table(head, rows)}\n\n{note}"


def replace_between(path: Path, mark: str, text: str) -> None:
    """Put text between `<!-- mark: begin -->` and `<!-- mark: end -->`."""
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    before, _, rest = path.read_text().partition(begin)
    path.write_text(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}")


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _number(value: float) -> str:
    value += 0.0  # no minus before a zero
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.3e}"
