"""A training and its files: N epochs, an end of any kind, --resume, M epochs: the same as M."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from ase.io import iread, write

from fastequi import load_model
from fastequi.engine.committee import Committee
from fastequi.errors import InputError, Stopped
from fastequi.model.facts import training_facts
from fastequi.model.file import read_model
from fastequi.training import records
from fastequi.training.config import load_train_config
from fastequi.training.evaluate import evaluate
from fastequi.training.member import Member
from fastequi.training.session import Watcher, train
from fastequi.training.setup import read_data
from fastequi.training.trainer import Trainer


def run(path: Path, resume: bool = False, overwrite: bool = False, watcher: Watcher | None = None):
    """Train as the command line would; the summaries of the members."""
    existing = "allow" if resume or overwrite else "refuse"
    return train(load_train_config(path, existing), resume, watcher).members


def results(folder: Path) -> dict[str, Any]:
    """metrics.csv without the time, and the bytes of the model."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [{k: v for k, v in row.items() if k != "wall_s"} for row in csv.DictReader(file)]
    return {"rows": rows, "model": (folder / "model.safetensors").read_bytes()}


class StopAt(Watcher):
    """Asks for a stop in some step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def starts(self, member: Member) -> None:
        member.trainer.on_step.append(
            lambda trainer: trainer.request_stop() if trainer.step == self.step else None
        )


@pytest.fixture(autouse=True)
def quick(monkeypatch, request):
    """One thread, and no pictures: they take longer than these trainings."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    if request.function is not test_the_files:
        for module in ("records", "member"):
            monkeypatch.setattr(f"fastequi.training.{module}.why_no_plots", lambda: "no matplotlib")
    yield
    torch.set_num_threads(before)


@pytest.fixture
def whole(train_toml, tmp_path) -> dict[str, Any]:
    """Results of five epochs without a break."""
    run(train_toml(tmp_path / "whole", epochs=5))
    return results(tmp_path / "whole" / "out")


def test_the_files(train_toml, tmp_path):
    (summary,) = run(train_toml(epochs=2))
    folder = tmp_path / "out"
    assert {path.name for path in folder.iterdir()} >= {
        "train.resolved.toml", "metrics.csv", "model.safetensors", "summary.json", "checkpoints",
        "learning-curve.png", "parity-energy.png", "parity-forces.png", "parity-stress.png",
    }  # fmt: skip
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert summary["frames"] == {"train": 10, "validation": 3}
    assert summary["why_done"] == "all 2 epochs are done"
    rows = results(folder)["rows"]
    assert list(rows[0]) == [name for name in records.COLUMNS if name != "wall_s"]
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert load_model(folder / "model.safetensors").sha256 == summary["model_sha256"]
    assert read_model(folder / "model.safetensors").provenance["trained on"] == (
        "copper.extxyz: 10 frames"
    )
    best = rows[int(summary["best_epoch"]) - 1]
    for name in ("energy_mae_meV_per_atom", "force_rmse_meV_per_A", "stress_mae_meV_per_A3"):
        there = float(best[f"validation_{name}"])
        assert summary["validation"][name] == pytest.approx(there, rel=1e-3)


def test_test_set_and_no_pictures(train_toml, tmp_path, copper):
    path = train_toml(epochs=1)
    write(tmp_path / "copper.extxyz", copper[:-2])
    write(tmp_path / "test.extxyz", copper[-2:])
    path.write_text(path.read_text().replace("[model]", 'test = "test.extxyz"\n[model]', 1))
    (summary,) = run(path)
    assert summary["frames"] == {"train": 8, "validation": 3, "test": 2}
    assert summary["test"]["force_components"] == 24
    assert not list((tmp_path / "out").glob("*.png"))


def test_more_epochs_after_the_end(train_toml, tmp_path, whole):
    run(train_toml(tmp_path / "parts", epochs=2))
    run(train_toml(tmp_path / "parts", epochs=5), resume=True)
    assert results(tmp_path / "parts" / "out") == whole


@pytest.mark.parametrize("step", [1, 3, 8])
def test_stop_within_an_epoch(train_toml, tmp_path, whole, step):
    path = train_toml(tmp_path / "parts", epochs=5)
    with pytest.raises(Stopped, match="after writing a checkpoint"):
        run(path, watcher=StopAt(step))
    run(path, resume=True)
    assert results(tmp_path / "parts" / "out") == whole


