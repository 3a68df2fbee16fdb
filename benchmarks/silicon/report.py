"""What a check prints and writes: JSON, and tables between the marks of a Markdown file."""

import json
from pathlib import Path
from typing import Any

from benchmarks.markdown import table
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
    return f"{table(head, rows)}\n\n{note}"


def _number(value: float) -> str:
    value += 0.0  # no minus before a zero
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.3e}"
