"""Tables: rows of different processors stay side by side, rows older than that key are read."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import tables
from benchmarks.common import RESULTS

OLD = {
    "kernel": "sevennet-0", "provider": "fastequi", "mode": "energy", "metric": "time",
    "unit": "ms/atom", "x": 1000, "p20": 1.0, "p50": 1.0, "p80": 1.0,
    "machine": "AMD EPYC, 2 cores, 24 GiB", "device": "cpu", "threads": 2, "commit": "0" * 40,
    "dirty": False, "versions": {"fastequi": "0.1.0"}, "load": 0.5,
    "timestamp": "2026-11-22T00:00:00+00:00",
}  # fmt: skip
PROCESSOR = {
    "name": "AMD EPYC", "vendor": "AuthenticAMD", "family": "25", "model": "1",
    "instructions": "AVX2", "vector_bytes": 32, "vector_registers": 16,
    "avx2": True, "avx512": False, "cores": 2, "hyperthreads": False,
}  # fmt: skip
PEAK = {"float32": {"1": 100.0, "2": 199.0}}


def new(p50: float, day: int = 25, **processor: Any) -> dict[str, Any]:
    """The same measurement on another day, with the keys that rows have now."""
    value = {"p20": p50, "p50": p50, "p80": p50, "timestamp": f"2026-11-{day}T00:00:00+00:00"}
    return OLD | value | {"processor": PROCESSOR | processor, "peak_GFLOP_s": PEAK}


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    (folder / "peers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def body(text: str) -> list[list[str]]:
    """Cells of a table below its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_processors_stand_below_each_other(tmp_path: Path) -> None:
    other = OLD | {"kernel": "nequip-m"}
    text = tables.render(written(tmp_path, OLD, other, new(2.0), new(3.0, day=26)))
    assert body(text) == [
        ["sevennet-0", "fastequi", "AMD EPYC, AVX-512, 64 B", "energy", "1,000", "1"],
        ["sevennet-0", "fastequi", "AMD EPYC 25/1, AVX2, 32 B", "energy", "1,000", "3"],
        ["nequip-m", "fastequi", "AMD EPYC, AVX-512, 64 B", "energy", "1,000", "1"],
    ]
    assert "AVX2, 32 B: AMD EPYC, 2 cores" in text
    assert "float32 100 (1), float32 199 (2)" in text


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (new(1.0, instructions="AVX-512", vector_bytes=16), "AMD EPYC 25/1, AVX-512, 16 B"),
        (new(1.0, hyperthreads=True), "AMD EPYC 25/1, AVX2, 32 B, hyperthreads"),
        (new(1.0, hyperthreads="unknown"), "AMD EPYC 25/1, AVX2, 32 B"),
        (OLD | {"timestamp": "2026-11-25T10"}, f"{OLD['machine']}, registers not recorded"),
        (OLD | {"machine": "Xeon, 4 cores, 8 GiB"}, "Xeon, 4 cores, 8 GiB, registers not recorded"),
        (new(1.0) | {"device": "NVIDIA H100 (sm_90)"}, "NVIDIA H100 (sm_90)"),
    ],
)
def test_places(row: dict[str, Any], expected: str) -> None:
    assert tables.place(row) == expected


def test_readme_holds_the_tables_of_the_results() -> None:
    between = tables.README.read_text().partition(tables.BEGIN)[2].partition(tables.END)[0]
    assert tables.render(RESULTS) in between, "run python -m benchmarks.tables --write"