def test_checkpoints_within_an_epoch(train_toml, tmp_path, whole, monkeypatch):
    """Where an epoch takes long. They are as good as any other."""
    monkeypatch.setattr(records, "CHECKPOINT_S", -1.0)
    path = train_toml(tmp_path / "parts", epochs=5)
    with pytest.raises(AssertionError):
        run(path, watcher=DieAt(8))
    kept = sorted(p.name for p in (tmp_path / "parts" / "out" / "checkpoints").iterdir())
    assert kept == ["step-000000006.safetensors", "step-000000007.safetensors"]
    run(path, resume=True)
    assert results(tmp_path / "parts" / "out") == whole


class DieAt(StopAt):
    """Raises something that nobody expects, in some step."""

    def starts(self, member: Member) -> None:
        def die(trainer: Trainer) -> None:
            assert trainer.step != self.step

        member.trainer.on_step.append(die)


def test_model_that_is_newer_than_the_checkpoint_is_put_back(train_toml, tmp_path):
    """The kill may come between a better model and the checkpoint that knows it."""
    path = train_toml(tmp_path / "parts", epochs=2)
    run(path)
    model = tmp_path / "parts" / "out" / "model.safetensors"
    expected = read_model(model).sha256
    model.write_bytes(b"of a later epoch")
    train_toml(tmp_path / "parts", epochs=5)
    with pytest.raises(Stopped):
        run(path, resume=True, watcher=StopAt(7))
    found = read_model(model)
    assert found.sha256 == expected
    facts = training_facts(found.provenance)
    assert facts is not None
    assert facts.shortest_A  # known from the start; the errors come at the end
    assert not facts.errors


def test_damaged_checkpoint_the_one_before_is_used(train_toml, tmp_path, whole):
    run(train_toml(tmp_path / "parts", epochs=3))
    checkpoints = tmp_path / "parts" / "out" / "checkpoints"
    newest = checkpoints / "step-000000009.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="skipped a checkpoint: .*step-000000009"):
        run(train_toml(tmp_path / "parts", epochs=5), resume=True)
    assert results(tmp_path / "parts" / "out") == whole
    assert (checkpoints / "step-000000009.safetensors.damaged").exists()


def test_nothing_to_do_touches_nothing(train_toml, tmp_path):
    path = train_toml(epochs=1)
    expected = run(path)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")}
    assert run(path, resume=True) == expected
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")} == before


def test_killed_before_the_summary(train_toml, tmp_path):
    path = train_toml(epochs=1)
    run(path)
    before = results(tmp_path / "out")
    (tmp_path / "out" / "summary.json").unlink()
    (summary,) = run(path, resume=True)
    assert results(tmp_path / "out") == before
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary


def test_resume_of_nothing_begins(train_toml, tmp_path):
    run(train_toml(epochs=1), resume=True)
    assert (tmp_path / "out" / "summary.json").exists()


def test_moved_elsewhere(train_toml, tmp_path, whole):
    run(train_toml(tmp_path / "before", epochs=2))
    (tmp_path / "before").rename(tmp_path / "after")
    run(train_toml(tmp_path / "after", epochs=5), resume=True)
    assert results(tmp_path / "after" / "out") == whole


CHANGES = {
    "training.learning_rate: 0.01 -> 0.02": {"training": "learning_rate = 0.02"},
    "training.batch_size: 4 -> 5": {"batch_size": 5},
    "training.seed: 1 -> 2": {"training": "seed = 2"},
    "model.zbl: False -> True": {"model": "zbl = true"},
    "training.loss: ": {"loss": "forces = 2.0"},
}


@pytest.mark.parametrize("row", CHANGES)
def test_another_training_is_refused(train_toml, tmp_path, row):
    run(train_toml(epochs=1))
    before = results(tmp_path / "out")
    with pytest.raises(InputError, match="cannot resume") as refusal:
        run(train_toml(**{"epochs": 2, **CHANGES[row]}), resume=True)
    assert row in str(refusal.value)
    assert results(tmp_path / "out") == before


def test_other_frames_are_refused(train_toml, tmp_path):
    path = train_toml(epochs=1)
    run(path)
    frames = list(iread(tmp_path / "copper.extxyz"))
    frames[3].positions[0] += 1e-6
    write(tmp_path / "copper.extxyz", frames)
    with pytest.raises(InputError, match=r"data\.train: [0-9a-f]{12}\.\.\. -> "):
        run(path, resume=True)


