"""Pairs against a loop over all edges."""

import pytest
import torch

from fastequi.data import Dataset, Frame, undirected_pairs
from fastequi.errors import InputError


def pairs_by_hand(src: list[int], dst: list[int], shift: list[list[int]]):
    """Pair of each edge and first edges, with a dictionary."""
    number, pair, first = {}, [], []
    for edge, (j, i, s) in enumerate(zip(src, dst, shift, strict=True)):
        there, back = (i, j, *s), (j, i, *(-x for x in s))
        name = min(there, back)
        if name not in number:
            number[name] = len(number)
            first.append(edge)
        pair.append(number[name])
    return pair, first


@pytest.mark.parametrize("cutoff", [2.5, 5.0])
def test_agrees_with_a_loop(frames: list[Frame], cutoff: float):
    graph = Dataset(frames, cutoff).collate(range(len(frames))).graph
    pair, first = undirected_pairs(graph.edge_src, graph.edge_dst, graph.edge_shift)
    expected = pairs_by_hand(
        graph.edge_src.tolist(), graph.edge_dst.tolist(), graph.edge_shift.int().tolist()
    )
    assert (pair.tolist(), first.tolist()) == expected
    assert (graph.edge_src == graph.edge_dst).any() == (cutoff == 5.0)  # self-images


def test_any_order_and_far_shifts(frames: list[Frame]):
    graph = Dataset(frames, 5.0).collate([1, 3]).graph
    order = torch.randperm(graph.n_edges, generator=torch.Generator().manual_seed(0))
    src, dst = graph.edge_src[order], graph.edge_dst[order]
    # Shifts as they are when atoms sit millions of cells away from each other.
    away = torch.tensor([10**7, -3 * 10**6, 5]) * (src - dst).unsqueeze(1)
    for shift in (graph.edge_shift[order], graph.edge_shift[order].long() + away):
        pair, first = undirected_pairs(src, dst, shift)
        assert torch.equal(torch.bincount(pair), torch.full_like(first, 2))
        assert torch.equal(pair[first], torch.arange(len(first)))
        other = torch.empty_like(first)
        rest = torch.ones_like(pair, dtype=torch.bool)
        rest[first] = False
        other[pair[rest]] = torch.nonzero(rest).squeeze(1)
        assert torch.equal(src[other], dst[first])
        assert torch.equal(dst[other], src[first])
        assert torch.equal(shift[other], -shift[first])


def test_no_edges():
    none = torch.empty(0, dtype=torch.int64)
    pair, first = undirected_pairs(none, none, torch.empty(0, 3))
    assert pair.shape == first.shape == (0,)


def test_half_lists_are_refused():
    one = torch.tensor([1])
    with pytest.raises(InputError, match="lacks the reverse of an edge"):
        undirected_pairs(one, one * 0, torch.zeros(1, 3))
