"""The parts of a step that `gpu_report` measures, tried on the CPU."""

import torch

from benchmarks import gpu_report, gpu_step
from benchmarks.common import Results


def test_every_part_finds_something(tmp_path):
    results = Results(None, torch.device("cpu"))
    model = gpu_report._random_model(tmp_path, dry_run=True)
    gpu_step.run(results, [model], [8], turns=1)
    found = {(row["provider"], row["mode"], row["metric"]): row["p50"] for row in results.rows}
    assert found["device", "rebuild", "edges that differ"] == 0
    assert found["fixed order", "nve", "two runs differ by"] == 0
    for name in ("looked at", "chunk", "fixed order", "any order"):
        assert found[name, "nve", "time"] > 0
