"""Errors against loops that are too simple to be wrong; missing labels; merging; keeping."""

import json
import pickle

import numpy as np
import pytest
import torch
from ase.data import chemical_symbols

from fastequi.data import Batch, Dataset, Frame
from fastequi.graph import volumes
from fastequi.potential import Prediction
from fastequi.training.metrics import ErrorSums

SYMBOLS = {1: "H", 8: "O", 14: "Si"}


def frame(rng: np.random.Generator, config_type: str, labels: str) -> Frame:
    """A random structure with the labels whose first letters are given: e, f, s."""
    n = int(rng.integers(1, 6))
    return Frame(
        atomic_numbers=rng.choice(list(SYMBOLS), n),
        positions=rng.uniform(0, 5, (n, 3)),
        cell=5.0 * np.eye(3),
        pbc=np.ones(3, dtype=bool),
        energy=float(rng.normal()) if "e" in labels else None,
        forces=rng.normal(size=(n, 3)) if "f" in labels else None,
        stress=rng.normal(size=(3, 3)) if "s" in labels else None,
        config_type=config_type,
    )


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    rng = np.random.default_rng(0)
    labels = ["efs", "ef", "e", "f", "", "efs", "fs", "ef", "e"]
    return Dataset([frame(rng, "ab"[k % 2], text) for k, text in enumerate(labels)], 3.0)


def prediction_of(batch: Batch, seed: int = 1) -> Prediction:
    rng = torch.Generator().manual_seed(seed)
    graph, dtype = batch.graph, torch.float64
    stress = torch.randn(graph.n_systems, 3, 3, generator=rng, dtype=dtype)
    return Prediction(
        torch.randn(graph.n_systems, generator=rng, dtype=dtype),
        torch.randn(graph.n_atoms, generator=rng, dtype=dtype),
        torch.randn(graph.n_atoms, 3, generator=rng, dtype=dtype),
        torch.where(volumes(graph.cell).view(-1, 1, 1) > 0, stress, torch.nan),
    )


def brute_force(prediction: Prediction, batch: Batch, keep) -> dict[str, list[float]]:
    """Signed errors of the systems and atoms for which `keep(system, species)` holds."""
    found: dict[str, list[float]] = {"energy": [], "force": [], "stress": []}
    system_idx = batch.graph.system_idx.tolist()
    for k in range(batch.n_systems):
        if keep(k, None) and bool(batch.has_energy[k]):
            error = prediction.energy[k] - batch.energy[k]
            found["energy"].append(float(error) / system_idx.count(k))
        if keep(k, None) and bool(batch.has_stress[k]):
            found["stress"] += (prediction.stress[k] - batch.stress[k]).flatten().tolist()
    for a, k in enumerate(system_idx):
        if keep(k, int(batch.graph.atomic_numbers[a])) and bool(batch.has_forces[k]):
            found["force"] += (prediction.forces[a] - batch.forces[a]).tolist()
    return found


def assert_agrees(got: dict, errors: dict[str, list[float]]) -> None:
    units = {"energy": "meV_per_atom", "force": "meV_per_A", "stress": "meV_per_A3"}
    for kind, values in errors.items():
        mae, rmse = got[f"{kind}_mae_{units[kind]}"], got[f"{kind}_rmse_{units[kind]}"]
        if values:
            assert mae == pytest.approx(1000 * np.abs(values).mean(), rel=1e-12)
            assert rmse == pytest.approx(1000 * np.sqrt(np.square(values).mean()), rel=1e-12)
        else:
            assert mae is None
            assert rmse is None


def test_overall(dataset):
    batch = dataset.collate(range(len(dataset)))
    prediction, errors = prediction_of(batch), ErrorSums()
    errors.add(prediction, batch)
    expected = brute_force(prediction, batch, lambda system, species: True)
    assert_agrees(errors.results(), expected)
    sizes = {"energies": "energy", "force_components": "force", "stress_components": "stress"}
    assert errors.counts() == {name: len(expected[kind]) for name, kind in sizes.items()}


