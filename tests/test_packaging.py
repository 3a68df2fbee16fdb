"""What a wheel holds: the bundled potentials with their papers, the examples, no more."""

import shutil
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
    assert "silicon" in names
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


def test_recipe_is_of_the_bundled_silicon(tmp_path):
    """The train.toml is valid and describes the network that ships."""
    for name in ("Si_training.extxyz", "Si_test.extxyz"):
        (tmp_path / name).touch()
    shutil.copy(BUNDLED / "silicon.toml", tmp_path)
    recipe = load_train_config(tmp_path / "silicon.toml").model
    spec = read_model(BUNDLED / "silicon.safetensors").spec
    assert spec.cutoff_A == recipe.cutoff_A
    assert (spec.l_max, spec.parity) == (recipe.l_max, recipe.parity)
    assert len(spec.layers) == recipe.layers
    channels = [mul for mul, _ in spec.layers[1].irreps]
    assert channels == list(recipe.channels)
