"""What a wheel holds: the bundled potentials with their papers, the examples, no more."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from fastequi.importers import BUNDLED, pretrained_names
from fastequi.model.file import read_model
from fastequi.training.config import load_train_config

ROOT = Path(__file__).resolve().parents[1]
#: All bundled potentials together: a download that nobody notices.
LIMIT_MB = 2.0


@pytest.fixture(scope="module")
def wheel() -> dict[str, Path]:
    """The files of the package in a wheel built from here: path in the wheel -> file."""
    included = WheelBuilder(str(ROOT)).recurse_included_files()
    return {file.distribution_path: Path(file.path) for file in included}


def test_bundled_potentials_ship_with_their_papers(wheel):
    names = [path.stem for path in BUNDLED.glob("*.safetensors")]
    assert {"silicon", "water"} <= set(names)
    assert set(names) <= set(pretrained_names())
    for name in names:
        for ending in ("safetensors", "toml", "md"):
            assert f"fastequi/models/{name}.{ending}" in wheel
    models = [path for path in wheel if path.startswith("fastequi/models/")]
    assert len(models) == 3 * len(names)
    assert sum(wheel[path].stat().st_size for path in models) < LIMIT_MB * 1e6


def test_examples_kernels_and_engine_ship(wheel):
    for path in ("examples/silicon/md.toml", "kernels/README.md", "md/simulation.py", "py.typed"):
        assert f"fastequi/{path}" in wheel


def test_everything_of_the_package_ships(wheel):
    """Every file that git knows of, whatever its ending, under the name that it is imported by."""
    known = subprocess.run(
        ["git", "ls-files", "fastequi", "kernels", "md"], cwd=ROOT, capture_output=True, text=True
    )
    if known.returncode:
        pytest.skip(f"NOT CHECKED, this is no checkout: {known.stderr}")
    links = {"fastequi/kernels", "fastequi/md"}
    files = set(known.stdout.splitlines()) - links
    expected = {name if name.startswith("fastequi/") else f"fastequi/{name}" for name in files}
    assert expected <= set(wheel)


def test_installed_wheel_runs_the_demo(tmp_path):
    """Unpacked as pip would, used from another folder."""
    (built,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path))
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with zipfile.ZipFile(built) as archive:
        archive.extractall(site)
        (scripts,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert b"fastequi = fastequi.cli.main:main" in archive.read(scripts)

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], cwd=elsewhere, env={**os.environ, "PYTHONPATH": str(site)},
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    for module in ("fastequi", "fastequi.kernels", "fastequi.md"):
        assert run("-c", f"import {module}; print({module}.__file__)").startswith(str(site))
    run("-m", "fastequi.cli.main", "init", "silicon")
    toml = elsewhere / "silicon" / "md.toml"
    shorter = toml.read_text(encoding="utf-8").replace("steps = 2000", "steps = 2")
    toml.write_text(shorter, encoding="utf-8")
    assert "0 to 2 (" in run("-m", "fastequi.cli.main", "run", str(toml), "--device", "cpu")
    assert (elsewhere / "silicon" / "silicon-run" / "final.extxyz").is_file()


@pytest.mark.parametrize("name", [path.stem for path in sorted(BUNDLED.glob("*.safetensors"))])
def test_recipe_is_of_the_bundled_potential(tmp_path, name):
    """The train.toml is valid and describes the network that ships."""
    shutil.copy(BUNDLED / f"{name}.toml", tmp_path)
    data = tomllib.loads((tmp_path / f"{name}.toml").read_text(encoding="utf-8"))["data"]
    for file in (data["train"], data["test"]):
        (tmp_path / file).touch()
    recipe = load_train_config(tmp_path / f"{name}.toml").model
    spec = read_model(BUNDLED / f"{name}.safetensors").spec
    assert spec.cutoff_A == recipe.cutoff_A
    assert (spec.l_max, spec.parity) == (recipe.l_max, recipe.parity)
    assert len(spec.layers) == recipe.layers
    channels = [mul for mul, _ in spec.layers[1].irreps]
    assert channels == list(recipe.channels)
