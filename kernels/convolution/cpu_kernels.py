"""The convolution for CPUs, printed as LLVM IR from the tables of `instructions.py`.

One kernel serves one input irrep: all paths (l2, l3) that leave it. It depends on their degrees
alone; channel counts, strides and offsets are arguments, so that layers and models share kernels.
For each receiver: first, lanes over its edges, everything that depends on the edge alone (length,
Hermite coefficients, harmonics, and M[a, k] = sum_b C Y_b); then, lanes over channels, the edges
one by one with the accumulators in registers. Nothing per edge outlives its receiver.

Three sources of harmonics and weights: 'table' takes edge vectors and a radial table, 'rows' edge
vectors and the row of each edge with W and dW/dr, 'memory' both as they are. Adjoints give any of
dx, dW, dY, and where vectors are given dE/dr per edge.
"""

from dataclasses import dataclass
from functools import cache
from math import sqrt
from typing import Literal

import numpy as np

from fastequi.irreps import wigner_3j
from fastequi.kernels.llvm.ir import Function, Number, Value, Variable
from fastequi.kernels.polynomials import Polynomial, derivative, harmonic_polynomials

#: Slots of the argument array, all 64-bit; those of the paths follow.
ARGUMENTS = (
    "row_start", "sender", "edge_stride", "x", "channels", "n_weights", "scratch", "scratch_stride",
    "intervals", "vectors", "stretch", "constants", "table", "harmonics", "weights",
    "dx", "dvectors", "dharmonics", "dweights", "rows", "pair",
)  # fmt: skip
#: Slots of one path: first weight, its block of the output (or of its gradient), strides in reals.
PATH_ARGUMENTS = ("weight_offset", "block", "row_stride", "component_stride")
_SLOT = {name: i for i, name in enumerate(ARGUMENTS)}


Source = Literal["table", "rows", "memory"]


