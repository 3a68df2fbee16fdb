"""Pictures are made of whatever there is; looking at them is for people."""

from pathlib import Path

import pytest

from fastequi.data import Dataset
from fastequi.errors import InputError
from fastequi.training import plots
from fastequi.training.evaluate import evaluate

HEADER = (
    "epoch,step,learning_rate,train_force_mae_meV_per_A,validation_force_mae_meV_per_A,"
    "validation_energy_mae_meV_per_atom,validation_stress_mae_meV_per_A3,best_epoch"
)


def assert_png(path: Path) -> None:
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert path.stat().st_size > 10_000


@pytest.fixture(autouse=True)
def _matplotlib():
    pytest.importorskip("matplotlib")


@pytest.mark.parametrize("epochs", [1, 3, 50])
def test_learning_curve(tmp_path, epochs):
    rows = [f"{k},{20 * k},0.01,{90 / k},{100 / k},{30 / k},,{k}" for k in range(1, epochs + 1)]
    (tmp_path / "metrics.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    plots.plot_learning_curve(tmp_path / "metrics.csv", tmp_path / "curve.png")
    assert_png(tmp_path / "curve.png")


def test_learning_curve_of_nothing(tmp_path):
    (tmp_path / "metrics.csv").write_text(HEADER + "\n")
    with pytest.raises(InputError, match="no epoch is finished"):
        plots.plot_learning_curve(tmp_path / "metrics.csv", tmp_path / "curve.png")


def test_parity(potential, labelled_by, tmp_path):
    found = evaluate(potential, Dataset(labelled_by(0.05), potential.cutoff))
    written = plots.plot_parity(found, tmp_path)
    assert [path.name for path in written] == [
        "parity-energy.png", "parity-forces.png", "parity-stress.png",
    ]  # fmt: skip
    for path in written:
        assert_png(path)


def test_parity_of_what_is_labelled_only(potential, labelled_by, tmp_path):
    found = evaluate(potential, Dataset(labelled_by(0.05)[:1], potential.cutoff))
    names = [path.name for path in plots.plot_parity(found, tmp_path)]
    assert names == ["parity-energy.png", "parity-forces.png"]


def test_many_points_are_thinned_out(potential, labelled_by, tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "MOST_POINTS", 20)
    found = evaluate(potential, Dataset(labelled_by(0.05), potential.cutoff))
    for path in plots.plot_parity(found, tmp_path):
        assert_png(path)


def test_the_learning_rate_of_one_epoch_is_seen(tmp_path, monkeypatch):
    """A line through one point is invisible."""
    drawn = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: drawn.append(figure))
    (tmp_path / "metrics.csv").write_text(f"{HEADER}\n1,20,0.01,90,100,30,,1\n")
    plots.plot_learning_curve(tmp_path / "metrics.csv", tmp_path / "curve.png")
    (line,) = drawn[0].axes[-1].lines
    assert line.get_marker() == "o"
