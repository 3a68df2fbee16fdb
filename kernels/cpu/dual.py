"""Numbers that may come with their change: the same body prints an operation and its jvp.

With a = (a, a'), products are (a b, a b' + a' b). Sums of products stay sums of products, so that
each is one multiply-add.
"""

from dataclasses import dataclass

from fastequi.kernels.llvm.ir import Function, Number, Value, Variable


@dataclass(frozen=True, slots=True)
class Dual:
    """A number and its change; None: it does not change."""

    value: Number
    change: Number | None = None

    def __mul__(self, other: "Dual") -> "Dual":
        return dot([(self, other)])


def dot(pairs: list[tuple[Dual, Dual]]) -> Dual:
    """The sum of products."""
    changes = [term for a, b in pairs for term in _changes(a, b)]
    values = [_product(a.value, b.value) for a, b in pairs]
    return Dual(sum_of(values), sum_of(changes) if changes else None)


def _changes(a: Dual, b: Dual) -> list[Value]:
    """What a product changes by, as terms of a sum."""
    terms = [(a.value, b.change), (a.change, b.value)]
    return [_product(x, y) for x, y in terms if x is not None and y is not None]


def _product(a: Number, b: Number) -> Value:
    product = a * b
    assert isinstance(product, Value), "one factor, at least, is not a constant"
    return product


class DualSum:
    """A sum of products, and of their changes where there are any."""

    def __init__(self, f: Function, lanes: int, has_change: bool) -> None:
        zero = f.constant(0.0, "real", lanes)
        self.value = Variable(f, zero)
        self.change = Variable(f, zero) if has_change else None

    def add(self, a: Dual, b: Dual) -> None:
        self.value.add(_product(a.value, b.value))
        if self.change is not None:
            for term in _changes(a, b):
                self.change.add(term)

    def parts(self) -> list[Value]:
        """The sum, and its change where it has one."""
        found = [self.value] if self.change is None else [self.value, self.change]
        return [part.get() for part in found]


def sum_of(terms: list[Value]) -> Value:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
