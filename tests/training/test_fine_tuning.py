"""Training that starts from a known model: SevenNet-0 on silicon, and a model of fastequi's own."""

import csv

import numpy as np
import pytest
import torch
from ase.io import iread, write

from fastequi import load_model
from fastequi.data import Dataset, Frame, frame_from_atoms
from fastequi.errors import InputError
from fastequi.importers.sevennet import find_pretrained
from fastequi.training.config import load_train_config
from fastequi.training.evaluate import evaluate
from fastequi.training.session import train
from fastequi.training.shifts import offset_of

START = """
[data]
train = "{data}"
validation = {validation}
[model]
start_from = "{start}"
{model}
[training]
batch_size = 1
epochs = {epochs}
learning_rate = {rate}
ema_decay = 0.0
device = "cpu"
[output]
directory = "tuned"
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No pictures: they take longer than these trainings."""
    for module in ("records", "member"):
        monkeypatch.setattr(f"fastequi.training.{module}.why_no_plots", lambda: "no matplotlib")


def tune(folder, **settings):
    """The summary, and the rows of metrics.csv as numbers."""
    path = folder / "tune.toml"
    path.write_text(START.format(**settings))
    (summary,) = train(load_train_config(path)).members
    with (folder / "tuned" / "metrics.csv").open(newline="") as file:
        rows = [{k: float(v or "nan") for k, v in row.items()} for row in csv.DictReader(file)]
    return summary, rows


@pytest.fixture
def silicon(reference_data, tmp_path):
    """The smallest frames of a set from DFT, as a file."""
    path = reference_data / "mlearn" / "Si_training.extxyz"
    if not path.is_file():
        pytest.skip(f"FINE-TUNING WAS NOT CHECKED: no {path}")
    frames = sorted(iread(path), key=len)[:4]
    for atoms in frames:
        assert atoms.calc is not None
        atoms.calc.results.pop("stress", None)
    write(tmp_path / "si.extxyz", frames)
    return frames


def test_sevennet_0_gets_better_on_silicon(silicon, tmp_path):
    try:
        find_pretrained("sevennet-0")
    except InputError as error:
        pytest.skip(f"FINE-TUNING WAS NOT CHECKED WITH SEVENNET-0: {error}")
    _, rows = tune(
        tmp_path, data="si.extxyz", validation=1, start="sevennet-0", epochs=2, rate=1e-4,
        model='energy_shift = "least-squares"\ntrain_scales = true',
    )  # fmt: skip
    before, after = rows[0], rows[-1]
    assert (before["epoch"], after["epoch"]) == (0, 2)
    assert after["train_loss"] < before["validation_loss"]
    assert after["validation_loss"] < before["validation_loss"]
    tuned = load_model(tmp_path / "tuned" / "model.safetensors")
    assert tuned.provenance["started from"] == "sevennet-0"
    start = load_model("sevennet-0", device="cpu")
    place = tuned.network.atomic_numbers.index(14)
    assert tuned.network.shift[place] != start.network.shift[place]
    assert tuned.network.shift[place + 1] == start.network.shift[place + 1]  # not in the data


def test_the_start_counts_as_epoch_0(train_toml, tmp_path):
    """With the same errors that the finished training had; and it may stay the best."""
    (first,) = train(load_train_config(train_toml(epochs=6))).members
    best = {"data": "copper.extxyz", "validation": 3, "start": "out/model.safetensors", "model": ""}
    summary, rows = tune(tmp_path, **best, epochs=1, rate=3.0)
    for name in ("energy_mae_meV_per_atom", "force_rmse_meV_per_A"):
        assert rows[0][f"validation_{name}"] == pytest.approx(first["validation"][name], rel=1e-3)
    assert np.isnan(rows[0]["train_loss"])
    assert summary["best_epoch"] == 0
    assert summary["model_sha256"] == first["model_sha256"]


