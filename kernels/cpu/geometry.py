"""Kernels of a step around the network, on the CPU: edges from positions, forces from edges.

In float64, whatever the arithmetic of the network. Edges come from a list with a skin, those within
the cutoff are packed row by row; so is dE/dr, which becomes forces through the place of each edge's
reverse. Nothing is added to what another thread writes, and sums are in the order of the list.
"""

import functools
from collections.abc import Callable

import torch

from fastequi.kernels.llvm.arguments import REALS, Arguments, Kind
from fastequi.kernels.llvm.compiler import Kernel
from fastequi.kernels.llvm.ir import Function, Value, Variable

_Arg = dict[str, Value]
_INTEGERS = [(name, "i64") for name in ("begin", "end", "more", "most")]


def _count(f: Function, arg: _Arg, more: dict[str, bool]) -> None:
    """Edges within the cutoff, and the square of the shortest, of receivers begin:end."""
    with f.loop(*f.parameters[:2]) as receiver:
        n, least = Variable(f, f.constant(0, "i64")), Variable(f, f.constant(float("inf")))
        with f.loop(*_row(f, arg, "skin_start", receiver)) as e:
            d2 = _square(_edge_vector(f, arg, receiver, e))
            least.set(f.select_less(d2, least.get(), d2, least.get()))
            with f.where_less(d2, f.load(arg["cutoff2"])):
                n.add(f.constant(1, "i64"))
        f.store(n.get(), f.at(arg["counts"], receiver, "i64"))
        f.store(least.get(), f.at(arg["nearest2"], receiver))


def _pack(f: Function, arg: _Arg, more: dict[str, bool]) -> None:
    """Those edges, behind the ones of earlier receivers."""
    begin, end = f.parameters[:2]
    place = Variable(f, f.constant(0, "i64"))
    with f.loop(0, begin) as earlier:
        place.add(f.load(f.at(arg["counts"], earlier, "i64"), "i64"))
    with f.loop(begin, end) as receiver:
        f.store(place.get(), f.at(arg["row_start"], receiver, "i64"))
        with f.loop(*_row(f, arg, "skin_start", receiver)) as e:
            r = _edge_vector(f, arg, receiver, e)
            with f.where_less(_square(r), f.load(arg["cutoff2"])):
                at = place.get()
                for axis in range(3):
                    _put(f, arg, "vectors", arg["edge_stride"] * axis + at, r[axis], more)
                    f.store(r[axis], f.at(arg["exact"], at * 3 + axis))
                if more["has_cutoff_scale"]:
                    scale = _get(f, arg, "skin_scale", e, more)
                    _put(f, arg, "cutoff_scale", at, scale, more)
                for name in ("sender", "sender_species"):
                    value = f.load(f.at(arg[f"skin_{name}"], e, "i64"), "i64")
                    f.store(value, f.at(arg[name], at, "i64"))
                f.store(e, f.at(arg["kept"], at, "i64"))
                f.store(at, f.at(arg["place"], e, "i64"))
                place.add(f.constant(1, "i64"))
    f.store(place.get(), f.at(arg["row_start"], end, "i64"))


def _gather(f: Function, arg: _Arg, more: dict[str, bool]) -> None:
    """Of receivers begin:end: dE/dr of each edge, from the sums of `shares` threads; their sum, and
    sum of r ⊗ dE/dr."""
    with f.loop(*f.parameters[:2]) as receiver:
        force = [Variable(f, f.constant(0.0)) for _ in range(3)]
        virial = [Variable(f, f.constant(0.0)) for _ in range(9)]
        with f.loop(*_row(f, arg, "row_start", receiver)) as e:
            for axis in range(3):
                total = Variable(f, f.constant(0.0))
                with f.loop(0, arg["shares"]) as share:
                    row = share * 3 + axis
                    total.add(_get(f, arg, "dvectors", row * arg["edge_stride"] + e, more))
                g = total.get()
                f.store(g, f.at(arg["gradient"], e * 3 + axis))
                force[axis].add(g)
                for k in range(3):
                    virial[3 * k + axis].add(f.load(f.at(arg["exact"], e * 3 + k)) * g)
        for axis, total in enumerate(force):
            f.store(total.get(), f.at(arg["received"], receiver * 3 + axis))
        for k, total in enumerate(virial):
            f.store(total.get(), f.at(arg["virials"], receiver * 9 + k))


def _forces(f: Function, arg: _Arg, more: dict[str, bool]) -> None:
    """Of atoms begin:end: what they receive minus what they send, in the order of the graph."""
    with f.loop(*f.parameters[:2]) as receiver:
        force = [
            Variable(f, f.load(f.at(arg["received"], receiver * 3 + axis))) for axis in range(3)
        ]
        with f.loop(*_row(f, arg, "row_start", receiver)) as e:
            edge = f.load(f.at(arg["kept"], e, "i64"), "i64")
            back = f.load(f.at(arg["reverse"], edge, "i64"), "i64")
            sent = f.load(f.at(arg["place"], back, "i64"), "i64") * 3
            for axis, total in enumerate(force):
                total.set(total.get() - f.load(f.at(arg["gradient"], sent + axis)))
        atom = f.load(f.at(arg["atoms"], receiver, "i64"), "i64") * 3
        for axis, total in enumerate(force):
            f.store(total.get(), f.at(arg["forces"], atom + axis))


