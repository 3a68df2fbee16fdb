"""Kernels of a step around the network, on the CPU: edges from positions, forces from edges.

In float64, whatever the arithmetic of the network. Edges come from a list with a skin, those within
the cutoff are packed row by row; so is dE/dr, which becomes forces through the place of each edge's
reverse. Nothing is added to what another thread writes, and sums are in the order of the list.
"""

import functools

import torch

from fastequi.kernels.llvm.arguments import REALS, Arguments, Kind
from fastequi.kernels.llvm.compiler import Kernel
from fastequi.kernels.llvm.ir import Function, Value, Variable

#: What each reads and writes: of the network's precision, float64, int64; sizes.
_SKIN = ("positions", "image_vectors", "cutoff2"), ("skin_start", "skin_atom", "atoms")
_TENSORS: dict[str, tuple[tuple[str, ...], ...]] = {
    "count": ((), (*_SKIN[0], "nearest2"), (*_SKIN[1], "counts"), ("skin_stride",)),
    "pack": (
        ("vectors",), (*_SKIN[0], "exact"),
        (*_SKIN[1], "counts", "row_start", "skin_sender", "skin_sender_species", "sender",
         "sender_species", "kept", "place"),
        ("skin_stride", "edge_stride")),
    "gather": (
        ("dvectors",), ("exact", "gradient", "received", "virials"), ("row_start",),
        ("shares", "edge_stride")),
    "forces": (
        (), ("received", "gradient", "forces"), ("row_start", "kept", "reverse", "place", "atoms"),
        ()),
    "totals": (
        (), ("sorted_energies", "energies", "energy", "virials", "virial"), ("atoms", "system"),
        ()),
    "energies": (("read",), ("scale", "shift", "out"), (), ()),
}  # fmt: skip
_OF_SCALE = ("cutoff_scale", "skin_scale")


def arguments_of(name: str, dtype: torch.dtype, has_cutoff_scale: bool = False) -> Arguments:
    """By one of the names above."""
    kinds: dict[str, Kind] = {}
    of_kinds: tuple[Kind, ...] = ("reals", "float64s", "int64s", "integer")
    for kind, names in zip(of_kinds, _TENSORS[name], strict=True):
        kinds |= dict.fromkeys(names, kind)
    if has_cutoff_scale and name == "pack":
        kinds |= dict.fromkeys(_OF_SCALE, "reals")
    return Arguments(dtype, kinds)


@functools.cache
def kernel(name: str, dtype: torch.dtype, has_cutoff_scale: bool = False) -> Kernel:
    """void name(begin, end, systems, 0, arguments)."""
    arguments = arguments_of(name, dtype, has_cutoff_scale)
    scaled = "_scaled" if "cutoff_scale" in arguments.kinds else ""
    full = f"step_{name}_{REALS[dtype]}{scaled}"
    return Kernel(full, _Printer(name, full, arguments).text(), 4, arguments)


