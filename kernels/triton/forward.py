"""Prints the forward kernel: out_k += w * sum_a x_a M[a,k], sums in registers, stored once."""

from fastequi.kernels.instructions import Path
from fastequi.kernels.triton.body import Body, along_b, components, products


class Forward(Body):
    title, is_tangent, with_slope = "Forward", False, False

    def parameters(self) -> list[str]:
        return [f"out{o}" for o in self.outputs]

    def before(self) -> list[str]:
        zero = f"tl.zeros(({self.block},), x.dtype.element_ty)"
        sums = [f"    sum{p}_{k} = {zero}" for p, path in self.paths for k in components(path.l3)]
        return ["    # sums over the edges, per path and component", *sums]

    def edge(self) -> list[str]:
        lines = []
        for p, path in self.paths:
            lines += [*self.weight(p, path), *self._message(p, path)]
        return lines

    def _message(self, p: int, path: Path) -> list[str]:
        """Component by component; the weight multiplies the smaller of x and the sum."""
        early = path.l1 <= path.l3
        lines = [f"wx{a} = w * x{a}" for a in components(path.l1)] if early else []
        for k in components(path.l3):
            pairs = [(a, k) for a in components(path.l1) if along_b(path, a, k)]
            definitions, m = self.coupling(path, pairs)
            terms = products([f"wx{a}" if early else f"x{a}" for a, _ in pairs], m)
            total = f"sum{p}_{k} + {terms}" if early else f"sum{p}_{k} + w * ({terms})"
            lines += [*definitions, f"sum{p}_{k} = {total}"]
        return lines

    def after(self) -> list[str]:
        return [
            f"    tl.store({self.out_address('out', path, k)}, sum{p}_{k}{self.masked()})"
            for p, path in self.paths
            for k in components(path.l3)
        ]
