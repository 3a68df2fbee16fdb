"""The norm over all irreps (RMSNorm in fastequi/model/gate.py) on the CPU, in the four operations.

Of an atom, with blocks y of 2l+1 components, weights w, c = 1 / (irreps (2l+1)²), a dot for the
change along a tangent, and sums over all that the atom has,

    i = (sum c y² + eps)^(-1/2),    i. = -i³ q,    q = sum c y y.
    forward   x = w y i
    jvp       x. = w (y. i + y i.)
    vjp       gy = g w i - i³ (sum g w y) c y
    jvp_vjp   with p = sum g w y + h w y.,  r = sum h w y:
              hy = h w i - i³ r c y
              gy = g w i + h w i. - i³ p c y + r c (3 i⁵ q y - i³ y.)
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fastequi.kernels.llvm import threads
from fastequi.kernels.llvm.arguments import REALS, Arguments, Named
from fastequi.kernels.llvm.compiler import Kernel
from fastequi.kernels.llvm.ir import Function, Value, Variable
from fastequi.kernels.llvm.plan import Plan, PlannedCall
from fastequi.kernels.llvm.target import lanes_of

Pass = Literal["forward", "jvp", "vjp", "jvp_vjp"]

#: What each pass reads and writes of a block [atoms, 2l+1, channels]; w is [2l+1, channels].
TENSORS: dict[Pass, tuple[str, ...]] = {
    "forward": ("y", "w", "x"),
    "jvp": ("y", "dy", "w", "x"),
    "vjp": ("y", "w", "g", "gy"),
    "jvp_vjp": ("y", "dy", "w", "g", "h", "gy", "hy"),
}


def run(name: Pass, epsilon: float, tensors: Mapping[str, Sequence[Tensor]]) -> None:
    """One pass; blocks by the names above."""
    shapes = tuple((block.shape[-2], block.shape[-1]) for block in tensors["y"])
    one = tensors["y"][0]
    n_atoms, shares = len(one), threads.n_threads()
    values: dict[str, Tensor | int] = {f"cut{k}": n_atoms * k // shares for k in range(shares + 1)}
    for kind, blocks in tensors.items():
        assert all(block.is_contiguous() for block in blocks)
        values |= {f"{kind}{b}": block for b, block in enumerate(blocks)}
    _plan(NormSpec(name, shapes, one.dtype, epsilon), shares).run(values)


@functools.cache
def _plan(spec: "NormSpec", shares: int) -> Plan:
    def call(share: int) -> PlannedCall:
        atoms = Named(f"cut{share}"), Named(f"cut{share + 1}")
        return PlannedCall(_compiled(spec), (*atoms, 0, 0), {n: Named(n) for n in spec.names})

    return Plan([[call(share)] for share in range(shares)])


@dataclass(frozen=True, slots=True)
class NormSpec:
    """What the code depends on; shapes are components and channels of each block."""

    of: Pass
    shapes: tuple[tuple[int, int], ...]
    dtype: torch.dtype
    epsilon: float

    @property
    def names(self) -> list[str]:
        return [f"{kind}{b}" for kind in TENSORS[self.of] for b in range(len(self.shapes))]

    @property
    def arguments(self) -> Arguments:
        return Arguments(self.dtype, dict.fromkeys(self.names, "reals"))

    @property
    def name(self) -> str:
        blocks = "_".join(f"{components}x{channels}" for components, channels in self.shapes)
        return f"norm_{self.of}_{blocks}_{REALS[self.dtype]}"


@functools.cache
def _compiled(spec: NormSpec) -> Kernel:
    return Kernel(spec.name, _Printer(spec).text(), 4, spec.arguments)


@dataclass(frozen=True)
class _Columns:
    """Numbers begin:end of an atom's block, so many at a time."""

    block: int
    begin: int
    end: int
    lanes: int
    weight: float


