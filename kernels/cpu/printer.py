"""What the kernels of the convolution for CPUs share, printed as LLVM IR.

A kernel is a loop over receivers. For each: first, lanes over its edges, everything that depends on
the edge alone; then, lanes over channels, the edges one by one. This module prints the first part
(lengths, coefficients of splines, harmonics) and what of the second is common: features and weights
of an edge. `forward.py` and `adjoint.py` are the kernels.

Two sources of weights: 'table', a radial table; 'rows', a row with W and dW/dr of each edge's pair.
"""

from dataclasses import dataclass
from functools import cache
from math import sqrt
from typing import Literal

import numpy as np

from fastequi.irreps import wigner_3j
from fastequi.kernels.llvm.ir import Function, Value
from fastequi.kernels.polynomials import Polynomial, harmonic_polynomials
from fastequi.kernels.radial_grid import N_CONSTANTS

#: Slots of the argument array, all 64-bit; those of the paths follow.
ARGUMENTS = (
    "row_start", "sender", "edge_stride", "x", "channels", "n_weights", "scratch", "scratch_stride",
    "intervals", "vectors", "stretch", "constants", "table", "rows", "pair", "dx", "dvectors",
    "local",
)  # fmt: skip
#: `local` is 1 where blocks begin with the first receiver of the call, else 0.
#: Slots of one path: first weight, its block of the output (or of its gradient), strides in reals.
PATH_ARGUMENTS = ("weight_offset", "block", "row_stride", "component_stride")


Source = Literal["table", "rows"]
#: The sums of messages; or, from their gradients, those of edge vectors and features.
Operation = Literal["forward", "vjp"]
#: Rows of edge scratch with coefficients of the splines: of W, then of dW/dr.
_COEFFICIENTS = 6
#: Edges between asking for memory and reading it.
LOOK_AHEAD = 2


@dataclass(frozen=True, slots=True)
class KernelSpec:
    """What a kernel's code depends on.

    l1        degree of the input irrep
    paths     (l2, l3) of each path
    real      'float' or 'double'
    lanes     channels per vector; edge_lanes edges per vector
    source    where weights come from
    operation what is computed; wants_x, whether a vjp gives the gradient of features too
    stretched whether edges carry a stretch of their length
    """

    l1: int
    paths: tuple[tuple[int, int], ...]
    real: str
    lanes: int
    edge_lanes: int
    source: Source
    operation: Operation
    wants_x: bool = False
    stretched: bool = False

    @property
    def l_max(self) -> int:
        return max(l2 for l2, _ in self.paths)

    @property
    def name(self) -> str:
        paths = "_".join(f"{l2}{l3}" for l2, l3 in self.paths)
        more = "_x" * self.wants_x + "_stretched" * self.stretched
        return f"{self.source}_{self.operation}_{self.l1}_{paths}_{self.real}{self.lanes}{more}"


def coupling(l1: int, l2: int, l3: int) -> np.ndarray:
    """C[a, b, k]."""
    return sqrt(2 * l3 + 1) * wigner_3j(l1, l2, l3)


@cache
def matrix_slots(
    l1: int, paths: tuple[tuple[int, int], ...]
) -> tuple[dict[tuple[int, int], int | float], ...]:
    """Per path, (a, k) -> row of the scratch that holds M[a, k], or the constant that it is: Y_0 is
    1, so that paths with l2 = 0 have constants."""
    row, result = 0, []
    for l2, l3 in paths:
        c = coupling(l1, l2, l3)
        slots: dict[tuple[int, int], int | float] = {}
        for a, k in np.argwhere(np.abs(c).max(axis=1) > 0).tolist():
            if l2 == 0:
                slots[a, k] = float(c[a, 0, k])
            else:
                slots[a, k] = row
                row += 1
        result.append(slots)
    return tuple(result)


