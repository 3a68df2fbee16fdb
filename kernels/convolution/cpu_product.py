"""Matrix products for CPUs, printed as LLVM IR: c = a @ b for the rows of some receivers.

Small enough to stay in the cache with the convolution that made `a` or that reads `c`. A tile of
rows and columns is summed up in registers; the columns are spread over lanes.
"""

from dataclasses import dataclass

from fastequi.kernels.llvm.ir import Function, Value, Variable

#: Slots of the argument array, all 64-bit. Each receiver has `components` rows; strides are between
#: rows, in reals; a matrix that is local begins with the first receiver of the call.
ARGUMENTS = (
    "a", "b", "c", "components", "depth", "a_stride", "b_stride", "c_stride", "a_local", "c_local",
)  # fmt: skip
_POINTERS = ("a", "b", "c")
#: Rows of a tile, a power of two.
ROWS = 8


@dataclass(frozen=True, slots=True)
class ProductSpec:
    """What the code depends on: `vectors` of so many lanes are the columns of a tile."""

    real: str
    lanes: int
    vectors: int

    @property
    def name(self) -> str:
        return f"product_{self.real}{self.lanes}x{self.vectors}"


def print_product(spec: ProductSpec) -> str:
    """void name(first receiver, end, first column, end, arguments)."""
    return _Printer(spec).text()


class _Printer:
    def __init__(self, spec: ProductSpec) -> None:
        self.spec = spec
        names = [("begin", "i64"), ("end", "i64"), ("u_begin", "i64"), ("u_end", "i64")]
        self.f = Function(spec.name, spec.real, [*names, ("arguments", "ptr")])
        self.arg = {
            name: self.f.load(
                self.f.at(self.f.parameters[4], i, "i64"), "ptr" if name in _POINTERS else "i64"
            )
            for i, name in enumerate(ARGUMENTS)
        }

    def text(self) -> str:
        f = self.f
        begin, end, u_begin, u_end, _ = f.parameters
        self.a, self.c = self._first_row("a"), self._first_row("c")
        n_rows = (end - begin) * self.arg["components"]
        whole = f.emit(f"and i64 {n_rows.name}, {-ROWS}", "i64")
        with f.loop(u_begin, u_end, self.spec.lanes * self.spec.vectors) as u:
            with f.loop(0, whole, ROWS) as row:
                self._tile(row, ROWS, u)
            with f.loop(whole, n_rows) as row:
                self._tile(row, 1, u)
        return f.text()

    def _first_row(self, name: str) -> Value:
        begin, *_ = self.f.parameters
        row = (begin - begin * self.arg[f"{name}_local"]) * self.arg["components"]
        return self.f.at(self.arg[name], row * self.arg[f"{name}_stride"])

    def _tile(self, row: Value, n_rows: int, u: Value) -> None:
        f, lanes, rows = self.f, self.spec.lanes, range(n_rows)
        columns = [u + v * lanes for v in range(self.spec.vectors)]
        zero = f.constant(0.0, "real", lanes)
        sums = [[Variable(f, zero) for _ in columns] for _ in rows]
        a_rows = [f.at(self.a, (row + r) * self.arg["a_stride"]) for r in rows]
        with f.loop(0, self.arg["depth"]) as k:
            b_row = f.at(self.arg["b"], k * self.arg["b_stride"])
            b = [f.load(f.at(b_row, column), "real", lanes) for column in columns]
            for r in rows:
                value = f.load(f.at(a_rows[r], k))
                for total, vector in zip(sums[r], b, strict=True):
                    total.add(vector * value)
        for r in rows:
            c_row = f.at(self.c, (row + r) * self.arg["c_stride"])
            for total, column in zip(sums[r], columns, strict=True):
                f.store(total.get(), f.at(c_row, column))