class _Printer:
    """void name(first atom, end, 0, 0, arguments)."""

    def __init__(self, spec: NormSpec) -> None:
        self.spec = spec
        names = [(name, "i64") for name in ("begin", "end", "unused", "unused_too")]
        self.f = Function(spec.name, REALS[spec.dtype], [*names, ("arguments", "ptr")])
        self.arg = spec.arguments.load(self.f)

    def text(self) -> str:
        with self.f.loop(*self.f.parameters[:2]) as self.atom:
            getattr(self, f"_{self.spec.of}")()
        return self.f.text()

    def _forward(self) -> None:
        (squares,) = self._sums(lambda s: [s["cy"] * s["y"]])
        i = self._inverse(squares)
        self._each(lambda s: {"x": s["w"] * s["y"] * i})

    def _jvp(self) -> None:
        squares, q = self._sums(lambda s: [s["cy"] * s["y"], s["cy"] * s["dy"]])
        i = self._inverse(squares)
        di = -(i * i * i * q)
        self._each(lambda s: {"x": s["w"] * (s["dy"] * i + s["y"] * di)})

    def _vjp(self) -> None:
        squares, p = self._sums(lambda s: [s["cy"] * s["y"], s["g"] * s["w"] * s["y"]])
        i = self._inverse(squares)
        p = i * i * i * p
        self._each(lambda s: {"gy": s["g"] * s["w"] * i - s["cy"] * p})

    def _jvp_vjp(self) -> None:
        squares, q, p, r = self._sums(
            lambda s: [
                s["cy"] * s["y"], s["cy"] * s["dy"],
                s["g"] * s["w"] * s["y"] + s["h"] * s["w"] * s["dy"], s["h"] * s["w"] * s["y"],
            ]
        )  # fmt: skip
        i = self._inverse(squares)
        cubed = i * i * i
        di, p, r = -(cubed * q), cubed * p, cubed * r
        rq = 3.0 * (i * i * q) * r  # r has i³ already

        def gradients(s: "_At") -> dict[str, Value]:
            direct = s["g"] * s["w"] * i + s["h"] * s["w"] * di
            return {
                "hy": s["h"] * s["w"] * i - s["cy"] * r,
                "gy": direct + s["cy"] * (rq - p) - s["cdy"] * r,
            }

        self._each(gradients)

    # -- words ---------------------------------------------------------------------------------

    def _inverse(self, squares: Value) -> Value:
        return 1.0 / self.f.sqrt(squares + self.spec.epsilon)

    def _sums(self, terms: Callable[["_At"], list[Value]]) -> list[Value]:
        """Of several terms, over all that the atom has."""
        f = self.f
        n = {"forward": 1, "jvp": 2, "vjp": 2, "jvp_vjp": 4}[self.spec.of]
        totals = [Variable(f, f.constant(0.0)) for _ in range(n)]
        for columns in self._columns():
            parts = [Variable(f, f.constant(0.0, "real", columns.lanes)) for _ in range(n)]
            with f.loop(columns.begin, f.constant(columns.end, "i64"), columns.lanes) as u:
                for part, term in zip(parts, terms(_At(self, columns, u)), strict=True):
                    part.add(term)
            for total, part in zip(totals, parts, strict=True):
                total.add(self._sum_of_lanes(part.get()))
        return [total.get() for total in totals]

    def _each(self, results: Callable[["_At"], dict[str, Value]]) -> None:
        """Store what follows for every number of the atom."""
        for columns in self._columns():
            with self.f.loop(
                columns.begin, self.f.constant(columns.end, "i64"), columns.lanes
            ) as u:
                at = _At(self, columns, u)
                for name, value in results(at).items():
                    self.f.store(value, at.place(name))

    def _columns(self) -> Iterator[_Columns]:
        for b, (components, channels) in enumerate(self.spec.shapes):
            weight = 1.0 / (len(self.spec.shapes) * components**2)
            begin, width, lanes = 0, components * channels, lanes_of(self.spec.dtype)
            while begin < width:
                end = begin + (width - begin) // lanes * lanes
                if end > begin:
                    yield _Columns(b, begin, end, lanes, weight)
                begin, lanes = end, lanes // 2

    def _sum_of_lanes(self, vector: Value) -> Value:
        f = self.f
        while vector.lanes > 2:
            half = vector.lanes // 2
            low, high = list(range(half)), list(range(half, vector.lanes))
            vector = f.shuffle(vector, vector, low) + f.shuffle(vector, vector, high)
        if vector.lanes == 1:
            return vector
        first, second = (
            f.emit(f"extractelement {vector.type} {vector.name}, i64 {k}", "real") for k in (0, 1)
        )
        return first + second


class _At:
    """Numbers of a block by name; cy and cdy are y and dy times c."""

    def __init__(self, printer: _Printer, columns: _Columns, u: Value) -> None:
        self.printer, self.columns, self.u = printer, columns, u

    def __getitem__(self, name: str) -> Value:
        if name in ("cy", "cdy"):
            return self[name[1:]] * self.columns.weight
        return self.printer.f.load(self.place(name), "real", self.columns.lanes)

    def place(self, name: str) -> Value:
        b = self.columns.block
        components, channels = self.printer.spec.shapes[b]
        at = self.u if name == "w" else self.printer.atom * (components * channels) + self.u
        return self.printer.f.at(self.printer.arg[f"{name}{b}"], at)
