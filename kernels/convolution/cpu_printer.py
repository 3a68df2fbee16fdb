"""What the kernels of the convolution for CPUs share, printed as LLVM IR.

A kernel is a loop over receivers. For each: first, lanes over its edges, everything that depends on
the edge alone; then, lanes over channels, the edges one by one. This module prints the first part
(lengths, Hermite coefficients, harmonics) and what of the second is common: features and weights
of an edge. `cpu_kernels.py` and `cpu_adjoint.py` are the kernels.

Three sources of harmonics and weights: 'table' takes edge vectors and a radial table, 'rows' edge
vectors and the row of each edge with W and dW/dr, 'memory' both as they are.
"""

from dataclasses import dataclass
from functools import cache
from math import sqrt
from typing import Literal

import numpy as np

from fastequi.irreps import wigner_3j
from fastequi.kernels.llvm.ir import Function, Number, Value
from fastequi.kernels.polynomials import Polynomial, harmonic_polynomials

#: Slots of the argument array, all 64-bit; those of the paths follow.
ARGUMENTS = (
    "row_start", "sender", "edge_stride", "x", "channels", "n_weights", "scratch", "scratch_stride",
    "intervals", "vectors", "stretch", "constants", "table", "harmonics", "weights",
    "dx", "dvectors", "dharmonics", "dweights", "rows", "pair", "local",
)  # fmt: skip
#: `local` is 1 where blocks begin with the first receiver of the call, else 0.
#: Slots of one path: first weight, its block of the output (or of its gradient), strides in reals.
PATH_ARGUMENTS = ("weight_offset", "block", "row_stride", "component_stride")


Source = Literal["table", "rows", "memory"]
#: Rows of edge scratch with Hermite coefficients: of W, then of dW/dr.
_COEFFICIENTS = 6


@dataclass(frozen=True, slots=True)
class KernelSpec:
    """What a kernel's code depends on.

    l1        degree of the input irrep
    paths     (l2, l3) of each path
    real      'float' or 'double'
    lanes     channels per vector; edge_lanes edges per vector; vector_count vectors that the
              processor's registers hold
    source    where harmonics and weights come from
    outputs   () for the forward kernel; else the gradients wanted, of 'x', 'edges' (dE/dr of
              vectors, dY of harmonics from memory) and 'weights'
    stretched whether edges carry a stretch of their length
    """

    l1: int
    paths: tuple[tuple[int, int], ...]
    real: str
    lanes: int
    edge_lanes: int
    vector_count: int
    source: Source
    outputs: tuple[str, ...] = ()
    stretched: bool = False

    @property
    def l_max(self) -> int:
        return max(l2 for l2, _ in self.paths)

    @property
    def inference(self) -> bool:
        """Harmonics are evaluated from edge vectors."""
        return self.source != "memory"

    @property
    def name(self) -> str:
        kind = {"table": "fused", "rows": "rows", "memory": "trilinear"}[self.source]
        what = "_d" + "_".join(self.outputs) if self.outputs else "_forward"
        paths = "_".join(f"{l2}{l3}" for l2, l3 in self.paths)
        stretch = "_stretched" if self.stretched else ""
        return f"{kind}{what}_{self.l1}_{paths}_{self.real}{self.lanes}{stretch}"


def coupling(l1: int, l2: int, l3: int) -> np.ndarray:
    """C[a, b, k]."""
    return sqrt(2 * l3 + 1) * wigner_3j(l1, l2, l3)


@cache
def matrix_slots(
    l1: int, paths: tuple[tuple[int, int], ...], inference: bool
) -> tuple[dict[tuple[int, int], int | float], ...]:
    """Per path, (a, k) -> row of the scratch that holds M[a, k], or the constant it is.

    In inference Y_0 is 1, so that paths with l2 = 0 have constants; in training it is an input.
    """
    row, result = 0, []
    for l2, l3 in paths:
        c = coupling(l1, l2, l3)
        slots: dict[tuple[int, int], int | float] = {}
        for a, k in np.argwhere(np.abs(c).max(axis=1) > 0).tolist():
            if l2 == 0 and inference:
                slots[a, k] = float(c[a, 0, k])
            else:
                slots[a, k] = row
                row += 1
        result.append(slots)
    return tuple(result)


