"""Prints the jvp kernel: messages, and their change along displacements of edges and features.

    out_k   += w sum_a x_a M[a,k]
    out_k_t += w sum_a (x_a_t M[a,k] + x_a M[a,k]_t) + w_t sum_a x_a M[a,k]        w_t = (n . t) W'

Features stand in memory as values, then changes, `x_half` rows behind; messages likewise.
"""

from fastequi.kernels.instructions import Path
from fastequi.kernels.triton.body import Body, along_b, components, products

#: Of names: values, and changes.
HALVES = ("", "_t")


class JVP(Body):
    title, is_tangent, with_slope = "JVP", True, True

    def parameters(self) -> list[str]:
        return [f"out{o}" for o in self.outputs]

    def before(self) -> list[str]:
        zero = f"tl.zeros(({self.block},), x.dtype.element_ty)"
        return [
            "    # sums over the edges, per path and component",
            *[
                f"    sum{p}_{k}{half} = {zero}"
                for p, path in self.paths
                for k in components(path.l3)
                for half in HALVES
            ],
        ]

    def edge(self) -> list[str]:
        lines = []
        for p, path in self.paths:
            early = path.l1 <= path.l3
            lines += self.weight(p, path)
            lines += self._weight_first(p, path) if early else self._weight_last(p, path)
        return lines

    def _couplings(
        self, path: Path, k: int
    ) -> tuple[list[str], list[int], list[str], list[str] | None]:
        """Lines; which a couple to k; M[a,k] of these, and their changes where l2 > 0."""
        rows = [a for a in components(path.l1) if along_b(path, a, k)]
        lines, m = self.coupling(path, [(a, k) for a in rows])
        if path.l2 == 0:
            return lines, rows, m, None
        more, m_t = self.coupling(path, [(a, k) for a in rows], "_t")
        return lines + more, rows, m, m_t

    def _weight_first(self, p: int, path: Path) -> list[str]:
        """From w x: fewer products when the input is smaller."""
        lines = [f"wx{a} = w * x{a}" for a in components(path.l1)]
        moved = "w * x{a}_t + w_t * x{a}" if self.form.has_tangents else "w_t * x{a}"
        lines += [f"wx{a}_t = {moved.format(a=a)}" for a in components(path.l1)]
        for k in components(path.l3):
            definitions, rows, m, m_t = self._couplings(path, k)
            terms = products([f"wx{a}_t" for a in rows], m)
            if m_t is not None:
                terms += " + " + products([f"wx{a}" for a in rows], m_t)
            lines += [
                *definitions,
                f"sum{p}_{k} = sum{p}_{k} + {products([f'wx{a}' for a in rows], m)}",
                f"sum{p}_{k}_t = sum{p}_{k}_t + {terms}",
            ]
        return lines

    def _weight_last(self, p: int, path: Path) -> list[str]:
        """w times the messages: fewer products when the output is smaller."""
        lines = []
        for k in components(path.l3):
            definitions, rows, m, m_t = self._couplings(path, k)
            terms = [products([f"x{a}_t" for a in rows], m)] if self.form.has_tangents else []
            terms += [products([f"x{a}" for a in rows], m_t)] if m_t is not None else []
            lines += [
                *definitions,
                f"s = {products([f'x{a}' for a in rows], m)}",
                f"sum{p}_{k} = sum{p}_{k} + w * s",
                f"sum{p}_{k}_t = sum{p}_{k}_t + w_t * s",
            ]
            if terms:
                lines.append(f"sum{p}_{k}_t = sum{p}_{k}_t + w * ({' + '.join(terms)})")
        return lines

    def after(self) -> list[str]:
        return [
            f"    tl.store({self.out_address('out', path, k, half)}, sum{p}_{k}{half}"
            f"{self.masked()})"
            for half in HALVES
            for p, path in self.paths
            for k in components(path.l3)
        ]