def test_own_model_gets_better(train_toml, tmp_path):
    train(load_train_config(train_toml(epochs=6)))
    summary, rows = tune(
        tmp_path, data="copper.extxyz", validation=3, start="out/model.safetensors", model="",
        epochs=4, rate=0.01,
    )  # fmt: skip
    assert summary["best_epoch"] > 0
    assert rows[-1]["validation_loss"] < 0.8 * rows[0]["validation_loss"]


@pytest.fixture
def shifted(train_toml, tmp_path, copper):
    """Frames with a model's own labels, but for 7.5 eV per atom; the model."""
    train(load_train_config(train_toml(epochs=6)))
    start = load_model(tmp_path / "out" / "model.safetensors", device="cpu", dtype="float64")
    data = Dataset([frame_from_atoms(atoms) for atoms in copper], start.cutoff)
    known = evaluate(start, data)
    frames = [atoms.copy() for atoms in copper]
    forces_of = np.split(known.predicted.forces, np.cumsum(data.n_atoms)[:-1])
    for atoms, energy, forces in zip(frames, known.predicted.energy, forces_of, strict=True):
        atoms.info["energy"] = energy + 7.5 * len(atoms)
        atoms.arrays["forces"] = forces
    write(tmp_path / "shifted.extxyz", frames)
    return start


SHIFTED = {"data": "shifted.extxyz", "validation": 3, "start": "out/model.safetensors"}


@pytest.mark.parametrize("model", ["", 'energy_shift = "least-squares"\nenergy_scale = "keep"'])
def test_energies_move_to_the_zero_of_the_data(shifted, tmp_path, model):
    """Energies that are off by a constant per atom are right again before the first step."""
    start = shifted
    _, rows = tune(tmp_path, **SHIFTED, epochs=1, model=model, rate=1e-5)
    assert rows[0]["validation_energy_mae_meV_per_atom"] < 0.01
    tuned = load_model(tmp_path / "tuned" / "model.safetensors")
    gained = tuned.network.shift - start.network.shift
    torch.testing.assert_close(
        gained.cpu(), torch.tensor([7.5], dtype=torch.float64), atol=1e-4, rtol=0
    )


def test_a_zero_that_cannot_be_kept_is_refused(shifted, tmp_path):
    with pytest.raises(InputError, match=r'got "keep", but .* are \+7\.5 eV/atom'):
        tune(tmp_path, **SHIFTED, epochs=1, model='energy_shift = "keep"', rate=1e-5)


def residuals(per_atom):
    """Frames of one atom of hydrogen or oxygen, or water, whose energies are what is missed."""
    numbers = [[1], [8], [1, 1, 8]] * (len(per_atom) // 3)
    return [
        Frame(np.array(z), np.zeros((len(z), 3)), np.zeros((3, 3)), np.zeros(3, bool),
              energy=energy * len(z))
        for z, energy in zip(numbers, per_atom, strict=True)
    ]  # fmt: skip


def test_what_is_done_about_an_offset():
    rng = np.random.default_rng(0)
    noise = 0.02 * rng.normal(size=12)
    per_element = np.tile([-13.0, -400.0, (-26.0 - 400.0) / 3], 4)
    off = offset_of(residuals(noise + per_element))
    assert off is not None
    assert (off.remedy, off.differs) == ("least-squares", True)
    assert off.beside < 0.03
    few = offset_of(residuals(noise[:3] - 5.0))  # as many frames as constants
    assert few is not None
    assert few.remedy == "mean"
    same = offset_of(residuals(noise))
    assert same is not None
    assert same.remedy == "keep"
    assert offset_of([]) is None


def test_architecture_comes_with_the_start(train_toml, tmp_path):
    train(load_train_config(train_toml(epochs=1)))
    with pytest.raises(InputError, match=r"model\.layers: given by start_from"):
        tune(tmp_path, data="copper.extxyz", validation=3, start="out/model.safetensors", epochs=1,
             rate=0.1, model="layers = 3")  # fmt: skip