class _Printer:
    """A kernel is the method of its name; numbers are float64."""

    def __init__(self, name: str, full: str, arguments: Arguments) -> None:
        integers = [(integer, "i64") for integer in ("begin", "end", "systems", "unused")]
        self.name, self.real = name, REALS[arguments.dtype]
        self.f = Function(full, "double", [*integers, ("arguments", "ptr")])
        self.arg = arguments.load(self.f)

    def text(self) -> str:
        getattr(self, self.name)()
        return self.f.text()

    def count(self) -> None:
        """Edges within the cutoff, and the square of the shortest, of receivers begin:end."""
        f, arg = self.f, self.arg
        with f.loop(*f.parameters[:2]) as receiver:
            n, least = Variable(f, f.constant(0, "i64")), Variable(f, f.constant(float("inf")))
            with f.loop(*self._row("skin_start", receiver)) as e:
                d2 = _square(self._edge_vector(receiver, e))
                least.set(f.select_less(d2, least.get(), d2, least.get()))
                with f.where_less(d2, f.load(arg["cutoff2"])):
                    n.add(f.constant(1, "i64"))
            f.store(n.get(), f.at(arg["counts"], receiver, "i64"))
            f.store(least.get(), f.at(arg["nearest2"], receiver))

    def pack(self) -> None:
        """Those edges, behind the ones of earlier receivers."""
        f, arg = self.f, self.arg
        begin, end = f.parameters[:2]
        place = Variable(f, f.constant(0, "i64"))
        with f.loop(0, begin) as earlier:
            place.add(f.load(f.at(arg["counts"], earlier, "i64"), "i64"))
        with f.loop(begin, end) as receiver:
            f.store(place.get(), f.at(arg["row_start"], receiver, "i64"))
            with f.loop(*self._row("skin_start", receiver)) as e:
                r = self._edge_vector(receiver, e)
                with f.where_less(_square(r), f.load(arg["cutoff2"])):
                    at = place.get()
                    for axis in range(3):
                        self._put("vectors", arg["edge_stride"] * axis + at, r[axis])
                        f.store(r[axis], f.at(arg["exact"], at * 3 + axis))
                    if "cutoff_scale" in arg:
                        scale = self._get("skin_scale", e)
                        self._put("cutoff_scale", at, scale)
                    for name in ("sender", "sender_species"):
                        value = f.load(f.at(arg[f"skin_{name}"], e, "i64"), "i64")
                        f.store(value, f.at(arg[name], at, "i64"))
                    f.store(e, f.at(arg["kept"], at, "i64"))
                    f.store(at, f.at(arg["place"], e, "i64"))
                    place.add(f.constant(1, "i64"))
        f.store(place.get(), f.at(arg["row_start"], end, "i64"))

    def gather(self) -> None:
        """Of receivers begin:end: dE/dr of each edge, from the sums of `shares` threads; their sum,
        and sum of r ⊗ dE/dr."""
        f, arg = self.f, self.arg
        with f.loop(*f.parameters[:2]) as receiver:
            force = [Variable(f, f.constant(0.0)) for _ in range(3)]
            virial = [Variable(f, f.constant(0.0)) for _ in range(9)]
            with f.loop(*self._row("row_start", receiver)) as e:
                for axis in range(3):
                    total = Variable(f, f.constant(0.0))
                    with f.loop(0, arg["shares"]) as share:
                        row = share * 3 + axis
                        total.add(self._get("dvectors", row * arg["edge_stride"] + e))
                    g = total.get()
                    f.store(g, f.at(arg["gradient"], e * 3 + axis))
                    force[axis].add(g)
                    for k in range(3):
                        virial[3 * k + axis].add(f.load(f.at(arg["exact"], e * 3 + k)) * g)
            for axis, total in enumerate(force):
                f.store(total.get(), f.at(arg["received"], receiver * 3 + axis))
            for k, total in enumerate(virial):
                f.store(total.get(), f.at(arg["virials"], receiver * 9 + k))

    def forces(self) -> None:
        """Of atoms begin:end: what they receive minus what they send, in the order of the graph."""
        f, arg = self.f, self.arg
        with f.loop(*f.parameters[:2]) as receiver:
            force = [
                Variable(f, f.load(f.at(arg["received"], receiver * 3 + axis))) for axis in range(3)
            ]
            with f.loop(*self._row("row_start", receiver)) as e:
                edge = f.load(f.at(arg["kept"], e, "i64"), "i64")
                back = f.load(f.at(arg["reverse"], edge, "i64"), "i64")
                sent = f.load(f.at(arg["place"], back, "i64"), "i64") * 3
                for axis, total in enumerate(force):
                    total.set(total.get() - f.load(f.at(arg["gradient"], sent + axis)))
            atom = f.load(f.at(arg["atoms"], receiver, "i64"), "i64") * 3
            for axis, total in enumerate(force):
                f.store(total.get(), f.at(arg["forces"], atom + axis))

    def totals(self) -> None:
        """Energies and virials of `systems`, from those of atoms begin:end, which are all."""
        f, arg = self.f, self.arg
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
            self._add(energy, f.at(arg["energy"], system))
            for k in range(9):
                value = f.load(f.at(arg["virials"], receiver * 9 + k))
                self._add(value, f.at(arg["virial"], system * 9 + k))

    def energies(self) -> None:
        """scale times what is read out, plus shift."""
        f, arg = self.f, self.arg
        with f.loop(*f.parameters[:2]) as atom:
            read = self._get("read", atom)
            scaled = f.load(f.at(arg["scale"], atom)) * read + f.load(f.at(arg["shift"], atom))
            f.store(scaled, f.at(arg["out"], atom))

    # -- words ---------------------------------------------------------------------------------

    def _row(self, name: str, receiver: Value) -> tuple[Value, Value]:
        start, end = (self.f.at(self.arg[name], receiver + k, "i64") for k in range(2))
        return self.f.load(start, "i64"), self.f.load(end, "i64")

    def _edge_vector(self, receiver: Value, e: Value) -> list[Value]:
        """r = x_sender - x_receiver + shift @ cell; of the reverse edge exactly the opposite."""
        f, arg = self.f, self.arg
        i = f.load(f.at(arg["atoms"], receiver, "i64"), "i64") * 3
        j = f.load(f.at(arg["skin_atom"], e, "i64"), "i64") * 3
        found = []
        for axis in range(3):
            x_i, x_j = (f.load(f.at(arg["positions"], k + axis)) for k in (i, j))
            image = f.load(f.at(arg["image_vectors"], arg["skin_stride"] * axis + e))
            found.append((x_j - x_i) + image)
        return found

    def _get(self, name: str, at: Value) -> Value:
        """A number of the network's precision as float64."""
        place = self.f.at(self.arg[name], at, self.real)
        return self.f.converted(self.f.load(place, self.real), "real")

    def _put(self, name: str, at: Value, value: Value) -> None:
        place = self.f.at(self.arg[name], at, self.real)
        self.f.store(self.f.converted(value, self.real), place)

    def _add(self, value: Value, place: Value) -> None:
        self.f.store(self.f.load(place) + value, place)


def _square(r: list[Value]) -> Value:
    return r[0] * r[0] + r[1] * r[1] + r[2] * r[2]
