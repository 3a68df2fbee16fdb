"""A printer of LLVM IR that lets a kernel be written as its formula.

Values know their lanes: one lane is a scalar, more are a SIMD vector, and arithmetic between the
two broadcasts. Loops are `with` blocks; variables that change in a loop are `Variable`s (stack
slots, which LLVM turns into registers).
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Union

Number = Union["Value", float, int]


@dataclass(frozen=True, slots=True)
class Value:
    """An SSA value: `kind` is 'real', 'i64', 'i32' or 'ptr'; lanes of 1 is a scalar."""

    function: "Function"
    name: str
    kind: str
    lanes: int = 1

    @property
    def type(self) -> str:
        return self.function.type_of(self.kind, self.lanes)

    def __add__(self, other: Number) -> "Value":
        return self.function.binary("add", self, other)

    def __radd__(self, other: Number) -> "Value":
        return self.function.binary("add", self, other)

    def __sub__(self, other: Number) -> "Value":
        return self.function.binary("sub", self, other)

    def __rsub__(self, other: Number) -> "Value":
        return self.function.binary("sub", other, self)

    def __mul__(self, other: Number) -> "Value":
        return self.function.binary("mul", self, other)

    def __rmul__(self, other: Number) -> "Value":
        return self.function.binary("mul", self, other)

    def __truediv__(self, other: Number) -> "Value":
        return self.function.binary("div", self, other)

    def __rtruediv__(self, other: Number) -> "Value":
        return self.function.binary("div", other, self)

    def __neg__(self) -> "Value":
        return self.function.binary("sub", 0.0, self)


class Variable:
    """A place that a loop may change; `get`, `set`, and `add` for sums."""

    def __init__(self, function: "Function", initial: Value) -> None:
        self.function, self.kind, self.lanes = function, initial.kind, initial.lanes
        self.slot = function.alloca(initial.kind, initial.lanes)
        self.set(initial)

    def get(self) -> Value:
        return self.function.load(self.slot, self.kind, self.lanes)

    def set(self, value: Value) -> None:
        self.function.store(value, self.slot)

    def add(self, value: Value) -> None:
        self.set(self.get() + value)


class Function:
    """The text of one function `void name(...)`; `real` is 'float' or 'double'."""

    def __init__(self, name: str, real: str, parameters: list[tuple[str, str]]) -> None:
        self.name, self.real = name, real
        self._entry: list[str] = []  # stack slots come first
        self._body: list[str] = []
        self._count = 0
        self.parameters = [Value(self, f"%{text}", kind) for text, kind in parameters]

    # -- types and constants -------------------------------------------------------------------

    def type_of(self, kind: str, lanes: int) -> str:
        scalar = self.real if kind == "real" else kind
        return scalar if lanes == 1 else f"<{lanes} x {scalar}>"

    def constant(self, value: float, kind: str = "real", lanes: int = 1) -> Value:
        literal = self._real_literal(value) if kind == "real" else str(int(value))
        text = literal if lanes == 1 else f"splat ({self.type_of(kind, 1)} {literal})"
        return Value(self, text, kind, lanes)

    def _real_literal(self, value: float) -> str:
        if self.real == "float":
            value = struct.unpack("f", struct.pack("f", value))[0]
        return "0x" + struct.pack(">d", value).hex().upper()

    # -- instructions --------------------------------------------------------------------------

    def emit(self, instruction: str, kind: str, lanes: int = 1) -> Value:
        """One instruction that gives a value."""
        self._count += 1
        name = f"%v{self._count}"
        self._body.append(f"  {name} = {instruction}")
        return Value(self, name, kind, lanes)

    def binary(self, operation: str, a: Number, b: Number) -> Value:
        kind = next(v.kind for v in (a, b) if isinstance(v, Value))
        lanes = max(v.lanes for v in (a, b) if isinstance(v, Value))
        x, y = (self.spread(v, lanes, kind) for v in (a, b))
        code = f"f{operation} contract nsz" if kind == "real" else f"{operation} nsw"
        return self.emit(f"{code} {x.type} {x.name}, {y.name}", kind, lanes)

    def spread(self, value: Number, lanes: int, kind: str = "real") -> Value:
        """A number or scalar in every lane."""
        if not isinstance(value, Value):
            return self.constant(value, kind, lanes)
        if value.lanes == lanes:
            return value
        vector = self.type_of(value.kind, lanes)
        one = self.emit(
            f"insertelement {vector} poison, {value.type} {value.name}, i64 0", value.kind, lanes
        )
        return self.emit(
            f"shufflevector {vector} {one.name}, {vector} poison, <{lanes} x i32> zeroinitializer",
            value.kind, lanes,
        )  # fmt: skip

    def sqrt(self, x: Value) -> Value:
        suffix = (f"v{x.lanes}" if x.lanes > 1 else "") + ("f32" if self.real == "float" else "f64")
        return self.emit(f"call {x.type} @llvm.sqrt.{suffix}({x.type} {x.name})", "real", x.lanes)

    def sums_of_lanes(self, vectors: list[Value]) -> Value:
        """Lane i of the result is the sum of all lanes of vector i.

        The counts of vectors and of their lanes are powers of two. Two vectors become one when the
        halves of their groups of lanes are added, until each group is one lane: three instructions
        per vector, where each sum alone takes ten.
        """
        lanes = size = vectors[0].lanes
        while size > 1:
            halves = [
                [group + i for group in range(0, 2 * lanes, size) for i in range(first, last)]
                for first, last in ((0, size // 2), (size // 2, size))
            ]
            vectors = [
                self.shuffle(a, b, halves[0]) + self.shuffle(a, b, halves[1])
                for a, b in zip(vectors[::2], vectors[1::2], strict=True)
            ]
            size //= 2
        return self._joined(vectors)

    def _joined(self, vectors: list[Value]) -> Value:
        """All lanes of vectors, or of scalars, in one."""
        while len(vectors) > 1:
            lanes = range(2 * vectors[0].lanes)
            vectors = [
                self.shuffle(a, b, list(lanes))
                for a, b in zip(vectors[::2], vectors[1::2], strict=True)
            ]
        return vectors[0]

    def shuffle(self, a: Value, b: Value, lanes: list[int]) -> Value:
        """Lanes of two vectors; those of b count from where a ends. Scalars are a lane each."""
        if a.lanes == 1:
            a, b = self._widened(a), self._widened(b)
            lanes = [lane * a.lanes for lane in lanes]
        mask = ", ".join(f"i32 {lane}" for lane in lanes)
        return self.emit(
            f"shufflevector {a.type} {a.name}, {b.type} {b.name}, <{len(lanes)} x i32> <{mask}>",
            a.kind, len(lanes),
        )  # fmt: skip

    def _widened(self, x: Value) -> Value:
        """A scalar as the first lane of a vector of two."""
        return self.spread(x, 2, x.kind)

    def select_less(self, a: Value, b: Number, yes: Number, no: Number) -> Value:
        """Per lane: yes where a < b, else no."""
        lanes = a.lanes
        y = self.spread(b, lanes)
        flag = self.emit(f"fcmp olt {a.type} {a.name}, {y.name}", "i1", lanes)
        p, q = self.spread(yes, lanes), self.spread(no, lanes)
        return self.emit(
            f"select {flag.type} {flag.name}, {p.type} {p.name}, {q.type} {q.name}", "real", lanes
        )

    def where_between(self, x: Value, low: Value, high: Value, yes: Value) -> Value:
        """Per lane: yes where low <= x < high, else zero; x, low and high are not negative.

        As integers such reals have the same order, and a difference without sign is one test.
        """
        bits, low, high = (self.bits(self.spread(v, x.lanes)) for v in (x, low, high))
        above, width = bits - low, high - low
        flag = self.emit(f"icmp ult {above.type} {above.name}, {width.name}", "i1", x.lanes)
        zero = self.constant(0.0, "real", x.lanes)
        return self.emit(
            f"select {flag.type} {flag.name}, {yes.type} {yes.name}, {zero.type} {zero.name}",
            "real", x.lanes,
        )  # fmt: skip

    def if_nonzero(self, flag: Value, yes: Value) -> Value:
        """yes where an i64 is not zero, else zero."""
        test = self.emit(f"icmp ne i64 {flag.name}, 0", "i1")
        mask, zero = self.spread(test, yes.lanes, "i1"), self.constant(0.0, "real", yes.lanes)
        return self.emit(
            f"select {mask.type} {mask.name}, {yes.type} {yes.name}, {zero.type} {zero.name}",
            "real", yes.lanes,
        )  # fmt: skip

    def least(self, a: Value, b: Value) -> Value:
        """The smaller of two i64."""
        return self.emit(f"call i64 @llvm.smin.i64(i64 {a.name}, i64 {b.name})", "i64")

    def converted(self, x: Value, kind: str) -> Value:
        """A 'real', 'float' or 'double' as another of these."""
        here, there = self.type_of(x.kind, 1), self.type_of(kind, 1)
        if here == there:
            return Value(self, x.name, kind)
        code = "fpext" if there == "double" else "fptrunc"
        return self.emit(f"{code} {here} {x.name} to {there}", kind)

    def to_i32(self, x: Value) -> Value:
        """Truncate to integers."""
        target = self.type_of("i32", x.lanes)
        return self.emit(f"fptosi {x.type} {x.name} to {target}", "i32", x.lanes)

    def to_real(self, x: Value) -> Value:
        target = self.type_of("real", x.lanes)
        return self.emit(f"sitofp {x.type} {x.name} to {target}", "real", x.lanes)

    def bits(self, x: Value) -> Value:
        """A real as the integer of the same bits."""
        kind = "i32" if self.real == "float" else "i64"
        return self.emit(
            f"bitcast {x.type} {x.name} to {self.type_of(kind, x.lanes)}", kind, x.lanes
        )

    def real_of_bits(self, x: Value) -> Value:
        """And back."""
        return self.emit(
            f"bitcast {x.type} {x.name} to {self.type_of('real', x.lanes)}", "real", x.lanes
        )

    def shifted_left(self, x: Value, count: int) -> Value:
        """An integer without its first bits."""
        by = self.constant(count, x.kind, x.lanes)
        return self.emit(f"shl {x.type} {x.name}, {by.name}", x.kind, x.lanes)

    def shifted_right(self, x: Value, count: int) -> Value:
        """An integer without its last bits, taken for one without a sign."""
        by = self.constant(count, x.kind, x.lanes)
        return self.emit(f"lshr {x.type} {x.name}, {by.name}", x.kind, x.lanes)

    def widen(self, x: Value) -> Value:
        """i32 -> i64."""
        return self.emit(f"sext {x.type} {x.name} to i64", "i64")

    # -- memory --------------------------------------------------------------------------------

    def at(self, pointer: Value, index: Number, kind: str = "real") -> Value:
        """Address of element `index` of an array of scalars."""
        i = self.spread(index, 1, "i64")
        element = self.type_of(kind, 1)
        return self.emit(f"getelementptr {element}, ptr {pointer.name}, i64 {i.name}", "ptr")

    def load(self, pointer: Value, kind: str = "real", lanes: int = 1) -> Value:
        type_ = self.type_of(kind, lanes)
        return self.emit(f"load {type_}, ptr {pointer.name}, align {self._size(kind)}", kind, lanes)

    def store(self, value: Value, pointer: Value) -> None:
        align = self._size(value.kind)
        self._body.append(f"  store {value.type} {value.name}, ptr {pointer.name}, align {align}")

    def prefetch(self, pointer: Value, write: bool = False) -> None:
        """Ask for a line of memory before it is needed."""
        self._body.append(
            f"  call void @llvm.prefetch.p0(ptr {pointer.name}, i32 {int(write)}, i32 3, i32 1)"
        )

    def alloca(self, kind: str, lanes: int) -> Value:
        self._count += 1
        name = f"%s{self._count}"
        self._entry.append(f"  {name} = alloca {self.type_of(kind, lanes)}")
        return Value(self, name, "ptr")

    def _size(self, kind: str) -> int:
        sizes = {"i32": 4, "float": 4, "i64": 8, "ptr": 8, "double": 8}
        return sizes[self.real if kind == "real" else kind]

    # -- control -------------------------------------------------------------------------------

    @contextmanager
    def loop(self, start: Number, end: Value, step: "Value | int" = 1) -> Iterator[Value]:
        """for i in range(start, end, step), i64."""
        index = Variable(self, self.spread(start, 1, "i64"))
        self._count += 1
        head, body, done = (f"{part}{self._count}" for part in ("head", "body", "done"))
        self._body += [f"  br label %{head}", f"{head}:"]
        i = index.get()
        go = self.emit(f"icmp slt i64 {i.name}, {end.name}", "i1")
        self._body += [f"  br i1 {go.name}, label %{body}, label %{done}", f"{body}:"]
        yield i
        index.set(i + step)
        self._body += [f"  br label %{head}", f"{done}:"]

    @contextmanager
    def where_less(self, a: Value, b: Value) -> Iterator[None]:
        """What follows only happens where a < b, reals."""
        self._count += 1
        then, behind = f"then{self._count}", f"behind{self._count}"
        flag = self.emit(f"fcmp olt {a.type} {a.name}, {b.name}", "i1")
        self._body += [f"  br i1 {flag.name}, label %{then}, label %{behind}", f"{then}:"]
        yield
        self._body += [f"  br label %{behind}", f"{behind}:"]

    @contextmanager
    def where_any_less(self, a: Value, b: Value) -> Iterator[None]:
        """What follows only happens where a < b in some lane of two vectors of reals."""
        self._count += 1
        then, behind = f"then{self._count}", f"behind{self._count}"
        lanes = self.emit(f"fcmp olt {a.type} {a.name}, {b.name}", "i1", a.lanes)
        bits = self.emit(f"bitcast {lanes.type} {lanes.name} to i{a.lanes}", f"i{a.lanes}")
        flag = self.emit(f"icmp ne i{a.lanes} {bits.name}, 0", "i1")
        self._body += [f"  br i1 {flag.name}, label %{then}, label %{behind}", f"{then}:"]
        yield
        self._body += [f"  br label %{behind}", f"{behind}:"]

    def text(self) -> str:
        """The definition."""
        arguments = ", ".join(f"{p.type} {p.name}" for p in self.parameters)
        lines = [f"define void @{self.name}({arguments}) {{", *self._entry, *self._body]
        return "\n".join([*lines, "  ret void", "}", ""])