class Printer:
    """Base of the kernels.

    own_rows  rows of edge scratch that a kernel adds to the coefficients of the splines
    reserved  reals in front of the edge scratch
    """

    def __init__(self, spec: KernelSpec, own_rows: int, reserved: int = 0) -> None:
        self.spec = spec
        names = [("begin", "i64"), ("end", "i64"), ("u_begin", "i64"), ("u_end", "i64")]
        self.f = Function(spec.name, spec.real, [*names, ("arguments", "ptr")])
        self.n_harmonics = (spec.l_max + 1) ** 2
        self.d1 = 2 * spec.l1 + 1
        self.n_rows, self.reserved = _COEFFICIENTS + own_rows, reserved
        self.read_arguments()
        self.grid = self._read_grid() if spec.source == "table" else []
        behind = self.f.at(self.arg["row_start"], self.f.parameters[1], "i64")
        self.last_edge = self.f.load(behind, "i64") - 1

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
        """Address of a row behind the coefficients of the splines."""
        return self.row(_COEFFICIENTS + index, e)

    def geometry(self, start: Value, e: Value) -> list[list[Value]]:
        """Harmonics by degree and component of a vector of edges; keeps those of the splines."""
        r, n = self.directions(start, e)
        if self.spec.source == "table":
            self._spline(start, e, r)
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

    def _spline(self, start: Value, e: Value, r: Value) -> None:
        """The interval, and coefficients of W and dW/dr with which `weights` reads the table.

        Beyond the cutoff, and where r is not a number, the table is read at its end.
        """
        f, (length_scale, n_cells) = self.f, self.grid[:2]
        if self.spec.stretched:
            index = f.at(self.arg["stretch"], start + e)
            length_scale = f.load(index, "real", self.spec.edge_lanes) * length_scale
        y = r * length_scale
        y = f.select_less(y, n_cells, y, n_cells)
        scale, offset = self._segment(y)
        position = y * scale
        n = f.to_i32(position)
        f.store(n + f.to_i32(offset), f.at(self.arg["intervals"], e, "i32"))
        t = position - f.to_real(n)
        s = 1.0 - t
        last = (t * t * t) * (1 / 6)
        first = t * (0.5 - t * 0.5 + (t * t) * (1 / 6))
        for q, value in enumerate([first, t - first - last, last]):
            f.store(value, self.row(q, e))
        scale = scale * length_scale
        first, last = (s * s) * 0.5, (t * t) * 0.5
        slopes = [first, 0.5 + t * s, last] if self.spec.operation == "vjp" else []
        for q, slope in enumerate(slopes):
            f.store(slope * scale, self.row(3 + q, e))

    def _read_grid(self) -> list[Value]:
        """`RadialGrid.constants`, each in every lane; once per call: there are as many loops over
        edges as receivers."""
        f = self.f
        addresses = [f.at(self.arg["constants"], i) for i in range(N_CONSTANTS)]
        return [f.spread(f.load(address), self.spec.edge_lanes) for address in addresses]

    def _segment(self, y: Value) -> tuple[Value, Value]:
        """Knots per cell, and what to add for the row, where y is in cells (`RadialGrid`)."""
        f, (scale, *further) = self.f, self.grid[2:]
        offset = f.constant(0.0, "real", y.lanes)
        for begin, new_scale, new_offset in zip(*(further[k::3] for k in range(3)), strict=True):
            scale = f.select_less(y, begin, scale, new_scale)
            offset = f.select_less(y, begin, offset, new_offset)
        return scale, offset

    # -- lanes over channels -------------------------------------------------------------------

    def edge(self, start: Value, e: Value, u: Value) -> list[Value]:
        """x_a of the sender of edge e, channels u.., and where its table rows or weights begin."""
        f, lanes, channels = self.f, self.spec.lanes, self.arg["channels"]
        self.x_offset = self._features_of(start + e, u)
        n_weights = self.arg["n_weights"]
        if self.spec.source == "table":
            interval = f.load(f.at(self.arg["intervals"], e, "i32"), "i32")
            of_irrep = self.path_arg[0]["weight_offset"] + u * len(self.spec.paths)
            self.weight_start = (f.widen(interval) * n_weights + of_irrep) * 2
            self._prefetch_rows(e, of_irrep)
            self._prefetch_features(start + e, u)
        else:
            pair = f.load(f.at(self.arg["pair"], start + e, "i64"), "i64")
            self.weight_start = pair * (n_weights * 2) + u
        return [
            f.load(f.at(self.arg["x"], self.x_offset + channels * a), "real", lanes)
            for a in range(self.d1)
        ]

    def _features_of(self, edge: Value, u: Value) -> Value:
        """Where the features of its sender begin, channels u.., in x and dx."""
        sender = self.f.load(self.f.at(self.arg["sender"], edge, "i64"), "i64")
        return sender * (self.arg["channels"] * self.d1) + u

    def _prefetch_features(self, edge: Value, u: Value) -> None:
        """Ask for what an edge to come reads and adds to: senders jump about. Kernels take 3 to 4 %
        less time, the adjoint of 1000 atoms 6 % (AVX2). Training is on few atoms at a time."""
        f = self.f
        ahead = self._features_of(f.least(edge + LOOK_AHEAD, self.last_edge), u)
        for name in ("x", *(["dx"] if self.spec.wants_x else [])):
            for a in range(self.d1):
                place = f.at(self.arg[name], ahead + self.arg["channels"] * a)
                f.prefetch(place, write=name == "dx")

    def _prefetch_rows(self, e: Value, of_irrep: Value) -> None:
        """Ask for the table rows of an edge to come: distances jump about, and a table is larger
        than the caches near a core. Force calls take 1 to 6 % less time (AVX2).

        Behind the last edge lies what an earlier receiver left, or nobody wrote; asking for memory
        that does not exist does nothing.
        """
        f, n_weights = self.f, self.arg["n_weights"]
        interval = f.load(f.at(self.arg["intervals"], e + LOOK_AHEAD, "i32"), "i32")
        row = f.at(self.arg["table"], (f.widen(interval) * n_weights + of_irrep) * 2)
        run = len(self.spec.paths) * self.spec.lanes
        for numbers in (2 * run, run, run):
            for place in range(0, numbers, 16 if self.spec.real == "float" else 8):
                f.prefetch(f.at(row, place))
            row = f.at(row, n_weights * 2)

    def weights(self, p: int, e: Value, with_slope: bool) -> tuple[Value, Value | None]:
        """W of path p, and dW/dr."""
        if self.spec.source == "table":
            return self._from_table(p, e, with_slope)
        f, lanes = self.f, self.spec.lanes
        first = self.weight_start + self.path_arg[p]["weight_offset"]
        value, slope = (
            f.load(f.at(self.arg["rows"], first + self.arg["n_weights"] * q), "real", lanes)
            for q in range(2)
        )
        return value, slope if with_slope else None

    def _from_table(self, p: int, e: Value, with_slope: bool) -> tuple[Value, Value | None]:
        """W = v + I0 b0 + I1 b1 + I2 b2 (`radial_table.py`), in a table as `packed` lays it out."""
        f, lanes, n_paths = self.f, self.spec.lanes, len(self.spec.paths)
        rows = [f.at(self.arg["table"], self.weight_start)]
        for _ in range(2):
            rows.append(f.at(rows[-1], self.arg["n_weights"] * 2))
        v, *b = (
            f.load(f.at(row, place * lanes), "real", lanes)
            for row, place in ((rows[0], n_paths + p), *((row, p) for row in rows))
        )
        value = sum_of([v, *(b_q * f.load(self.row(q, e)) for q, b_q in enumerate(b))])
        if not with_slope:
            return value, None
        return value, sum_of([b_q * f.load(self.row(3 + q, e)) for q, b_q in enumerate(b)])

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
