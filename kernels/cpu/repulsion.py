"""Nuclear repulsion by receiver on the CPU; the same: `fastequi/engine/repulsion.py`.

In float64, whatever the arithmetic of the network, of the edges within the cutoff.
"""

import functools
from dataclasses import dataclass

import torch

from fastequi.kernels.cpu.activations import exponential
from fastequi.kernels.llvm.arguments import REALS, Arguments, Kind
from fastequi.kernels.llvm.compiler import Kernel
from fastequi.kernels.llvm.ir import Function, Value, Variable


@dataclass(frozen=True)
class RepulsionSpec:
    """What the code depends on: the arithmetic of the network, and of `PairRepulsion` the rest."""

    dtype: torch.dtype
    screening: tuple[tuple[float, float], ...]
    p: int

    @property
    def arguments(self) -> Arguments:
        kinds: dict[str, Kind] = {"vectors": "reals", "dvectors": "reals"}
        kinds |= {"pairs": "float64s", "energies": "float64s"}
        kinds |= dict.fromkeys(("row_start", "sender_species", "species"), "int64s")
        kinds |= dict.fromkeys(("n_species", "edge_stride"), "integer")
        return Arguments(self.dtype, kinds)


@functools.cache
def kernel(spec: RepulsionSpec) -> Kernel:
    """void name(first row, end, 0, 0, arguments)."""
    full = f"step_repulsion_p{spec.p}_{REALS[spec.dtype]}"
    return Kernel(full, _Printer(spec, full).text(), 4, spec.arguments)


class _Printer:
    """Adds to energies [rows] and to dvectors, of an edge one after the other; float64."""

    def __init__(self, spec: RepulsionSpec, full: str) -> None:
        integers = [(integer, "i64") for integer in ("begin", "end", "unused", "unused_too")]
        self.spec, self.real = spec, REALS[spec.dtype]
        self.f = Function(full, "double", [*integers, ("arguments", "ptr")])
        self.arg = spec.arguments.load(self.f)

    def text(self) -> str:
        f, arg = self.f, self.arg
        with f.loop(*f.parameters[:2]) as row:
            total = Variable(f, f.load(f.at(arg["energies"], row)))
            first = f.load(f.at(arg["species"], row, "i64"), "i64") * arg["n_species"]
            begin, end = (f.load(f.at(arg["row_start"], row + k, "i64"), "i64") for k in range(2))
            with f.loop(begin, end) as e:
                self._edge(e, first, total)
            f.store(total.get(), f.at(arg["energies"], row))
        return f.text()

    def _edge(self, e: Value, first: Value, total: Variable) -> None:
        f, arg = self.f, self.arg
        pair = first + f.load(f.at(arg["sender_species"], e, "i64"), "i64")
        n_pairs = arg["n_species"] * arg["n_species"]
        k, a, cutoff = (f.load(f.at(arg["pairs"], pair + n_pairs * i)) for i in range(3))
        places = [f.at(arg["vectors"], arg["edge_stride"] * i + e, self.real) for i in range(3)]
        v = [f.converted(f.load(place, self.real), "real") for place in places]
        r = f.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2])
        with f.where_less(r, cutoff):
            u, du = self._end(r / cutoff)
            s, ds = self._screening(a * r)
            k = k / r
            total.add(k * s * u)
            slope = k * ((a * ds - s / r) * u + s * du / cutoff) / r
            for i, component in enumerate(v):
                place = f.at(arg["dvectors"], arg["edge_stride"] * i + e, self.real)
                before = f.converted(f.load(place, self.real), "real")
                f.store(f.converted(before + slope * component, self.real), place)

    def _end(self, x: Value) -> tuple[Value, Value]:
        """u(x) and its derivative, 0 <= x < 1."""
        p, power = self.spec.p, self.f.constant(1.0)
        for _ in range(p - 1):
            power = power * x
        series = 0.5 * (p + 1) * (p + 2) - x * (p * (p + 2.0)) + x * x * (0.5 * p * (p + 1))
        left = 1.0 - x
        return 1.0 - power * x * series, power * left * left * (-0.5 * p * (p + 1) * (p + 2))

    def _screening(self, x: Value) -> tuple[Value, Value]:
        value, slope = self.f.constant(0.0), self.f.constant(0.0)
        for amplitude, decay in self.spec.screening:
            term = exponential(self.f, x * -decay) * amplitude
            value, slope = value + term, slope - term * decay
        return value, slope
