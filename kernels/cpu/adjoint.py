"""The adjoint of the convolution for CPUs: vjp and jvp_vjp.

With g the gradient of the output of a receiver, every path needs from each edge

    t_a = sum_b Y_b G[a, b]   dx_a += W t_a   dW = sum_a x_a t_a   dY_b += W sum_a x_a G[a, b]

where G[a, b] = sum_k C[a, b, k] g_k belongs to the receiver alone and is computed once for all its
edges: two products per (a, b), where contracting with M as the forward kernel does takes three.

A vjp sums up dE/dY and dW/dr lane by lane, over all channels; then, lanes over edges, they become
dE/dr. A jvp_vjp has (h, g) for g, the gradients of changes and of values, as a number and its
change, and likewise Y with its change along the displacements, x with its tangents, and (dW, rate
dW/dr) for W: the same formulas then give the gradients of changes and of values.
"""

import numpy as np

from fastequi.kernels.cpu.dual import Dual, DualSum, dot, sum_of
from fastequi.kernels.cpu.printer import Edge, Printer, evaluate
from fastequi.kernels.cpu.spec import KernelSpec, coupling
from fastequi.kernels.llvm.ir import Value
from fastequi.kernels.polynomials import derivative, harmonic_polynomials


class AdjointPrinter(Printer):
    """Base of both kernels: G, and what becomes of a path's share of an edge."""

    def __init__(self, spec: KernelSpec) -> None:
        self.pairs: list[dict[tuple[int, int], int]] = []  # of each path, (a, b) -> index of G
        n_pairs = 0
        for l2, l3 in spec.paths:
            found = np.argwhere(np.abs(coupling(spec.l1, l2, l3)).max(axis=2) > 0).tolist()
            self.pairs.append({(a, b): n_pairs + i for i, (a, b) in enumerate(found)})
            n_pairs += len(found)
        self.n_slopes = (spec.l_max + 1) ** 2 - 1  # harmonics that are no constants
        reserved = n_pairs * spec.lanes * (2 if spec.is_dual else 1)
        super().__init__(spec, own_rows=self.n_slopes, reserved=reserved)

    def edge_tables(self, e: Value) -> None:
        """Harmonics."""
        harmonics = [number for of_degree in self.geometry(e)[1:] for number in of_degree]
        for index, number in enumerate(harmonics):
            self.keep(number, index, e)

    def channels(self, receiver: Value, edges: tuple[Value, ...], u: Value) -> None:
        self._contract(receiver, u)
        with self.f.loop(*edges) as e:
            self.adjoint(self.edge(e, u))

    def adjoint(self, edge: Edge) -> None:
        """One edge and vector of channels."""
        raise NotImplementedError

    def contracted(self, p: int, a: int, b: int) -> Dual:
        """G[a, b]."""
        return Dual(*(self.load(place) for place in self._places_of(self.pairs[p][a, b])))

    def _places_of(self, index: int) -> list[Value]:
        """Addresses of an entry of G and its change, in front of the edge scratch."""
        n, lanes = (2 if self.spec.is_dual else 1), self.spec.lanes
        return [self.f.at(self.arg["scratch"], (n * index + i) * lanes) for i in range(n)]

    def _contract(self, receiver: Value, u: Value) -> None:
        """G[a, b] of all paths."""
        for p, (l2, l3) in enumerate(self.spec.paths):
            c = coupling(self.spec.l1, l2, l3)
            # of a jvp_vjp, the gradients of changes, then of values
            places = [self.block(p, k, receiver, u)[::-1] for k in range(2 * l3 + 1)]
            g = [[self.load(place) for place in of_k] for of_k in places]
            for (a, b), index in self.pairs[p].items():
                for i, place in enumerate(self._places_of(index)):
                    terms = [g[k][i] * float(c[a, b, k]) for k in np.flatnonzero(c[a, b])]
                    self.f.store(sum_of(terms), place)

    def harmonics(self, l2: int, e: Value) -> list[Dual]:
        """Y_b of an edge, scalars."""
        if l2 == 0:
            return [Dual(1.0)]
        return [self.kept(l2 * l2 - 1 + b, e) for b in range(2 * l2 + 1)]

    def along(self, p: int, a: int, y: list[Dual]) -> Dual:
        """t_a."""
        present = [b for b in range(len(y)) if (a, b) in self.pairs[p]]
        return dot([(self.contracted(p, a, b), y[b]) for b in present])

    def add_to_features(self, sums: list[DualSum], edge: Edge) -> None:
        """dx; of a jvp_vjp the gradient of tangents is the value, that of values the change."""
        halves = [[total.value for total in sums]]
        if self.spec.is_dual:
            changes = [total.change for total in sums if total.change is not None]
            halves = [changes, *(halves if self.spec.has_tangents else [])]
        for tangents, half in enumerate(halves):
            places = self.component_places("dx", edge.x_offset, bool(tangents))
            for total, place in zip(half, places, strict=True):
                self.add(total.get(), place)

    def zero(self) -> DualSum:
        return DualSum(self.f, self.spec.lanes, self.spec.is_dual)

    def add(self, value: Value, place: Value) -> None:
        self.f.store(self.f.load(place, "real", value.lanes) + value, place)


