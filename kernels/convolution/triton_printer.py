"""Prints the Triton kernels of one convolution from its instruction tables.

A kernel computes some paths of one input irrep: program = (receiver, block of channels), a scalar
loop over the receiver's edges, and per edge

    M[a,k] = sum_b C[a,b,k] Y_b         scalars, shared by all channels
    forward:   out_k += w * sum_a x_a M[a,k]
    backward:  s_a = sum_k M[a,k] g_k;  dx_a += w s_a;  dw = sum_a x_a s_a
               dY_b += w * sum_ak C[a,b,k] x_a g_k

The inference form (`fused`) evaluates Y and w itself and turns dY and dw into dE/dvector; the
training form loads Y and w and stores their gradients. README.md has the formulas;
to see a kernel:

    python -m fastequi.kernels.convolution.triton_printer 64x1o 2 natural 1x0e+1x1o
"""

import sys
from dataclasses import dataclass

from fastequi.irreps import Irreps
from fastequi.kernels.convolution.triton_harmonics import (
    component,
    print_harmonics,
    print_vector_gradient,
)
from fastequi.kernels.instructions import EdgeParity, Instructions, Path, make_instructions

_IMPORTS = """import triton
import triton.language as tl

from fastequi.kernels.convolution.triton_kernels import add, direction, hermite, hermite_slope
"""


@dataclass(frozen=True, slots=True)
class Group:
    """What one kernel computes: some paths of an input irrep, `block` channels per program."""

    input: int
    paths: tuple[int, ...]
    block: int


def print_kernel(instructions: Instructions, group: Group, *, fused: bool, backward: bool) -> str:
    """Source of the module whose function `kernel` computes the group."""
    body = _Body(instructions, group, fused, backward)
    lines = body.backward_lines() if backward else body.forward_lines()
    return "\n".join([_IMPORTS, "", *lines, ""])


