"""Prints the Triton kernels of one convolution from its instruction tables.

A kernel computes some paths of one input irrep: program = (receiver, block of channels), a scalar
loop over the receiver's edges, and per edge

    M[a,k] = sum_b C[a,b,k] Y_b         scalars, shared by all channels
    forward:   out_k += w * sum_a x_a M[a,k]
    backward:  s_a = sum_k M[a,k] g_k;  dx_a += w s_a;  dw = sum_a x_a s_a
               dY_b += w * sum_ak C[a,b,k] x_a g_k

The inference form (`fused`) evaluates Y and w itself and turns dY and dw into dE/dvector; the
training form loads Y and w and stores their gradients. README.md has the formulas.
"""

from dataclasses import dataclass

from fastequi.kernels.convolution.triton_harmonics import (
    component,
    print_harmonics,
    print_vector_gradient,
)
from fastequi.kernels.instructions import Instructions, Path
from fastequi.kernels.radial_grid import N_SEGMENTS

_IMPORTS = """import triton
import triton.language as tl

from fastequi.kernels.convolution.triton_kernels import add, direction, spline, spline_slope
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
            edge += ["", *self._weight(p, path), *self._forward_path(p, path)]
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
            edge += ["", *self._weight(p, path)]
            edge += ["slope = d0 * b0 + d1 * b1 + d2 * b2"] if self.fused else []
            edge += self._backward_path(p, path)
        edge += ["", *self._store_dx(), *self._store_edge_gradients()]
        return [*lines, "", *self._edge_loop(edge)]

    # -- paragraphs --------------------------------------------------------------------------

    def _signature(self, parameters: list[str]) -> list[str]:
        paths = ", ".join(f"{path.l1} x {path.l2} -> {path.l3}" for _, path in self.paths)
        form = "Y and W evaluated here" if self.fused else "Y and W from memory"
        whole = [name for name in parameters if name in ("slot", "n_slots")]
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
        """Of the table's grid, as `FusedEdges.numbers` gives them."""
        if not self.fused:
            return []
        names = [
            f"{name}{k}" for k in range(1, N_SEGMENTS) for name in ("begin", "scale", "offset")
        ]
        return [
            'per_angstrom: "fp64"',
            *[f'{name}: "fp32"' for name in ("n_cells", "scale0", *names)],
        ]

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
                "length_scale = tl.full((), per_angstrom, vectors.dtype.element_ty)",
                "if stretch is not None:",
                "    length_scale *= tl.load(stretch + e)",
                "y = length * length_scale  # in cells of the table",
                "if not (y >= n_cells):  # beyond the cutoff nothing; NaN stays",
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
                "scale, offset = scale0, 0.0",
                *[
                    f"{name} = tl.where(y < begin{k}, {name}, {name}{k})"
                    for k in range(1, N_SEGMENTS)
                    for name in ("scale", "offset")
                ],
                "position = y * scale",
                "count = tl.maximum(position.to(tl.int32), 0)",
                "interval = count + offset.to(tl.int32)",
                "t = position - count",
                "i0, i1, i2 = spline(t)",
            ]
            lines += ["d0, d1, d2 = spline_slope(t)"] if slopes else []
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

    def _weight(self, p: int, path: Path) -> list[str]:
        """w per channel: from memory, or a cubic between two knots, of three rows of the table.

        The order of the sum is the one of nine tried with which every kernel of registers.json
        compiles without spills. With v first, one instruction less, NequIP XL's 2e adjoint takes
        202 registers on sm_90 and Triton 3.9 aborts in l3i5's 3e adjoint for Blackwell.
        """
        n = self.instructions.n_weights
        comment = f"# path {p}: {path.l1} x {path.l2} -> {path.l3}"
        if not self.fused:
            address = f"weights + e * {n} + {path.weight_offset} + u"
            return [comment, f"w = tl.load({address}{self._masked(0.0)})"]
        place = {"v": 1, "b0": 0, "b1": 2, "b2": 4}
        loads = [
            f"{name} = tl.load(knot + {path.weight_offset + q * n}{self._masked(0.0)})"
            for name, q in place.items()
        ]
        return [comment, *loads, "w = i1 * b1 + i2 * b2 + v + i0 * b0"]

    def _coupling(self, path: Path, pairs: list[tuple[int, int]]) -> tuple[list[str], list[str]]:
        """M[a,k] of the pairs: lines that define them, and what each is called (or its value)."""
        lines, names = [], []
        for a, k in pairs:
            terms = [(value, self._harmonic(path.l2, b)) for value, b in _along_b(path, a, k)]
            text = _linear(terms)
            if " " in text:  # more than a name or a number
                lines.append(f"m_{a}_{k} = {text}")
                text = f"m_{a}_{k}"
            names.append(text)
        return lines, names

    def _harmonic(self, l2: int, b: int) -> str:
        return "" if self.fused and l2 == 0 else component(l2, b)  # Y_0 = 1

    def _forward_path(self, p: int, path: Path) -> list[str]:
        """Component by component; the weight multiplies the smaller of x and the sum."""
        early = path.l1 <= path.l3
        lines = [f"wx{a} = w * x{a}" for a in _range(path.l1)] if early else []
        for k in _range(path.l3):
            pairs = [(a, k) for a in _range(path.l1) if _along_b(path, a, k)]
            definitions, m = self._coupling(path, pairs)
            x = [f"wx{a}" if early else f"x{a}" for a, _ in pairs]
            terms = " + ".join(_times(name, factor) for name, factor in zip(x, m, strict=True))
            # summed from the left, each term is one fused multiply-add
            total = f"sum{p}_{k} + {terms}" if early else f"sum{p}_{k} + w * ({terms})"
            lines += [*definitions, f"sum{p}_{k} = {total}"]
        return lines

    def _backward_path(self, p: int, path: Path) -> list[str]:
        """Row by row of M, so that few numbers are alive at a time."""
        lines = []
        needs_dy = not (self.fused and path.l2 == 0)
        for a in _range(path.l1):
            pairs = [(a, k) for k in _range(path.l3) if _along_b(path, a, k)]
            definitions, m = self._coupling(path, pairs)
            g = [f"g{p}_{k}" for _, k in pairs]
            terms = [_times(name, factor) for name, factor in zip(g, m, strict=True)]
            lines += [*definitions, f"s = {' + '.join(terms)}"]
            lines.append(f"dw = dw + x{a} * s" if a else f"dw = x{a} * s")
            lines += ["if NEEDS_DX:", f"    {self._add_to(f'dx{a}', 'w * s')}"]
            if needs_dy:
                dy = self._harmonic_gradient(p, path, a)
                lines += dy if self.fused else ["if NEEDS_DY:", *_indent(dy)]
        if self.fused:
            return [*lines, self._add_to("dposition", "slope * dw")]
        address = f"dweights + e * {self.instructions.n_weights} + {path.weight_offset} + u"
        return [*lines, "if NEEDS_DW:", f"    tl.store({address}, dw{self._masked()})"]

    def _harmonic_gradient(self, p: int, path: Path, a: int) -> list[str]:
        """dY_b += w x_a sum_k C g_k; the products w x_a g_k are shared by all b."""
        c = path.coefficients[a]
        columns = [int(k) for k in c.any(axis=0).nonzero()[0]]
        lines = [f"wx = w * x{a}"]
        lines += [f"t{k} = wx * g{p}_{k}" for k in columns]
        for b in _range(path.l2):
            terms = [(float(c[b, k]), f"t{k}") for k in columns if c[b, k]]
            name = f"d{component(path.l2, b)}"
            if terms:
                lines.append(f"{name} = {_linear(terms, start=name if name in self._seen else '')}")
                self._seen.add(name)
        return lines

    def _add_to(self, name: str, text: str) -> str:
        start = f"{name} + " if name in self._seen else ""
        self._seen.add(name)
        return f"{name} = {start}{text}"

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
                "dlength = dposition * (scale * length_scale)",
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


def _along_b(path: Path, a: int, k: int) -> list[tuple[float, int]]:
    """Nonzero C[a, :, k] with their b."""
    column = path.coefficients[a, :, k]
    return [(float(column[b]), int(b)) for b in column.nonzero()[0]]


def _linear(terms: list[tuple[float, str]], start: str = "") -> str:
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


def _times(name: str, factor: str) -> str:
    return name if factor == "1.0" else f"{name} * {factor}"


def _range(degree: int) -> range:
    return range(2 * degree + 1)


def _indent(lines: list[str]) -> list[str]:
    return [f"    {line}" if line else line for line in lines]
