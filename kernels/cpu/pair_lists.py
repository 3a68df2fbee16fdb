"""Which senders come near a cluster of receivers, compiled: the lists of `pair_sums`.

A lane is a sender: the vector of their distances to the nearest of a cluster's receivers is
written to scratch memory, and what is near enough is packed, in the order that senders have.
"""

import functools

import torch
from torch import Tensor

from fastequi.kernels.llvm import threads
from fastequi.kernels.llvm.arguments import Arguments, Kind, Named
from fastequi.kernels.llvm.compiler import Kernel
from fastequi.kernels.llvm.ir import Function, Value, Variable
from fastequi.kernels.llvm.plan import Plan, PlannedCall
from fastequi.kernels.llvm.target import lanes_of

_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("receivers", "senders", "reach2", "scratch"), "reals"),
    "numbers": "int32s", "element_start": "int64s",
    "near": "int32s", "far": "int32s", "near_counts": "int64s", "far_counts": "int64s",
    **dict.fromkeys(("elements", "receivers_each", "stride"), "integer"),
}  # fmt: skip


def pair_lists(
    receivers: Tensor, senders: Tensor, numbers: Tensor, element_start: Tensor,
    reach: tuple[float, float],
) -> list[tuple[Tensor, Tensor]]:  # fmt: skip
    """Of each reach (near, far; Å) the counts [clusters * elements] and numbers of the senders.

    receivers [clusters, 3, receivers of each] and senders [3, n] float32 in Å; numbers [n] int32;
    element_start [elements + 1] int64: where senders of an element begin.
    """
    n_clusters, _, each = receivers.shape
    n, elements, shares = senders.shape[1], len(element_start) - 1, threads.n_threads()
    stride = n + lanes_of(torch.float32)
    padded = receivers.new_zeros((3, stride))
    padded[:, :n] = senders
    values: dict[str, Tensor | int] = {
        "receivers": receivers, "senders": padded, "numbers": numbers,
        "element_start": element_start, "scratch": receivers.new_empty((n_clusters, stride)),
        "reach2": torch.tensor(reach).square(), "elements": elements, "receivers_each": each,
        "stride": stride,
    }  # fmt: skip
    found = []
    for name in ("near", "far"):
        rows = torch.empty((n_clusters, stride), dtype=torch.int32)
        counts = torch.empty(n_clusters * elements, dtype=torch.int64)
        values |= {name: rows, f"{name}_counts": counts}
        found.append((counts, rows))
    values |= {f"cut{k}": n_clusters * k // shares for k in range(shares + 1)}
    _plan(shares).run(values)
    return [(counts, _packed(rows, counts.view(n_clusters, -1).sum(1))) for counts, rows in found]


def _packed(rows: Tensor, totals: Tensor) -> Tensor:
    """The first entries of each row, one after another."""
    return torch.cat([row[:n] for row, n in zip(rows, totals.tolist(), strict=True)])


@functools.cache
def _plan(shares: int) -> Plan:
    called, arguments = _kernel(), {name: Named(name) for name in _KINDS}
    rows = [(Named(f"cut{k}"), Named(f"cut{k + 1}"), 0, 0) for k in range(shares)]
    return Plan([[PlannedCall(called, integers, arguments)] for integers in rows])


@functools.cache
def _kernel() -> Kernel:
    """void pair_lists(first cluster, end, 0, 0, arguments)."""
    arguments, lanes = Arguments(torch.float32, _KINDS), lanes_of(torch.float32)
    integers = [(integer, "i64") for integer in ("begin", "end", "unused", "unused2")]
    name = f"pair_lists_{lanes}"
    f = Function(name, "float", [*integers, ("arguments", "ptr")])
    arg = arguments.load(f)
    with f.loop(*f.parameters[:2]) as cluster:
        _write_distances(f, arg, cluster, lanes)
        _pack(f, arg, cluster)
    return Kernel(name, f.text(), 4, arguments)


def _write_distances(f: Function, arg: dict[str, Value], cluster: Value, lanes: int) -> None:
    """Squares of the distances of all senders to the nearest receiver."""
    with f.loop(0, arg["stride"] - lanes, lanes) as sender:
        at = [f.load(f.at(arg["senders"], arg["stride"] * axis + sender), "real", lanes)
              for axis in range(3)]  # fmt: skip
        least = Variable(f, f.constant(float("inf"), "real", lanes))
        with f.loop(0, arg["receivers_each"]) as receiver:
            d2 = f.constant(0.0, "real", lanes)
            for axis in range(3):
                place = (cluster * 3 + axis) * arg["receivers_each"] + receiver
                d = at[axis] - f.load(f.at(arg["receivers"], place))
                d2 = d2 + d * d
            least.set(f.select_less(d2, least.get(), d2, least.get()))
        f.store(least.get(), f.at(arg["scratch"], cluster * arg["stride"] + sender))


def _pack(f: Function, arg: dict[str, Value], cluster: Value) -> None:
    """Numbers of those that are near enough, and how many there are of each element."""
    zero, one = (f.constant(value, "i64") for value in (0, 1))
    reach2 = [f.load(f.at(arg["reach2"], i)) for i in range(2)]
    written = [Variable(f, zero) for _ in range(2)]
    with f.loop(0, arg["elements"]) as element:
        before = [place.get() for place in written]
        start, end = (f.load(f.at(arg["element_start"], element + k, "i64"), "i64") for k in (0, 1))
        with f.loop(start, end) as sender:
            d2 = f.load(f.at(arg["scratch"], cluster * arg["stride"] + sender))
            with f.where_less(d2, reach2[1]):
                number = f.load(f.at(arg["numbers"], sender, "i32"), "i32")
                for name, place in zip(("near", "far"), written, strict=True):
                    at = cluster * arg["stride"] + place.get()
                    f.store(number, f.at(arg[name], at, "i32"))
                written[1].add(one)
                with f.where_less(d2, reach2[0]):
                    written[0].add(one)
        for name, place, first in zip(("near", "far"), written, before, strict=True):
            counts = f.at(arg[f"{name}_counts"], cluster * arg["elements"] + element, "i64")
            f.store(place.get() - first, counts)