def test_overwrite_removes_the_old_and_nothing_else(train_toml, tmp_path):
    run(train_toml(epochs=2, training="members = 2"))
    mine = tmp_path / "out" / "member-2" / "notes.txt"
    mine.write_text("mine")
    run(train_toml(epochs=1), overwrite=True)
    assert mine.read_text() == "mine"
    assert list((tmp_path / "out" / "member-2").iterdir()) == [mine]
    assert not (tmp_path / "out" / "member-1").exists()
    assert len(results(tmp_path / "out")["rows"]) == 1


@pytest.mark.parametrize("how", ["resume", "overwrite"])
def test_foreign_folder_is_not_touched(train_toml, tmp_path, how):
    path = train_toml()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "metrics.csv").write_text("mine")
    with pytest.raises(InputError, match="does not look like a training"):
        run(path, resume=how == "resume", overwrite=how == "overwrite")
    assert os.listdir(tmp_path / "out") == ["metrics.csv"]
    assert (tmp_path / "out" / "metrics.csv").read_text() == "mine"


def test_two_at_once_are_refused(train_toml, tmp_path):
    path = train_toml(epochs=1)

    class Second(Watcher):
        def starts(self, member: Member) -> None:
            run(path, overwrite=True)

    with pytest.raises(InputError, match="another run is writing here"):
        run(path, watcher=Second())


# -- labels --------------------------------------------------------------------------------------


class Warnings(Watcher):
    def starts(self, member: Member) -> None:
        self.found = member.prepared.data.warnings


def test_no_forces_is_a_warning(train_toml, without_labels):
    path = train_toml(epochs=1)
    without_labels(path, "forces")
    watcher = Warnings()
    (summary,) = run(path, watcher=watcher)
    assert watcher.found == [
        "no training frame has forces: they count for nothing in that term of the loss"
    ]
    assert summary["validation"]["force_mae_meV_per_A"] is None


def test_no_stress_to_learn(train_toml, tmp_path, without_labels):
    path = train_toml(loss="stress = 1.0")
    without_labels(path, "stress")
    with pytest.raises(InputError, match="no training frame has a stress; set it to 0, or name"):
        run(path)
    assert not (tmp_path / "out").exists()


def test_no_labels_at_all(train_toml, without_labels):
    path = train_toml()
    without_labels(path, "energy", "free_energy", "energies", "forces")
    with pytest.raises(InputError, match=r"no frame has any label that training\.loss weighs"):
        run(path)


def test_select_by_what_nobody_knows(train_toml, without_labels):
    path = train_toml(training='select_by = "energy"')
    without_labels(path, "energy", "free_energy", "energies")
    with pytest.raises(InputError, match=r'select_by: got "energy", but no validation frame has'):
        run(path)


def test_element_that_the_model_does_not_know(train_toml):
    path = train_toml(model='elements = ["H"]')
    with pytest.raises(InputError, match="the data hold Cu, but the model knows only H; leave"):
        run(path)


def test_energies_of_elements_by_hand(train_toml, tmp_path):
    run(train_toml(epochs=1, model="energy_shift = { Cu = 0.1, H = -13.6 }"))
    assert load_model(tmp_path / "out" / "model.safetensors").network.shift.tolist() == [0.1]
    with pytest.raises(InputError, match=r"energy_shift: no energy for Cu, which the data hold"):
        run(train_toml(model="energy_shift = { H = -13.6 }"), overwrite=True)


# -- ensembles -----------------------------------------------------------------------------------


def test_members(train_toml, tmp_path):
    summaries = run(train_toml(epochs=2, training="members = 2"))
    assert len(summaries) == 2
    models = [results(tmp_path / "out" / f"member-{k}")["model"] for k in (1, 2)]
    assert models[0] != models[1]
    assert not (tmp_path / "out" / "model.safetensors").exists()
    alone = train_toml(tmp_path / "alone", epochs=2)
    run(alone)
    assert results(tmp_path / "alone" / "out") == results(tmp_path / "out" / "member-1")


def test_the_mean_of_the_members(train_toml, tmp_path):
    """Its errors are those of a committee of the files; a finished ensemble is left alone."""
    path, out = train_toml(epochs=2, training="members = 2"), tmp_path / "out"
    mean = train(load_train_config(path)).mean
    assert mean is not None
    assert mean == json.loads((out / "summary.json").read_text())
    models = [load_model(out / f"member-{k}" / "model.safetensors", "cpu") for k in (1, 2)]
    committee, sets = Committee(models), read_data(load_train_config(path, "allow")).sets()
    assert set(mean["frames"]) == set(sets)
    for name, dataset in sets.items():
        expected = evaluate(committee, dataset).results["force_mae_meV_per_A"]
        assert mean[name]["force_mae_meV_per_A"] == pytest.approx(expected, rel=1e-6)
    assert train(load_train_config(path, "allow"), resume=True).mean is None
    (out / "summary.json").unlink()  # as if it had been killed before
    again = train(load_train_config(path, "allow"), resume=True).mean
    assert again is not None
    assert again["model_sha256"] == committee.sha256


