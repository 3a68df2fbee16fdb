"""Prints the vjp kernel: the gradients of features and of the edge's vector.

    s_a = sum_k M[a,k] g_k      dx_a += w s_a      dw = sum_a x_a s_a      dr += W' dw
    dY_b += w sum_(a,k) C[a,b,k] x_a g_k

then dY goes back through the harmonics: three numbers per edge leave the kernel.
"""

from fastequi.kernels.instructions import Path
from fastequi.kernels.triton.body import Body, along_b, components, indent, products
from fastequi.kernels.triton.harmonics import component, print_vector_gradient


class VJP(Body):
    title, is_tangent, with_slope = "VJP", False, True

    def parameters(self) -> list[str]:
        flags = [f"{name}: tl.constexpr" for name in ("NEEDS_DX", "DETERMINISTIC")]
        return [*[f"g{o}" for o in self.outputs], "dx", "dvectors", "slot", "n_slots", *flags]

    def before(self) -> list[str]:
        return ["    # dE/dout of this receiver, per path and component", *self.load_gradients()]

    def edge(self) -> list[str]:
        lines = []
        for p, path in self.paths:
            lines += [*self.weight(p, path), *self._gradient(p, path)]
        return [*lines, "", *self._store_dx(), *self._store_dvectors()]

    def _gradient(self, p: int, path: Path) -> list[str]:
        """Row by row of M, so that few numbers are alive at a time."""
        lines = []
        for a in components(path.l1):
            pairs = [(a, k) for k in components(path.l3) if along_b(path, a, k)]
            definitions, m = self.coupling(path, pairs)
            lines += [*definitions, f"s = {products([f'g{p}_{k}' for _, k in pairs], m)}"]
            lines.append(f"dw = dw + x{a} * s" if a else f"dw = x{a} * s")
            lines += ["if NEEDS_DX:", f"    {self.add_to(f'dx{a}', 'w * s')}"]
            lines += self._harmonic_gradient(p, path, a) if path.l2 else []
        return [*lines, self.add_to("dradial", "slope * dw")]

    def _harmonic_gradient(self, p: int, path: Path, a: int) -> list[str]:
        """dY_b += w x_a sum_k C g_k; the products w x_a g_k are shared by all b."""
        c = path.coefficients[a]
        columns = [int(k) for k in c.any(axis=0).nonzero()[0]]
        lines = [f"wx = w * x{a}"]
        lines += [f"t{k} = wx * g{p}_{k}" for k in columns]
        for b in components(path.l2):
            terms = [(float(c[b, k]), f"t{k}") for k in columns if c[b, k]]
            if terms:
                lines.append(self.add_linear(f"d{component(path.l2, b)}", terms))
        return lines

    def _store_dx(self) -> list[str]:
        return [
            "if NEEDS_DX:",
            "    target = row",
            "    if DETERMINISTIC:  # one row per edge, summed by sender afterwards",
            "        target = e",
            *indent(self.add_features()),
        ]

    def _store_dvectors(self) -> list[str]:
        turning = print_vector_gradient(self.degrees) if self.degrees != [0] else []
        return [
            *turning,
            f"dlength = {self.source.dlength}",
            *[f"f{axis} {'+=' if turning else '='} u{axis} * dlength" for axis in "xyz"],
            "own = e",
            "if DETERMINISTIC:  # each block of channels has its own slot, summed afterwards",
            f"    own = e * n_slots + slot + {self.part}",
            *[
                f"add(dvectors + own * 3 + {i}, tl.sum(f{axis}), None, DETERMINISTIC)"
                for i, axis in enumerate("xyz")
            ],
        ]
