"""Printed code: harmonics and their gradient as the tables define them; plans; readable source."""

import math
import subprocess
import sys
from itertools import pairwise

import pytest
import torch

from fastequi.irreps import Irreps
from fastequi.kernels.convolution.definitions import harmonics_along
from fastequi.kernels.instructions import make_instructions
from fastequi.kernels.spherical_harmonics import spherical_harmonics
from fastequi.kernels.triton.form import Form
from fastequi.kernels.triton.harmonics import (
    print_changes,
    print_harmonics,
    print_vector_gradient,
)
from fastequi.kernels.triton.plan import plan
from fastequi.kernels.triton.printer import FORMS, print_source

VECTOR = torch.tensor([0.3, -1.1, 0.7], dtype=torch.float64)


def unit_vector() -> dict[str, float]:
    length = float(VECTOR.norm())
    ux, uy, uz = (VECTOR / length).tolist()
    return {"ux": ux, "uy": uy, "uz": uz, "inverse": 1 / length}


@pytest.mark.parametrize("degrees", [[1], [0, 1, 2], [0, 1, 2, 3, 4], [2, 4]], ids=str)
def test_printed_harmonics(degrees):
    names = unit_vector()
    exec("\n".join(print_harmonics(degrees)), names)
    expected = spherical_harmonics((VECTOR / VECTOR.norm()).unsqueeze(0), max(degrees))[0]
    for j in [j for l in degrees if l for j in range(l * l, (l + 1) ** 2)]:  # noqa: E741
        assert math.isclose(names[f"y{j}"], float(expected[j]), abs_tol=1e-14)


@pytest.mark.parametrize("degrees", [[1], [0, 1, 2], [0, 1, 2, 3, 4], [2, 4]], ids=str)
def test_printed_gradient(degrees):
    leaf = VECTOR.clone().requires_grad_(True)
    harmonics = spherical_harmonics((leaf / leaf.norm()).unsqueeze(0), max(degrees))[0]
    g = torch.randn(
        harmonics.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    columns = [j for l in degrees if l for j in range(l * l, (l + 1) ** 2)]  # noqa: E741
    (expected,) = torch.autograd.grad((harmonics * g)[columns].sum(), leaf)

    names = unit_vector() | {f"dy{j}": float(g[j]) for j in columns}
    exec("\n".join([*print_harmonics(degrees), *print_vector_gradient(degrees)]), names)
    got = [names[f"f{axis}"] for axis in "xyz"]
    assert got == pytest.approx(expected.tolist(), abs=1e-13)


@pytest.mark.parametrize("degrees", [[1], [0, 1, 2], [0, 1, 2, 3, 4], [2, 4]], ids=str)
def test_printed_changes(degrees):
    displacement = torch.tensor([-0.4, 0.2, 0.9], dtype=torch.float64)
    _, expected = harmonics_along(VECTOR.unsqueeze(0), displacement.unsqueeze(0), max(degrees))
    unit = VECTOR / VECTOR.norm()
    turned = (displacement - unit * (unit @ displacement)) / VECTOR.norm()
    names = unit_vector() | dict(zip(("ux_t", "uy_t", "uz_t"), turned.tolist(), strict=True))
    exec("\n".join([*print_harmonics(degrees), *print_changes(degrees)]), names)
    for j in [j for l in degrees if l for j in range(l * l, (l + 1) ** 2)]:  # noqa: E741
        assert math.isclose(names[f"y{j}_t"], float(expected[0, j]), abs_tol=1e-13)


def test_every_path_is_computed_once():
    irreps = Irreps.parse("320x0e+96x1o+64x2e+32x3o+33x4e")
    instructions = make_instructions(irreps, 4, "natural", irreps)
    for form in FORMS:
        steps = plan(instructions, form, torch.float32)
        paths = [p for step in steps for p in step.group.paths]
        assert sorted(paths) == list(range(len(instructions.paths)))
        for step, after in pairwise(steps):
            assert after.slot == step.slot + step.n_blocks
        channels = [irreps.blocks[step.group.input][0] for step in steps]
        for step, n in zip(steps, channels, strict=True):
            assert step.n_blocks * step.group.block >= n
            assert (step.n_blocks - 1) * step.group.block < n


def test_a_user_can_read_the_kernels():
    irreps = Irreps.parse("8x0e+8x1o")
    instructions = make_instructions(irreps, 1, "natural", irreps)
    source = print_source(instructions, Form("vjp", "table"))
    assert '"""VJP of 8x1o, W from a radial table.' in source
    compile(source, "printed", "exec")
    command = [sys.executable, "-m", "fastequi.kernels.triton.printer"]
    shown = subprocess.run(
        [*command, "8x1o", "1", "natural", "1x0e"], capture_output=True, text=True, check=True
    )
    assert "path 0: 1 x 1 -> 0" in shown.stdout
    assert '"""Reverse of the JVP of 8x1o, W of pairs.' in shown.stdout
