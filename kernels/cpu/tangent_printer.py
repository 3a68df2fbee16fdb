"""The tangent convolution for CPUs, printed as LLVM IR: values and their change in one pass.

As `forward.py`, one kernel serves one input irrep, and its code depends on degrees alone. For a
few receivers at a time: first, lanes over their edges, what depends on the geometry alone (n . t,
M = C Y(n) and dM = C dY/dr . t); then, lanes over channels, the edges one by one:

    forward   out  += W (x . M)                      with W, W' from the row of the edge's pair
              dout += W (dx . M) + W (x . dM) + (n . t) W' (x . M)
    adjoint   s = M h, t = M g + dM h                with g, h the gradients of out and dout
              gradient of x += W t + (n . t) W' s     of dx += W s
                       of W += x . t + dx . s         of W' += (n . t) x . s

Y_0 is 1, so paths with l2 = 0 have constant M and no dM.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastequi.kernels.cpu.printer import coupling, evaluate, matrix_slots, sum_of
from fastequi.kernels.llvm.ir import Function, Number, Value, Variable
from fastequi.kernels.polynomials import derivative, harmonic_polynomials

#: Slots of the argument array, all 64-bit; those of the paths follow.
#: geometry is [6, edge_stride]: vectors, then displacements; block counts receivers per table.
#: pair has LOOK_AHEAD more entries; again is 0 for the first edge of a pair, which stores its
#: gradient where later ones add theirs, else 1.
ARGUMENTS = (
    "row_start", "sender", "pair", "again", "edge_stride", "geometry", "block", "scratch",
    "scratch_stride", "rows", "n_weights", "channels", "x", "x_tangents", "d_rows", "d_x",
    "d_x_tangents",
)  # fmt: skip
#: Slots of one path: first weight, its block of the output (or of its gradient) and the tangents'
#: block, strides in reals.
PATH_ARGUMENTS = ("weight_offset", "values", "tangents", "row_stride", "component_stride")
#: Edges between asking for a row and reading it.
LOOK_AHEAD = 3
#: Component of an output -> products to add to it.
_Terms = dict[int, list[Value]]
_INTEGERS = {"edge_stride", "block", "scratch_stride", "n_weights", "channels"}


@dataclass(frozen=True, slots=True)
class TangentSpec:
    """What a kernel's code depends on.

    l1       degree of the input irrep
    paths    (l2, l3) of each path
    real     'float' or 'double'
    lanes    channels per vector; edge_lanes edges per vector; vector_count vectors that the
             processor's registers hold
    adjoint  gradients of x and rows rather than outputs
    moving   the features have tangents
    """

    l1: int
    paths: tuple[tuple[int, int], ...]
    real: str
    lanes: int
    edge_lanes: int
    vector_count: int
    adjoint: bool
    moving: bool

    @property
    def l_max(self) -> int:
        return max(l2 for l2, _ in self.paths)

    @property
    def name(self) -> str:
        what = "adjoint" if self.adjoint else "forward"
        paths = "_".join(f"{l2}{l3}" for l2, l3 in self.paths)
        still = "" if self.moving else "_still"
        return f"tangent_{what}_{self.l1}_{paths}_{self.real}{self.lanes}{still}"

    @property
    def scratch_rows(self) -> int:
        """n . t, then M and dM by turns."""
        slots = matrix_slots(self.l1, self.paths)
        return 1 + 2 * sum(isinstance(s, int) for of_path in slots for s in of_path.values())


def print_tangent_kernel(spec: TangentSpec) -> str:
    """The LLVM IR of a kernel: void name(first receiver, end, first channel, end, arguments)."""
    return _Printer(spec).text()


@dataclass(frozen=True, slots=True)
class _Edge:
    """What an edge brings, channels u..: x and its tangents, and where its row begins.

    place is the edge's column in the scratch, number its index among all edges.
    """

    x: list[Value]
    tangents: list[Value]
    x_offset: Value
    row: Value
    rate: Value
    place: Value
    number: Value


class _Printer:
    def __init__(self, spec: TangentSpec) -> None:
        self.spec = spec
        names = [("begin", "i64"), ("end", "i64"), ("u_begin", "i64"), ("u_end", "i64")]
        self.f = Function(spec.name, spec.real, [*names, ("arguments", "ptr")])
        self.slots = matrix_slots(spec.l1, spec.paths)
        self.d1 = 2 * spec.l1 + 1

    def text(self) -> str:
        f = self.f
        begin, end, u_begin, u_end, _ = f.parameters
        self._read_arguments()
        with f.loop(begin, end, self.arg["block"]) as first:
            last = f.least(first + self.arg["block"], end)
            start = self._row_start(first)
            self._edge_tables(start, self._row_start(last) - start)
            with f.loop(first, last) as receiver:
                edges = self._row_start(receiver) - start, self._row_start(receiver + 1) - start
                with f.loop(u_begin, u_end, self.spec.lanes) as u:
                    if self.spec.adjoint:
                        self._adjoint(receiver, start, edges, u)
                    else:
                        for paths in self._groups():
                            self._forward(paths, receiver, start, edges, u)
        return f.text()

    def _read_arguments(self) -> None:
        n, m = len(ARGUMENTS), len(PATH_ARGUMENTS)
        self.arg = {
            name: self._argument(i, "i64" if name in _INTEGERS else "ptr")
            for i, name in enumerate(ARGUMENTS)
        }
        self.path_arg = [
            {name: self._argument(n + m * p + i, "ptr" if name in ("values", "tangents") else "i64")
             for i, name in enumerate(PATH_ARGUMENTS)}
            for p in range(len(self.spec.paths))
        ]  # fmt: skip

    def _argument(self, slot: int, kind: str) -> Value:
        return self.f.load(self.f.at(self.f.parameters[4], slot, "i64"), kind)

    def _row_start(self, receiver: Value) -> Value:
        return self._integer("row_start", receiver)

    def _integer(self, name: str, index: Value) -> Value:
        return self.f.load(self.f.at(self.arg[name], index, "i64"), "i64")

    def _groups(self) -> list[list[int]]:
        """Consecutive paths whose sums, values and tangents, fit into three registers of four."""
        groups: list[list[int]] = [[]]
        sums = 0
        for p, (_, l3) in enumerate(self.spec.paths):
            size = 2 * (2 * l3 + 1)
            if groups[-1] and sums + size > 3 * self.spec.vector_count // 4:
                groups.append([])
                sums = 0
            groups[-1].append(p)
            sums += size
        return groups

    # -- what depends on the edge alone, lanes over edges --------------------------------------

    def _scratch(self, row: int, e: Value) -> Value:
        return self.f.at(self.arg["scratch"], self.arg["scratch_stride"] * row + e)

    def _edge_tables(self, start: Value, n_edges: Value) -> None:
        f = self.f
        with f.loop(0, n_edges, self.spec.edge_lanes) as e:
            n, turn, rate = self._directions(start + e)
            f.store(rate, self._scratch(0, e))
            blocks = [harmonic_polynomials(l) for l in range(self.spec.l_max + 1)]  # noqa: E741
            y = evaluate(f, n, blocks)
            slopes = [
                evaluate(f, n, [[derivative(q, axis) for q in block] for block in blocks])
                for axis in range(3)
            ]
            for (l2, l3), slots in zip(self.spec.paths, self.slots, strict=True):
                if l2 == 0:
                    continue
                c = coupling(self.spec.l1, l2, l3)
                dy = [
                    sum_of([slopes[axis][l2][b] * turn[axis] for axis in range(3)])
                    for b in range(2 * l2 + 1)
                ]
                for (a, k), slot in slots.items():
                    present = np.flatnonzero(c[a, :, k])
                    for row, values in ((1, y[l2]), (2, dy)):
                        total = sum_of([values[b] * float(c[a, b, k]) for b in present])
                        f.store(total, self._scratch(row + 2 * int(slot), e))

    def _directions(self, edge: Value) -> tuple[list[Value], list[Value], Value]:
        """n, its change along the displacement, and n . t."""
        vector, displacement = (
            [
                self.f.load(
                    self.f.at(self.arg["geometry"], self.arg["edge_stride"] * row + edge),
                    "real", self.spec.edge_lanes,
                )
                for row in rows
            ]
            for rows in (range(3), range(3, 6))
        )  # fmt: skip
        inverse = 1.0 / self.f.sqrt(_dot(vector, vector))
        n = [component * inverse for component in vector]
        rate = _dot(n, displacement)
        turn = [(t - m * rate) * inverse for t, m in zip(displacement, n, strict=True)]
        return n, turn, rate

    # -- lanes over channels -------------------------------------------------------------------

    def _vectors(self, name: str, offset: Value) -> list[Value]:
        """All components of a feature."""
        return [
            self._load(self.f.at(self.arg[name], offset + self.arg["channels"] * a))
            for a in range(self.d1)
        ]

    def _load(self, place: Value) -> Value:
        return self.f.load(place, "real", self.spec.lanes)

    def _add(self, value: Value, place: Value) -> None:
        self.f.store(self._load(place) + value, place)

    def _edge(self, start: Value, e: Value, u: Value) -> _Edge:
        offset = self._integer("sender", start + e) * (self.arg["channels"] * self.d1) + u
        return _Edge(
            x=self._vectors("x", offset),
            tangents=self._vectors("x_tangents", offset) if self.spec.moving else [],
            x_offset=offset,
            row=self._integer("pair", start + e) * (self.arg["n_weights"] * 2) + u,
            rate=self.f.load(self._scratch(0, e)),
            place=e,
            number=start + e,
        )

    def _weight_places(self, name: str, p: int, row: Value) -> tuple[Value, Value]:
        """Addresses of W and dW/dr of path p, or of their gradients."""
        first = row + self.path_arg[p]["weight_offset"]
        pointer = self.arg[name]
        return self.f.at(pointer, first), self.f.at(pointer, first + self.arg["n_weights"])

    def _prefetch(self, paths: Sequence[int], start: Value, e: Value, u: Value) -> None:
        """Ask for the row of an edge to come: the rows of neighbours lie anywhere in memory."""
        pair = self._integer("pair", start + e + LOOK_AHEAD)
        row = pair * (self.arg["n_weights"] * 2) + u
        for p in paths:
            for name in ("rows", "d_rows") if self.spec.adjoint else ("rows",):
                for place in self._weight_places(name, p, row):
                    self.f.prefetch(place, write=name == "d_rows")

    def _weights(self, p: int, edge: _Edge) -> tuple[Value, Value]:
        """W of path p and its change."""
        value, slope = self._weight_places("rows", p, edge.row)
        return self._load(value), self._load(slope) * edge.rate

    def _matrices(self, p: int, e: Value) -> list[tuple[int, int, Number, Number | None]]:
        """(a, k, M[a, k], dM[a, k]) of path p at edge e."""
        entries = []
        for (a, k), slot in self.slots[p].items():
            if isinstance(slot, int):
                m, dm = (self.f.load(self._scratch(row + 2 * slot, e)) for row in (1, 2))
                entries.append((a, k, m, dm))
            else:
                entries.append((a, k, slot, None))
        return entries

    def _place(self, name: str, p: int, k: int, receiver: Value, u: Value) -> Value:
        arg = self.path_arg[p]
        index = receiver * arg["row_stride"] + arg["component_stride"] * k + u
        return self.f.at(arg[name], index)

    def _forward(
        self, paths: list[int], receiver: Value, start: Value, edges: tuple[Value, Value], u: Value
    ) -> None:
        f = self.f
        zero = f.constant(0.0, "real", self.spec.lanes)
        out, dout = (
            {(p, k): Variable(f, zero) for p in paths for k in range(2 * self.spec.paths[p][1] + 1)}
            for _ in range(2)
        )
        with f.loop(*edges) as e:
            self._prefetch(paths, start, e, u)
            edge = self._edge(start, e, u)
            for p in paths:
                small_input = self.d1 <= 2 * self.spec.paths[p][1] + 1
                message = self._weight_first if small_input else self._weight_last
                for sums, terms in zip((out, dout), message(p, edge), strict=True):
                    for k, products in terms.items():
                        for product in products:
                            sums[p, k].add(product)
        for name, sums in (("values", out), ("tangents", dout)):
            for (p, k), total in sums.items():
                f.store(total.get(), self._place(name, p, k, receiver, u))

    def _weight_first(self, p: int, edge: _Edge) -> tuple[_Terms, _Terms]:
        """Messages, values and tangents, from W x: fewer products when the input is smaller."""
        w, dw = self._weights(p, edge)
        x = [w * value for value in edge.x]
        dx = [dw * value for value in edge.x]
        if edge.tangents:
            dx = [a + w * tangent for a, tangent in zip(dx, edge.tangents, strict=True)]
        values, tangents = defaultdict(list), defaultdict(list)
        for a, k, m, dm in self._matrices(p, edge.place):
            values[k].append(x[a] * m)
            tangents[k].append(dx[a] * m)
            if dm is not None:
                tangents[k].append(x[a] * dm)
        return values, tangents

    def _weight_last(self, p: int, edge: _Edge) -> tuple[_Terms, _Terms]:
        """W times the messages: fewer products when the output is smaller."""
        values, tangents = defaultdict(list), defaultdict(list)
        for a, k, m, dm in self._matrices(p, edge.place):
            values[k].append(edge.x[a] * m)
            if edge.tangents:
                tangents[k].append(edge.tangents[a] * m)
            if dm is not None:
                tangents[k].append(edge.x[a] * dm)
        w, dw = self._weights(p, edge)
        sums = {k: sum_of(products) for k, products in values.items()}
        weighted = {k: [dw * total] for k, total in sums.items()}
        for k, products in tangents.items():
            weighted[k].append(w * sum_of(products))
        return {k: [w * total] for k, total in sums.items()}, weighted

    def _adjoint(self, receiver: Value, start: Value, edges: tuple[Value, Value], u: Value) -> None:
        g, h = (
            {(p, k): self._load(self._place(name, p, k, receiver, u))
             for p, (_, l3) in enumerate(self.spec.paths) for k in range(2 * l3 + 1)}
            for name in ("values", "tangents")
        )  # fmt: skip
        with self.f.loop(*edges) as e:
            self._prefetch(range(len(self.spec.paths)), start, e, u)
            edge = self._edge(start, e, u)
            d_x: list[list[Value]] = [[] for _ in range(self.d1)]
            d_tangents: list[list[Value]] = [[] for _ in range(self.d1)]
            for p in range(len(self.spec.paths)):
                self._adjoint_of_path(p, edge, g, h, d_x, d_tangents)
            for name, sums in (("d_x", d_x), ("d_x_tangents", d_tangents)):
                if name == "d_x" or self.spec.moving:
                    for a, parts in enumerate(sums):
                        offset = edge.x_offset + self.arg["channels"] * a
                        self._add(sum_of(parts), self.f.at(self.arg[name], offset))

    def _adjoint_of_path(
        self,
        p: int,
        edge: _Edge,
        g: dict[tuple[int, int], Value],
        h: dict[tuple[int, int], Value],
        d_x: list[list[Value]],
        d_tangents: list[list[Value]],
    ) -> None:
        w, dw = self._weights(p, edge)
        s, t = defaultdict(list), defaultdict(list)
        for a, k, m, dm in self._matrices(p, edge.place):
            s[a].append(h[p, k] * m)
            t[a].append(g[p, k] * m)
            if dm is not None:
                t[a].append(h[p, k] * dm)
        by_value, by_slope = [], []
        for a in s:
            along_h, along_g = sum_of(s[a]), sum_of(t[a])
            d_x[a] += [w * along_g, dw * along_h]
            by_value.append(edge.x[a] * along_g)
            by_slope.append(edge.x[a] * along_h)
            if edge.tangents:
                d_tangents[a].append(w * along_h)
                by_value.append(edge.tangents[a] * along_h)
        again = self._integer("again", edge.number)
        totals = sum_of(by_value), sum_of(by_slope) * edge.rate
        for total, place in zip(totals, self._weight_places("d_rows", p, edge.row), strict=True):
            self.f.store(self.f.if_nonzero(again, self._load(place)) + total, place)


def _dot(a: list[Value], b: list[Value]) -> Value:
    return sum_of([x * y for x, y in zip(a, b, strict=True)])
