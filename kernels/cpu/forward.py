"""Messages, forward and jvp: out_i = sum over edges of W (x . M), with M[a, k] = sum_b C Y_b.

M is computed once per edge, lanes over edges; then, lanes over channels, the edges one by one with
the sums in registers. A jvp is the same on numbers with their change.
"""

from collections.abc import Sequence

from fastequi.kernels.cpu.dual import DualSum, dot
from fastequi.kernels.cpu.matrices import MatrixPrinter
from fastequi.kernels.cpu.printer import Edge
from fastequi.kernels.llvm.ir import Value


class ForwardPrinter(MatrixPrinter):
    """The kernels of forward and jvp."""

    def channels(self, receiver: Value, edges: tuple[Value, ...], u: Value) -> None:
        for paths in self._groups():
            self._sum(paths, receiver, edges, u)

    def _groups(self) -> list[list[int]]:
        """Consecutive paths with up to 20 sums and changes, but at least one.

        With up to 12 or 24, a jvp took 1.02 to 1.09 of the time, with 48 or all paths in one loop
        1.14 to 1.4 (Xeon, AVX-512); with vectors of 32 bytes 12 and 24 are alike. Forward, all
        paths are in one loop, although their sums fill more than the registers: groups whose sums
        fit, one path each with 16 registers, took 1.2 to 1.5 times as long (AVX2). A sum in memory
        costs a load and a store per edge, another loop 25 instructions to find features and
        weights, and as many to ask for what comes.
        """
        if not self.spec.is_dual:
            return [[*range(len(self.spec.paths))]]
        groups: list[list[int]] = [[]]
        n_sums = 0
        for p, (_, l3) in enumerate(self.spec.paths):
            n_sums += 2 * (2 * l3 + 1)
            if groups[-1] and n_sums > 20:
                groups.append([])
                n_sums = 2 * (2 * l3 + 1)
            groups[-1].append(p)
        return groups

    def _sum(
        self, paths: Sequence[int], receiver: Value, edges: tuple[Value, ...], u: Value
    ) -> None:
        """The messages of some paths, with their sums in registers as far as there are so many."""
        f, spec = self.f, self.spec
        sums = {
            (p, k): DualSum(f, spec.lanes, spec.is_dual)
            for p in paths
            for k in range(2 * spec.paths[p][1] + 1)
        }
        with f.loop(*edges) as e:
            edge = self.edge(e, u, paths)
            for p in paths:
                self._add_message(p, edge, [sums[p, k] for k in range(2 * spec.paths[p][1] + 1)])
        for (p, k), total in sums.items():
            for part, place in zip(total.parts(), self.block(p, k, receiver, u), strict=True):
                f.store(part, place)

    def _add_message(self, p: int, edge: Edge, sums: list[DualSum]) -> None:
        w, x, m = self.weight(p, edge), edge.x, self.matrix(p, edge.column)
        if self.d1 <= len(sums):  # fewer products when the weight meets the smaller side
            wx = [w * value for value in x]
            for (a, k), value in m.items():
                sums[k].add(wx[a], value)
            return
        for k, total in enumerate(sums):
            total.add(w, dot([(x[a], value) for (a, kk), value in m.items() if kk == k]))