class _Body:
    """Lines of one kernel, from the top."""

    def __init__(
        self, instructions: Instructions, group: Group, fused: bool, backward: bool
    ) -> None:
        self.instructions, self.block, self.fused = instructions, group.block, fused
        self.paths = [(p, instructions.paths[p]) for p in group.paths]
        self.channels, self.irrep = instructions.irreps_in.blocks[group.input]
        self.degrees = sorted({path.l2 for _, path in self.paths})
        self.outputs = sorted({path.output for _, path in self.paths})
        self.mask = "None" if self.channels % group.block == 0 else "mask"
        self.n_harmonics = (instructions.l_max + 1) ** 2
        self.pass_name = "backward" if backward else "forward"
        self.m: dict[tuple[int, int], str] = {}
        self._seen: set[str] = set()

    # -- the two kernels ---------------------------------------------------------------------

    def forward_lines(self) -> list[str]:
        out = [f"out{o}" for o in self.outputs]
        lines = self._signature([*self._inputs(), *out, *self._numbers()])
        lines += self._who_am_i()
        lines += ["", "    # sums over the edges, per path and component"]
        zero = f"tl.zeros(({self.block},), x.dtype.element_ty)"
        lines += [f"    sum{p}_{k} = {zero}" for p, path in self.paths for k in _range(path.l3)]
        edge = self._load_edge(slopes=False)
        for p, path in self.paths:
            edge += ["", *self._weight(path, "w"), *self._coupling(p, path)]
            edge += self._forward_path(p, path)
        lines += ["", *self._edge_loop(edge), ""]
        for p, path in self.paths:
            lines += [
                f"    tl.store({self._out_address('out', path, k)}, sum{p}_{k}{self._masked()})"
                for k in _range(path.l3)
            ]
        return lines

    def backward_lines(self) -> list[str]:
        g = [f"g{o}" for o in self.outputs]
        gradients = ["dx", "dvectors"] if self.fused else ["dx", "dharmonics", "dweights"]
        flags = ["slot", "n_slots", *self._flags()]
        lines = self._signature([*self._inputs(), *g, *gradients, *self._numbers(), *flags])
        lines += self._who_am_i()
        lines += ["", "    # dE/dout of this receiver, per path and component"]
        for p, path in self.paths:
            lines += [
                f"    g{p}_{k} = tl.load({self._out_address('g', path, k)}{self._masked(0.0)})"
                for k in _range(path.l3)
            ]
        edge = self._load_edge(slopes=True)
        for p, path in self.paths:
            edge += ["", *self._weight(path, "w")]
            edge += self._weight(path, "slope") if self.fused else []
            edge += [*self._coupling(p, path), *self._backward_path(p, path)]
        edge += ["", *self._store_dx(), *self._store_edge_gradients()]
        return [*lines, "", *self._edge_loop(edge)]

    # -- paragraphs --------------------------------------------------------------------------

    def _signature(self, parameters: list[str]) -> list[str]:
        paths = ", ".join(f"{path.l1} x {path.l2} -> {path.l3}" for _, path in self.paths)
        form = "Y and W evaluated here" if self.fused else "Y and W from memory"
        whole = [name for name in parameters if name in ("last_interval", "slot", "n_slots")]
        options = f"(do_not_specialize={whole})".replace("'", '"') if whole else ""
        return [
            f"@triton.jit{options}",
            "def kernel(",
            *[f"    {name}," for name in parameters],
            "):",
            f'    """{self.pass_name.capitalize()} of {self.channels}x{self.irrep}, {form}.',
            "",
            f"    Paths: {paths}.",
            '    """',
        ]

    def _inputs(self) -> list[str]:
        if self.fused:
            return ["x", "sender", "row_start", "vectors", "stretch", "knots"]
        return ["x", "sender", "row_start", "harmonics", "weights"]

    def _numbers(self) -> list[str]:
        return ['per_angstrom: "fp64"', "last_interval"] if self.fused else []

    def _flags(self) -> list[str]:
        names = ["NEEDS_DX", "DETERMINISTIC"]
        names += [] if self.fused else ["NEEDS_DY", "NEEDS_DW"]
        return [f"{name}: tl.constexpr" for name in names]

    def _who_am_i(self) -> list[str]:
        lines = [
            "    receiver = tl.program_id(0).to(tl.int64)",
            f"    u = tl.program_id(1) * {self.block} + tl.arange(0, {self.block})",
        ]
        lines += [f"    mask = u < {self.channels}"] if self.mask == "mask" else []
        lines += [
            "    start, end = tl.load(row_start + receiver), tl.load(row_start + receiver + 1)"
        ]
        for o in self.outputs:
            channels, irrep = self.instructions.irreps_out.blocks[o]
            lines.append(f"    row{o} = receiver * {irrep.dim * channels} + u")
        return lines

    def _edge_loop(self, edge: list[str]) -> list[str]:
        """The loop; the next edge's sender and vector are loaded while this edge is computed."""
        ahead = {"row": "sender + {e}"}
        if self.fused:
            ahead |= {f"v{axis}": f"vectors + {{e}} * 3 + {i}" for i, axis in enumerate("xyz")}
        load = "{name} = tl.load({address}, mask={mask}, other={other})"

        def loads(e: str, mask: str) -> list[str]:
            return [
                load.format(
                    name=f"next_{name}", address=address.format(e=e), mask=mask,
                    other="0" if name == "row" else "0.0",
                )
                for name, address in ahead.items()
            ]  # fmt: skip

        inner = [
            f"{', '.join(ahead)} = {', '.join('next_' + name for name in ahead)}"
            if len(ahead) > 1
            else "row = next_row",
            *loads("(e + 1)", "e + 1 < end"),
        ]
        if self.fused:
            inner += [
                "ux, uy, uz, length, inverse = direction(vx, vy, vz)",
                "scale = tl.full((), per_angstrom, vectors.dtype.element_ty)",
                "if stretch is not None:",
                "    scale *= tl.load(stretch + e)",
                "position = length * scale  # along the table, in intervals",
                "if position < last_interval + 1:  # beyond the cutoff nothing happens",
                *_indent(edge),
            ]
        else:
            inner += edge
        return [
            *_indent(loads("start", "start < end")),
            "    for e in range(start, end):",
            *_indent(_indent(inner)),
        ]

    def _load_edge(self, slopes: bool) -> list[str]:
        degrees = self.degrees
        if self.fused:
            lines = [
                "interval = tl.minimum(position.to(tl.int32), last_interval)",
                "t = position - interval",
                "h0, h1, h2, h3 = hermite(t)",
            ]
            lines += ["d0, d1, d2, d3 = hermite_slope(t)"] if slopes else []
            lines += [
                f"knot = knots + interval.to(tl.int64) * {2 * self.instructions.n_weights} + u",
                *print_harmonics(degrees),
            ]
        else:
            columns = [j for l2 in degrees for j in range(l2 * l2, (l2 + 1) ** 2)]
            lines = [f"y{j} = tl.load(harmonics + e * {self.n_harmonics} + {j})" for j in columns]
        stride = self.irrep.dim * self.channels
        lines.append(f"x_row = x + row * {stride} + u")
        lines += [
            f"x{a} = tl.load(x_row + {a * self.channels}{self._masked(0.0)})"
            for a in range(self.irrep.dim)
        ]
        return lines

    # -- one path ----------------------------------------------------------------------------

    def _weight(self, path: Path, name: str) -> list[str]:
        """w, or its slope along the table, per channel."""
        n = self.instructions.n_weights
        if not self.fused:
            address = f"weights + e * {n} + {path.weight_offset} + u"
            return [f"w = tl.load({address}{self._masked(0.0)})"]
        if name == "slope":
            return ["slope = d0 * k0 + d1 * k1 + d2 * k2 + d3 * k3"]
        offsets = [path.weight_offset + q * n for q in range(4)]
        return [
            *[
                f"k{q} = tl.load(knot + {offset}{self._masked(0.0)})"
                for q, offset in enumerate(offsets)
            ],
            "w = h0 * k0 + h1 * k1 + h2 * k2 + h3 * k3",
        ]

    def _coupling(self, p: int, path: Path) -> list[str]:
        """M[a,k] as lines `m_a_k = ...`; self.m maps (a, k) to a name, or to a number."""
        lines = [f"# path {p}: {path.l1} x {path.l2} -> {path.l3}"]
        self.m = {}
        for (a, k), terms in _terms(path, by="ak").items():
            text = _linear([(value, self._harmonic(path.l2, b)) for value, b in terms])
            if " " in text:  # more than a name or a number
                lines.append(f"m_{a}_{k} = {text}")
                text = f"m_{a}_{k}"
            self.m[a, k] = text
        return lines

    def _harmonic(self, l2: int, b: int) -> str:
        return "" if self.fused and l2 == 0 else component(l2, b)  # Y_0 = 1

    def _forward_path(self, p: int, path: Path) -> list[str]:
        """The weight multiplies x or the sum, whichever has fewer components."""
        first = path.l1 < path.l3
        lines = [f"wx{a} = w * x{a}" for a in _range(path.l1)] if first else []
        x = "wx" if first else "x"
        for k in _range(path.l3):
            text = " + ".join(
                _times(f"{x}{a}", self.m[a, k]) for a in _range(path.l1) if (a, k) in self.m
            )
            lines.append(f"sum{p}_{k} += {text}" if first else f"sum{p}_{k} += w * ({text})")
        return lines

    def _backward_path(self, p: int, path: Path) -> list[str]:
        lines = []
        for a in _range(path.l1):
            terms = [_times(f"g{p}_{k}", self.m[a, k]) for k in _range(path.l3) if (a, k) in self.m]
            lines.append(f"s{a} = {' + '.join(terms)}")
        dw = " + ".join(f"x{a} * s{a}" for a in _range(path.l1))
        if self.fused:
            lines.append(self._add_to("dposition", f"slope * ({dw})"))
        else:
            address = f"dweights + e * {self.instructions.n_weights} + {path.weight_offset} + u"
            lines += ["if NEEDS_DW:", f"    tl.store({address}, {dw}{self._masked()})"]
        lines.append("if NEEDS_DX:")
        lines += [f"    {self._add_to(f'dx{a}', f'w * s{a}')}" for a in _range(path.l1)]
        if self.fused and path.l2 == 0:
            return lines
        dy = self._harmonic_gradient(p, path)
        return [*lines, *dy] if self.fused else [*lines, "if NEEDS_DY:", *_indent(dy)]

    def _harmonic_gradient(self, p: int, path: Path) -> list[str]:
        """dY_b += w * sum_ak C x_a g_k, with the products x_a g_k shared by all b."""
        by_component = _terms(path, by="b")
        products = sorted({(a, k) for terms in by_component.values() for _, a, k in terms})
        lines = [f"wx{a} = w * x{a}" for a in _range(path.l1)]
        lines += [f"t_{a}_{k} = wx{a} * g{p}_{k}" for a, k in products]
        for b, terms in by_component.items():
            text = _linear([(value, f"t_{a}_{k}") for value, a, k in terms])
            lines.append(self._add_to(f"d{component(path.l2, b)}", text))
        return lines

    def _add_to(self, name: str, text: str) -> str:
        if name in self._seen:
            return f"{name} += {text}"
        self._seen.add(name)
        return f"{name} = {text}"

    # -- gradients of one edge ---------------------------------------------------------------

    def _store_dx(self) -> list[str]:
        stride = self.irrep.dim * self.channels
        return [
            "if NEEDS_DX:",
            "    target = row",
            "    if DETERMINISTIC:  # one row per edge, summed by sender afterwards",
            "        target = e",
            f"    dx_row = dx + target * {stride} + u",
            *[
                f"    add(dx_row + {a * self.channels}, dx{a}, {self.mask}, DETERMINISTIC)"
                for a in range(self.irrep.dim)
            ],
        ]

    def _store_edge_gradients(self) -> list[str]:
        lines = [
            "own = e",
            "if DETERMINISTIC:  # each block of channels has its own slot, summed afterwards",
            "    own = e * n_slots + slot + tl.program_id(1)",
        ]
        if self.fused:
            tangent = print_vector_gradient(self.degrees) if self.degrees != [0] else []
            return [
                *tangent,
                "dlength = dposition * scale",
                *[f"f{axis} {'+=' if tangent else '='} u{axis} * dlength" for axis in "xyz"],
                *lines,
                *[
                    f"add(dvectors + own * 3 + {i}, tl.sum(f{axis}), None, DETERMINISTIC)"
                    for i, axis in enumerate("xyz")
                ],
            ]
        columns = [j for l2 in self.degrees for j in range(l2 * l2, (l2 + 1) ** 2)]
        address = f"dharmonics + own * {self.n_harmonics}"
        stores = [f"add({address} + {j}, tl.sum(dy{j}), None, DETERMINISTIC)" for j in columns]
        return ["if NEEDS_DY:", *_indent([*lines, *stores])]

    # -- small things ------------------------------------------------------------------------

    def _out_address(self, name: str, path: Path, k: int) -> str:
        channels = self.instructions.irreps_out.blocks[path.output][0]
        return f"{name}{path.output} + row{path.output} + {k * channels + path.channel_offset}"

    def _masked(self, other: float | None = None) -> str:
        if self.mask == "None":
            return ""
        return ", mask=mask" if other is None else f", mask=mask, other={other}"


