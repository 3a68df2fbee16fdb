"""What tests ask of the directory of a run, and how they stop one at a step."""

import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import Any

import h5py
import pytest

from fastequi.cli import run as run_module
from fastequi.md.simulation import Simulation
from fastequi.run import Setup

_BYTES = ("log.csv", "trajectory.extxyz", "final.extxyz")


def records(directory: Path) -> dict[str, bytes]:
    """Logs, trajectories and last frames of all systems, as bytes; of an HDF5 file its arrays."""
    found = {str(path.relative_to(directory)): path.read_bytes()
             for path in sorted(directory.rglob("*")) if path.name in _BYTES}  # fmt: skip
    for path in directory.rglob("trajectory.h5"):
        with h5py.File(path) as file:
            folder = str(path.relative_to(directory).parent)
            file.visititems(lambda name, item, folder=folder: _add(found, f"{folder}/{name}", item))
    return found


def _add(found: dict[str, bytes], name: str, item: Any) -> None:
    if isinstance(item, h5py.Dataset):
        found[name] = item[()].tobytes()


def wait_for(condition: Callable[[], bool], process: "Popen[str]", timeout_s: float = 60.0) -> None:
    """Wait until a condition holds while a process runs."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)


class _Stopper:
    every = 1

    def __init__(self, setup: Setup, condition: Callable[[Setup], bool]) -> None:
        self.setup, self.condition = setup, condition

    def __call__(self, simulation: Simulation) -> None:
        if self.condition(self.setup):
            self.setup.request_stop()


def stop_when(monkeypatch: pytest.MonkeyPatch, condition: Callable[[Setup], bool]) -> None:
    """Have the next run stop, as by a signal, after a step at which a condition holds."""
    original = run_module.set_up

    def set_up(*arguments: Any) -> Setup:
        setup = original(*arguments)
        setup.observers.append(_Stopper(setup, condition))
        return setup

    monkeypatch.setattr(run_module, "set_up", set_up)
