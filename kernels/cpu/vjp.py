"""The adjoint of the convolution for CPUs, vjp: dx, and dE/dr of the edges.

With g the gradient of the output of a receiver, every path needs from each edge

    t_a = sum_b Y_b G[a, b]   dx_a += W t_a   dW = sum_a x_a t_a   dY_b += W sum_a x_a G[a, b]

where G[a, b] = sum_k C[a, b, k] g_k belongs to the receiver alone and is computed once for all its
edges: two products per (a, b), where contracting with M as the forward kernel does takes three.
dE/dY and dW/dr are summed up lane by lane, over all channels; then, lanes over edges, they become
dE/dr.
"""

import numpy as np

from fastequi.kernels.cpu.dual import Dual, DualSum, dot, sum_of
from fastequi.kernels.cpu.formulas import evaluate
from fastequi.kernels.cpu.matrices import coupling
from fastequi.kernels.cpu.printer import Edge, Printer
from fastequi.kernels.cpu.spec import KernelSpec
from fastequi.kernels.llvm.ir import Value
from fastequi.kernels.polynomials import derivative, harmonic_polynomials


class VjpPrinter(Printer):
    """The kernel of a vjp."""

    def __init__(self, spec: KernelSpec) -> None:
        self.pairs: list[dict[tuple[int, int], int]] = []  # of each path, (a, b) -> index of G
        n_pairs = 0
        for l2, l3 in spec.paths:
            found = np.argwhere(np.abs(coupling(spec.l1, l2, l3)).max(axis=2) > 0).tolist()
            self.pairs.append({(a, b): n_pairs + i for i, (a, b) in enumerate(found)})
            n_pairs += len(found)
        self.n_slopes = (spec.l_max + 1) ** 2 - 1  # harmonics that are no constants
        super().__init__(spec, own_rows=self.n_slopes, reserved=n_pairs * spec.lanes)

    @property
    def scratch_reals(self) -> tuple[int, int]:
        """Reals of scratch, and for each edge of the receivers at hand."""
        return self.reserved, self.n_rows + (self.n_slopes + 1) * self.spec.lanes

    def edge_tables(self, e: Value) -> None:
        """Harmonics."""
        harmonics = [number for of_degree in self.geometry(e)[1:] for number in of_degree]
        for index, number in enumerate(harmonics):
            self.keep(number, index, e)

    # -- lanes over channels -------------------------------------------------------------------

    def channels(self, receiver: Value, edges: tuple[Value, ...], u: Value) -> None:
        self._contract(receiver, u)
        with self.f.loop(*edges) as e:
            self._add_edge(self.edge(e, u, range(len(self.spec.paths))))

    def _contract(self, receiver: Value, u: Value) -> None:
        """G[a, b] of all paths."""
        for p, (l2, l3) in enumerate(self.spec.paths):
            c = coupling(self.spec.l1, l2, l3)
            places = [self.block(p, k, receiver, u) for k in range(2 * l3 + 1)]
            g = [self.load(place) for (place,) in places]
            for (a, b), index in self.pairs[p].items():
                terms = [g[k] * float(c[a, b, k]) for k in np.flatnonzero(c[a, b])]
                self.f.store(sum_of(terms), self._contracted(index))

    def _contracted(self, index: int) -> Value:
        """Address of an entry of G, in front of the edge scratch."""
        return self.f.at(self.arg["scratch"], index * self.spec.lanes)

    def _add_edge(self, edge: Edge) -> None:
        dx, dr = [self._zero() for _ in edge.x], self._zero().value
        for l2 in range(self.spec.l_max + 1):
            dy = [self._zero() for _ in range(2 * l2 + 1)]
            for p, (degree, _) in enumerate(self.spec.paths):
                if degree == l2:
                    dr.add(self.slope(p, edge) * self._add_path(p, edge, dx, dy))
            if l2 > 0:  # Y_0 is constant
                for b, total in enumerate(dy):
                    self.add(total.value.get(), self._lane_sum(edge.column, l2 * l2 - 1 + b))
        if self.spec.wants_dx:
            places = self.component_places("dx", edge.x_offset)
            for total, place in zip(dx, places, strict=True):
                self.add(total.value.get(), place)
        self.add(dr.get(), self._lane_sum(edge.column, self.n_slopes))

    def _add_path(self, p: int, edge: Edge, dx: list[DualSum], dy: list[DualSum]) -> Value:
        """Add to dx and dy; returns dW."""
        w, y, dw = self.weight(p, edge), self._harmonics(self.spec.paths[p][0], edge), self._zero()
        for a, x in enumerate(edge.x):
            g = {
                b: Dual(self.load(self._contracted(self.pairs[p][a, b])))
                for b in range(len(y))
                if (a, b) in self.pairs[p]
            }
            wx, t = w * x, dot([(g_b, y[b]) for b, g_b in g.items()])
            for b, g_b in g.items():
                dy[b].add(wx, g_b)
            dw.add(x, t)
            dx[a].add(w, t)
        return dw.value.get()

    def _harmonics(self, l2: int, edge: Edge) -> list[Dual]:
        """Y_b of an edge, scalars."""
        if l2 == 0:
            return [Dual(1.0)]
        return [self.kept(l2 * l2 - 1 + b, edge.column) for b in range(2 * l2 + 1)]

    def _zero(self) -> DualSum:
        return DualSum(self.f, self.spec.lanes, has_change=False)

    # -- dE/dY and dE/dr of the edges ----------------------------------------------------------

    def _lane_sum(self, e: Value, index: int) -> Value:
        """Address of a vector of partial sums of edge e, dE/dY and dE/dr along the edge; behind the
        rows of the scratch."""
        behind = self.arg["scratch_stride"] * self.n_rows + self.reserved
        place = (e * (self.n_slopes + 1) + index) * self.spec.lanes
        return self.f.at(self.arg["scratch"], behind + place)

    def begin_edges(self, n_edges: Value) -> None:
        """Clear the sums of whole vectors of edges: those beyond the last will add zero."""
        lanes = self.spec.edge_lanes
        whole = self.f.emit(f"and i64 {(n_edges + (lanes - 1)).name}, {-lanes}", "i64")
        zero = self.f.constant(0.0, "real", self.spec.lanes)
        with self.f.loop(0, whole) as e:
            for index in range(self.n_slopes + 1):
                self.f.store(zero, self._lane_sum(e, index))

    def end_edges(self, n_edges: Value) -> None:
        with self.f.loop(0, n_edges, self.spec.edge_lanes) as e:
            self._edge_gradients(e)

    def _edge_gradients(self, e: Value) -> None:
        """Add to dE/dr [3, edges] of a vector of edges.

        dY(n)/dr = (grad Y - n (n . grad Y)) / r, and the radial part along n.
        """
        r, n = self.directions(e)
        radial = self._summed(e, self.n_slopes)
        across = [self.f.constant(0.0, "real", r.lanes)] * 3
        if self.spec.l_max > 0:  # else no direction enters
            inverse = 1.0 / r
            s = self._by_direction(n, e)
            radial = radial - (n[0] * s[0] + n[1] * s[1] + n[2] * s[2]) * inverse
            across = [component * inverse for component in s]
        for axis in range(3):
            index = self.arg["edge_stride"] * axis + self.start + e
            self.add(across[axis] + n[axis] * radial, self.f.at(self.arg["dvectors"], index))

    def _by_direction(self, n: list[Value], e: Value) -> list[Value]:
        """sum_b dY_b grad Y_b, the gradient of the polynomials."""
        dy = [self._summed(e, index) for index in range(self.n_slopes)]
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