def _terms(path: Path, by: str) -> dict:
    """Nonzero coefficients: by 'ak', (a, k) -> [(C, b)]; by 'b', b -> [(C, a, k)]."""
    c, found = path.coefficients, {}
    for a, b, k in zip(*c.nonzero(), strict=True):
        a, b, k, value = int(a), int(b), int(k), float(c[a, b, k])
        if by == "ak":
            found.setdefault((a, k), []).append((value, b))
        else:
            found.setdefault(b, []).append((value, a, k))
    return found


def _linear(terms: list[tuple[float, str]]) -> str:
    """sum of coefficient * name; the name '' stands for 1."""
    text = ""
    for value, name in terms:
        value = round(value) if abs(value - round(value)) < 1e-14 else value
        size = repr(float(abs(value))) if name == "" else name
        if name and abs(value) != 1:
            size = f"{abs(value)!r} * {name}"
        text += (" - " if text else "-") if value < 0 else (" + " if text else "")
        text += size
    return text


def _times(name: str, factor: str) -> str:
    return name if factor == "1.0" else f"{name} * {factor}"


def _range(degree: int) -> range:
    return range(2 * degree + 1)


def _indent(lines: list[str]) -> list[str]:
    return [f"    {line}" if line else line for line in lines]


def main(arguments: list[str]) -> None:
    irreps, l_max, parity, wanted = arguments[:4]
    edge_parity: EdgeParity = "even" if parity == "even" else "natural"
    table = make_instructions(Irreps.parse(irreps), int(l_max), edge_parity, Irreps.parse(wanted))
    for i in range(len(table.irreps_in)):
        paths = tuple(p for p, path in enumerate(table.paths) if path.input == i)
        for backward in (False, True):
            print(print_kernel(table, Group(i, paths, 32), fused=True, backward=backward))


if __name__ == "__main__":
    main(sys.argv[1:])