def test_per_species_and_config_type(dataset):
    batch = dataset.collate(range(len(dataset)))
    prediction, errors = prediction_of(batch), ErrorSums()
    errors.add(prediction, batch)
    assert set(errors.per_species()) == set(SYMBOLS.values())
    for symbol, got in errors.per_species().items():
        number = chemical_symbols.index(symbol)
        expected = brute_force(prediction, batch, lambda _, species, z=number: species == z)
        assert_agrees(got, {"force": expected["force"]})
        assert got["force_components"] == len(expected["force"])
    assert list(errors.per_config_type()) == ["a", "b"]
    for name, got in errors.per_config_type().items():
        expected = brute_force(
            prediction, batch, lambda system, _, name=name: batch.config_type[system] == name
        )
        assert_agrees(got, expected)


@pytest.fixture
def in_parts(dataset) -> tuple[ErrorSums, list[ErrorSums]]:
    """All batches added to one, and each to its own."""
    whole, parts = ErrorSums(), []
    for indices in ([0, 3, 8], [1, 5, 7], [2], [4, 6]):
        batch = dataset.collate(indices)
        prediction = prediction_of(batch, seed=indices[0])
        parts.append(ErrorSums())
        whole.add(prediction, batch)
        parts[-1].add(prediction, batch)
    return whole, parts


def test_merging_is_seeing_everything(in_parts):
    whole, parts = in_parts
    merged = ErrorSums.merged([*reversed(parts), ErrorSums()])
    assert merged.counts() == whole.counts()
    assert merged.results() == pytest.approx(whole.results(), rel=1e-14)
    assert set(merged.per_config_type()) == {"a", "b"}
    assert merged.per_species().keys() == whole.per_species().keys()


def test_state_is_kept_by_json_to_the_last_bit(in_parts):
    whole, _ = in_parts
    again = ErrorSums.from_state(json.loads(json.dumps(whole.state())))
    assert again.report() == whole.report()
    assert again.state() == whole.state()
    assert pickle.loads(pickle.dumps(whole)).state() == whole.state()


def test_many_configuration_types():
    rng = np.random.default_rng(3)
    dataset = Dataset([frame(rng, f"type {k}", "ef") for k in range(11)], 3.0)
    errors = ErrorSums()
    for k in range(11):
        batch = dataset.collate([k])
        errors.add(prediction_of(batch), batch)
    assert [found["energies"] for found in errors.per_config_type().values()] == [1] * 11
    assert errors.counts()["energies"] == 11


def test_nothing_at_all():
    errors = ErrorSums()
    assert set(errors.results().values()) == {None}
    assert set(errors.counts().values()) == {0}
    assert errors.per_species() == {}
    assert ErrorSums.from_state(errors.state()).report() == errors.report()


def test_a_stress_without_a_cell_does_not_count():
    rng = np.random.default_rng(2)
    labelled = frame(rng, "", "efs")
    free = Frame(labelled.atomic_numbers, labelled.positions, np.zeros((3, 3)),
                 np.zeros(3, dtype=bool), stress=labelled.stress)  # fmt: skip
    batch = Dataset([free], 3.0).collate([0])
    errors = ErrorSums()
    errors.add(prediction_of(batch), batch)
    assert errors.counts()["stress_components"] == 0
    assert errors.results()["stress_mae_meV_per_A3"] is None


def test_a_diverged_model_shows(dataset):
    """A label with no finite prediction is an error that is not finite, and not a missing one."""
    batch = dataset.collate([0])
    prediction, errors = prediction_of(batch), ErrorSums()
    prediction.forces[0] = torch.nan
    errors.add(prediction, batch)
    assert errors.results()["force_mae_meV_per_A"] == pytest.approx(np.nan, nan_ok=True)
