"""A step asks no more of a GPU than is recorded, and the counters see what they count."""

import json

import pytest
import torch

from benchmarks.launches import ENSEMBLES, MODELS, RECORD, Count, Counting, CountingTensors, count

RECORDED = {(row["model"], row["ensemble"]): row for row in json.loads(RECORD.read_text())}


def test_the_record_is_complete():
    assert set(RECORDED) == {(model, ensemble) for model in MODELS for ensemble in ENSEMBLES}


@pytest.mark.parametrize("model", MODELS)
def test_no_step_asks_more_than_recorded(model):
    """Where it asks less: python -m benchmarks.launches --json benchmarks/results/launches.json."""
    if model.startswith("sevennet"):
        pytest.importorskip("sevenn")
    for got in count(model):
        recorded = Count(**RECORDED[model, got.ensemble])
        assert got.triton_launches <= recorded.triton_launches, got
        assert got.torch_operators <= recorded.torch_operators, got
        assert got.host_questions <= recorded.host_questions, got
        assert got.nodes == got.torch_operators + got.triton_launches
        assert got.force_call_nodes <= recorded.force_call_nodes, got
        assert got.force_call_questions == 0


def test_what_is_counted():
    """Two operators that compute, six questions; views are free."""
    x = torch.arange(4)
    with CountingTensors() as tensors, Counting() as counting:
        y = x.view(2, 2).T + 1
        int(y[0, 0])
        torch.bincount(x)
        x[x > 2]
        torch.tensor([1, 2], device="cpu")
        torch.equal(x, x)
    assert counting.operators["add"] == 1
    assert "view" not in counting.operators
    assert counting.questions == 1 + 2 + 1 + 1
    assert tensors.questions == 1
