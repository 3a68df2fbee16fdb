"""Whatever the width of vectors, the results are the same to rounding.

The widths of other processors are at work in processes of their own. Every kernel's parity at every
width: `make test-widths`.
"""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fastequi.kernels.llvm.target import VARIABLE, WIDTHS

PROGRAM = Path(__file__).with_name("vectors_at_work.py")
#: Largest relative deviation, in the norm of the whole.
TOLERANCE = {"float32": 2e-6, "float64": 1e-13}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, torch.Tensor]]:
    """Of each width."""
    found = {}
    for width in WIDTHS:
        path = tmp_path_factory.mktemp(f"{width}") / "results.pt"
        environment = os.environ | {VARIABLE: str(width), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(PROGRAM), str(path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found[width] = torch.load(path)
    return found


def test_each_width_was_at_work(results):
    for width, found in results.items():
        assert int(found["vector_bytes"]) == width
    narrow, wide = results[16]["float64 gradients"], results[64]["float64 gradients"]
    assert not torch.equal(narrow, wide)  # sums in another order: they were not the same kernels


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("what", ["energy", "forces", "stress", "network's forces", "gradients"])
def test_results_agree(results, what: str, dtype: str):
    for a, b in itertools.combinations(WIDTHS, 2):
        first, second = (results[width][f"{dtype} {what}"] for width in (a, b))
        apart = float((first - second).norm() / second.norm())
        assert apart <= TOLERANCE[dtype], f"{a} and {b} bytes: {apart:.1e}"
