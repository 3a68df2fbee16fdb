"""What the printed kernels have in common: their frame, an edge, the couplings of a path.

A kernel computes some paths of one input irrep: program = (receiver, block of channels), a scalar
loop over the receiver's edges, and per edge the couplings M[a,k] = sum_b C[a,b,k] Y_b, scalars that
all channels share. What is done with them is in a file per operation.

Names: x0 is component 0 of the sender's features, g2_0 that of the gradient of path 2's messages,
m_0_1 is M[0,1]; d before a name is dE/d(it), _t behind it its change along the displacement.
"""

from abc import ABC, abstractmethod

from fastequi.kernels.instructions import Instructions, Path
from fastequi.kernels.triton.form import Form, Group
from fastequi.kernels.triton.harmonics import component, print_changes, print_harmonics
from fastequi.kernels.triton.sources import SOURCES

IMPORTS = """import triton
import triton.language as tl

from fastequi.kernels.triton.kernels import add, direction, spline, spline_slope, turning
"""


class Body(ABC):
    """Lines of one kernel, from the top.

    is_tangent  edges and features change along displacements
    with_slope  dW/dr is needed besides W
    """

    title: str
    is_tangent: bool
    with_slope: bool

    def __init__(
        self, instructions: Instructions, group: Group, form: Form, part: str = "tl.program_id(1)"
    ) -> None:
        """part: what says which block of channels is a program's."""
        self.part = part
        self.instructions, self.block, self.form = instructions, group.block, form
        self.paths = [(p, instructions.paths[p]) for p in group.paths]
        self.channels, self.irrep = instructions.irreps_in.blocks[group.input]
        self.stride = self.irrep.dim * self.channels
        self.degrees = sorted({path.l2 for _, path in self.paths})
        self.outputs = sorted({path.output for _, path in self.paths})
        self.mask = "None" if self.channels % group.block == 0 else "mask"
        n_weights = instructions.n_weights
        self.source = SOURCES[form.source](n_weights, self.with_slope, self.masked(0.0))
        self._seen: set[str] = set()

    def text(self) -> str:
        """Source of the module whose function is `kernel`."""
        return "\n".join([IMPORTS, "", *self.function("kernel"), ""])

    def function(self, name: str) -> list[str]:
        """Its lines, with a last parameter `part` where that is what says it."""
        lines = [*self._signature(name), *self._who_am_i(), *self.before(), ""]
        return [*lines, *self._edge_loop([*self._open_edge(), *self.edge()]), *self.after()]

    def names(self) -> list[str]:
        """Of all parameters, with their types where these are said."""
        names = ["x", "sender", "row_start", *self._vectors().values(), *self.source.pointers]
        names += ["x_half"] if self.form.has_tangents else []
        return [*names, *self.parameters(), *self.source.numbers]

    # -- what an operation says --------------------------------------------------------------

    @abstractmethod
    def parameters(self) -> list[str]:
        """Behind those of features and edges."""

    @abstractmethod
    def before(self) -> list[str]:
        """Before the loop over edges."""

    @abstractmethod
    def edge(self) -> list[str]:
        """What an edge adds."""

    def after(self) -> list[str]:
        """Behind the loop."""
        return []

    # -- the frame ---------------------------------------------------------------------------

    def _signature(self, name: str) -> list[str]:
        paths = ", ".join(f"{path.l1} x {path.l2} -> {path.l3}" for _, path in self.paths)
        names = [*self.names(), *(["part"] if self.part == "part" else [])]
        return [
            decorator(names),
            f"def {name}(",
            *[f"    {name}," for name in names],
            "):",
            f'    """{self.title} of {self.channels}x{self.irrep}, {self.source.title}.',
            "",
            f"    Paths: {paths}.",
            '    """',
        ]

    def _vectors(self) -> dict[str, str]:
        """Letters of their components, and names, of what an edge has three numbers of."""
        return {"v": "vectors"} | ({"t": "displacements"} if self.is_tangent else {})

    def _who_am_i(self) -> list[str]:
        lines = [
            "    receiver = tl.program_id(0).to(tl.int64)",
            f"    u = {self.part} * {self.block} + tl.arange(0, {self.block})",
        ]
        lines += [f"    mask = u < {self.channels}"] if self.mask == "mask" else []
        lines += [
            "    start, end = tl.load(row_start + receiver), tl.load(row_start + receiver + 1)"
        ]
        for o in self.outputs:
            channels, irrep = self.instructions.irreps_out.blocks[o]
            size = irrep.dim * channels
            lines.append(f"    row{o} = receiver * {size} + u")
            if self.is_tangent:
                lines.append(f"    row{o}_t = row{o} + tl.num_programs(0).to(tl.int64) * {size}")
        return [*lines, ""]

    def _edge_loop(self, edge: list[str]) -> list[str]:
        """The loop; what finds the next edge is loaded while this edge is computed."""
        ahead = {"row": "sender + {e}"} | self.source.ahead
        ahead |= {f"v{axis}": f"vectors + {{e}} * 3 + {i}" for i, axis in enumerate("xyz")}
        if self.is_tangent:
            ahead |= {
                f"t{axis}": f"displacements + {{e}} * 3 + {i}" for i, axis in enumerate("xyz")
            }

        def loads(e: str, mask: str) -> list[str]:
            return [
                f"next_{name} = tl.load({address.format(e=e)}, mask={mask}, "
                f"other={'0' if 'row' in name else '0.0'})"
                for name, address in ahead.items()
            ]

        inner = [
            f"{', '.join(ahead)} = {', '.join('next_' + name for name in ahead)}",
            *loads("(e + 1)", "e + 1 < end"),
            "ux, uy, uz, length, inverse = direction(vx, vy, vz)",
            *self.source.guard,
            *(indent(edge) if self.source.guard else edge),
        ]
        return [
            *indent(loads("start", "start < end")),
            "    for e in range(start, end):",
            *indent(indent(inner)),
        ]

    # -- one edge ----------------------------------------------------------------------------

    def _open_edge(self) -> list[str]:
        """Harmonics, the place of the weights, and the sender's features."""
        lines = [*self.source.place(), *print_harmonics(self.degrees)]
        if self.is_tangent:
            lines.append("ux_t, uy_t, uz_t, rate = turning(ux, uy, uz, inverse, tx, ty, tz)")
            lines += print_changes(self.degrees)
        lines.append(f"x_row = x + row * {self.stride} + u")
        lines += self._features("x_row", "")
        if self.form.has_tangents:
            lines.append(f"x_row_t = x + (row + x_half) * {self.stride} + u")
            lines += self._features("x_row_t", "_t")
        return lines

    def _features(self, row: str, suffix: str) -> list[str]:
        return [
            f"x{a}{suffix} = tl.load({row} + {a * self.channels}{self.masked(0.0)})"
            for a in range(self.irrep.dim)
        ]

    # -- one path ----------------------------------------------------------------------------

    def weight(self, p: int, path: Path) -> list[str]:
        """w of a path, its slope or its change."""
        comment = f"# path {p}: {path.l1} x {path.l2} -> {path.l3}"
        change = ["w_t = slope * rate"] if self.is_tangent else []
        return ["", comment, *self.source.weight(path.weight_offset), *change]

    def coupling(
        self, path: Path, pairs: list[tuple[int, int]], suffix: str = ""
    ) -> tuple[list[str], list[str]]:
        """M[a,k] of the pairs: lines that define them, and what each is called (or its value).

        suffix  '_t' for its change, which paths with l2 = 0 do not have
        """
        lines, names = [], []
        for a, k in pairs:
            terms = [
                (value, component(path.l2, b) + suffix if path.l2 else "")  # Y_0 = 1
                for value, b in along_b(path, a, k)
            ]
            text = linear(terms)
            if " " in text:  # more than a name or a number
                lines.append(f"m_{a}_{k}{suffix} = {text}")
                text = f"m_{a}_{k}{suffix}"
            names.append(text)
        return lines, names

    def load_gradients(self, suffix: str = "") -> list[str]:
        """dE/dout of this receiver, or that of its change, per path and component."""
        return [
            f"    g{p}_{k}{suffix} = "
            f"tl.load({self.out_address('g', path, k, suffix)}{self.masked(0.0)})"
            for p, path in self.paths
            for k in components(path.l3)
        ]

    def add_to(self, name: str, text: str) -> str:
        """name = name + text; the first addition defines it."""
        return f"{name} = {name} + {text}" if self._seen_before(name) else f"{name} = {text}"

    def add_linear(self, name: str, terms: list[tuple[float, str]]) -> str:
        """The same of coefficients times names, of either sign."""
        return f"{name} = {linear(terms, start=name if self._seen_before(name) else '')}"

    def _seen_before(self, name: str) -> bool:
        seen = name in self._seen
        self._seen.add(name)
        return seen

    def add_features(self, suffix: str = "") -> list[str]:
        """Add dx, or that of its change, to the row `target` of memory."""
        return [
            f"dx_row{suffix} = dx + target{suffix} * {self.stride} + u",
            *[
                f"add(dx_row{suffix} + {a * self.channels}, dx{a}{suffix}, {self.mask}, "
                "DETERMINISTIC)"
                for a in range(self.irrep.dim)
            ],
        ]

    def out_address(self, name: str, path: Path, k: int, suffix: str = "") -> str:
        channels = self.instructions.irreps_out.blocks[path.output][0]
        place = k * channels + path.channel_offset
        return f"{name}{path.output} + row{path.output}{suffix} + {place}"

    def masked(self, other: float | None = None) -> str:
        if self.mask == "None":
            return ""
        return ", mask=mask" if other is None else f", mask=mask, other={other}"


