"""The reverse of a jvp, jvp_vjp: gradients of features, of their tangents and of pair weights.

With h and g the gradients of changes and of values, the formulas of a vjp hold for numbers with
their change: (h, g) for g, and (W, n . t dW/dr), (x, dx), (M, dM) as in a jvp,

    t_a = sum_k M[a, k] (h, g)_k     W t_a     sum_a x_a t_a

give the gradients of changes as values, those of values as changes.
"""

from fastequi.kernels.cpu.dual import Dual, DualSum, dot
from fastequi.kernels.cpu.matrices import MatrixPrinter
from fastequi.kernels.cpu.printer import Edge
from fastequi.kernels.llvm.ir import Value

#: (path, component of its output) -> gradients.
_Gradients = dict[tuple[int, int], Dual]


class ReversePrinter(MatrixPrinter):
    """The kernel of a jvp_vjp.

    M meets the gradients edge by edge. Contracting C with them once per receiver, as a vjp does,
    saves nothing here, where no gradient of Y is wanted: a vjp's body on dual numbers took 1.02 to
    1.1 of the time (Xeon, AVX-512), processes differing by 4 %.
    """

    def channels(self, receiver: Value, edges: tuple[Value, ...], u: Value) -> None:
        gradients: _Gradients = {}
        for p, (_, l3) in enumerate(self.spec.paths):
            for k in range(2 * l3 + 1):
                g, h = (self.load(place) for place in self.block(p, k, receiver, u))
                gradients[p, k] = Dual(h, g)
        with self.f.loop(*edges) as e:
            self._add_edge(self.edge(e, u, range(len(self.spec.paths))), gradients)

    def _add_edge(self, edge: Edge, gradients: _Gradients) -> None:
        dx = [self._zero() for _ in edge.x]
        again = self.integer("accumulate", edge.number)
        for p in range(len(self.spec.paths)):
            by_slope, by_value = self._add_path(p, edge, gradients, dx).parts()
            found = by_value, by_slope * self.rate(edge)
            places = self.weight_places("d_pair_weights", p, edge.row)
            for gradient, place in zip(found, places, strict=True):
                before = self.f.if_nonzero(again, self.load(place))
                self.f.store(before + gradient, place)
        by_tangent, by_value = zip(*(total.parts() for total in dx), strict=True)
        halves = [by_value, *([by_tangent] if self.spec.has_tangents else [])]
        for tangents, half in enumerate(halves):
            places = self.component_places("dx", edge.x_offset, bool(tangents))
            for gradient, place in zip(half, places, strict=True):
                self.add(gradient, place)

    def _add_path(self, p: int, edge: Edge, gradients: _Gradients, dx: list[DualSum]) -> DualSum:
        """Add to dx; returns the gradients by dW and by W."""
        w, m, dw = self.weight(p, edge), self.matrix(p, edge.column), self._zero()
        for a, total in enumerate(dx):
            terms = [(gradients[p, k], value) for (aa, k), value in m.items() if aa == a]
            if terms:
                t = dot(terms)
                total.add(w, t)
                dw.add(t, edge.x[a])
        return dw

    def _zero(self) -> DualSum:
        return DualSum(self.f, self.spec.lanes, has_change=True)
