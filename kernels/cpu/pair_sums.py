"""The sums of D3 dispersion compiled for this processor; what they are: `kernels/pair_sums.py`.

A lane is a receiver, a turn of the innermost loop is a sender. A vector of receivers needs no
gathered memory, and each sum is added in the order of the list.
"""

import functools
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fastequi.kernels.cpu.activations import exponential
from fastequi.kernels.cpu.reciprocal_root import reciprocal_root
from fastequi.kernels.llvm import threads
from fastequi.kernels.llvm.arguments import Arguments, Kind, Named
from fastequi.kernels.llvm.compiler import Kernel
from fastequi.kernels.llvm.ir import Function, Value, Variable
from fastequi.kernels.llvm.plan import Plan, PlannedCall
from fastequi.kernels.llvm.target import lanes_of
from fastequi.kernels.pair_sums import SAME, STEEPNESS, PairList

#: Tensors that each reads and writes beyond those that all have.
_OWN: dict[str, tuple[str, ...]] = {
    "count": ("radius",),
    "chain": ("radius", "q"),
    "pair_energies": ("damping", "a_and_b"),
}
_OUT = {"count": 1, "chain": 9, "pair_energies": 11}
#: Å²: a pair that is closer counts 1 to the last bit, and e^-600 is a number (R is below 8 Å).
_CLOSEST = 0.04
_EIGHT_SIXTHS = 8.0 / 6.0
#: What `count` may keep for `chain`.
_KEPT = "slopes"


def lanes() -> int:
    """Receivers of a cluster."""
    return lanes_of(torch.float64)


def place_(senders: Tensor, rows: Tensor, atom: Tensor, moved: Tensor) -> None:
    """As the definition."""
    _place("place", {"rows": rows, "atom": atom, "moved": moved, "out": senders})


def put_(senders: Tensor, values: Tensor, atom: Tensor) -> None:
    """As the definition."""
    _place("put", {"rows": values, "atom": atom, "out": senders})