def _totals(f: Function, arg: _Arg, more: dict[str, bool]) -> None:
    """Energies and virials of the `more` systems, from those of atoms begin:end, which are all."""
    begin, end, n_systems, _ = f.parameters[:4]
    with f.loop(0, n_systems) as system:
        f.store(f.constant(0.0), f.at(arg["energy"], system))
        for k in range(9):
            f.store(f.constant(0.0), f.at(arg["virial"], system * 9 + k))
    with f.loop(begin, end) as receiver:
        atom = f.load(f.at(arg["atoms"], receiver, "i64"), "i64")
        system = f.load(f.at(arg["system"], atom, "i64"), "i64")
        energy = f.load(f.at(arg["sorted_energies"], receiver))
        f.store(energy, f.at(arg["energies"], atom))
        _add(f, energy, f.at(arg["energy"], system))
        for k in range(9):
            value = f.load(f.at(arg["virials"], receiver * 9 + k))
            _add(f, value, f.at(arg["virial"], system * 9 + k))


def _energies(f: Function, arg: _Arg, more: dict[str, bool]) -> None:
    """scale times what is read out, plus shift."""
    with f.loop(*f.parameters[:2]) as atom:
        read = _get(f, arg, "read", atom, more)
        scaled = f.load(f.at(arg["scale"], atom)) * read + f.load(f.at(arg["shift"], atom))
        f.store(scaled, f.at(arg["out"], atom))


#: What each reads and writes: of the network's precision, float64, int64; sizes.
_SKIN = ("positions", "image_vectors", "cutoff2"), ("skin_start", "skin_atom", "atoms")
_KERNELS: dict[str, tuple[Callable[..., None], tuple[tuple[str, ...], ...]]] = {
    "count": (_count, ((), (*_SKIN[0], "nearest2"), (*_SKIN[1], "counts"), ("skin_stride",))),
    "pack": (_pack, (
        ("vectors",), (*_SKIN[0], "exact"),
        (*_SKIN[1], "counts", "row_start", "skin_sender", "skin_sender_species", "sender",
         "sender_species", "kept", "place"),
        ("skin_stride", "edge_stride"))),
    "gather": (_gather, (
        ("dvectors",), ("exact", "gradient", "received", "virials"), ("row_start",),
        ("shares", "edge_stride"))),
    "forces": (_forces, (
        (), ("received", "gradient", "forces"), ("row_start", "kept", "reverse", "place", "atoms"),
        ())),
    "totals": (_totals, (
        (), ("sorted_energies", "energies", "energy", "virials", "virial"), ("atoms", "system"),
        ())),
    "energies": (_energies, (("read",), ("scale", "shift", "out"), (), ())),
}  # fmt: skip
_OF_SCALE = ("cutoff_scale", "skin_scale")


def arguments_of(name: str, dtype: torch.dtype, has_cutoff_scale: bool = False) -> Arguments:
    """By one of the names above."""
    kinds: dict[str, Kind] = {}
    of_kinds: tuple[Kind, ...] = ("reals", "float64s", "int64s", "integer")
    for kind, names in zip(of_kinds, _KERNELS[name][1], strict=True):
        kinds |= dict.fromkeys(names, kind)
    scaled = has_cutoff_scale and name == "pack"
    kinds |= dict.fromkeys(_OF_SCALE if scaled else (), "reals")
    return Arguments(dtype, kinds)


@functools.cache
def kernel(name: str, dtype: torch.dtype, has_cutoff_scale: bool = False) -> Kernel:
    """void name(begin, end, more, most, arguments)."""
    printer, arguments = _KERNELS[name][0], arguments_of(name, dtype, has_cutoff_scale)
    scaled = "cutoff_scale" in arguments.kinds
    full = f"step_{name}_{REALS[dtype]}{'_scaled' if scaled else ''}"
    f = Function(full, "double", [*_INTEGERS, ("arguments", "ptr")])
    more = {"has_cutoff_scale": scaled, "single": dtype == torch.float32}
    printer(f, arguments.load(f), more)
    return Kernel(full, f.text(), 4, arguments)


# -- words ---------------------------------------------------------------------------------------


def _row(f: Function, arg: _Arg, name: str, receiver: Value) -> tuple[Value, Value]:
    start, end = (f.at(arg[name], receiver + k, "i64") for k in range(2))
    return f.load(start, "i64"), f.load(end, "i64")


def _edge_vector(f: Function, arg: _Arg, receiver: Value, e: Value) -> list[Value]:
    """r = x_sender - x_receiver + shift @ cell; of the reverse edge exactly the opposite."""
    i = f.load(f.at(arg["atoms"], receiver, "i64"), "i64") * 3
    j = f.load(f.at(arg["skin_atom"], e, "i64"), "i64") * 3
    found = []
    for axis in range(3):
        x_i, x_j = (f.load(f.at(arg["positions"], k + axis)) for k in (i, j))
        image = f.load(f.at(arg["image_vectors"], arg["skin_stride"] * axis + e))
        found.append((x_j - x_i) + image)
    return found


def _square(r: list[Value]) -> Value:
    return r[0] * r[0] + r[1] * r[1] + r[2] * r[2]


def _get(f: Function, arg: _Arg, name: str, at: Value, more: dict[str, bool]) -> Value:
    """A number of the network's precision as float64."""
    kind = "float" if more["single"] else "double"
    return f.converted(f.load(f.at(arg[name], at, kind), kind), "real")


def _put(f: Function, arg: _Arg, name: str, at: Value, value: Value, more: dict[str, bool]) -> None:
    kind = "float" if more["single"] else "double"
    f.store(f.converted(value, kind), f.at(arg[name], at, kind))


def _add(f: Function, value: Value, place: Value) -> None:
    f.store(f.load(place) + value, place)
