"""Parity: values and derivatives of any convolution against the reference, path by path.

The problems, and how results are compared; testing_operations.py holds the operations of a backend
to their definitions.

The reference is computed in float64 from the same (rounded) inputs. Rows with NaN must be the same
in both; errors of the others are root mean squares relative to the reference's, for the whole
tensor and for every slice that belongs to one instruction: a kernel that gets one path wrong can
look right in every norm but that one.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from fastequi.irreps import Irreps, Parity, hidden_irreps
from fastequi.kernels.convolution.edges import Edges, make_edges
from fastequi.kernels.convolution.reference import convolution
from fastequi.kernels.instructions import Instructions, make_instructions
from fastequi.kernels.radial_grid import RadialGrid
from fastequi.kernels.radial_table import RadialTable, tabulate
from fastequi.kernels.spherical_harmonics import spherical_harmonics

TrainingForm = Callable[..., list[Tensor]]

#: Largest relative RMS error of any slice.
TOLERANCE = {torch.float32: 3e-6, torch.float64: 1e-12}

CUTOFF_A = 5.0

#: Coarse, with every segment in use; edges of `Problem.vectors` fall into all but the first.
GRID = RadialGrid(CUTOFF_A, 20, (0, 2, 5, 8, 11, 15), (1, 5, 4, 3, 1, 2))


@dataclass(frozen=True)
class Problem:
    """Random features and edges with the shapes that kernels get wrong.

    degrees      edges that each atom receives
    n_senders    rows of x; fewer than atoms stands for a first layer (one row per species)
    contiguous   False: every input and every incoming gradient is a strided view
    has_cutoff_scale  whether edges have cutoffs of their own (per pair of species)
    lengths      (edge, length in cutoffs) of edges that are set by hand; may be NaN
    """

    name: str
    instructions: Instructions
    degrees: tuple[int, ...] = (3, 0, 2, 1)
    n_senders: int = 4
    contiguous: bool = True
    has_cutoff_scale: bool = False
    lengths: tuple[tuple[int, float], ...] = ()
    seed: int = 0

    def __str__(self) -> str:
        return self.name

    @property
    def n_atoms(self) -> int:
        return len(self.degrees)

    @cached_property
    def _receiver(self) -> Tensor:
        return torch.repeat_interleave(
            torch.arange(self.n_atoms), torch.tensor(self.degrees).long()
        )

    def edges(self) -> Edges:
        """Random senders; the first two edges of the first row with several are the same pair."""
        random = torch.Generator().manual_seed(self.seed)
        n = len(self._receiver)
        sender = torch.randint(max(self.n_senders, 1), (n,), generator=random)
        sender[1:2] = sender[0:1]
        scale = 1 + 0.2 * torch.rand(n, generator=random, dtype=torch.float64)
        own = scale if self.has_cutoff_scale else None
        return make_edges(sender, self._receiver, self.n_atoms, own)

    def vectors(self) -> Tensor:
        """[edges, 3] float64; the third and each seventh after it are longer than the cutoff."""
        random = torch.Generator().manual_seed(self.seed + 1)
        n = len(self._receiver)
        direction = torch.randn((n, 3), generator=random, dtype=torch.float64)
        length = 0.8 + (CUTOFF_A - 0.8) * torch.rand((n, 1), generator=random).double()
        length[2::7] = 1.1 * CUTOFF_A
        for edge, cutoffs in self.lengths:
            length[edge] = cutoffs * CUTOFF_A
        vectors = direction / direction.norm(dim=1, keepdim=True) * length
        vectors[1:2] = vectors[0:1]
        return vectors

    def features(self) -> list[Tensor]:
        random = torch.Generator().manual_seed(self.seed + 2)
        return [
            torch.randn((self.n_senders, ir.dim, mul), generator=random, dtype=torch.float64)
            for mul, ir in self.instructions.irreps_in
        ]

    def weights(self) -> Tensor:
        random = torch.Generator().manual_seed(self.seed + 3)
        shape = (len(self._receiver), self.instructions.n_weights)
        return torch.randn(shape, generator=random, dtype=torch.float64)

    def table(self) -> RadialTable:
        """Waves that never vanish, under an envelope that vanishes twice at the cutoff."""
        frequency = torch.linspace(0.3, 1.5, max(self.instructions.n_weights, 1)).double()
        frequency = frequency[: self.instructions.n_weights]

        def function(r: Tensor) -> Tensor:
            r = r.unsqueeze(1)
            return (1 - r / CUTOFF_A) ** 2 * (2 + torch.cos(frequency * r))

        return tabulate(function, GRID)


def _instructions(
    channels: Sequence[int], parity: Parity, wanted: Sequence[int] | None = None
) -> Instructions:
    out = hidden_irreps(channels if wanted is None else wanted, parity)
    edges = "even" if parity == "even" else "natural"
    return make_instructions(hidden_irreps(channels, parity), len(channels) - 1, edges, out)


def problems() -> list[Problem]:
    """The cases that every implementation must pass; small, so that slow ones can."""
    natural = _instructions((5, 3, 2), "natural")
    first = make_instructions(Irreps.parse("6x0e"), 2, "natural", natural.irreps_out)
    last = make_instructions(natural.irreps_in, 2, "natural", Irreps.parse("1x0e"))
    return [
        Problem("natural", natural),
        Problem("full", _instructions((3, 2), "full")),
        Problem("even", _instructions((4, 3, 1), "even"), has_cutoff_scale=True),
        Problem("degree 3", _instructions((2, 1, 1, 2), "even"), degrees=(2,), n_senders=3),
        Problem("degree 4", _instructions((1, 2, 1, 1, 2), "natural"), degrees=(2,)),
        Problem("odd channels", _instructions((89, 33), "natural"), degrees=(0, 2, 1)),
        Problem("many neighbors", _instructions((3, 2), "natural"), (63, 0, 64, 1, 2, 300, 0), 7),
        Problem("strided", natural, contiguous=False),
        Problem("first layer", first, n_senders=2),
        Problem("last layer", last),
        Problem("isolated atoms", natural, degrees=(0, 0, 0)),
        Problem("no atoms", natural, degrees=(), n_senders=0),
        Problem("at the cutoff", natural, lengths=((3, 1 - 1e-7),)),
        Problem("not a number", natural, lengths=((3, float("nan")),)),
    ]


# -- the trilinear form --------------------------------------------------------------------------


def assert_training_parity(
    candidate: TrainingForm,
    problem: Problem,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    order: int = 2,
) -> None:
    """Values, gradients (order >= 1) and second derivatives (order 2) of out(x, Y, W)."""
    edges, n = problem.edges(), problem.n_atoms
    receiver = problem._receiver
    directions = torch.nn.functional.normalize(problem.vectors(), dim=1)
    harmonics = spherical_harmonics(directions, problem.instructions.l_max)
    inputs = {"Y": harmonics, "W": problem.weights()}
    inputs |= {f"x[{i}]": block for i, block in enumerate(problem.features())}

    def run(form: TrainingForm, place: Place) -> dict[str, Tensor]:
        def function(leaves: dict[str, Tensor]) -> list[Tensor]:
            x = [leaves[f"x[{i}]"] for i in range(len(problem.instructions.irreps_in))]
            src, dst = edges.sender.to(place.device), receiver.to(place.device)
            return form(x, leaves["Y"], leaves["W"], src, dst, problem.instructions, n)

        return derivatives(function, inputs, place, order)

    compare(run, candidate, convolution, problem, dtype, device)


@dataclass(frozen=True)
class Place:
    """Where a form runs: inputs are rounded to `rounded`, then held in `dtype`."""

    rounded: torch.dtype
    dtype: torch.dtype
    device: torch.device | str
    contiguous: bool

    def leaf(self, value: Tensor) -> Tensor:
        value = value.to(self.rounded).to(device=self.device, dtype=self.dtype)
        return (value if self.contiguous else _strided(value)).requires_grad_(True)

    def cotangent(self, like: Tensor, seed: int) -> Tensor:
        random = torch.Generator().manual_seed(seed)
        value = torch.randn(like.shape, generator=random, dtype=torch.float64)
        return self.leaf(value)


def _strided(value: Tensor) -> Tensor:
    """Every second element of a larger tensor, last dimension first."""
    wide = value.new_full((*value.shape[::-1], 2), torch.nan)
    wide[..., 0] = value.permute(*range(value.ndim)[::-1])
    return wide[..., 0].permute(*range(value.ndim)[::-1]).detach()


def edges_on(edges: Edges, place: Place) -> Edges:
    moved = [t.to(place.device) for t in (edges.sender, edges.receiver, edges.row_start)]
    cutoff_scale = edges.cutoff_scale
    if cutoff_scale is not None:
        cutoff_scale = cutoff_scale.to(place.rounded).to(device=place.device, dtype=place.dtype)
    return Edges(moved[0], moved[1], moved[2], cutoff_scale)


def derivatives(
    function: Callable[[dict[str, Tensor]], list[Tensor]],
    inputs: dict[str, Tensor],
    place: Place,
    order: int,
) -> dict[str, Tensor]:
    """Values, then d<g, out>, then the derivatives of <h, d<g, out>> by inputs and by g."""
    leaves = {name: place.leaf(value) for name, value in inputs.items()}
    out = function(leaves)
    found = {f"out[{i}]": block for i, block in enumerate(out)}
    if order == 0:
        return _detached(found)
    g = {f"g[{i}]": place.cotangent(block, 100 + i) for i, block in enumerate(out)}
    first = _grad(out, list(g.values()), leaves, create_graph=order > 1)
    found |= {f"gradient by {name}": value for name, value in first.items()}
    if order > 1:
        h = [place.cotangent(value, 200 + i) for i, value in enumerate(first.values())]
        second = _grad(list(first.values()), h, leaves | g, create_graph=False)
        found |= {f"second derivative by {name}": value for name, value in second.items()}
    return _detached(found)


def _detached(found: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().to("cpu", torch.float64) for name, value in found.items()}


def _grad(
    outputs: list[Tensor], weights: list[Tensor], leaves: dict[str, Tensor], create_graph: bool
) -> dict[str, Tensor]:
    kept = [(o, w) for o, w in zip(outputs, weights, strict=True) if o.requires_grad]
    grads: Sequence[Tensor | None] = [None] * len(leaves)
    if kept:
        grads = torch.autograd.grad(
            [o for o, _ in kept],
            list(leaves.values()),
            [w for _, w in kept],
            create_graph=create_graph,
            allow_unused=True,
        )
    return {
        name: torch.zeros_like(leaf) if grad is None else grad
        for (name, leaf), grad in zip(leaves.items(), grads, strict=True)
    }


# -- comparing -----------------------------------------------------------------------------------


def compare(
    run: Callable[[Any, Place], dict[str, Tensor]],
    candidate: Callable[..., list[Tensor]],
    reference: Callable[..., list[Tensor]],
    problem: Problem,
    dtype: torch.dtype,
    device: torch.device | str,
) -> None:
    expected = run(reference, Place(dtype, torch.float64, "cpu", True))
    with poisoned_memory():
        got = run(candidate, Place(dtype, dtype, device, problem.contiguous))
    tolerance = TOLERANCE[dtype]
    faults = []
    for name, value in expected.items():
        if got[name].shape != value.shape:
            faults.append(f"{name}: shape {list(got[name].shape)}, expected {list(value.shape)}")
            continue
        if not torch.equal(_has_nan(got[name]), _has_nan(value)):
            faults.append(f"{name}: NaN in other rows than in the reference's")
            continue
        finite = ~_has_nan(value)
        for label, part in _slices(name, problem.instructions):
            error = relative_rms(got[name][finite][part], value[finite][part])
            if not error <= tolerance:  # NaN is a fault too
                faults.append(f"{name}{label}: relative RMS {error:.1e} > {tolerance:.0e}")
    if faults:
        setting = f"{str(dtype).removeprefix('torch.')}, {sum(problem.degrees)} edges"
        raise AssertionError("\n  ".join([f"problem '{problem}' ({setting}):", *faults]))


def _has_nan(value: Tensor) -> Tensor:
    """Which rows are not numbers; one that is NaN anywhere is compared no further."""
    return value.isnan().flatten(1).any(dim=1)


def relative_rms(got: Tensor, expected: Tensor) -> float:
    """Root mean square of the error over that of the expected values; 0/0 is 0."""
    scale = float(expected.norm())
    error = float((got - expected).norm())
    return error / scale if scale > 0 else (0.0 if error == 0 else float("inf") * error)


def _slices(name: str, instructions: Instructions) -> Iterator[tuple[str, Any]]:
    """(label, index) of the whole tensor and of each instruction's part of it."""
    yield "", ...
    tensor = name.rsplit(" ", 1)[-1]
    if tensor == "Y":
        for l in range(instructions.l_max + 1):  # noqa: E741
            yield f", degree {l}", (slice(None), slice(l * l, (l + 1) ** 2))
    for i, path in enumerate(instructions.paths):
        label = f", path {i} ({path.l1} x {path.l2} -> {path.l3})"
        if tensor == "W":
            start = path.weight_offset
            yield label, (..., slice(start, start + path.channels))
        elif tensor in (f"out[{path.output}]", f"g[{path.output}]"):
            start = path.channel_offset
            yield label, (..., slice(start, start + path.channels))


