"""Tables of constant pressure are those of the rows; errors are not those of ringing alone."""

import shutil
from pathlib import Path

import numpy as np

from benchmarks.common import RESULTS, Results
from benchmarks.npt import report
from benchmarks.npt_report import write
from benchmarks.tables import README


def test_the_page_has_the_tables_of_the_rows(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    shutil.copy(README, page)
    write(RESULTS / "npt.jsonl", page)
    assert page.read_text() == README.read_text(), "python -m benchmarks.npt --parts --write"


def test_what_is_slow_is_seen_beside_ringing() -> None:
    """Of 40 means with the slow part of four replicas each, about as many are off as there ought
    to be; blocking alone would call most of them wrong."""
    rng, off = np.random.default_rng(1), 0
    results = Results.__new__(Results)
    results.add = lambda *entry, **facts: None  # type: ignore[method-assign]
    for _ in range(40):
        time, series = np.arange(1500), []
        for _ in range(4):
            slow = np.repeat(rng.normal(size=15), 100) * 0.002
            series.append(5.4 + slow + 0.016 * np.cos(time / 1.5 + rng.uniform(0.0, 6.3)))
        mean, error = report(results, "silicon", "test", "300 K", "a", np.array(series))
        off += abs(mean - 5.4) > 2.0 * error
    assert off <= 6
