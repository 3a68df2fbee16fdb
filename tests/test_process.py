"""What a long run sets in its process, and puts back."""

import subprocess
import sys

import pytest
import torch
from ase.build import bulk
from ase.io import write

from fastequi.process import reproducible


@pytest.mark.parametrize("mode", ["default", "warn", "error"])
def test_sums_in_a_fixed_order_only_within(mode):
    torch.set_deterministic_debug_mode(mode)
    try:
        before = torch.get_deterministic_debug_mode()
        with reproducible(torch.device("cpu")):
            assert torch.are_deterministic_algorithms_enabled()
            assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.get_deterministic_debug_mode() == before
    finally:
        torch.set_deterministic_debug_mode("default")


def test_a_warning_that_waits_to_be_switched_on_is_kept():
    torch.use_deterministic_algorithms(False, warn_only=True)
    try:
        with reproducible(torch.device("cpu")):
            assert torch.are_deterministic_algorithms_enabled()
        assert not torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.set_deterministic_debug_mode("default")


RUN = """
[system]
structure = "si.extxyz"
[model]
name = "silicon"
[dynamics]
ensemble = "nve"
timestep_fs = 1.0
steps = 3
temperature_K = 300.0
[output]
directory = "out"
"""


def test_a_run_loads_no_compiler(tmp_path):
    """torch.compile's machinery costs seconds and 150 MB at every start."""
    write(tmp_path / "si.extxyz", bulk("Si", cubic=True))
    (tmp_path / "md.toml").write_text(RUN)
    program = (
        "import sys; from fastequi.cli.main import run_command\n"
        "assert run_command(['run', 'md.toml']) == 0\n"
        "assert 'torch._dynamo' not in sys.modules and 'torch._inductor' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
