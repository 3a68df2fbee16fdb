"""The counted work of a force call: by hand, and against torch's own count of matrix products."""

import json
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import force_call
from benchmarks.common import Results
from fastequi.irreps import Irreps
from fastequi.kernels.instructions import make_instructions
from fastequi.model.linear import SpeciesLinear
from fastequi.model.nequip import NequIP
from fastequi.model.spec import new_spec

SPEC = new_spec([14], layers=3, channels=(8, 4, 2), attributes="one-hot")


def test_one_path_by_hand():
    """1o x 1o -> 0e, five channels: C, M and G have three entries, the diagonal."""
    scalars, vectors = Irreps.parse("1x0e"), Irreps.parse("5x1o")
    instructions = make_instructions(vectors, 1, "natural", scalars)
    (path,) = instructions.paths
    assert (path.l1, path.l2, path.l3) == (1, 1, 0)
    flop = force_call._convolution(instructions, n_atoms=2, n_edges=7, is_first=False)
    assert flop.forward == 7 * (5 * (2 * 3 + 2) + 2 * 3)
    #                           t       dW      dx      W x  dY             G
    assert flop.adjoint == 7 * 5 * (2 * 3 + 2 * 3 + 2 * 3 + 3 + 2 * 3) + 2 * 5 * 2 * 3
    assert flop.tables == 7 * 5 * (8 + 8 + 8 + 2)
    first = force_call._convolution(instructions, n_atoms=2, n_edges=7, is_first=True)
    assert flop.adjoint - first.adjoint == 7 * 5 * 2 * 3


def test_linear_maps_are_those_of_the_network():
    """The maps of a middle layer, run under torch's counter."""
    n_atoms, network = 6, NequIP(SPEC)
    layer, shape = network.interactions()[1], SPEC.shapes()[1]
    species = torch.zeros(n_atoms, dtype=torch.long)

    def block(irreps: Irreps) -> list[torch.Tensor]:
        return [torch.randn(n_atoms, ir.dim, mul, dtype=torch.float64) for mul, ir in irreps]

    x, summed = block(shape.irreps_in), block(shape.instructions.irreps_out)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        layer.linear_in(x)
        layer.linear_out(summed)
        assert isinstance(layer.self_connection, SpeciesLinear)
        layer.self_connection(x, network.attributes(), species)
    matrices = 2 * sum(w[0].numel() for w in layer.self_connection.weights.values())  # of a species
    both_ways = 2 * (counter.get_total_flops() - matrices) / n_atoms
    assert force_call._linear(shape, is_first=False, connected=True) == both_ways


def test_work_grows_with_atoms_and_edges_alone():
    one, two = force_call.flop_of(SPEC, 10, 280), force_call.flop_of(SPEC, 20, 560)
    assert one + one == two
    deeper = replace(SPEC, layers=(*SPEC.layers[:2], SPEC.layers[1], SPEC.layers[2]))
    assert force_call.flop_of(deeper, 10, 280).total > one.total


def test_rows_name_processor_peak_and_share(tmp_path):
    path = tmp_path / "rows.jsonl"
    force_call.run(Results(path, torch.device("cpu")), "silicon", 8, repeats=3)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["metric"] for row in rows] == ["work", "time", "rate", "share of the peak"]
    share = rows[-1]
    assert share["p50"] == pytest.approx(
        100 * share["GFLOP"] / share["seconds"] / share["peak_beside_GFLOP_s"], rel=1e-6
    )
    assert 0 < share["p50"] < 100
    assert share["processor"]["vector_bytes"] in (16, 32, 64)
    assert set(share["peak_GFLOP_s"]) == {"float32", "float64"}
    parts = ("forward", "adjoint", "tables", "linear")
    assert sum(share[f"{part}_GFLOP"] for part in parts) == pytest.approx(share["GFLOP"])