def count(
    pairs: PairList, receivers: Tensor, senders: Tensor, radius: Tensor,
    slopes: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """As the definition."""
    own = {"radius": radius} | ({} if slopes is None else {_KEPT: slopes})
    return _run("count", pairs, receivers, senders, radius.shape[1], own)


def chain(
    pairs: PairList, receivers: Tensor, senders: Tensor, radius: Tensor, q: Tensor,
    slopes: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """As the definition."""
    own = {"radius": radius, "q": q} | ({} if slopes is None else {_KEPT: slopes})
    return _run("chain", pairs, receivers, senders, radius.shape[1], own)


def pair_energies(
    pairs: PairList, receivers: Tensor, senders: Tensor, damping: Tensor, a_and_b: Tensor
) -> Tensor:
    """As the definition."""
    own = {"damping": damping, "a_and_b": a_and_b}
    return _run("pair_energies", pairs, receivers, senders, damping.shape[1], own)


def _run(
    name: str, pairs: PairList, receivers: Tensor, senders: Tensor, n_elements: int,
    own: Mapping[str, Tensor],
) -> Tensor:  # fmt: skip
    n, shares = len(receivers), threads.n_threads()
    out = torch.empty((n, _OUT[name], lanes()), dtype=torch.float64)
    values = {"start": pairs.start, "sender": pairs.sender, "receivers": receivers,
              "senders": senders, "out": out, "elements": n_elements, **own,
              "cutoff2": torch.tensor([pairs.cutoff**2], dtype=torch.float64)}  # fmt: skip
    cuts = _cuts(pairs.start[::n_elements], shares)
    n_references = senders.shape[1] - 3 if name == "pair_energies" else 0
    _plan(name, n_references, _KEPT in own, shares).run(
        values | {f"cut{k}": c for k, c in enumerate(cuts)}
    )
    return out


def _cuts(start: Tensor, shares: int) -> Sequence[int]:
    """Clusters of each thread, with about equally many entries."""
    goals = [int(start[-1]) * k // shares for k in range(1, shares)]
    inner = torch.searchsorted(start[:-1].contiguous(), torch.tensor(goals)).tolist()
    return [0, *inner, len(start) - 1]


def _place(name: str, values: Mapping[str, Tensor]) -> None:
    n, columns = values["out"].shape
    shares = threads.n_threads()
    cuts = {f"cut{k}": n * k // shares for k in range(shares + 1)}
    _placing(name, shares).run({**values, "columns": columns, **cuts})


@functools.cache
def _placing(name: str, shares: int) -> Plan:
    """Threads share the images."""
    kinds: dict[str, Kind] = {"atom": "int64s", "columns": "integer"}
    kinds |= dict.fromkeys(("rows", "out", *["moved"] * (name == "place")), "reals")
    arguments = Arguments(torch.float64, kinds)
    integers = [(integer, "i64") for integer in ("begin", "end", "unused", "unused2")]
    f = Function(f"image_{name}", "double", [*integers, ("arguments", "ptr")])
    arg = arguments.load(f)
    with f.loop(*f.parameters[:2]) as image:
        atom = f.load(f.at(arg["atom"], image, "i64"), "i64")
        if name == "put":
            last = image * arg["columns"] + (arg["columns"] - 1)
            f.store(f.load(f.at(arg["rows"], atom)), f.at(arg["out"], last))
        else:
            here, there = image * arg["columns"], atom * arg["columns"]
            for axis in range(3):
                moved = f.load(f.at(arg["moved"], image * 3 + axis))
                x = f.load(f.at(arg["rows"], there + axis)) + moved
                f.store(x, f.at(arg["out"], here + axis))
            with f.loop(3, arg["columns"]) as k:
                f.store(f.load(f.at(arg["rows"], there + k)), f.at(arg["out"], here + k))
    called = Kernel(f.name, f.text(), 4, arguments)
    named = {argument: Named(argument) for argument in kinds}
    rows = [(Named(f"cut{k}"), Named(f"cut{k + 1}"), 0, 0) for k in range(shares)]
    return Plan([[PlannedCall(called, integers, named)] for integers in rows])


@functools.cache
def _plan(name: str, n_references: int, keeps: bool, shares: int) -> Plan:
    called = _kernel(name, n_references, keeps)
    assert called.arguments is not None
    arguments = {argument: Named(argument) for argument in called.arguments.kinds}
    rows = [(Named(f"cut{k}"), Named(f"cut{k + 1}"), 0, 0) for k in range(shares)]
    return Plan([[PlannedCall(called, integers, arguments)] for integers in rows])


@functools.cache
def _kernel(name: str, n_references: int, keeps: bool) -> Kernel:
    """void name(first cluster, end, 0, 0, arguments)."""
    kinds: dict[str, Kind] = {"start": "int64s", "sender": "int32s", "elements": "integer"}
    kinds |= dict.fromkeys(("receivers", "senders", "cutoff2", "out", *_OWN[name]), "reals")
    kinds |= {_KEPT: "reals"} if keeps else {}
    arguments = Arguments(torch.float64, kinds)
    printer = _Printer(name, arguments, lanes(), n_references)
    return Kernel(printer.f.name, printer.text(), 4, arguments)


def _small_exponential(f: Function, x: Value) -> Value:
    """e^x for x from -16 to -8, right to 3e-9: eighth power of a series around -1.5."""
    t = x * 0.125 + 1.5
    power = f.constant(math.exp(-1.5) / math.factorial(9), "real", x.lanes)
    for k in reversed(range(9)):
        power = power * t + math.exp(-1.5) / math.factorial(k)
    square = power * power
    fourth = square * square
    return fourth * fourth


class _Printer:
    """A kernel is the method of its name."""

    def __init__(self, name: str, arguments: Arguments, lanes: int, n_references: int) -> None:
        integers = [(integer, "i64") for integer in ("begin", "end", "unused", "unused2")]
        suffix = f"_{n_references}" if n_references else "_kept" * (_KEPT in arguments.kinds)
        full = f"{name}_{lanes}{suffix}"
        self.f = Function(full, "double", [*integers, ("arguments", "ptr")])
        self.arg = arguments.load(self.f)
        self.name, self.lanes, self.n_references = name, lanes, n_references
        self.stride = 3 + n_references if n_references else 4

    def text(self) -> str:
        """For each cluster its sums, and in them for each element its senders."""
        f, arg = self.f, self.arg
        self.cutoff2 = f.load(arg["cutoff2"])
        with f.loop(*f.parameters[:2]) as cluster:
            self.x = [self._vector("receivers", cluster * 3 + axis) for axis in range(3)]
            zero = f.constant(0.0, "real", self.lanes)
            self.sums = [Variable(f, zero) for _ in range(_OUT[self.name])]
            with f.loop(0, arg["elements"]) as element:
                getattr(self, self.name)(cluster, cluster * arg["elements"] + element)
            for i, total in enumerate(self.sums):
                self._put("out", cluster * len(self.sums) + i, total.get() * self._factor(i))
        return f.text()

    def count(self, cluster: Value, segment: Value) -> None:
        radius = self._vector("radius", segment)
        with self.f.loop(*self._row(segment)) as entry:
            _, _, s = self._pair(entry)
            counted, slope = self._counting(radius, s)
            self.sums[0].add(counted)
            if _KEPT in self.arg:
                self._put(_KEPT, entry, slope)

    def chain(self, cluster: Value, segment: Value) -> None:
        radius, q = self._vector("radius", segment), self._vector("q", cluster)
        with self.f.loop(*self._row(segment)) as entry:
            row, r, s = self._pair(entry)
            if _KEPT in self.arg:
                slope = self._vector(_KEPT, entry)
            else:
                slope = self._counting(radius, s)[1]
            sender_q = self._number("senders", row + 3)
            self._add_forces((q + sender_q) * slope, r, self.sums)

    def pair_energies(self, cluster: Value, segment: Value) -> None:
        f, n = self.f, self.n_references
        R6, R8, q8 = (self._vector("damping", segment * 3 + i) for i in range(3))
        A = [self._vector("a_and_b", segment * 2 * n + i) for i in range(n)]
        zero = f.constant(0.0, "real", self.lanes)
        G = [Variable(f, zero) for _ in range(n)]
        with f.loop(*self._row(segment)) as entry:
            row, r, s = self._pair(entry)
            s2 = s * s
            s3 = s2 * s
            a, b = s3 + R6, s3 * s + R8
            inverse = self._of_pairs(s, 1.0 / (a * b))  # one for both
            t6, t8 = inverse * b, inverse * a
            eighth = q8 * t8
            value = t6 + eighth
            slope = s2 * (t6 * t6 + (s * _EIGHT_SIXTHS) * (eighth * t8))  # a sixth of it
            c6 = zero
            for i, total in enumerate(G):
                w = self._number("senders", row + (3 + i))
                total.add(w * value)
                c6 = c6 + A[i] * w
            self._add_forces(c6 * slope, r, self.sums[2:])
        for i, total in enumerate(G):
            B = self._vector("a_and_b", segment * 2 * n + (n + i))
            self.sums[0].add(A[i] * total.get())
            self.sums[1].add(B * total.get())

    def _factor(self, i: int) -> float:
        """Of a sum: what the innermost loop left out. Half of a virial is the receiver's."""
        n = len(self.sums)
        factor = 6.0 if self.name == "pair_energies" and i >= n - 9 else 1.0
        return 0.5 * factor if n - 6 <= i and n > 1 else factor

    # -- words ---------------------------------------------------------------------------------

    def _row(self, segment: Value) -> tuple[Value, Value]:
        start, end = (self.f.at(self.arg["start"], segment + k, "i64") for k in range(2))
        return self.f.load(start, "i64"), self.f.load(end, "i64")

    def _pair(self, entry: Value) -> tuple[Value, list[Value], Value]:
        """Where the sender's numbers are, r, and s."""
        f = self.f
        row = f.widen(f.load(f.at(self.arg["sender"], entry, "i32"), "i32")) * self.stride
        r = [self._number("senders", row + axis) - self.x[axis] for axis in range(3)]
        return row, r, r[0] * r[0] + r[1] * r[1] + r[2] * r[2]

    def _of_pairs(self, s: Value, value: Value) -> Value:
        """Zero beyond the cutoff, and of an atom with itself."""
        near = self.f.select_less(s, self.cutoff2, value, 0.0)
        return self.f.select_less(s, SAME, 0.0, near)

    def _counting(self, radius: Value, s: Value) -> tuple[Value, Value]:
        """What a pair counts, and twice its slope with s; beyond 2 R, where nearly all pairs are,
        a count is below 4e-4 and takes few terms."""
        f, near2 = self.f, (radius * radius) * 4.0
        inverse = reciprocal_root(f, f.select_less(s, _CLOSEST, _CLOSEST, s))
        x = radius * inverse * STEEPNESS - STEEPNESS
        p = _small_exponential(f, x)
        far = p - (p * p) * (1.0 - p)  # p / (1 + p)
        counted, rest = Variable(f, far), Variable(f, 1.0 - far)
        with f.where_any_less(s, near2):
            e = exponential(f, -x, is_small=True)
            near = 1.0 / (e + 1.0)
            counted.set(f.select_less(s, near2, near, far))
            rest.set(f.select_less(s, near2, near * e, rest.get()))
        found = self._of_pairs(s, counted.get())
        slope = (radius * -STEEPNESS) * (found * rest.get()) * (inverse * inverse * inverse)
        return found, slope

    def _add_forces(self, k: Value, r: list[Value], sums: list[Variable]) -> None:
        """k r and k r r."""
        kr = [k * component for component in r]
        x, y, z = r
        products = [kr[0] * x, kr[1] * y, kr[2] * z, kr[1] * z, kr[0] * z, kr[0] * y]
        for total, value in zip(sums, [*kr, *products], strict=True):
            total.add(value)

    def _vector(self, name: str, index: Value) -> Value:
        return self.f.load(self.f.at(self.arg[name], index * self.lanes), "real", self.lanes)

    def _number(self, name: str, index: Value) -> Value:
        return self.f.load(self.f.at(self.arg[name], index))

    def _put(self, name: str, index: Value, value: Value) -> None:
        self.f.store(value, self.f.at(self.arg[name], index * self.lanes))
