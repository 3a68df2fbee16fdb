"""Tables in Markdown, put between marks of a file, so that no number is typed by hand."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

_ERRORS = {
    "energy MAE / RMSE, meV/atom": ("energy", "meV_per_atom", 2),
    "force MAE / RMSE, meV/Å": ("force", "meV_per_A", 1),
    "stress MAE / RMSE, meV/Å³": ("stress", "meV_per_A3", 2),
}


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; cells are texts."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def replace_between(path: Path, mark: str, text: str) -> None:
    """Put text between `<!-- mark: begin -->` and `<!-- mark: end -->`."""
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    before, _, rest = path.read_text(encoding="utf-8").partition(begin)
    after = rest.partition(end)[2]
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def errors_table(summary: dict[str, Any]) -> str:
    """The errors in a training's summary.json by set; stress where frames have one."""
    known = {
        head: (what, unit, digits)
        for head, (what, unit, digits) in _ERRORS.items()
        if any(summary[name].get(f"{what}_mae_{unit}") is not None for name in summary["frames"])
    }
    rows = []
    for name, count in summary["frames"].items():
        pairs = [
            [f"{summary[name][f'{what}_{kind}_{unit}']:.{digits}f}" for kind in ("mae", "rmse")]
            for what, unit, digits in known.values()
        ]
        rows.append((name, str(count), *(" / ".join(pair) for pair in pairs)))
    note = f"The weights are those of epoch {summary['best_epoch']}."
    stress = "1 meV/Å³ is 0.16 GPa. " if len(known) == len(_ERRORS) else ""
    return f"{table(('frames', 'how many', *known), rows)}\n\n{stress}{note}"
