"""The command line in this process or another one, with a toy in place of the model."""

import importlib.util
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from ase.build import bulk

import fastequi
from fastequi.cli.main import run_command

sys.path.insert(0, str(Path(__file__).parent))  # run_files, which tests share

TOY = Path(__file__).with_name("toy_fastequi.py")

TOML = """
[system]
structure = "ar.extxyz"
[model]
name = "sevennet-0"
dtype = "{dtype}"
[dynamics]
ensemble = "{ensemble}"
timestep_fs = 4.0
steps = {steps}
temperature_K = 60.0
friction_per_ps = 5.0
seed = 3
device = "cpu"
[output]
directory = "run"
log_every = 3
trajectory_every = 5
trajectory_format = "{format}"
checkpoint_every = 20
"""
DEFAULTS = {"dtype": "float64", "ensemble": "nvt-langevin", "steps": "60", "format": "extxyz"}


@dataclass
class Result:
    """What a command left: exit code and its two outputs."""

    code: int
    out: str
    err: str


@pytest.fixture
def toml(tmp_path) -> Callable[..., Path]:
    """Writes md.toml and argon into a folder; keywords fill in TOML's braces."""

    def write(folder: Path = tmp_path, **settings: str | int) -> Path:
        folder.mkdir(exist_ok=True)
        bulk("Ar", a=5.3, cubic=True).repeat(2).write(folder / "ar.extxyz")
        path = folder / "md.toml"
        path.write_text(TOML.format(**{**DEFAULTS, **settings}))
        return path

    return write


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny systems gain nothing from threads, and wait for them on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def same_words_with_any_cache() -> Iterator[None]:
    """What is compiled, and said to be, depends on what an earlier test or run has left."""
    logger = logging.getLogger("fastequi.kernels")
    logger.setLevel(logging.WARNING)
    yield
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def command(monkeypatch, capfd) -> Callable[..., Result]:
    """Runs a command in this process with the toy model."""
    spec = importlib.util.spec_from_file_location("toy_fastequi", TOY)
    assert spec is not None
    assert spec.loader is not None
    toy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(toy)
    monkeypatch.setitem(vars(fastequi), "load_model", toy.load_toy)

    def run(*arguments: str | Path) -> Result:
        capfd.readouterr()
        code = run_command([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return Result(code, out, err)

    return run


@pytest.fixture
def spawn() -> Callable[..., subprocess.Popen[str]]:
    """Starts a command in another process with the toy model; keywords go to its environment."""

    def start(
        *arguments: str | Path, stdout: int = subprocess.PIPE, **environment: str
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(TOY), *map(str, arguments)],
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start