class ReversePrinter(AdjointPrinter):
    """The kernel of a jvp_vjp."""

    def adjoint(self, edge: Edge) -> None:
        dx = [self.zero() for _ in edge.x]
        again = self.integer("accumulate", edge.number)
        for p, (l2, _) in enumerate(self.spec.paths):
            w, y, dw = self.weight(p, edge), self.harmonics(l2, edge.column), self.zero()
            for a, total in enumerate(dx):
                t = self.along(p, a, y)
                total.add(w, t)
                dw.add(t, edge.x[a])
            by_slope, by_value = dw.parts()
            gradients = by_value, by_slope * self.rate(edge)
            places = self.weight_places("d_pair_weights", p, edge.row)
            for gradient, place in zip(gradients, places, strict=True):
                before = self.f.if_nonzero(again, self.load(place))
                self.f.store(before + gradient, place)
        self.add_to_features(dx, edge)


class VjpPrinter(AdjointPrinter):
    """The kernel of a vjp."""

    @property
    def scratch_reals(self) -> tuple[int, int]:
        """Reals of scratch, and for each edge of the receivers at hand."""
        return self.reserved, self.n_rows + (self.n_slopes + 1) * self.spec.lanes

    def adjoint(self, edge: Edge) -> None:
        dx, dr = [self.zero() for _ in edge.x], self.zero().value
        for l2 in range(self.spec.l_max + 1):
            dy = [self.zero() for _ in range(2 * l2 + 1)]
            for p, (degree, _) in enumerate(self.spec.paths):
                if degree == l2:
                    dr.add(self.slope(p, edge) * self._add_path(p, edge, dx, dy))
            if l2 > 0:  # Y_0 is constant
                for b, total in enumerate(dy):
                    self.add(total.value.get(), self._lane_sum(edge.column, l2 * l2 - 1 + b))
        if self.spec.wants_dx:
            self.add_to_features(dx, edge)
        self.add(dr.get(), self._lane_sum(edge.column, self.n_slopes))

    def _add_path(self, p: int, edge: Edge, dx: list[DualSum], dy: list[DualSum]) -> Value:
        """Add to dx and dy; returns dW."""
        w, y, dw = (
            self.weight(p, edge),
            self.harmonics(self.spec.paths[p][0], edge.column),
            self.zero(),
        )
        for a, x in enumerate(edge.x):
            wx, t = w * x, self.along(p, a, y)
            for b, total in enumerate(dy):
                if (a, b) in self.pairs[p]:
                    total.add(wx, self.contracted(p, a, b))
            dw.add(x, t)
            dx[a].add(w, t)
        return dw.value.get()

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
