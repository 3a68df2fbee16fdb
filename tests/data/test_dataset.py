"""Batches against systems taken one by one; neighbour lists that are kept on disk."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from ase import Atoms
from ase.neighborlist import neighbor_list

from fastequi.data import Dataset, Frame, batches, epoch_order, neighbors
from fastequi.data.batch import Batch
from fastequi.errors import InputError
from fastequi.graph import edge_vectors
from fastequi.storage import cache


def test_edges_are_those_of_ase(frames: list[Frame], structures: list[Atoms]):
    dataset = Dataset(frames, 4.0)
    for k, atoms in enumerate(structures):
        graph = dataset.collate([k]).graph
        i, j, shift, distance = neighbor_list("ijSd", atoms, 4.0)
        ours = torch.cat([graph.edge_dst[:, None], graph.edge_src[:, None], graph.edge_shift], 1)
        theirs = torch.tensor([(*ij, *s) for *ij, s in zip(i, j, shift, strict=True)])
        assert sorted(ours.tolist()) == sorted(theirs.view(-1, 5).tolist())
        lengths = edge_vectors(graph).norm(dim=1).sort().values
        torch.testing.assert_close(lengths, torch.from_numpy(distance).sort().values)


@pytest.mark.parametrize("indices", [[0], [4], [5, 0, 4, 2, 3, 1], [2, 2]])
def test_collate_is_systems_one_after_the_other(frames: list[Frame], indices: list[int]):
    dataset = Dataset(frames, 4.0)
    batch = dataset.collate(indices)
    ones = [dataset.collate([k]) for k in indices]
    atoms = edges = pairs = 0
    expected = {name: [] for name in ("edge_src", "edge_dst", "system_idx", "pair", "first")}
    for system, one in enumerate(ones):
        expected["edge_src"].append(one.graph.edge_src + atoms)
        expected["edge_dst"].append(one.graph.edge_dst + atoms)
        expected["system_idx"].append(one.graph.system_idx + system)
        expected["pair"].append(one.pair + pairs)
        expected["first"].append(one.first + edges)
        atoms, edges = atoms + one.n_atoms, edges + one.graph.n_edges
        pairs += len(one.first)
    for name in ("positions", "atomic_numbers", "cell", "pbc", "edge_shift"):
        expected[name] = [getattr(one.graph, name) for one in ones]
    for name in _labels():
        expected[name] = [getattr(one, name) for one in ones]
    for name, parts in expected.items():
        value = getattr(batch if hasattr(batch, name) else batch.graph, name)
        assert torch.equal(value.nan_to_num(9e9), torch.cat(parts).nan_to_num(9e9)), name
        assert value.is_contiguous(), name
        assert value.dtype in (torch.float64, torch.int64, torch.bool), name
    assert batch.config_type == tuple(frames[k].config_type for k in indices)


def _labels() -> list[str]:
    return [f.name for f in fields(Batch) if f.name not in ("graph", "config_type")][2:]


def test_labels_are_those_of_the_frames(frames: list[Frame]):
    known = [0, 1, 2]
    given = [replace(frames[0], energy=None, weight=2.5), replace(frames[1], forces=None)]
    batch = Dataset([*given, frames[2]], 4.0).collate(known)
    assert batch.has_energy.tolist() == [False, True, True]
    assert batch.has_forces.tolist() == [True, False, True]
    assert batch.has_stress.tolist() == [False, True, False]
    assert batch.energy.isnan().tolist() == [True, False, False]
    assert batch.weight.tolist() == [2.5, 1.0, 1.0]
    mine = batch.graph.system_idx == 1
    assert batch.forces[mine].isnan().all()
    assert not batch.forces[~mine].isnan().any()
    torch.testing.assert_close(batch.stress[1], torch.tensor(frames[1].stress))
    assert batch.stress[[0, 2]].isnan().all()


def test_batches_move(frames: list[Frame], device: str):
    batch = Dataset(frames, 4.0).collate([0, 1]).to(device)
    assert batch.pair.device.type == batch.graph.positions.device.type == device


def test_an_empty_set_is_refused():
    with pytest.raises(InputError, match="there are no frames"):
        Dataset([], 4.0)


def test_progress_counts_frames(frames: list[Frame], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(neighbors, "ATOMS_AT_ONCE", 20)
    seen = []
    Dataset(frames, 4.0, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(4, 6), (6, 6)]


@pytest.mark.parametrize("damage", ["none", "cut", "flipped", "gone"])
def test_kept_lists(frames: list[Frame], monkeypatch: pytest.MonkeyPatch, damage: str):
    monkeypatch.setattr(neighbors, "WORTH_KEEPING_S", 0.0)
    before = Dataset(frames, 4.0).collate([1, 0])
    (file,) = Path(cache.cache_folder()).iterdir()
    content = file.read_bytes()
    if damage == "cut":
        file.write_bytes(content[:-100])
    elif damage == "flipped":
        file.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    elif damage == "gone":
        file.unlink()
    built = []
    after = Dataset(frames, 4.0, progress=lambda *_: built.append(1)).collate([1, 0])
    assert bool(built) == (damage != "none")
    for name in ("edge_src", "edge_dst", "edge_shift"):
        assert torch.equal(getattr(after.graph, name), getattr(before.graph, name))
    assert torch.equal(after.pair, before.pair)


def test_other_positions_or_cutoffs_are_other_lists(
    frames: list[Frame], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(neighbors, "WORTH_KEEPING_S", 0.0)
    moved = [replace(frames[0], positions=frames[0].positions * 1.01), *frames[1:]]
    for given, cutoff in ((frames, 4.0), (moved, 4.0), (frames, 4.1)):
        Dataset(given, cutoff)
    assert len(list(Path(cache.cache_folder()).iterdir())) == 3


def test_epochs_are_shuffled_by_seed_and_epoch_alone():
    order = epoch_order(100, seed=3, epoch=7)
    assert order == epoch_order(100, seed=3, epoch=7)
    assert order not in (epoch_order(100, 3, 8), epoch_order(100, 4, 7), list(range(100)))
    packed = batches(order, 30)
    assert [len(batch) for batch in packed] == [30, 30, 30, 10]
    assert [k for batch in packed for k in batch] == order
    assert sorted(order) == list(range(100))
