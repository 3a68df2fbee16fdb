"""Evaluation: exact labels have no error, made errors are found, whatever the batches."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from fastequi.data import Dataset
from fastequi.errors import InputError
from fastequi.training.evaluate import Evaluation, check_evaluable, evaluate
from fastequi.training.evaluation_files import write_csv, write_json
from fastequi.training.metrics import ErrorSums


@pytest.fixture(scope="module")
def noisy(potential, labelled_by) -> Evaluation:
    return evaluate(potential, Dataset(labelled_by(0.05), potential.cutoff))


def test_exact_labels_have_no_error(potential, labelled_by):
    results = evaluate(potential, Dataset(labelled_by(0.0), potential.cutoff)).results
    assert results["frames"] == 7
    for name, value in results.items():
        if "_mae_" in name or "_rmse_" in name:
            assert value < 1e-9, name


def test_errors_are_those_of_the_arrays(noisy):
    results = noisy.results
    errors = 1000 * noisy.energy_errors
    assert results["energy_mae_meV_per_atom"] == pytest.approx(np.abs(errors).mean())
    force = 1000 * (noisy.predicted.forces - noisy.reference.forces)
    assert results["force_rmse_meV_per_A"] == pytest.approx(np.sqrt(np.square(force).mean()))
    stress = 1000 * (noisy.predicted.stress - noisy.reference.stress)
    assert results["stress_mae_meV_per_A3"] == pytest.approx(np.nanmean(np.abs(stress)))
    assert set(results["per_species"]) == {"H", "O", "Si"}
    assert set(results["per_config_type"]) == {"water", "silicon"}


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_batches_do_not_matter(potential, noisy, batch_size):
    done = []
    dataset = Dataset(noisy.frames, potential.cutoff)
    again = evaluate(potential, dataset, lambda *counts: done.append(counts), batch_size)
    assert done[-1] == (7, 7)
    assert len(done) == -(-7 // batch_size)
    assert again.predicted.energy == pytest.approx(noisy.predicted.energy, abs=1e-10)
    assert again.results["force_mae_meV_per_A"] == pytest.approx(
        noisy.results["force_mae_meV_per_A"]
    )


def test_constants_per_element_are_told_apart(potential, labelled_by):
    shifts = {1: 3.0, 8: -100.0, 14: 20.0}
    frames = [
        replace(f, energy=(f.energy or 0.0) + sum(shifts[z] for z in f.atomic_numbers.tolist()))
        for f in labelled_by(0.0) * 2
    ]
    found = evaluate(potential, Dataset(frames, potential.cutoff))
    assert found.results["energy_rmse_meV_per_atom"] > 1000
    beside = found.beside_shifts()
    assert beside is not None
    assert np.abs(beside.errors).max() < 1e-8
    assert found.results["energy_rmse_beside_shifts_meV_per_atom"] < 1e-5
    assert found.results["per_config_type"]["water"]["energy_mae_beside_shifts_meV_per_atom"] < 1e-5
    few = evaluate(potential, Dataset(frames[:5], potential.cutoff))
    assert few.beside_shifts() is None


def test_json(noisy, tmp_path):
    write_json(tmp_path / "errors.json", noisy, {"model": "small"})
    found = json.loads((tmp_path / "errors.json").read_text())
    assert found == {"model": "small", **noisy.results}


def test_json_of_a_model_that_says_nan(noisy, tmp_path):
    lost = ErrorSums.from_state({"": {"0": [7.0, float("nan"), float("nan")]}})
    write_json(tmp_path / "errors.json", replace(noisy, errors=lost), {})
    assert json.loads((tmp_path / "errors.json").read_text())["energy_mae_meV_per_atom"] is None


def test_csv_has_a_row_per_frame(noisy, tmp_path):
    write_csv(tmp_path / "frames.csv", noisy)
    with (tmp_path / "frames.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["frame"] for row in rows] == [str(k) for k in range(7)]
    assert rows[0]["config_type"] == "water"
    assert rows[0]["stress_mae_meV_per_A3"] == ""
    errors = [float(row["energy_error_meV_per_atom"]) for row in rows]
    assert errors == pytest.approx(1000 * noisy.energy_errors)
    forces = [float(row["force_mae_meV_per_A"]) * int(row["atoms"]) for row in rows]
    total = noisy.results["force_mae_meV_per_A"] * noisy.results["atoms"]
    assert sum(forces) == pytest.approx(total)


def test_a_file_that_cannot_be_written(noisy, tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        write_csv(tmp_path / "none" / "frames.csv", noisy)


def test_unknown_elements_are_named_with_their_frames(potential, labelled_by):
    frames = labelled_by(0.0)
    frames[2] = replace(frames[2], atomic_numbers=np.array([8, 1, 79]))
    with pytest.raises(InputError, match=r"not know Au \(made, frame 2\); it knows H, O, Si"):
        check_evaluable(frames, potential)


def test_no_labels_at_all(potential, labelled_by):
    bare = {"energy": None, "forces": None, "stress": None, "unread": ("dft_energy",)}
    frames = [replace(frame, **bare) for frame in labelled_by(0.0)]
    with pytest.raises(InputError, match="there is dft_energy: say by keys"):
        check_evaluable(frames, potential)
    check_evaluable([*frames, *labelled_by(0.0)], potential)


def test_damaged_frames(potential, labelled_by):
    frames = labelled_by(0.0)
    frames[1].positions[0, 0] = np.nan
    with pytest.raises(InputError, match="made, frame 1: positions not finite atoms 0"):
        check_evaluable(frames, potential)


def test_a_dataset_with_too_short_edges(potential, labelled_by):
    with pytest.raises(ValueError, match="edges up to 3"):
        evaluate(potential, Dataset(labelled_by(0.0), 3.0))
