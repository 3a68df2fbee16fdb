"""What share of the measured multiply-add peak a force call of a whole model reaches.

    python -m benchmarks.force_call --model sevennet-0 --atoms 1000

The work is counted from the model's instruction tables (kernels/README.md), per edge and path:

* forward   out[k] += W sum_a x[a] M[a, k] as in `work.py`, and M
* adjoint   t[a] = sum_b Y[b] G[a, b]; dx[a] += W t[a]; dW += x[a] t[a]; dY[b] += W x[a] G[a, b],
            and G = C g once per atom. Nothing moves the species that enter the first layer
* tables    a radial weight is a cubic, four multiply-adds; the adjoint takes it again, its slope,
            and dE/dr += dW W'
* linear    maps of features before and after the convolution, and the readout, both ways

Harmonics, gates and sums over edges are left out: a few per cent. So are all that a kernel does
beyond, so that the share is of useful work: doing more of it slowly does not raise it. The
neighbour list stands ready, as in most steps of dynamics.
"""

import argparse
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
import torch

from benchmarks.common import (
    RESULTS,
    Results,
    add_common_options,
    row,
    silicon,
    start,
    title,
)
from benchmarks.peak import peak_GFLOP_s
from benchmarks.timing import Timing, measure
from benchmarks.work import count
from fastequi.engine.loaded import LoadedModel
from fastequi.graph import Graph
from fastequi.importers import load_model
from fastequi.irreps import Irreps
from fastequi.kernels.instructions import Instructions
from fastequi.md.neighbors import NeighborList
from fastequi.md.state import state_from_atoms
from fastequi.model.spec import LayerShapes, ModelSpec

MODEL, ATOMS = "sevennet-0", 1000
#: A radial weight: four products of a table's entries and the cubics of the place between knots.
CUBIC_FLOP = 8


@dataclass(frozen=True)
class Flop:
    """FLOP of a force call by what they are for; a multiply-add is two."""

    forward: float = 0.0
    adjoint: float = 0.0
    tables: float = 0.0
    linear: float = 0.0

    def __add__(self, other: "Flop") -> "Flop":
        pairs = zip(asdict(self).values(), asdict(other).values(), strict=True)
        return Flop(*(a + b for a, b in pairs))

    @property
    def total(self) -> float:
        return sum(asdict(self).values())


def flop_of(spec: ModelSpec, n_atoms: int, n_edges: int) -> Flop:
    """Energies and forces of so many atoms with so many directed edges."""
    shapes = spec.shapes()
    scalars = (shapes[-1].irreps_out.dim, *spec.readout.hidden, 1)
    total = Flop(linear=n_atoms * 4.0 * sum(a * b for a, b in pairwise(scalars)))
    for k, (layer, shape) in enumerate(zip(spec.layers, shapes, strict=True)):
        total += _convolution(shape.instructions, n_atoms, n_edges, is_first=k == 0)
        connected = layer.self_connection != "none"
        total += Flop(linear=n_atoms * _linear(shape, is_first=k == 0, connected=connected))
    return total


def _convolution(instructions: Instructions, n_atoms: int, n_edges: int, is_first: bool) -> Flop:
    work = count(instructions)
    per_edge = per_atom = 0
    for path in instructions.paths:
        nonzero = np.abs(path.coefficients) > 1e-10
        pairs, size = int(nonzero.any(axis=2).sum()), 2 * path.l1 + 1
        per_edge += path.channels * (2 * pairs + 2 * size)  # t, dW
        if not is_first:
            per_edge += path.channels * 2 * size  # dx
        if path.l2 > 0:
            per_edge += path.channels * (size + 2 * pairs)  # W x, dY
        per_atom += path.channels * 2 * int(nonzero.sum())  # G
    tables = work.weights * (CUBIC_FLOP + 2 * CUBIC_FLOP + 2)
    forward = n_edges * float(work.flop_forward + work.flop_shared)
    return Flop(forward, float(n_edges * per_edge + n_atoms * per_atom), float(n_edges * tables))


def _linear(shape: LayerShapes, is_first: bool, connected: bool) -> float:
    """Per atom, forward and back; what the species alone decide is not computed per atom."""
    flop = _map_flop(shape.instructions.irreps_out, shape.irreps_conv)
    if not is_first:
        flop += _map_flop(shape.irreps_in, shape.irreps_in)
        flop += _map_flop(shape.irreps_in, shape.irreps_conv) if connected else 0.0
    return 2.0 * flop


def _map_flop(irreps_in: Irreps, irreps_out: Irreps) -> float:
    shared = [ir for _, ir in irreps_in if ir in irreps_out]
    return 2.0 * sum(ir.dim * irreps_in.channels(ir) * irreps_out.channels(ir) for ir in shared)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--atoms", type=int, default=ATOMS)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--repeats", type=int, default=25)
    add_common_options(parser, RESULTS / "md.jsonl")
    options = parser.parse_args(arguments)
    options.device = "cpu"  # whose peak is known
    results = start(options)
    run(results, options.model, options.atoms, options.dtype, options.repeats)


def run(
    results: Results, name: str, n_atoms: int, dtype: str = "float32", repeats: int = 25
) -> None:
    """Rows of one model on silicon; the peak is the best of before and after."""
    model, threads = load_model(name, "cpu", dtype), torch.get_num_threads()
    graph = graph_of(model, n_atoms)
    flop = flop_of(model.network.spec, graph.n_atoms, graph.n_edges)
    before = peak_GFLOP_s(dtype, threads)
    timing = measure(lambda: model.compute(graph), results.device, repeats=repeats)
    peak = max(before, peak_GFLOP_s(dtype, threads))
    what = (title(name), model.kernels, f"force call, {dtype}, {threads} threads")
    _add_rows(results, what, graph.n_atoms, flop, timing, peak)
    parts = ", ".join(f"{part} {value / flop.total:.0%}" for part, value in asdict(flop).items())
    print(f"work: {parts}; {graph.n_edges / graph.n_atoms:.1f} edges per atom; peak {peak:.0f}")


def _add_rows(
    results: Results,
    what: tuple[str, str, str],
    n_atoms: int,
    flop: Flop,
    timing: Timing,
    peak: float,
) -> None:
    """Every row holds what the share is made from; peak in GFLOP/s."""
    GFLOP = flop.total * 1e-9
    rates = timing.per(GFLOP).reciprocal()
    facts = {f"{part}_GFLOP": value * 1e-9 for part, value in asdict(flop).items()}
    facts |= {"GFLOP": GFLOP, "seconds": timing.p50, "peak_beside_GFLOP_s": peak}
    for metric, unit, value in (
        ("work", "GFLOP/call", GFLOP),
        ("time", "ms/call", timing.per(1e-3)),
        ("rate", "GFLOP/s", rates),
        ("share of the peak", "%", rates.per(peak / 100)),
    ):
        results.add(row(*what, metric, unit, n_atoms, value), **facts)


def graph_of(model: LoadedModel, n_atoms: int) -> Graph:
    """Rattled silicon and the edges within the model's cutoff."""
    state = state_from_atoms(silicon(n_atoms), model.device)
    neighbors = NeighborList(model.cutoff, skin=0.0)
    return neighbors.graph(
        state.positions, state.atomic_numbers, state.cell, state.pbc, state.system_idx
    )


if __name__ == "__main__":
    main()
