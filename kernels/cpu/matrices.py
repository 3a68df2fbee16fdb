"""M[a, k] = sum_b C[a, b, k] Y_b of an edge, shared by all its channels."""

from functools import cache
from math import sqrt

import numpy as np

from fastequi.irreps import wigner_3j
from fastequi.kernels.cpu.dual import Dual, dot
from fastequi.kernels.cpu.printer import Printer
from fastequi.kernels.cpu.spec import KernelSpec
from fastequi.kernels.llvm.ir import Value


def coupling(l1: int, l2: int, l3: int) -> np.ndarray:
    """C[a, b, k]."""
    return sqrt(2 * l3 + 1) * wigner_3j(l1, l2, l3)


@cache
def matrix_rows(
    l1: int, paths: tuple[tuple[int, int], ...]
) -> tuple[dict[tuple[int, int], int | float], ...]:
    """Per path, (a, k) -> row of the scratch that holds M[a, k], or the constant that it is: Y_0 is
    1, so that paths with l2 = 0 have constants."""
    row, result = 0, []
    for l2, l3 in paths:
        c = coupling(l1, l2, l3)
        rows: dict[tuple[int, int], int | float] = {}
        for a, k in np.argwhere(np.abs(c).max(axis=1) > 0).tolist():
            if l2 == 0:
                rows[a, k] = float(c[a, 0, k])
            else:
                rows[a, k] = row
                row += 1
        result.append(rows)
    return tuple(result)


class MatrixPrinter(Printer):
    """Base of the kernels that keep M of every edge, lanes over edges."""

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

    def matrix(self, p: int, e: Value) -> dict[tuple[int, int], Dual]:
        """M[a, k] of path p at edge e, scalars."""
        return {
            key: self.kept(row, e) if isinstance(row, int) else Dual(row)
            for key, row in self.matrices[p].items()
        }
