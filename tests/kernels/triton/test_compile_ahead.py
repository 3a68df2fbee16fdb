"""All kernels of a model are compiled before its first step, in processes, and nothing later."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

from fastequi.kernels.triton.compile_ahead import Job, compile_all, jobs_of
from fastequi.model.nequip import NequIP
from fastequi.model.spec import new_spec

SCRIPT = Path(__file__).with_name("step_without_gpu.py")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    return tmp_path


def test_what_layers_share_is_compiled_once():
    """Layers in the middle are alike; the first needs no gradient at what it sends."""
    spec = new_spec([14], layers=5, l_max=1, channels=(8, 4), parity="natural", cutoff_A=4.0)
    layers = [layer.shapes.instructions for layer in NequIP(spec).interactions()]
    jobs = jobs_of(layers, torch.float64, True)
    of_layers = [job for job in jobs if job.layer]
    assert len(jobs) == len(set(jobs))
    # first, middle, last: inputs 0e; 0e and 1o, one by one and together
    assert len(of_layers) == 2 * (1 + 3 + 3)
    assert all(job.dtype == "float64" for job in jobs)
    assert all(job.is_scaled for job in of_layers)
    assert [job.needs_dx for job in of_layers if job.form.startswith("vjp")] == [False] + 6 * [True]


def test_a_step_compiles_nothing():
    environment = os.environ | {"TRITON_INTERPRET": "0"}
    command = [sys.executable, str(SCRIPT)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["ahead"] == found["jobs"] > 10
    assert found["later"] == []


def test_processes_share_the_work(cache: Path, caplog: pytest.LogCaptureFixture):
    """And say how far they are; what Triton cannot compile is named."""
    caplog.set_level("INFO")
    compile_all([Job("gate", "float32"), Job("sum_systems", "float32")], 90, 2)
    assert len(list(cache.glob("*/*.cubin"))) == 2
    assert "compiled kernel 2 of 2 for this GPU" in caplog.text
    with pytest.raises(RuntimeError, match=r"could not compile Job\(name='no such'.*KeyError"):
        compile_all([Job("no such", "float32")], 90)
