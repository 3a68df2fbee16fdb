"""Tables in Markdown and a picture from the files of results, so that nothing is typed by hand.

    python -m benchmarks.tables          # prints the tables
    python -m benchmarks.tables --write  # puts them into benchmarks/README.md and draws the picture

Of rows that measure the same thing on the same processor, with registers of the same width, the
newest counts; those of different processors stand below each other.
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS
from benchmarks.time_per_atom import draw

README = Path(__file__).with_name("README.md")
PICTURE = RESULTS / "time-per-atom.svg"
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"

#: File, heading, the metrics that become columns (metric, unit).
SECTIONS = (
    ("peers", "Whole models beside their own packages", (
        ("time", "ms/atom"), ("fastequi is faster", "x"), ("memory above import", "MB"),
        ("fastequi needs less memory", "x"), ("forces differ by", "eV/Å"))),
    ("small", "Molecules and small cells as ASE calculators", (
        ("time", "ms/call"), ("fastequi is faster", "x"), ("forces differ by", "eV/Å"))),
    ("training", "Steps of training beside NequIP's", (
        ("time", "ms/step"), ("speed", "frames/s"), ("fastequi is faster", "x"),
        ("memory above import", "MB"), ("fastequi needs less memory", "x"),
        ("gradient differs by", "relative"))),
    ("side_by_side", "The same time to learn beside NequIP", (
        ("passes", "epochs"), ("force MAE", "meV/Å"), ("energy MAE", "meV/atom"))),
    ("accuracy", "Errors reached, in so many minutes of the cores named", (
        ("passes", "epochs"), ("force MAE", "meV/Å"), ("force RMSE", "meV/Å"),
        ("energy MAE", "meV/atom"))),
    ("reaction", "Hotter than what was learnt, and along paths: root mean square errors", (
        ("energy RMSE", "meV"), ("force RMSE", "meV/Å"), ("highest energy", "meV"),
        ("largest error", "meV"))),
    ("coupled_cluster", "Few frames of CCSD(T)", (
        ("force MAE", "meV/Å"), ("force RMSE", "meV/Å"), ("energy MAE", "meV/atom"))),
    ("ops", "The convolution of one layer", (
        ("time", "ns/edge"), ("rate", "GFLOP/s"), ("rate", "GB/s"),
        ("share of the floor", "%"), ("faster than the reference", "x"))),
    ("md", "Molecular dynamics", (
        ("time", "ms/step"), ("time", "us/atom/step"), ("speed", "atom-steps/s"),
        ("outside the model", "%"), ("memory above import", "MB"), ("memory", "MB"),
        ("cost per atom varies above 500 atoms", "%"), ("faster than 1 thread", "x"),
        ("beyond importing torch", "s"))),
    ("lammps", "Ranks of LAMMPS, one core each", (
        ("time", "ms/step"), ("of the time on 1 rank", "x"), ("communication", "%"),
        ("outside the model", "%"))),
    ("md", "Force calls against the processor's peak", (
        ("work", "GFLOP/call"), ("time", "ms/call"), ("rate", "GFLOP/s"),
        ("share of the peak", "%"))),
)  # fmt: skip

Rows = list[dict[str, Any]]
#: Metric and unit -> the row that has it.
Cells = dict[tuple[str, str], dict[str, Any]]

#: Rows without a processor are older than that key. Those of this machine until then are from a
#: processor with AVX-512; what else it was is not recorded.
UNNAMED_MACHINE, UNNAMED_BEFORE = "AMD EPYC, 2 cores, 24 GiB", "2026-11-25"
UNNAMED = "AMD EPYC, AVX-512, 64 B"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the result files")
    parser.add_argument("--write", action="store_true", help="into README.md, and the picture")
    options = parser.parse_args(arguments)
    text = render(options.results)
    if not options.write:
        print(text)
        return
    before, _, rest = README.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    peers, md = (_placed(read(options.results, name)) for name in ("peers", "md"))
    drawn = draw(peers, md, PICTURE)
    picture = f"![time per atom against size]({PICTURE.relative_to(README.parent)})\n" * drawn
    README.write_text(f"{before}{BEGIN}\n{text}\n{picture}{END}{after}")


def read(folder: Path, name: str) -> Rows:
    """The newest row of everything that was measured: of NAME.jsonl and of the GPU reports."""
    path = folder / f"{name}.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    for report in sorted(folder.glob("gpu-*.json")):
        found = json.loads(report.read_text())
        if not found["dry_run"]:
            rows += [row for row in found["rows"] if row["part"] == _PARTS.get(name)]
    newest: dict[tuple, dict[str, Any]] = {}
    for entry in sorted(rows, key=lambda row: row["timestamp"]):
        newest[place(entry), *(entry[key] for key in _IDENTITY)] = entry
    return list(newest.values())


#: File of results -> part of a GPU report that measures the same.
_PARTS = {"peers": "peers", "ops": "operator", "md": "dynamics"}
_IDENTITY = ("kernel", "provider", "mode", "metric", "unit", "x")


def place(row: dict[str, Any]) -> str:
    """The GPU; or the processor, its widest instructions, and the width that kernels used."""
    if row["device"] != "cpu":
        return row["device"]
    if "processor" not in row:
        is_ours = row["machine"] == UNNAMED_MACHINE and row["timestamp"] < UNNAMED_BEFORE
        return UNNAMED if is_ours else f"{row['machine']}, registers not recorded"
    cpu = row["processor"]
    name = f"{cpu['name']} {cpu['family']}/{cpu['model']}"
    shared = ", hyperthreads" if cpu["hyperthreads"] is True else ""
    return f"{name}, {cpu['instructions']}, {cpu['vector_bytes']} B{shared}"


def _placed(rows: Rows) -> Rows:
    return [{**row, "place": place(row)} for row in rows]


def render(folder: Path) -> str:
    """All sections that have results."""
    sections = []
    for name, title, columns in SECTIONS:
        rows = [row for row in read(folder, name) if (row["metric"], row["unit"]) in columns]
        if rows:
            sections.append(section(title, rows, columns))
    return "\n".join(sections)


def section(title: str, rows: Rows, columns: Iterable[tuple[str, str]]) -> str:
    """A heading, where the numbers are from, and a table with a row per measured thing."""
    used = [c for c in columns if any((row["metric"], row["unit"]) == c for row in rows)]
    head = ["what", "who", "on", "how", "size", *(f"{metric}, {unit}" for metric, unit in used)]
    lines = [f"### {title}", "", *_origins(rows), "", _line(head), _line(["---"] * len(head))]
    groups: dict[tuple, dict[str, Cells]] = {}  # what is measured, then where
    for row in rows:
        key = row["kernel"], row["provider"], row["mode"], row["x"]
        here = groups.setdefault(key, {}).setdefault(place(row), {})
        here[row["metric"], row["unit"]] = row
    for (kernel, provider, mode, x), places in groups.items():
        for where, cells in places.items():
            numbers = [_cell(cells.get(column)) for column in used]
            lines.append(_line([kernel, provider, where, mode, f"{x:,.0f}", *numbers]))
    return "\n".join([*lines, ""])


def _origins(rows: Rows) -> list[str]:
    """Machines, their peaks, commits and versions, each combination once."""
    found = []
    for row in rows:
        versions = ", ".join(f"{name} {version}" for name, version in row["versions"].items())
        changed = ", with changes" if row["dirty"] else ""
        found.append(
            f"- {place(row)}: {row['machine']}, device {row['device']}, {row['threads']} threads"
            f"{_peak(row)}; commit {row['commit'][:10]}{changed}; {versions}"
        )
    return list(dict.fromkeys(found))


def _peak(row: dict[str, Any]) -> str:
    """What a run measured of its processor, where it did."""
    rates = [
        f"{dtype} {rate:.0f} ({threads})"
        for dtype, by_threads in row.get("peak_GFLOP_s", {}).items()
        for threads, rate in by_threads.items()
    ]
    return f", peak in GFLOP/s (threads) {', '.join(rates)}" if rates else ""


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    spread = f" ({row['p20']:.3g}–{row['p80']:.3g})" if row["p20"] != row["p80"] else ""
    return f"{row['p50']:.3g}{spread}"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