class Printer:
    """Base of the kernels.

    own_rows  rows of edge scratch that a kernel adds to the Hermite coefficients
    reserved  reals in front of the edge scratch
    """

    def __init__(self, spec: KernelSpec, own_rows: int, reserved: int = 0) -> None:
        self.spec = spec
        names = [("begin", "i64"), ("end", "i64"), ("u_begin", "i64"), ("u_end", "i64")]
        self.f = Function(spec.name, spec.real, [*names, ("arguments", "ptr")])
        self.n_harmonics = (spec.l_max + 1) ** 2
        self.d1 = 2 * spec.l1 + 1
        self.wants_edges = "edges" in spec.outputs
        self.n_rows, self.reserved = _COEFFICIENTS + own_rows, reserved
        self.read_arguments()

    def scratch_size(self, stride: int) -> int:
        """Reals of scratch for receivers with up to `stride` edges."""
        return self.reserved + self.n_rows * stride

    def argument(self, slot: int, kind: str) -> Value:
        return self.f.load(self.f.at(self.f.parameters[4], slot, "i64"), kind)

    def read_arguments(self) -> None:
        integers = {"channels", "n_weights", "scratch_stride", "edge_stride", "local"}
        self.arg = {
            name: self.argument(i, "i64" if name in integers else "ptr")
            for i, name in enumerate(ARGUMENTS)
        }
        self.path_arg = []
        for p in range(len(self.spec.paths)):
            base = len(ARGUMENTS) + p * len(PATH_ARGUMENTS)
            self.path_arg.append(
                {name: self.argument(base + i, "ptr" if name == "block" else "i64")
                 for i, name in enumerate(PATH_ARGUMENTS)}
            )  # fmt: skip

    def edges_of(self, receiver: Value) -> tuple[Value, Value]:
        """The first edge that a receiver has, and how many."""
        row_start = self.arg["row_start"]
        start, stop = (
            self.f.load(self.f.at(row_start, i, "i64"), "i64") for i in (receiver, receiver + 1)
        )
        return start, stop - start

    # -- what depends on the edge alone, lanes over edges --------------------------------------

    def row(self, index: int, e: Value) -> Value:
        """Address of row `index` of the edge scratch at edge e of this receiver.

        The rows of one vector of edges lie together, so that those of an edge are at constant
        distances: with one stride for all edges, half of the instructions computed addresses.
        """
        f, lanes = self.f, self.spec.edge_lanes
        first = f.emit(f"and i64 {e.name}, {-lanes}", "i64")  # of the vector; lanes is a power of 2
        of_edge = f.at(self.arg["scratch"], first * (self.n_rows - 1) + e)
        return f.at(of_edge, index * lanes + self.reserved)

    def own_row(self, index: int, e: Value) -> Value:
        """Address of a row behind the Hermite coefficients."""
        return self.row(_COEFFICIENTS + index, e)

    def geometry(self, start: Value, e: Value) -> list[list[Value]]:
        """Harmonics by degree and component of a vector of edges; keeps Hermite coefficients."""
        if not self.spec.inference:
            return [
                [self._edge_load("harmonics", l * l + m, start + e) for m in range(2 * l + 1)]
                for l in range(self.spec.l_max + 1)  # noqa: E741
            ]
        r, n = self.directions(start, e)
        if self.spec.source == "table":
            self._hermite(start, e, r)
        degrees = range(self.spec.l_max + 1)
        return evaluate(self.f, n, [harmonic_polynomials(l) for l in degrees])  # noqa: E741

    def _edge_load(self, name: str, component: int, edge: Value) -> Value:
        """`edge_lanes` edges of one component of an array [components, edge_stride]."""
        index = self.arg["edge_stride"] * component + edge
        return self.f.load(self.f.at(self.arg[name], index), "real", self.spec.edge_lanes)

    def directions(self, start: Value, e: Value) -> tuple[Value, list[Value]]:
        v = [self._edge_load("vectors", axis, start + e) for axis in range(3)]
        r = self.f.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2])
        inverse = 1.0 / r
        return r, [component * inverse for component in v]

    def _hermite(self, start: Value, e: Value, r: Value) -> None:
        """The interval, and coefficients of W and dW/dr with which `weights` reads the table.

        Beyond the cutoff t is 1: at the last knot value and slope are zero, exactly.
        """
        f = self.f
        per_length, last = (f.load(f.at(self.arg["constants"], i)) for i in range(2))
        stretch: Number = 1.0
        if self.spec.stretched:
            index = f.at(self.arg["stretch"], start + e)
            stretch = f.load(index, "real", self.spec.edge_lanes)
        scaled = r * stretch * per_length
        last = f.spread(last, r.lanes)
        n = f.to_i32(f.select_less(scaled, last, scaled, last))
        f.store(n, f.at(self.arg["intervals"], e, "i32"))
        t = scaled - f.to_real(n)
        t = f.select_less(t, 1.0, t, 1.0)
        s = 1.0 - t
        for q, value in enumerate([(t * t) * (3.0 - t - t), t * (s * s), -(t * t) * s]):
            f.store(value, self.row(q, e))
        slopes = [6.0 * (t * s), s * (1.0 - 3.0 * t), t * (3.0 * t - 2.0)]
        for q, slope in enumerate(slopes if self.wants_edges else []):
            f.store(slope * (per_length * stretch), self.row(3 + q, e))

    # -- lanes over channels -------------------------------------------------------------------

    def edge(self, start: Value, e: Value, u: Value) -> list[Value]:
        """x_a of the sender of edge e, channels u.., and where its table rows or weights begin."""
        f, lanes, channels = self.f, self.spec.lanes, self.arg["channels"]
        sender = f.load(f.at(self.arg["sender"], start + e, "i64"), "i64")
        self.x_offset = sender * (channels * self.d1) + u
        n_weights = self.arg["n_weights"]
        if self.spec.source == "table":
            interval = f.load(f.at(self.arg["intervals"], e, "i32"), "i32")
            of_irrep = self.path_arg[0]["weight_offset"] + u * len(self.spec.paths)
            self.weight_start = (f.widen(interval) * n_weights + of_irrep) * 2
        elif self.spec.source == "rows":
            pair = f.load(f.at(self.arg["pair"], start + e, "i64"), "i64")
            self.weight_start = pair * (n_weights * 2) + u
        else:
            self.weight_start = (start + e) * n_weights + u
        return [
            f.load(f.at(self.arg["x"], self.x_offset + channels * a), "real", lanes)
            for a in range(self.d1)
        ]

    def weights(self, p: int, e: Value, with_slope: bool) -> tuple[Value, Value | None]:
        """W of path p, and dW/dr."""
        if self.spec.source == "table":
            return self._from_table(p, e, with_slope)
        f, lanes = self.f, self.spec.lanes
        first = self.weight_start + self.path_arg[p]["weight_offset"]
        if self.spec.source == "memory":
            return f.load(f.at(self.arg["weights"], first), "real", lanes), None
        value, slope = (
            f.load(f.at(self.arg["rows"], first + self.arg["n_weights"] * q), "real", lanes)
            for q in range(2)
        )
        return value, slope if with_slope else None

    def _from_table(self, p: int, e: Value, with_slope: bool) -> tuple[Value, Value | None]:
        """W = v0 + H2 (v1 - v0) + H1 s0 + H3 s1, in a table as `packed` lays it out.

        That is the cubic of `radial_table.py`, since H0 = 1 - H2; the subtraction is cheap, because
        it does not occupy the units that multiply.
        """
        f, lanes = self.f, self.spec.lanes
        knots = [self.weight_start, self.weight_start + self.arg["n_weights"] * 2]
        (v0, s0), (v1, s1) = (
            [f.load(f.at(f.at(self.arg["table"], knot), (2 * p + q) * lanes), "real", lanes)
             for q in range(2)]
            for knot in knots
        )  # fmt: skip
        steps = (v1 - v0, s0, s1)
        value = sum_of([v0, *(step * f.load(self.row(q, e)) for q, step in enumerate(steps))])
        if not with_slope:
            return value, None
        return value, sum_of([step * f.load(self.row(3 + q, e)) for q, step in enumerate(steps)])

    def block(self, p: int, k: int, receiver: Value, u: Value) -> Value:
        arg = self.path_arg[p]
        row = receiver - self.f.parameters[0] * self.arg["local"]
        index = row * arg["row_stride"] + arg["component_stride"] * k + u
        return self.f.at(arg["block"], index)


def sum_of(terms: list[Value]) -> Value:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def evaluate(
    f: Function, n: list[Value], blocks: list[tuple[Polynomial, ...]] | list[list[Polynomial]]
) -> list[list[Value]]:
    """Polynomials at the unit vectors n; monomials are computed once."""
    lanes = n[0].lanes
    known: dict[tuple[int, int, int], Value] = {(0, 0, 0): f.constant(1.0, "real", lanes)}

    def monomial(powers: tuple[int, int, int]) -> Value:
        if powers not in known:
            axis = max(range(3), key=lambda i: powers[i])
            x, y, z = (p - (i == axis) for i, p in enumerate(powers))
            known[powers] = monomial((x, y, z)) * n[axis] if x + y + z else n[axis]
        return known[powers]

    def value(p: Polynomial) -> Value:
        terms = [monomial(powers) * c for powers, c in p.items()]
        return sum_of(terms) if terms else f.constant(0.0, "real", lanes)

    return [[value(p) for p in block] for block in blocks]
