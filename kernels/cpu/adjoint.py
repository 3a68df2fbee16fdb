"""The adjoint of the convolution for CPUs: dx, and dE/dr of the edges.

With g the gradient of the output of a receiver, every path needs from each edge

    t_a = sum_b Y_b G[a, b]   dx_a += W t_a   dW = sum_a x_a t_a   dY_b += W sum_a x_a G[a, b]

where G[a, b] = sum_k C[a, b, k] g_k belongs to the receiver alone and is computed once for all its
edges: two products per (a, b), where contracting with M as the forward kernel does takes three.
dE/dY and dW/dr are summed up lane by lane, over all channels; then, lanes over edges, they become
dE/dr. Nothing per edge outlives its receiver.
"""

from dataclasses import dataclass

import numpy as np

from fastequi.kernels.cpu.printer import (
    KernelSpec,
    Printer,
    coupling,
    evaluate,
    sum_of,
)
from fastequi.kernels.llvm.ir import Number, Value, Variable
from fastequi.kernels.polynomials import derivative, harmonic_polynomials


@dataclass(frozen=True, slots=True)
class _Sums:
    """Of one edge and vector of channels: over all paths dx_a and dE/dr along the edge, over the
    paths of one l2 dY_b."""

    dx: list[Variable]
    dr: Variable
    dy: list[Variable]