def test_members_one_by_one(train_toml, tmp_path):
    """Each in a process of its own is the same; --resume of the whole adds the mean, no more."""
    settings = {"epochs": 2, "training": "members = 2"}
    whole = train(load_train_config(train_toml(tmp_path / "whole", **settings)))
    path, out = train_toml(tmp_path / "parts", **settings), tmp_path / "parts" / "out"
    for number in (2, 1):
        (summary,) = train(load_train_config(path, member=number)).members
        assert summary["model_sha256"] == whole.members[number - 1]["model_sha256"]
        expected = results(tmp_path / "whole" / "out" / f"member-{number}")
        assert results(out / f"member-{number}") == expected
        again = load_train_config(out / f"member-{number}" / "train.resolved.toml", "allow")
        assert again == load_train_config(path, "allow", member=number)
    made = (out / "member-1" / "summary.json").stat().st_mtime_ns
    mean = train(load_train_config(path, "allow"), resume=True).mean
    assert mean is not None
    assert whole.mean is not None
    assert mean["model_sha256"] == whole.mean["model_sha256"]
    assert (out / "member-1" / "summary.json").stat().st_mtime_ns == made


def test_the_mean_follows_a_member_that_was_trained_anew(train_toml, tmp_path):
    """Though every member is done, and a mean of the old ones is there."""
    short = load_train_config(train_toml(epochs=1, training="members = 2"))
    old = train(short).mean
    longer = train_toml(epochs=2, training="members = 2")
    train(load_train_config(longer, "allow", member=2), resume=True)
    new = train(short, resume=True).mean
    assert old is not None
    assert new is not None
    assert new["members"]["member-1"] == old["members"]["member-1"]
    assert new["members"]["member-2"] != old["members"]["member-2"]
    assert new == json.loads((tmp_path / "out" / "summary.json").read_text())


@pytest.mark.parametrize("how", ["resume", "overwrite"])
def test_a_member_in_training_is_left_alone(train_toml, tmp_path, how):
    """By the whole ensemble, which would train it, or remove it."""
    path = train_toml(epochs=2, training="members = 2")

    class Whole(Watcher):
        def starts(self, member: Member) -> None:
            with pytest.raises(InputError, match="member-2: another run is writing here"):
                run(path, resume=how == "resume", overwrite=how == "overwrite")

    summaries = train(load_train_config(path, member=2), watcher=Whole()).members
    assert summaries[0]["epochs"] == 2
    assert results(tmp_path / "out" / "member-2")["rows"][-1]["epoch"] == "2"


def test_resume_in_the_middle_of_the_second_member(train_toml, tmp_path):
    settings = {"epochs": 2, "training": "members = 3"}
    run(train_toml(tmp_path / "whole", **settings))
    path = train_toml(tmp_path / "parts", **settings)

    class StopInSecond(StopAt):
        def starts(self, member: Member) -> None:
            if member.number == 1:
                super().starts(member)

    with pytest.raises(Stopped):
        run(path, watcher=StopInSecond(3))
    out = tmp_path / "parts" / "out"
    first = (out / "member-1" / "summary.json").stat().st_mtime_ns
    assert not (out / "member-3").exists()
    assert len(run(path, resume=True)) == 3
    assert (out / "member-1" / "summary.json").stat().st_mtime_ns == first
    for k in (1, 2, 3):
        expected = results(tmp_path / "whole" / "out" / f"member-{k}")
        assert results(out / f"member-{k}") == expected


def test_one_more_member(train_toml, tmp_path):
    run(train_toml(epochs=1, training="members = 2"))
    assert len(run(train_toml(epochs=1, training="members = 3"), resume=True)) == 3
    assert (tmp_path / "out" / "member-3" / "model.safetensors").exists()


@pytest.mark.parametrize("members", [(1, 2), (2, 1)])
def test_one_model_is_not_an_ensemble(train_toml, members):
    run(train_toml(epochs=1, training=f"members = {members[0]}"))
    with pytest.raises(InputError, match=f"but training.members = {members[1]}"):
        run(train_toml(epochs=1, training=f"members = {members[1]}"), resume=True)
