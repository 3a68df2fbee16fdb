"""What the kernels of the convolution for CPUs share, printed as LLVM IR.

A kernel does all paths that leave one input irrep. It depends on their degrees alone; channel
counts, strides and offsets are arguments, so that layers and models share kernels. It is a loop
over receivers. For a few at a time: first, lanes over their edges, everything that depends on an
edge alone; then, lanes over channels, the edges one by one. Nothing per edge outlives its receiver.

This module prints the loops, the first part (lengths, coefficients of splines, harmonics and their
change along displacements) and what of the second is common: features and weights of an edge.
`forward.py` (forward and jvp), `vjp.py` and `reverse.py` (jvp_vjp) are the kernels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fastequi.kernels.cpu.dual import Dual, sum_of
from fastequi.kernels.cpu.formulas import evaluate, read_grid, spline
from fastequi.kernels.cpu.spec import KernelSpec
from fastequi.kernels.llvm.arguments import REALS
from fastequi.kernels.llvm.ir import Function, Value
from fastequi.kernels.polynomials import derivative, harmonic_polynomials

#: Edges between asking for memory and reading it: of tables, and of weights of pairs.
TABLE_AHEAD, PAIR_AHEAD = 2, 3


@dataclass(frozen=True, slots=True)
class Edge:
    """An edge, and channels u.. of what it brings.

    column    its place in the scratch; number its index among all edges
    x         features of its sender, which begin at x_offset of x and dx
    row       where its weights begin, in the table or in those of pairs
    """

    column: Value
    number: Value
    x: list[Dual]
    x_offset: Value
    row: Value


class Printer:
    """Base of the kernels.

    own_rows  rows of edge scratch that a kernel needs, each with its change where it is dual
    reserved  reals in front of the edge scratch
    """

    def __init__(self, spec: KernelSpec, own_rows: int, reserved: int = 0) -> None:
        self.spec = spec
        names = [("begin", "i64"), ("end", "i64"), ("u_begin", "i64"), ("u_end", "i64")]
        self.f = Function(spec.name, REALS[spec.dtype], [*names, ("arguments", "ptr")])
        self.d1 = 2 * spec.l1 + 1
        self.arg = spec.arguments.load(self.f)
        slopes = 3 if spec.operation == "vjp" else 0
        self.n_coefficients = 3 + slopes if spec.source == "table" else 0
        self.n_rows = self.n_coefficients + (1 + 2 * own_rows if spec.is_dual else own_rows)
        self.reserved = reserved
        self.grid: list[Value] = []
        if spec.source == "table":  # once per call: loops over edges are as many as receivers
            self.grid = read_grid(self.f, self.arg["constants"], spec.edge_lanes)
        self.last_edge = self._row_start(self.f.parameters[1]) - 1
        self.start = self.last_edge  # the first edge of the receivers at hand, see `text`

    @property
    def scratch_reals(self) -> tuple[int, int]:
        """Reals of scratch, and for each edge of the receivers at hand."""
        return self.reserved, self.n_rows

    def text(self) -> str:
        """The LLVM IR: void name(first receiver, end, first channel, end, arguments)."""
        f, block = self.f, self.arg["block"]
        begin, end, u_begin, u_end, _ = f.parameters
        with f.loop(begin, end, block) as first:
            last = f.least(first + block, end)
            self.start = self._row_start(first)
            n_edges = self._row_start(last) - self.start
            with f.loop(0, n_edges, self.spec.edge_lanes) as e:
                if self.spec.is_dual:
                    self._keep_analysis_short(e)
                self.edge_tables(e)
            self.begin_edges(n_edges)
            with f.loop(first, last) as receiver:
                edges = tuple(self._row_start(i) - self.start for i in (receiver, receiver + 1))
                with f.loop(u_begin, u_end, self.spec.lanes) as u:
                    self.channels(receiver, edges, u)
            self.end_edges(n_edges)
        return f.text()

    def _keep_analysis_short(self, e: Value) -> None:
        """Ask for what is read next anyway.

        LLVM searches a loop for loads that a store of the round before could spare, comparing all
        pairs of accesses, but not one with such an instruction. That took 4.0 of the 4.7 s of its
        passes over what l = 4 keeps of an edge and its change, and found nothing.
        """
        self.f.prefetch(self.f.at(self.arg["vectors"], self.start + e))

    def edge_tables(self, e: Value) -> None:
        """Keep what depends on a vector of edges alone."""
        raise NotImplementedError

    def channels(self, receiver: Value, edges: tuple[Value, ...], u: Value) -> None:
        """A vector of channels of a receiver, whose edges are from:to."""
        raise NotImplementedError

    def begin_edges(self, n_edges: Value) -> None:
        """Before the channels."""

    def end_edges(self, n_edges: Value) -> None:
        """After the channels."""

    def _row_start(self, receiver: Value) -> Value:
        return self.integer("row_start", receiver)

    def integer(self, name: str, index: Value) -> Value:
        return self.f.load(self.f.at(self.arg[name], index, "i64"), "i64")

    # -- what depends on the edge alone, lanes over edges --------------------------------------

    def row(self, index: int, e: Value) -> Value:
        """Address of row `index` of the edge scratch at edge e of these receivers.

        The rows of one vector of edges lie together, so that those of an edge are at constant
        distances: with one stride for all edges, half of the instructions computed addresses.
        """
        f, lanes = self.f, self.spec.edge_lanes
        first = f.emit(f"and i64 {e.name}, {-lanes}", "i64")  # of the vector; lanes is a power of 2
        of_edge = f.at(self.arg["scratch"], first * (self.n_rows - 1) + e)
        return f.at(of_edge, index * lanes + self.reserved)

    def _own_rows(self, index: int, e: Value) -> list[Value]:
        """Addresses of a kernel's row, and of its change."""
        if not self.spec.is_dual:
            return [self.row(self.n_coefficients + index, e)]
        first = self.n_coefficients + 1 + 2 * index
        return [self.row(first, e), self.row(first + 1, e)]

    def keep(self, number: Dual, index: int, e: Value) -> None:
        """In a kernel's row of a vector of edges."""
        parts = [number.value, number.change] if self.spec.is_dual else [number.value]
        for part, place in zip(parts, self._own_rows(index, e), strict=True):
            assert isinstance(part, Value), "constants are not kept"
            self.f.store(part, place)

    def kept(self, index: int, e: Value) -> Dual:
        """Of one edge."""
        return Dual(*(self.f.load(place) for place in self._own_rows(index, e)))

    def geometry(self, e: Value) -> list[list[Dual]]:
        """Harmonics by degree and component of a vector of edges; keeps what weights need."""
        r, n = self.directions(e)
        if self.spec.source == "table":
            self._keep_spline(e, r)
        blocks = [harmonic_polynomials(l) for l in range(self.spec.l_max + 1)]  # noqa: E741
        y = evaluate(self.f, n, blocks)
        if not self.spec.is_dual:
            return [[Dual(value) for value in of_degree] for of_degree in y]
        t = self._edge_vectors("displacements", e)
        rate = sum_of([a * b for a, b in zip(n, t, strict=True)])
        self.f.store(rate, self.row(self.n_coefficients, e))
        turn = [(a - m * rate) / r for a, m in zip(t, n, strict=True)]
        slopes = [
            evaluate(self.f, n, [[derivative(q, axis) for q in block] for block in blocks])
            for axis in range(3)
        ]

        def harmonic(l2: int, b: int) -> Dual:
            terms = [slopes[axis][l2][b] * turn[axis] for axis in range(3)]
            return Dual(y[l2][b], sum_of(terms))

        return [[harmonic(l2, b) for b in range(2 * l2 + 1)] for l2 in range(self.spec.l_max + 1)]

    def _edge_vectors(self, name: str, e: Value) -> list[Value]:
        """The components of a vector of edges of an array [3, edge_stride]."""
        first = self.f.at(self.arg[name], self.start + e)
        places = [self.f.at(first, self.arg["edge_stride"] * axis) for axis in range(3)]
        return [self.f.load(place, "real", self.spec.edge_lanes) for place in places]

    def directions(self, e: Value) -> tuple[Value, list[Value]]:
        """r and n."""
        v = self._edge_vectors("vectors", e)
        r = self.f.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2])
        inverse = 1.0 / r
        return r, [component * inverse for component in v]

    def _keep_spline(self, e: Value, r: Value) -> None:
        """The row of the table, and the coefficients with which `weight` reads it."""
        f, scale = self.f, None
        if self.spec.has_cutoff_scale:
            place = f.at(self.arg["cutoff_scale"], self.start + e)
            scale = f.load(place, "real", self.spec.edge_lanes)
        interval, coefficients = spline(f, self.grid, r, scale)
        f.store(interval, f.at(self.arg["intervals"], e, "i32"))
        for q, coefficient in enumerate(coefficients[: self.n_coefficients]):
            f.store(coefficient, self.row(q, e))

    # -- lanes over channels -------------------------------------------------------------------

    def edge(self, e: Value, u: Value, paths: Sequence[int]) -> Edge:
        """What edge e brings to some paths, having asked for what later ones will."""
        number = self.start + e
        x_offset = self._features_of(number, u)
        if self.spec.source == "table":
            row = self._table_row(e, u)
            self._prefetch_table(self._table_row(e + TABLE_AHEAD, u))
            ahead = self.f.least(number + TABLE_AHEAD, self.last_edge)
            self._prefetch_features(self._features_of(ahead, u))
        else:
            row = self._pair_row(number, u)
            ahead = self.f.least(number + PAIR_AHEAD, self.last_edge)
            self._prefetch_pair_weights(self._pair_row(ahead, u), paths)
        return Edge(e, number, self._features(x_offset), x_offset, row)

    def _features(self, offset: Value) -> list[Dual]:
        tangents = self.component_places("x", offset, True) if self.spec.has_tangents else []
        places = self.component_places("x", offset)
        changes = [self.load(place) for place in tangents] or [None] * self.d1
        return [
            Dual(self.load(place), change) for place, change in zip(places, changes, strict=True)
        ]

    def component_places(self, name: str, offset: Value, tangents: bool = False) -> list[Value]:
        """Addresses of the components of a feature, or of its tangents, in x or dx."""
        channels = self.arg["channels"]
        if tangents:
            offset = offset + self.arg["n_senders"] * (channels * self.d1)
        first = self.f.at(self.arg[name], offset)
        return [self.f.at(first, channels * a) for a in range(self.d1)]

    def load(self, place: Value) -> Value:
        """Of a vector of channels."""
        return self.f.load(place, "real", self.spec.lanes)

    def add(self, value: Value, place: Value) -> None:
        """To what is there."""
        self.f.store(self.f.load(place, "real", value.lanes) + value, place)

    def _features_of(self, edge: Value, u: Value) -> Value:
        """Where the features of its sender begin, channels u.., in x and dx."""
        return self.integer("sender", edge) * (self.arg["channels"] * self.d1) + u

    def _table_row(self, e: Value, u: Value) -> Value:
        interval = self.f.load(self.f.at(self.arg["intervals"], e, "i32"), "i32")
        of_irrep = self.arg["weight_offset"] + u * len(self.spec.paths)
        return (self.f.widen(interval) * self.arg["n_weights"] + of_irrep) * 2

    def _pair_row(self, edge: Value, u: Value) -> Value:
        first = self.integer("pair", edge) * (self.arg["n_weights"] * 2)
        return first + (self.arg["weight_offset"] + u)

    def _prefetch_features(self, offset: Value) -> None:
        """Ask for what an edge to come reads and adds to: senders jump about. Kernels take 3 to 4 %
        less time, the adjoint of 1000 atoms 6 % (AVX2). Training is on few atoms at a time."""
        for name in ("x", *(["dx"] if self.spec.wants_dx else [])):
            for place in self.component_places(name, offset):
                self.f.prefetch(place, write=name == "dx")

    def _prefetch_table(self, row: Value) -> None:
        """Ask for the table rows of an edge to come: distances jump about, and a table is larger
        than the caches near a core. Force calls take 1 to 6 % less time (AVX2).

        Behind the last edge lies what an earlier receiver left, or nobody wrote; asking for memory
        that does not exist does nothing.
        """
        f, place = self.f, self.f.at(self.arg["table"], row)
        run = len(self.spec.paths) * self.spec.lanes
        for numbers in (2 * run, run, run):
            for first in range(0, numbers, 64 // self.spec.dtype.itemsize):
                f.prefetch(f.at(place, first))
            place = f.at(place, self.arg["n_weights"] * 2)

    def _prefetch_pair_weights(self, row: Value, paths: Sequence[int]) -> None:
        """Ask for the weights of an edge to come: those of neighbours lie anywhere in memory.

        On batches of ethanol and of aspirin, forward and vjp take 0.80 to 0.97 of the time, jvp
        0.91 to 0.95 (Xeon, AVX-512).
        """
        names = ["pair_weights"]
        if self.spec.operation == "jvp_vjp":
            names.append("d_pair_weights")
        read = 1 if self.spec.operation == "forward" else 2
        for p in paths:
            for name in names:
                for place in self.weight_places(name, p, row)[:read]:
                    self.f.prefetch(place, write=name == "d_pair_weights")

    def weight_places(self, name: str, p: int, row: Value) -> tuple[Value, Value]:
        """Addresses of W and dW/dr of path p of a pair, or of their gradients."""
        value = self.f.at(self.arg[name], row + self.arg["channels"] * p)
        return value, self.f.at(value, self.arg["n_weights"])

    def weight(self, p: int, edge: Edge) -> Dual:
        """W of path p, and how it changes."""
        if self.spec.source == "table":
            return Dual(self._from_table(p, edge, slope=False))
        value = self.load(self.weight_places("pair_weights", p, edge.row)[0])
        return Dual(value, self.slope(p, edge) * self.rate(edge) if self.spec.is_dual else None)

    def slope(self, p: int, edge: Edge) -> Value:
        """dW/dr of path p."""
        if self.spec.source == "table":
            return self._from_table(p, edge, slope=True)
        return self.load(self.weight_places("pair_weights", p, edge.row)[1])

    def rate(self, edge: Edge) -> Value:
        """dr along the displacement, n . t."""
        return self.f.load(self.row(self.n_coefficients, edge.column))

    def _from_table(self, p: int, edge: Edge, slope: bool) -> Value:
        """W = v + I0 b0 + I1 b1 + I2 b2 (`radial_table.py`), in a table as `packed` lays it out."""
        f, lanes, n_paths = self.f, self.spec.lanes, len(self.spec.paths)
        rows = [f.at(self.arg["table"], edge.row)]
        for _ in range(2):
            rows.append(f.at(rows[-1], self.arg["n_weights"] * 2))
        b = [self.load(f.at(row, p * lanes)) for row in rows]
        first = 3 if slope else 0
        terms = [b_q * f.load(self.row(first + q, edge.column)) for q, b_q in enumerate(b)]
        v = [] if slope else [self.load(f.at(rows[0], (n_paths + p) * lanes))]
        return sum_of(v + terms)

    def block(self, p: int, k: int, receiver: Value, u: Value) -> list[Value]:
        """Addresses of component k of a receiver in the block of path p, and of its tangent."""
        stride, component = self.arg[f"row_stride{p}"], self.arg[f"component_stride{p}"]
        row = receiver - self.f.parameters[0] * self.arg["local"]
        rows = [row, row + self.arg["n_receivers"]] if self.spec.is_dual else [row]
        return [self.f.at(self.arg[f"block{p}"], i * stride + component * k + u) for i in rows]