class AdjointPrinter(Printer):
    """The kernel of a vjp."""

    def __init__(self, spec: KernelSpec) -> None:
        self.pairs: list[dict[tuple[int, int], int]] = []  # of each path, (a, b) -> index of G
        n_pairs = 0
        for l2, l3 in spec.paths:
            found = np.argwhere(np.abs(coupling(spec.l1, l2, l3)).max(axis=2) > 0).tolist()
            self.pairs.append({(a, b): n_pairs + i for i, (a, b) in enumerate(found)})
            n_pairs += len(found)
        n_harmonics = (spec.l_max + 1) ** 2
        super().__init__(spec, own_rows=n_harmonics, reserved=n_pairs * spec.lanes)

    def scratch_size(self, stride: int) -> int:
        """Reals of scratch for receivers with up to `stride` edges."""
        return super().scratch_size(stride) + stride * (self.n_harmonics + 1) * self.spec.lanes

    def text(self) -> str:
        f = self.f
        begin, end, u_begin, u_end, _ = f.parameters
        with f.loop(begin, end) as receiver:
            start, degree = self.edges_of(receiver)
            self._edge_tables(start, degree)
            self._clear_lane_sums(degree)
            with f.loop(u_begin, u_end, self.spec.lanes) as u:
                self._contract(receiver, u)
                with f.loop(0, degree) as e:
                    self._adjoint(start, e, u)
            with f.loop(0, degree, self.spec.edge_lanes) as e:
                self._edge_gradients(start, e)
        return f.text()

    def _edge_tables(self, start: Value, degree: Value) -> None:
        """Harmonics, lanes over edges."""
        with self.f.loop(0, degree, self.spec.edge_lanes) as e:
            harmonics = [value for of_degree in self.geometry(start, e) for value in of_degree]
            for index, value in enumerate(harmonics):
                self.f.store(value, self.own_row(index, e))

    # -- lanes over channels -------------------------------------------------------------------

    def _contracted(self, index: int) -> Value:
        """Address of an entry of G, in front of the edge scratch."""
        return self.f.at(self.arg["scratch"], index * self.spec.lanes)

    def _contract(self, receiver: Value, u: Value) -> None:
        """G[a, b] of all paths."""
        f = self.f
        for p, (l2, l3) in enumerate(self.spec.paths):
            c = coupling(self.spec.l1, l2, l3)
            g = [
                f.load(self.block(p, k, receiver, u), "real", self.spec.lanes)
                for k in range(2 * l3 + 1)
            ]
            for (a, b), index in self.pairs[p].items():
                terms = [g[k] * float(c[a, b, k]) for k in np.flatnonzero(c[a, b])]
                f.store(sum_of(terms), self._contracted(index))

    def _adjoint(self, start: Value, e: Value, u: Value) -> None:
        """One edge."""
        x = self.edge(start, e, u)
        dx, dr = [self._zero() for _ in x], self._zero()
        for l2 in range(self.spec.l_max + 1):
            sums = _Sums(dx, dr, [self._zero() for _ in range(2 * l2 + 1)])
            for p, (degree, _) in enumerate(self.spec.paths):
                if degree == l2:
                    self._adjoint_of_path(p, e, x, sums)
            if l2 > 0:  # Y_0 is constant
                for b, total in enumerate(sums.dy):
                    self._add(total.get(), self._lane_sum(e, l2 * l2 + b))
        if self.spec.wants_x:
            for a, total in enumerate(dx):
                offset = self.x_offset + self.arg["channels"] * a
                self._add(total.get(), self.f.at(self.arg["dx"], offset))
        self._add(dr.get(), self._lane_sum(e, self.n_harmonics))

    def _adjoint_of_path(self, p: int, e: Value, x: list[Value], sums: _Sums) -> None:
        f, (l2, _) = self.f, self.spec.paths[p]
        w, slope = self.weights(p, e, True)
        assert slope is not None
        y = self._harmonics(l2, e)
        dw = self._zero()
        for a in range(self.d1):
            wx, t = w * x[a], self._zero()
            for b in range(2 * l2 + 1):
                if (a, b) in self.pairs[p]:
                    g = f.load(self._contracted(self.pairs[p][a, b]), "real", self.spec.lanes)
                    t.add(g * y[b])
                    sums.dy[b].add(wx * g)
            dw.add(x[a] * t.get())
            sums.dx[a].add(w * t.get())
        sums.dr.add(slope * dw.get())

    def _harmonics(self, l2: int, e: Value) -> list[Number]:
        """Y_b of an edge, scalars."""
        if l2 == 0:
            return [1.0]
        return [self.f.load(self.own_row(l2 * l2 + b, e)) for b in range(2 * l2 + 1)]

    def _zero(self) -> Variable:
        return Variable(self.f, self.f.constant(0.0, "real", self.spec.lanes))

    def _add(self, value: Value, place: Value) -> None:
        self.f.store(self.f.load(place, "real", value.lanes) + value, place)

    # -- dE/dY and dE/dr of the edges ----------------------------------------------------------

    def _lane_sum(self, e: Value, index: int) -> Value:
        """Address of a vector of partial sums of edge e; behind the rows of the scratch."""
        n = self.n_harmonics + 1
        behind = self.arg["scratch_stride"] * self.n_rows + self.reserved
        return self.f.at(self.arg["scratch"], behind + (e * n + index) * self.spec.lanes)

    def _clear_lane_sums(self, degree: Value) -> None:
        """Of whole vectors of edges: those beyond the last one will add zero to what is there."""
        lanes = self.spec.edge_lanes
        whole = self.f.emit(f"and i64 {(degree + (lanes - 1)).name}, {-lanes}", "i64")
        zero = self.f.constant(0.0, "real", self.spec.lanes)
        with self.f.loop(0, whole) as e:
            for index in range(1, self.n_harmonics + 1):
                self.f.store(zero, self._lane_sum(e, index))

    def _edge_gradients(self, start: Value, e: Value) -> None:
        """Add to dE/dr [3, edges] of a vector of edges.

        dY(n)/dr = (grad Y - n (n . grad Y)) / r, and the radial part along n.
        """
        r, n = self.directions(start, e)
        radial = self._summed(e, self.n_harmonics)
        across = [self.f.constant(0.0, "real", r.lanes)] * 3
        if self.spec.l_max > 0:  # else no direction enters
            inverse = 1.0 / r
            s = self._by_direction(n, e)
            radial = radial - (n[0] * s[0] + n[1] * s[1] + n[2] * s[2]) * inverse
            across = [component * inverse for component in s]
        for axis in range(3):
            index = self.arg["edge_stride"] * axis + start + e
            self._add(across[axis] + n[axis] * radial, self.f.at(self.arg["dvectors"], index))

    def _by_direction(self, n: list[Value], e: Value) -> list[Value]:
        """sum_b dY_b grad Y_b, the gradient of the polynomials."""
        dy = [self._summed(e, index) for index in range(1, self.n_harmonics)]
        degrees = range(1, self.spec.l_max + 1)
        found = []
        for axis in range(3):
            blocks = [[derivative(q, axis) for q in harmonic_polynomials(l)] for l in degrees]  # noqa: E741
            slopes = [value for block in evaluate(self.f, n, blocks) for value in block]
            found.append(sum_of([a * b for a, b in zip(slopes, dy, strict=True)]))
        return found

    def _summed(self, e: Value, index: int) -> Value:
        """A sum over channels for a vector of edges, from the partial sums of each edge."""
        lanes = min(self.spec.lanes, self.spec.edge_lanes)
        parts = range(0, self.spec.lanes, lanes)
        vectors = []
        for i in range(self.spec.edge_lanes):
            first = self._lane_sum(e + i, index)
            found = [self.f.load(self.f.at(first, part), "real", lanes) for part in parts]
            vectors.append(sum_of(found))
        return self.f.sums_of_lanes(vectors)
