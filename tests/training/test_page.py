"""report.html of a training: what is on it, and that a browser shows it; remarks on a bad one."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from fastequi.data import Dataset
from fastequi.training.config import load_train_config
from fastequi.training.evaluate import evaluate
from fastequi.training.gallery import gallery_of
from fastequi.training.page import evaluation_data, training_data
from fastequi.training.remarks import remarks_on
from fastequi.training.session import train


@pytest.fixture
def trained(train_toml, tmp_path) -> Path:
    """Three epochs, which is too few for anything."""
    train(load_train_config(train_toml(epochs=3)))
    return tmp_path / "out"


def page_of(folder: Path) -> dict:
    page = (folder / "report.html").read_text(encoding="utf-8")
    (text,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)
    return json.loads(text)


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (390, True)])
def test_the_page_in_a_browser(trained, browse, width, dark):
    page = page_of(trained)
    assert page["progress"]["text"] == "finished after epoch 3: all 3 epochs are done"
    assert [plot["title"] for plot in page["plots"]] == [
        "force errors", "energy errors", "stress errors", "learning rate",
        "energy, predicted beside reference", "force, predicted beside reference",
        "stress, predicted beside reference",
    ]  # fmt: skip
    curves = page["plots"][0]["panels"][0]
    assert curves["x"] == [1.0, 2.0, 3.0]
    assert list(curves["curves"]) == ["train", "validation"]
    assert page["tables"][0]["rows"][0][0] == "train"
    shown = browse((trained / "report.html").as_uri(), width, dark)
    assert 'data-ready="10 plots, viewer"' in shown
    assert re.search(r'id="what">copper.extxyz, frame \d+: Cu\d+ is off by', shown)


def test_before_the_end_there_are_curves_and_no_verdict(trained):
    (trained / "summary.json").unlink()
    page = training_data(trained)
    assert page["progress"] == {
        "state": "stopped", "text": "stopped after epoch 3 of 3; --resume goes on", "share": 1.0,
    }  # fmt: skip
    assert len(page["plots"]) == 4
    assert page["checks"] == page["tables"] == []


def test_the_worst_frames_come_first(potential, labelled_by):
    frames = labelled_by(0.01)
    frames[4].forces[1] += [0.0, 3.0, 0.0]
    found = evaluate(potential, Dataset(frames, potential.cutoff))
    gallery = gallery_of(found, "test")
    assert gallery is not None
    first = gallery["items"][0]
    assert first["text"].startswith("made, frame 4 (water): H1 is off by 2.99 eV/Å")
    assert np.argmax(first["values"]) == 1
    assert first["labels"][0] == {"atom": 1, "text": "H1 3"}
    assert len(gallery["items"]) == 7
    page = evaluation_data("model beside data", "", found)
    assert [table["title"] for table in page["tables"]] == [
        "Errors", "Errors by element (data frames)", "Errors by configuration (data frames)",
    ]  # fmt: skip
    curves = page["plots"][1]["panels"][1]["curves"]
    errors = np.concatenate([[v for v in y if v is not None] for y in curves.values()])
    assert np.abs(errors).max() == pytest.approx(3000.0, rel=0.02)


def test_remarks(potential, labelled_by):
    def found(error):
        return evaluate(potential, Dataset(labelled_by(error), potential.cutoff))

    good, bad = found(1e-4), found(10.0)
    assert list(remarks_on({"train": good, "validation": good})) == []
    (large, unlike) = remarks_on({"train": good, "validation": good, "test": bad})
    assert "% of their size: dynamics with this potential will not be right" in large
    assert "test frames are unlike" in unlike
    (_, more) = remarks_on({"train": good, "validation": bad})
    assert "more frames would help" in more
    assert "still learning" in next(iter(remarks_on({"train": good, "validation": good}, True)))
