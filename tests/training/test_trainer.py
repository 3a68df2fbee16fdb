"""The training loop on crystals of four atoms: it learns, from whatever labels there are."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from fastequi.data import Dataset, frame_from_atoms
from fastequi.errors import PhysicsError
from fastequi.model.nequip import NequIP
from fastequi.model.spec import new_spec
from fastequi.process import reproducible
from fastequi.training.config import HuberDelta, LossConfig, TrainingConfig
from fastequi.training.trainer import Trainer
from fastequi.training.trainer_state import numbers_of, restore_, tensors_of

ENERGY, FORCES, STRESS = ("validation_energy_mae_meV_per_atom", "validation_force_mae_meV_per_A",
                          "validation_stress_mae_meV_per_A3")  # fmt: skip


@pytest.fixture(autouse=True)
def fixed_order_of_sums():
    with reproducible(torch.device("cpu")):
        yield


@pytest.fixture(scope="module")
def frames(copper):
    return [replace(frame_from_atoms(a), file="made", index=k) for k, a in enumerate(copper)]


def network() -> NequIP:
    torch.manual_seed(0)
    spec = new_spec([29], layers=2, l_max=1, channels=(4, 4), radial_hidden=(8,), cutoff_A=3.5)
    model = NequIP(spec)
    for layer in model.interactions():
        layer.message_scale.fill_(12**-0.5)
    return model


def trainer_of(
    frames, held=3, kernels="cpu", train_scales=False, validate_start=False, **keys
) -> Trainer:
    """The last `held` frames are for validation; keys of [training]."""
    everything = {"batch_size": 4, "epochs": 4, "ema_decay": 0.9, "schedule": "constant", **keys}
    return Trainer(
        network(), kernels, Dataset(frames[:-held], 3.5), Dataset(frames[-held:], 3.5),
        TrainingConfig(**everything), train_scales=train_scales, validate_start=validate_start,
    )  # fmt: skip


def rows_of(trainer: Trainer) -> list[dict]:
    """Train to the end; the metrics, without the time."""
    rows: list[dict] = []
    trainer.on_epoch.append(lambda _, row: rows.append(row))
    trainer.run()
    return [{key: value for key, value in row.items() if key != "wall_s"} for row in rows]


def without(frames, *labels, which=lambda k: True):
    """The same frames without some labels."""
    nothing = dict.fromkeys(labels)
    return [replace(frame, **nothing) if which(k) else frame for k, frame in enumerate(frames)]


def test_loss_falls(frames):
    trainer = trainer_of(frames, epochs=30)
    rows = rows_of(trainer)
    assert rows[-1]["train_loss"] < 0.1 * rows[0]["train_loss"]
    assert rows[-1]["validation_loss"] < 0.2 * rows[0]["validation_loss"]
    assert trainer.why_done == "all 30 epochs are done"
    assert trainer.progress == 1.0
    assert [row["epoch"] for row in rows] == list(range(1, 31))
    assert trainer.best.value == min(row["validation_loss"] for row in rows)


def test_the_definition_and_the_quick_way_train_alike(frames):
    found = [rows_of(trainer_of(frames, kernels=kernels)) for kernels in ("cpu", "reference")]
    for quick, slow in zip(*found, strict=True):
        assert quick["validation_loss"] == pytest.approx(slow["validation_loss"], rel=1e-9)


def test_energies_alone(frames):
    rows = rows_of(trainer_of(without(frames, "forces", "stress"), epochs=20))
    assert rows[-1][ENERGY] < 0.6 * rows[0][ENERGY]
    assert rows[0][FORCES] is None


def test_forces_alone(frames):
    rows = rows_of(trainer_of(without(frames, "energy"), epochs=20))
    assert rows[-1][FORCES] < 0.5 * rows[0][FORCES]
    assert rows[0][ENERGY] is None


@pytest.mark.parametrize(
    ("term", "column"), [("energy_per_atom", ENERGY), ("forces", FORCES), ("stress", STRESS)]
)
def test_one_term_of_the_loss_alone(frames, term, column):
    weights = dict.fromkeys(("energy_per_atom", "forces", "stress"), 0.0)
    rows = rows_of(
        trainer_of(frames, loss=LossConfig.model_validate({**weights, term: 1.0}), epochs=20)
    )
    assert rows[-1][column] < 0.7 * rows[0][column]


def test_some_labels_of_some_frames(frames):
    """Each kind of label is missing somewhere, and one whole batch has none at all."""
    mixed = without(frames, "energy", which=lambda k: k % 3 == 0)
    mixed = without(mixed, "forces", which=lambda k: k % 3 == 1)
    mixed = without(mixed, "stress", which=lambda k: k % 2 == 0)
    mixed = without(mixed, "energy", "forces", "stress", which=lambda k: k == 5)
    rows = rows_of(trainer_of(mixed, loss=LossConfig(stress=1.0), batch_size=1, epochs=8))
    assert rows[-1]["train_loss"] < 0.5 * rows[0]["train_loss"]


def test_huber_equals_squares_for_small_errors(frames):
    wide = LossConfig(kind="huber", huber_delta=HuberDelta(energy_per_atom=1e6, forces=1e6))
    narrow = LossConfig(kind="huber", huber_delta=HuberDelta(energy_per_atom=0.01, forces=0.01))
    square, same, linear = (
        rows_of(trainer_of(frames, loss=loss)) for loss in (LossConfig(), wide, narrow)
    )
    assert [r["train_loss"] for r in same] == pytest.approx([r["train_loss"] for r in square])
    assert linear[0]["train_loss"] < 0.2 * square[0]["train_loss"]


def test_weight_two_is_a_frame_twice(frames):
    """In a batch, up to what the mean divides by."""
    heavy = [replace(frames[0], weight=2.0), *frames[1:]]
    gradients = []
    for some, chosen in ((heavy, [0, 1]), (frames, [0, 0, 1])):
        trainer = trainer_of(some)
        trainer.optimizer.step = lambda closure=None: None
        trainer.train_step(chosen)
        gradients.append([len(chosen) * t.grad for t in trainer.tensors if t.grad is not None])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_frames_are_named_where_the_loss_is_not_finite(frames):
    broken = [*frames[:4], replace(frames[4], energy=1e308 * 1e10), *frames[5:]]
    trainer = trainer_of(broken, batch_size=2)
    with pytest.raises(
        PhysicsError, match=r"the loss is inf at step \d \(epoch 1; .*made, frame 4"
    ) as it:
        trainer.run()
    assert "lower training.learning_rate" in str(it.value)


def test_validation_that_is_not_finite_is_told(frames):
    broken = [*frames[:-1], replace(frames[-1], energy=float("inf"))]
    with pytest.raises(PhysicsError, match="the validation loss is inf after epoch 1"):
        trainer_of(broken).run()


@pytest.mark.parametrize(("minutes", "end"), [(15.0, (1, 2)), (1e-11, (0, 0))])
def test_wall_time_ends_an_epoch_and_validates(frames, minutes, end):
    """Even where it is over before the first step, there is a model in the end."""
    trainer = trainer_of(frames, batch_size=1, epochs=1000, max_wall_minutes=minutes)
    trainer.on_step.append(lambda it: setattr(it, "wall_s", 898.0 + it.step))
    rows = rows_of(trainer)
    assert [(row["epoch"], row["step"]) for row in rows] == [end]
    assert "wall time" in trainer.why_done
    assert trainer.best.epoch == end[0]


def test_early_stopping(frames):
    """At a rate that changes nothing, nothing gets better."""
    trainer = trainer_of(
        frames, epochs=50, ema_decay=0.0, early_stopping_patience=3,
        learning_rate=1e-300,
    )  # fmt: skip
    rows = rows_of(trainer)
    assert trainer.why_done == "no better validation for 3 epochs"
    assert [row["best_epoch"] for row in rows] == [1, 1, 1, 1]


def test_plateau_goes_down_to_the_minimum_and_ends(frames):
    trainer = trainer_of(
        frames, epochs=50, ema_decay=0.0, learning_rate=1e-300, schedule="plateau",
        plateau_patience=1, plateau_factor=0.1, minimum_learning_rate=0.9e-301,
    )  # fmt: skip
    rows = rows_of(trainer)
    assert trainer.why_done == "the learning rate has come down to its minimum"
    assert len(rows) == 5  # the first is the best; then two bad ones each for a tenth
    assert rows[-1]["learning_rate"] == pytest.approx(1e-301)


@pytest.mark.parametrize("by", ["loss", "forces", "energy"])
def test_what_is_the_best(frames, by):
    column = {"loss": "validation_loss", "forces": FORCES, "energy": ENERGY}[by]
    trainer = trainer_of(frames, epochs=12, select_by=by)
    rows = rows_of(trainer)
    best = min(rows, key=lambda row: row[column])
    assert trainer.best.epoch == best["epoch"]
    assert trainer.best.value == best[column]


def test_what_it_begins_with_may_be_the_best(frames):
    trainer = trainer_of(frames, validate_start=True, ema_decay=0.0, learning_rate=3.0, epochs=2)
    rows = rows_of(trainer)
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert rows[0]["best_epoch"] == rows[-1]["best_epoch"] == 0


def test_train_scales(frames):
    """Scale and shift move with the weights, and are averaged with them."""
    trainer = trainer_of(frames, train_scales=True)
    before = trainer.network.shift.detach().clone()
    trainer.run()
    assert not torch.equal(trainer.network.shift, before)
    assert not torch.equal(trainer.average.network.shift, trainer.network.shift)
    assert trainer.network.shift.dtype == torch.float64


def stopped_after(trainer: Trainer, step: int) -> None:
    def stop(it: Trainer) -> None:
        if it.step == step:
            it.request_stop()

    trainer.on_step.append(stop)
    trainer.run()
    assert trainer.step == step + 1  # it finishes the step in which the wish came


def test_stop_before_the_first_step(frames):
    trainer = trainer_of(frames)
    trainer.request_stop()
    trainer.run()
    assert (trainer.step, trainer.why_done) == (0, "")


@pytest.mark.parametrize(
    ("kind", "stops"),
    [*itertools.product(["constant", "cosine", "plateau"], [(1,), (2, 7), (4, 8)])],
)
def test_a_stop_and_a_restart_change_no_bit(frames, kind, stops):
    """Through the tensors and numbers of a checkpoint, in and between epochs of three steps."""
    make = lambda: trainer_of(  # noqa: E731
        frames, schedule=kind, warmup_epochs=1.5, plateau_patience=1, train_scales=True
    )
    whole, rows = make(), []
    expected = rows_of(whole)
    trainer = make()
    for step in stops:
        trainer.on_epoch.append(lambda _, row: rows.append(row))
        stopped_after(trainer, step)
        tensors, numbers = tensors_of(trainer), numbers_of(trainer)
        trainer = make()
        restore_(trainer, tensors, numbers, 1.0)
    rows += rows_of(trainer)
    assert [{k: v for k, v in row.items() if k != "wall_s"} for row in rows] == expected
    for name, tensor in whole.best.tensors.items():
        assert torch.equal(tensor, trainer.best.tensors[name]), name
    assert numbers_of(whole) == numbers_of(trainer)


def test_progress_and_order(frames):
    trainer = trainer_of(frames, epochs=2)
    seen: list[float] = []
    trainer.on_step.append(lambda it: seen.append(it.progress))
    trainer.run()
    assert trainer.batches_per_epoch == 3  # of 10 frames in batches of 4
    assert np.allclose(seen, np.arange(1, 7) / 6)
