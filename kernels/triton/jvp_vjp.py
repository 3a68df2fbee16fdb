"""Prints the reverse of the jvp kernel: all that parameter gradients need.

With g the gradient of the messages and h that of their changes (g_t in the print):

    s_a = sum_k M[a,k] h_k                 r_a = sum_k M[a,k] g_k + M[a,k]_t h_k
    dx_a += w r_a + w_t s_a                dx_a_t += w s_a
    dW += sum_a x_a r_a + x_a_t s_a        dW' += (n . t) sum_a x_a s_a
"""

from fastequi.kernels.instructions import Path
from fastequi.kernels.triton.body import Body, along_b, components, products


class JVPVJP(Body):
    title, is_tangent, with_slope = "Reverse of the JVP", True, True

    def parameters(self) -> list[str]:
        halves = ["dx_half"] if self.form.has_tangents else []
        gradients = ["dx", *halves, "d_values", "DETERMINISTIC: tl.constexpr"]
        return [*[f"g{o}" for o in self.outputs], *gradients]

    def before(self) -> list[str]:
        return [
            "    # dE/dout of this receiver and dE/dout_t, per path and component",
            *self.load_gradients(),
            *self.load_gradients("_t"),
        ]

    def edge(self) -> list[str]:
        lines = [
            "target, d_row = row, pair_row",
            "if DETERMINISTIC:  # one row per edge, summed by sender and by pair afterwards",
            "    target, d_row = e, e",
            f"d_weights = d_values + d_row * {2 * self.instructions.n_weights} + u",
        ]
        for p, path in self.paths:
            lines += [*self.weight(p, path), *self._gradient(p, path)]
        lines += ["", *self.add_features()]
        if self.form.has_tangents:
            lines += ["target_t = target + dx_half", *self.add_features("_t")]
        return lines

    def _gradient(self, p: int, path: Path) -> list[str]:
        """Row by row of M, so that few numbers are alive at a time."""
        lines = []
        for a in components(path.l1):
            pairs = [(a, k) for k in components(path.l3) if along_b(path, a, k)]
            definitions, m = self.coupling(path, pairs)
            g, h = [f"g{p}_{k}" for _, k in pairs], [f"g{p}_{k}_t" for _, k in pairs]
            along_g = products(g, m)
            if path.l2:
                more, m_t = self.coupling(path, pairs, "_t")
                definitions += more
                along_g += " + " + products(h, m_t)
            lines += [*definitions, f"s = {products(h, m)}", f"r = {along_g}"]
            lines.append(self.add_to(f"dx{a}", "w * r + w_t * s"))
            moved = f" + x{a}_t * s" if self.form.has_tangents else ""
            lines.append(f"dw = {'dw + ' if a else ''}x{a} * r{moved}")
            lines.append(f"dslope = {'dslope + ' if a else ''}x{a} * s")
            lines += [self.add_to(f"dx{a}_t", "w * s")] if self.form.has_tangents else []
        return [*lines, *self._add_weights(path)]

    def _add_weights(self, path: Path) -> list[str]:
        places = (path.weight_offset, path.weight_offset + self.instructions.n_weights)
        return [
            f"add(d_weights + {place}, {value}, {self.mask}, DETERMINISTIC)"
            for place, value in zip(places, ("dw", "rate * dslope"), strict=True)
        ]