# -- text ----------------------------------------------------------------------------------------


def decorator(names: list[str]) -> str:
    """Of a function with these parameters: sizes change with the data, and compile nothing anew."""
    sizes = [n for n in names if n in ("slot", "n_slots", "x_half", "dx_half")]
    return "@triton.jit" + (f"(do_not_specialize={sizes})".replace("'", '"') if sizes else "")


def along_b(path: Path, a: int, k: int) -> list[tuple[float, int]]:
    """Nonzero C[a, :, k] with their b."""
    column = path.coefficients[a, :, k]
    return [(float(column[b]), int(b)) for b in column.nonzero()[0]]


def linear(terms: list[tuple[float, str]], start: str = "") -> str:
    """start + sum of coefficient * name; the name '' stands for 1."""
    text = start
    for value, name in terms:
        size = abs(round(value) if abs(value - round(value)) < 1e-14 else value)
        factor = repr(float(size)) if name == "" else name
        if name and size != 1:
            factor = f"{size!r} * {name}"
        sign = "-" if value < 0 else "+"
        text += f" {sign} {factor}" if text else factor if value > 0 else f"-{factor}"
    return text


def products(names: list[str], factors: list[str]) -> str:
    """Sum of name * factor; summed from the left, each term is one fused multiply-add."""
    terms = [
        name if factor == "1.0" else f"{name} * {factor}"
        for name, factor in zip(names, factors, strict=True)
    ]
    return " + ".join(terms)


def components(degree: int) -> range:
    return range(2 * degree + 1)


def indent(lines: list[str]) -> list[str]:
    return [f"    {line}" if line else line for line in lines]
