"""The convolution for CPUs: out_i = sum over edges of W (x . M), with M[a, k] = sum_b C Y_b.

One kernel serves one input irrep: all paths (l2, l3) that leave it. It depends on their degrees
alone; channel counts, strides and offsets are arguments, so that layers and models share kernels.
M is computed once per edge, lanes over edges; then, lanes over channels, the edges one by one with
the sums in registers. Nothing per edge outlives its receiver.
"""

from functools import cache

import numpy as np

from fastequi.kernels.cpu.adjoint import AdjointPrinter
from fastequi.kernels.cpu.printer import (
    KernelSpec,
    Printer,
    coupling,
    matrix_slots,
    sum_of,
)
from fastequi.kernels.llvm.ir import Number, Value, Variable


@cache
def print_kernel(spec: KernelSpec) -> str:
    """The LLVM IR of a kernel: void name(first receiver, end, first channel, end, arguments)."""
    return _printer(spec).text()


@cache
def _printer(spec: KernelSpec) -> "AdjointPrinter | _ForwardPrinter":
    return AdjointPrinter(spec) if spec.operation == "vjp" else _ForwardPrinter(spec)


def scratch_size(spec: KernelSpec, stride: int) -> int:
    """Reals of scratch that a kernel needs for receivers with up to `stride` edges."""
    return _printer(spec).scratch_size(stride)


class _ForwardPrinter(Printer):
    def __init__(self, spec: KernelSpec) -> None:
        self.slots = matrix_slots(spec.l1, spec.paths)
        slots = [slot for of_path in self.slots for slot in of_path.values()]
        super().__init__(spec, own_rows=sum(isinstance(slot, int) for slot in slots))

    def text(self) -> str:
        f = self.f
        begin, end, u_begin, u_end, _ = f.parameters
        with f.loop(begin, end) as receiver:
            start, degree = self.edges_of(receiver)
            self._edge_tables(start, degree)
            with f.loop(u_begin, u_end, self.spec.lanes) as u:
                self._forward(receiver, start, degree, u)
        return f.text()

    def _edge_tables(self, start: Value, degree: Value) -> None:
        """M of all paths, lanes over edges."""
        with self.f.loop(0, degree, self.spec.edge_lanes) as e:
            y = self.geometry(start, e)
            for (l2, l3), slots in zip(self.spec.paths, self.slots, strict=True):
                c = coupling(self.spec.l1, l2, l3)
                for (a, k), slot in slots.items():
                    if isinstance(slot, int):
                        terms = [y[l2][b] * float(c[a, b, k]) for b in np.flatnonzero(c[a, :, k])]
                        self.f.store(sum_of(terms), self.own_row(slot, e))

    def _forward(self, receiver: Value, start: Value, degree: Value, u: Value) -> None:
        """All paths in one loop over the edges, although their sums fill more than the registers.

        Groups of paths whose sums fit, one path each with 16 registers, took 1.2 to 1.5 times as
        long (AVX2): a sum in memory costs a load and a store per edge, another loop 25 instructions
        to find features and weights, and as many to ask for what comes.
        """
        f = self.f
        zero = f.constant(0.0, "real", self.spec.lanes)
        sums = [[Variable(f, zero) for _ in range(2 * l3 + 1)] for _, l3 in self.spec.paths]
        with f.loop(0, degree) as e:
            x = self.edge(start, e, u)
            for p, components in enumerate(sums):
                self._add_message(p, e, x, components)
        for p, components in enumerate(sums):
            for k, total in enumerate(components):
                f.store(total.get(), self.block(p, k, receiver, u))

    def _add_message(self, p: int, e: Value, x: list[Value], sums: list[Variable]) -> None:
        w, _ = self.weights(p, e, False)
        m = self._matrix(p, e)
        if self.d1 <= len(sums):  # fewer products when the weight meets the smaller side
            wx = [w * value for value in x]
            for (a, k), value in m.items():
                sums[k].add(wx[a] * value)
            return
        for k, total in enumerate(sums):
            terms = [x[a] * value for (a, kk), value in m.items() if kk == k]
            total.add(w * sum_of(terms))

    def _matrix(self, p: int, e: Value) -> dict[tuple[int, int], Number]:
        """M[a, k] of path p at edge e, scalars."""
        return {
            key: self.f.load(self.own_row(slot, e)) if isinstance(slot, int) else slot
            for key, slot in self.slots[p].items()
        }