@dataclass(frozen=True, slots=True)
class KernelSpec:
    """What a kernel's code depends on.

    l1        degree of the input irrep
    paths     (l2, l3) of each path
    real      'float' or 'double'
    lanes     channels per vector; edge_lanes edges per vector
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


@cache
def scratch_rows(spec: KernelSpec) -> int:
    """Rows of edge scratch: Hermite coefficients, M, and for adjoints the sums of dY and dE/dr."""
    n_matrix = sum(isinstance(s, int) for slots in matrix_slots(spec.l1, spec.paths, spec.inference)
                   for s in slots.values())  # fmt: skip
    return 8 + n_matrix + (spec.l_max + 1) ** 2 + 1


def print_kernel(spec: KernelSpec) -> str:
    """The LLVM IR of a kernel: void name(first receiver, end, first channel, end, arguments)."""
    return _Printer(spec).text()


class _Printer:
    def __init__(self, spec: KernelSpec) -> None:
        self.spec = spec
        names = [("begin", "i64"), ("end", "i64"), ("u_begin", "i64"), ("u_end", "i64")]
        self.f = Function(spec.name, spec.real, [*names, ("arguments", "ptr")])
        self.slots = matrix_slots(spec.l1, spec.paths, spec.inference)
        self.n_harmonics = (spec.l_max + 1) ** 2
        self.d1 = 2 * spec.l1 + 1
        self.wants_edges = "edges" in spec.outputs
        self.first_harmonic = 1 if spec.inference else 0  # Y_0 of a vector has no gradient

    def argument(self, slot: int, kind: str) -> Value:
        return self.f.load(self.f.at(self.f.parameters[4], slot, "i64"), kind)

    def text(self) -> str:
        f = self.f
        begin, end, *_ = f.parameters
        pointers = {"channels", "n_weights", "scratch_stride", "edge_stride"}
        self.arg = {
            name: self.argument(i, "i64" if name in pointers else "ptr")
            for i, name in enumerate(ARGUMENTS)
        }
        self.path_arg = []
        for p in range(len(self.spec.paths)):
            base = len(ARGUMENTS) + p * len(PATH_ARGUMENTS)
            self.path_arg.append(
                {name: self.argument(base + i, "ptr" if name == "block" else "i64")
                 for i, name in enumerate(PATH_ARGUMENTS)}
            )  # fmt: skip
        with f.loop(begin, end) as receiver:
            start = f.load(f.at(self.arg["row_start"], receiver, "i64"), "i64")
            stop = f.load(f.at(self.arg["row_start"], receiver + 1, "i64"), "i64")
            degree = stop - start
            self._edge_tables(start, degree)
            if self.wants_edges:
                self._clear_lane_sums(degree)
            with f.loop(f.parameters[2], f.parameters[3], self.spec.lanes) as u:
                if self.spec.outputs:
                    self._adjoint(receiver, start, degree, u)
                else:
                    self._forward(receiver, start, degree, u)
            if self.wants_edges:
                self._add_lanes(degree)
                self._edge_gradients(start, degree)
        return f.text()

    # -- what depends on the edge alone, lanes over edges --------------------------------------

    def row(self, index: int | Value, e: Value) -> Value:
        """Address of scratch row `index` at edge e of this receiver."""
        return self.f.at(self.arg["scratch"], self.arg["scratch_stride"] * index + e)

    def _edge_tables(self, start: Value, degree: Value) -> None:
        f, lanes = self.f, self.spec.edge_lanes
        with f.loop(0, degree, lanes) as e:
            if self.spec.inference:
                r, n = self._directions(start, e)
                if self.spec.source == "table":
                    self._hermite(start, e, r)
                y = _evaluate(f, n, [harmonic_polynomials(l) for l in range(self.spec.l_max + 1)])  # noqa: E741
            else:
                y = [
                    [self._edge_load("harmonics", l * l + m, start + e) for m in range(2 * l + 1)]
                    for l in range(self.spec.l_max + 1)  # noqa: E741
                ]
            for (l2, l3), slots in zip(self.spec.paths, self.slots, strict=True):
                c = coupling(self.spec.l1, l2, l3)
                for (a, k), slot in slots.items():
                    if isinstance(slot, int):
                        terms = [y[l2][b] * float(c[a, b, k]) for b in np.flatnonzero(c[a, :, k])]
                        f.store(_sum(terms), self.row(8 + slot, e))

    def _edge_load(self, name: str, component: int, edge: Value) -> Value:
        """`edge_lanes` edges of one component of an array [components, edge_stride]."""
        index = self.arg["edge_stride"] * component + edge
        return self.f.load(self.f.at(self.arg[name], index), "real", self.spec.edge_lanes)

    def _directions(self, start: Value, e: Value) -> tuple[Value, list[Value]]:
        v = [self._edge_load("vectors", axis, start + e) for axis in range(3)]
        r = self.f.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2])
        inverse = 1.0 / r
        return r, [component * inverse for component in v]

    def _hermite(self, start: Value, e: Value, r: Value) -> None:
        """Coefficients of the four table rows, for W and for dW/dr, zero beyond the cutoff."""
        f = self.f
        cutoff, per_length, last = (
            f.load(f.at(self.arg["constants"], i)) for i in range(3)
        )  # Å, intervals per Å, index of the last interval
        stretch: Number = 1.0
        if self.spec.stretched:
            index = f.at(self.arg["stretch"], start + e)
            stretch = f.load(index, "real", self.spec.edge_lanes)
        r = r * stretch
        scaled = f.select_less(r, cutoff, r * per_length, 0.0)
        last = f.spread(last, r.lanes)
        n = f.to_real(f.to_i32(f.select_less(scaled, last, scaled, last)))
        f.store(f.to_i32(n), f.at(self.arg["intervals"], e, "i32"))
        t = scaled - n
        s = 1.0 - t
        values = [(1.0 + t + t) * (s * s), t * (s * s), (t * t) * (3.0 - t - t), -(t * t) * s]
        slopes = [-6.0 * (t * s), s * (1.0 - 3.0 * t), 6.0 * (t * s), t * (3.0 * t - 2.0)]
        for q, value in enumerate(values):
            f.store(f.select_less(r, cutoff, value, 0.0), self.row(q, e))
        for q, slope in enumerate(slopes if self.wants_edges else []):
            scaled_slope = slope * per_length * stretch
            f.store(f.select_less(r, cutoff, scaled_slope, 0.0), self.row(4 + q, e))

    # -- lanes over channels -------------------------------------------------------------------

    def _edge(self, start: Value, e: Value, u: Value) -> list[Value]:
        """x_a of the sender of edge e, channels u.., and where its table rows or weights begin."""
        f, lanes, channels = self.f, self.spec.lanes, self.arg["channels"]
        sender = f.load(f.at(self.arg["sender"], start + e, "i64"), "i64")
        self.x_offset = sender * (channels * self.d1) + u
        n_weights = self.arg["n_weights"]
        if self.spec.source == "table":
            interval = f.load(f.at(self.arg["intervals"], e, "i32"), "i32")
            self.weight_start = f.widen(interval) * (n_weights * 2) + u
        elif self.spec.source == "rows":
            pair = f.load(f.at(self.arg["pair"], start + e, "i64"), "i64")
            self.weight_start = pair * (n_weights * 2) + u
        else:
            self.weight_start = (start + e) * n_weights + u
        return [
            f.load(f.at(self.arg["x"], self.x_offset + channels * a), "real", lanes)
            for a in range(self.d1)
        ]

    def _weights(self, p: int, e: Value, with_slope: bool) -> tuple[Value, Value | None]:
        """W of path p, and dW/dr."""
        f, lanes = self.f, self.spec.lanes
        first = self.weight_start + self.path_arg[p]["weight_offset"]
        if self.spec.source == "memory":
            return f.load(f.at(self.arg["weights"], first), "real", lanes), None
        n_rows = 4 if self.spec.source == "table" else 2
        rows = [
            f.load(
                f.at(self.arg[self.spec.source], first + self.arg["n_weights"] * q), "real", lanes
            )
            for q in range(n_rows)
        ]
        if self.spec.source == "rows":
            return rows[0], rows[1] if with_slope else None
        value = _sum([rows[q] * f.load(self.row(q, e)) for q in range(4)])
        if not with_slope:
            return value, None
        return value, _sum([rows[q] * f.load(self.row(4 + q, e)) for q in range(4)])

    def _matrix(self, p: int, e: Value) -> dict[tuple[int, int], Number]:
        """M[a, k] of path p at edge e, scalars."""
        return {
            key: self.f.load(self.row(8 + slot, e)) if isinstance(slot, int) else slot
            for key, slot in self.slots[p].items()
        }

    def _block(self, p: int, k: int, receiver: Value, u: Value) -> Value:
        arg = self.path_arg[p]
        index = receiver * arg["row_stride"] + arg["component_stride"] * k + u
        return self.f.at(arg["block"], index)

    def _forward(self, receiver: Value, start: Value, degree: Value, u: Value) -> None:
        f, lanes = self.f, self.spec.lanes
        zero = f.constant(0.0, "real", lanes)
        sums = [[Variable(f, zero) for _ in range(2 * l3 + 1)] for _, l3 in self.spec.paths]
        with f.loop(0, degree) as e:
            x = self._edge(start, e, u)
            for p, (_, l3) in enumerate(self.spec.paths):
                w, _ = self._weights(p, e, False)
                m = self._matrix(p, e)
                if self.d1 <= 2 * l3 + 1:  # fewer products when the weight meets the smaller side
                    wx = [w * value for value in x]
                    for (a, k), value in m.items():
                        sums[p][k].add(wx[a] * value)
                    continue
                for k in range(2 * l3 + 1):
                    terms = [x[a] * value for (a, kk), value in m.items() if kk == k]
                    sums[p][k].add(w * _sum(terms))
        for p, components in enumerate(sums):
            for k, total in enumerate(components):
                f.store(total.get(), self._block(p, k, receiver, u))

    def _adjoint(self, receiver: Value, start: Value, degree: Value, u: Value) -> None:
        f, lanes, outputs = self.f, self.spec.lanes, self.spec.outputs
        g = [
            [f.load(self._block(p, k, receiver, u), "real", lanes) for k in range(2 * l3 + 1)]
            for p, (_, l3) in enumerate(self.spec.paths)
        ]
        with f.loop(0, degree) as e:
            x = self._edge(start, e, u)
            dx: list[list[Value]] = [[] for _ in range(self.d1)]
            dr: list[Value] = []
            dy: list[list[Value]] = [[] for _ in range(self.n_harmonics)]
            for p, (l2, _) in enumerate(self.spec.paths):
                w, slope = self._weights(p, e, self.wants_edges)
                m = self._matrix(p, e)
                t = [
                    _sum([g[p][k] * v for (aa, k), v in m.items() if aa == a] or [w * 0.0])
                    for a in range(self.d1)
                ]
                if slope is not None or "weights" in outputs:
                    dw = _sum([x[a] * t[a] for a in range(self.d1)])
                    if slope is not None:
                        dr.append(slope * dw)
                    if "weights" in outputs:
                        offset = self.weight_start + self.path_arg[p]["weight_offset"]
                        f.store(dw, f.at(self.arg["dweights"], offset))
                if "x" in outputs:
                    for a in range(self.d1):
                        dx[a].append(w * t[a])
                if self.wants_edges and (l2 > 0 or not self.spec.inference):
                    self._harmonic_terms(p, x, g[p], w, dy)
            if "x" in outputs:
                for a in range(self.d1):
                    place = f.at(self.arg["dx"], self.x_offset + self.arg["channels"] * a)
                    f.store(f.load(place, "real", lanes) + _sum(dx[a]), place)
            if self.wants_edges:
                self._keep_lane_sums(e, dy, dr)

    def _harmonic_terms(
        self, p: int, x: list[Value], g: list[Value], w: Value, dy: list[list[Value]]
    ) -> None:
        """dY_b += w * sum_ak C[a, b, k] x_a g_k, still one number per lane."""
        l2, l3 = self.spec.paths[p]
        c = coupling(self.spec.l1, l2, l3)
        products = {(a, k): x[a] * g[k] for a, k in self.slots[p]}
        for b in range(2 * l2 + 1):
            terms = [products[a, k] * float(c[a, b, k]) for a, k in np.argwhere(c[:, b]).tolist()]
            dy[l2 * l2 + b].append(w * _sum(terms))

    # -- dE/dY and dE/dr of the edges ----------------------------------------------------------

    def _lane_sum(self, e: Value, index: int) -> Value:
        """Address of a vector of partial sums of edge e; behind the rows of the scratch."""
        n = self.n_harmonics + 1
        behind = self.arg["scratch_stride"] * scratch_rows(self.spec)
        return self.f.at(self.arg["scratch"], behind + (e * n + index) * self.spec.lanes)

    def _kept(self) -> range:
        last = self.n_harmonics + (1 if self.spec.inference else 0)
        return range(self.first_harmonic, last)

    def _clear_lane_sums(self, degree: Value) -> None:
        with self.f.loop(0, degree) as e:
            for index in self._kept():
                self.f.store(
                    self.f.constant(0.0, "real", self.spec.lanes), self._lane_sum(e, index)
                )

    def _keep_lane_sums(self, e: Value, dy: list[list[Value]], dr: list[Value]) -> None:
        for index in self._kept():
            terms = dr if index == self.n_harmonics else dy[index]
            if terms:
                place = self._lane_sum(e, index)
                old = self.f.load(place, "real", self.spec.lanes)
                self.f.store(old + _sum(terms), place)

    def _sum_row(self, index: int) -> int:
        return scratch_rows(self.spec) - self.n_harmonics - 1 + index

    def _add_lanes(self, degree: Value) -> None:
        with self.f.loop(0, degree) as e:
            for index in self._kept():
                lanes = self.f.load(self._lane_sum(e, index), "real", self.spec.lanes)
                self.f.store(self.f.sum_of_lanes(lanes), self.row(self._sum_row(index), e))

    def _edge_gradients(self, start: Value, degree: Value) -> None:
        """Add to dE/dr [3, edges], or to dY [harmonics, edges].

        dY(n)/dr = (grad Y - n (n . grad Y)) / r, and the radial part along n.
        """
        f, lanes = self.f, self.spec.edge_lanes
        whole = degree - (lanes - 1)  # vectors that lie inside the row; the rest one by one
        for step, (first, last) in ((lanes, (0, whole)), (1, (None, degree))):
            begin = first if first is not None else self._multiple(degree, lanes)
            with f.loop(begin, last, step) as e:
                self._gradients_of(start, e, step)

    def _multiple(self, degree: Value, lanes: int) -> Value:
        """degree rounded down to a multiple of lanes (a power of two)."""
        return self.f.emit(f"and i64 {degree.name}, {-lanes}", "i64")

    def _gradients_of(self, start: Value, e: Value, lanes: int) -> None:
        f = self.f
        dy = {i: f.load(self.row(self._sum_row(i), e), "real", lanes) for i in self._kept()}
        if not self.spec.inference:
            for index, value in dy.items():
                self._accumulate("dharmonics", index, start + e, value)
            return
        v = []
        for axis in range(3):
            index = self.arg["edge_stride"] * axis + start + e
            v.append(f.load(f.at(self.arg["vectors"], index), "real", lanes))
        inverse = 1.0 / f.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2])
        n = [component * inverse for component in v]
        if self.spec.l_max == 0:  # no direction enters
            for axis in range(3):
                value = n[axis] * dy[self.n_harmonics]
                self._accumulate("dvectors", axis, start + e, value)
            return
        s = []
        for axis in range(3):
            gradients = [
                [derivative(q, axis) for q in harmonic_polynomials(l)]
                for l in range(1, self.spec.l_max + 1)  # noqa: E741
            ]
            values = [value for block in _evaluate(f, n, gradients) for value in block]
            s.append(_sum([values[i - 1] * dy[i] for i in range(1, self.n_harmonics)]))
        along = n[0] * s[0] + n[1] * s[1] + n[2] * s[2]
        radial = dy[self.n_harmonics] - along * inverse
        for axis in range(3):
            self._accumulate("dvectors", axis, start + e, s[axis] * inverse + n[axis] * radial)

    def _accumulate(self, name: str, component: int, edge: Value, value: Value) -> None:
        place = self.f.at(self.arg[name], self.arg["edge_stride"] * component + edge)
        self.f.store(self.f.load(place, "real", value.lanes) + value, place)


def _sum(terms: list[Value]) -> Value:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _evaluate(
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
        return _sum(terms) if terms else f.constant(0.0, "real", lanes)

    return [[value(p) for p in block] for block in blocks]
