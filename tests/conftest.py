"""Shared by all tests: where the reference data is, devices, and a training that takes seconds."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import iread, write

TRAIN_TOML = """
[data]
train = "copper.extxyz"
validation = 3
[model]
layers = 2
l_max = 1
channels = [4, 4]
radial_hidden = [8]
cutoff_A = 3.5
{model}
[training]
batch_size = {batch_size}
epochs = {epochs}
loss = {{ {loss} }}
device = "cpu"
{training}
[output]
directory = "{directory}"
"""
TRAIN_DEFAULTS = {
    "model": "", "batch_size": 4, "epochs": 3, "loss": "energy_per_atom = 1.0, forces = 1.0",
    "training": "", "directory": "out",
}  # fmt: skip


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """Folder with reference numbers and third-party weights, FASTEQUI_DATA; skips without it."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("FASTEQUI_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"NO REFERENCE DATA at {folder}; set FASTEQUI_DATA to check against it")
    return folder


@pytest.fixture
def on_threads() -> Iterator[Callable[[int], None]]:
    """Sets the number of threads that torch and the kernels use; as before in the end."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Every device of this machine."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    return request.param


@pytest.fixture(scope="session")
def copper() -> list[Atoms]:
    """Strained and rattled crystals of four atoms, labelled by an effective-medium potential."""
    frames = []
    for k in range(13):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(atoms.cell * (1 + 0.01 * np.sin(k)), scale_atoms=True)
        atoms.rattle(0.08, seed=k)
        atoms.calc = EMT()
        atoms.get_potential_energy()
        atoms.get_stress()
        frames.append(atoms)
    return frames


@pytest.fixture
def without_labels() -> Callable[..., None]:
    """Takes labels out of the frames beside a train.toml."""

    def strip(path: Path, *labels: str) -> None:
        frames = list(iread(path.parent / "copper.extxyz"))
        for atoms in frames:
            assert atoms.calc is not None
            atoms.calc.results = {k: v for k, v in atoms.calc.results.items() if k not in labels}
        write(path.parent / "copper.extxyz", frames)

    return strip


@pytest.fixture
def train_toml(tmp_path: Path, copper: list[Atoms]) -> Callable[..., Path]:
    """Writes train.toml and its frames into a folder; keywords fill in the braces."""

    def write_files(folder: Path = tmp_path, **settings: str | int) -> Path:
        folder.mkdir(exist_ok=True)
        if not (folder / "copper.extxyz").exists():
            write(folder / "copper.extxyz", copper)
        path = folder / "train.toml"
        path.write_text(TRAIN_TOML.format(**{**TRAIN_DEFAULTS, **settings}))
        return path

    return write_files


@pytest.fixture(scope="session")
def browse() -> Callable[..., str]:
    """Opens a page in headless Chromium, which must have nothing to complain of; its document.

    What a page asks of a network would be a complaint: its policy forbids it.
    """
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("NO BROWSER: the page was not opened; install chromium")

    def open_page(url: str, width: int = 1200, dark: bool = False, seconds: int = 6) -> str:
        options = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--use-gl=swiftshader",
            "--enable-unsafe-swiftshader", "--enable-logging=stderr", "--dump-dom",
            f"--window-size={width},900", f"--virtual-time-budget={1000 * seconds}",
        ]  # fmt: skip
        if dark:
            options.append("--blink-settings=preferredColorScheme=0")
        shown = subprocess.run(
            [browser, *options, url], capture_output=True, text=True, timeout=120
        )
        said = [line for line in shown.stderr.splitlines() if "CONSOLE" in line]
        assert [line for line in said if "GL Driver Message" not in line] == []
        return shown.stdout

    return open_page
