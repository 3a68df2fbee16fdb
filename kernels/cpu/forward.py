"""Messages, forward and jvp: out_i = sum over edges of W (x . M), with M[a, k] = sum_b C Y_b.

M is computed once per edge, lanes over edges; then, lanes over channels, the edges one by one with
the sums in registers. A jvp is the same on numbers with their change.
"""

import numpy as np

from fastequi.kernels.cpu.dual import Dual, DualSum, dot
from fastequi.kernels.cpu.printer import Edge, Printer
from fastequi.kernels.cpu.spec import KernelSpec, coupling, matrix_rows
from fastequi.kernels.llvm.ir import Value


class ForwardPrinter(Printer):
    """The kernels of forward and jvp."""

    def __init__(self, spec: KernelSpec) -> None:
        self.matrices = matrix_rows(spec.l1, spec.paths)
        rows = [row for of_path in self.matrices for row in of_path.values()]
        super().__init__(spec, own_rows=sum(isinstance(row, int) for row in rows))

    def edge_tables(self, e: Value) -> None:
        """M of all paths."""
        y = self.geometry(e)
        for (l2, l3), rows in zip(self.spec.paths, self.matrices, strict=True):
            c = coupling(self.spec.l1, l2, l3)
            for (a, k), row in rows.items():
                if isinstance(row, int):
                    present = np.flatnonzero(c[a, :, k])
                    self.keep(dot([(y[l2][b], Dual(float(c[a, b, k]))) for b in present]), row, e)

    def channels(self, receiver: Value, edges: tuple[Value, ...], u: Value) -> None:
        """All paths in one loop over the edges, although their sums fill more than the registers.

        Groups of paths whose sums fit, one path each with 16 registers, took 1.2 to 1.5 times as
        long (AVX2): a sum in memory costs a load and a store per edge, another loop 25 instructions
        to find features and weights, and as many to ask for what comes.
        """
        f, spec = self.f, self.spec
        sums = [
            [DualSum(f, spec.lanes, spec.is_dual) for _ in range(2 * l3 + 1)]
            for _, l3 in spec.paths
        ]
        with f.loop(*edges) as e:
            edge = self.edge(e, u)
            for p, components in enumerate(sums):
                self._add_message(p, edge, components)
        for p, components in enumerate(sums):
            for k, total in enumerate(components):
                for part, place in zip(total.parts(), self.block(p, k, receiver, u), strict=True):
                    f.store(part, place)

    def _add_message(self, p: int, edge: Edge, sums: list[DualSum]) -> None:
        w, x, m = self.weight(p, edge), edge.x, self._matrix(p, edge.column)
        if self.d1 <= len(sums):  # fewer products when the weight meets the smaller side
            wx = [w * value for value in x]
            for (a, k), value in m.items():
                sums[k].add(wx[a], value)
            return
        for k, total in enumerate(sums):
            total.add(w, dot([(x[a], value) for (a, kk), value in m.items() if kk == k]))

    def _matrix(self, p: int, e: Value) -> dict[tuple[int, int], Dual]:
        """M[a, k] of path p at edge e, scalars."""
        return {
            key: self.kept(row, e) if isinstance(row, int) else Dual(row)
            for key, row in self.matrices[p].items()
        }