# -- traps ---------------------------------------------------------------------------------------


#: NaN as no arithmetic gives it, so that it is known from others.
POISON = {"float32": np.uint32(0x7FC0DEAD), "float64": np.uint64(0x7FF8DEADDEADDEAD)}


def _poison(array: Tensor | np.ndarray) -> None:
    name = str(array.dtype).removeprefix("torch.")
    if name not in POISON:
        return
    bits = POISON[name]
    if isinstance(array, Tensor):
        array.detach().view(getattr(torch, f"int{8 * bits.itemsize}")).fill_(int(bits))
    else:
        array.view(bits.dtype).fill(bits)


@contextmanager
def poisoned_memory(package: str = "fastequi") -> Iterator[None]:
    """Inside, memory that the package allocates without filling it is full of NaN (`POISON`)."""

    def poisoned(allocate: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            array = allocate(*args, **kwargs)
            caller = sys._getframe(1).f_globals.get("__name__", "")
            if caller.split(".")[0] == package:
                _poison(array)
            return array

        return wrapper

    with (
        patch.object(torch, "empty", poisoned(torch.empty)),
        patch.object(torch, "empty_like", poisoned(torch.empty_like)),
        patch.object(Tensor, "new_empty", poisoned(Tensor.new_empty)),
        patch.object(np, "empty", poisoned(np.empty)),
        patch.object(np, "empty_like", poisoned(np.empty_like)),
    ):
        yield
