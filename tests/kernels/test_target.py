"""The processor that kernels are made for: widths, registers, and what keeps machine code apart."""

import os
import subprocess
import sys

import pytest

from fastequi.errors import InputError
from fastequi.kernels.llvm import compiler, target
from fastequi.kernels.llvm.ir import Function
from fastequi.kernels.llvm.target import OFFLINE, Target, host, offline, registers

AVX512 = {"avx512f": True, "avx512vl": True, "avx2": True}


@pytest.mark.parametrize(
    ("features", "machine", "expected"),
    [
        ({}, "x86_64", (16, 16)),
        ({"avx2": False}, "x86_64", (16, 16)),
        ({"avx2": True, "avx512f": False}, "x86_64", (32, 16)),
        ({"avx2": True, "avx512f": True, "avx512vl": False}, "x86_64", (32, 16)),  # Knights Landing
        (AVX512, "x86_64", (64, 32)),
        ({"neon": True}, "aarch64", (16, 32)),
        ({}, "arm64", (16, 32)),
    ],
)
def test_registers_follow_the_features(features, machine, expected):
    assert registers(features, machine) == expected


@pytest.mark.parametrize(
    ("forced", "width", "count"), [("16", 16, 16), ("32", 32, 16), ("64", 64, 8), ("", 32, 16)]
)
def test_wider_vectors_take_several_registers(monkeypatch, forced, width, count):
    monkeypatch.setenv("FASTEQUI_VECTOR_BYTES", forced)
    described = target._described("x86_64-unknown-linux-gnu", "haswell", {"avx2": True})
    assert (described.vector_bytes, described.vector_count) == (width, count)


def test_avx512_is_not_halved_unless_asked_for(monkeypatch):
    monkeypatch.delenv("FASTEQUI_VECTOR_BYTES", raising=False)
    whole = target._described("x86_64-unknown-linux-gnu", "skylake-avx512", AVX512)
    assert whole.features.endswith("-prefer-256-bit")
    monkeypatch.setenv("FASTEQUI_VECTOR_BYTES", "32")
    half = target._described("x86_64-unknown-linux-gnu", "skylake-avx512", AVX512)
    assert not half.features.endswith("-prefer-256-bit")
    assert half.vector_count == 32  # 256-bit halves of 32 registers


@pytest.mark.parametrize("width", ["48", "0", "abc", "-16"])
def test_other_widths_are_refused_with_those_allowed(monkeypatch, width):
    monkeypatch.setenv("FASTEQUI_VECTOR_BYTES", width)
    with pytest.raises(InputError, match=rf"FASTEQUI_VECTOR_BYTES={width}: .* 16, 32, 64; unset"):
        target._wanted_width()


def info(width: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fastequi.cli.main", "info"]
    environment = os.environ | {"FASTEQUI_VECTOR_BYTES": width}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_info_names_the_width():
    own, other = host().register_bytes, "16" if host().register_bytes != 16 else "32"
    assert f"{host().register_count} registers of {own} bytes" in info("").stdout
    assert f"{own} bytes, as wide as the processor's registers" in info("").stdout
    assert f"{other} bytes, asked for by FASTEQUI_VECTOR_BYTES" in info(other).stdout


def test_a_wrong_width_ends_the_command_line_with_one_message():
    done = info("48")
    assert done.returncode == 2
    assert done.stderr.startswith("fastequi: FASTEQUI_VECTOR_BYTES=48")
    assert done.stderr.count("\n") == 1


def test_the_width_is_part_of_the_identity_of_machine_code(monkeypatch):
    """Also where the text of a kernel is the same: LLVM is asked for other instructions."""
    names = set()
    for width in target.WIDTHS:
        monkeypatch.setenv("FASTEQUI_VECTOR_BYTES", str(width))
        described = target._described("x86_64-unknown-linux-gnu", "znver4", AVX512)
        monkeypatch.setattr(compiler, "host", lambda described=described: described)
        names.add(compiler.entry_name("kernel", "text"))
    assert len(names) == len(target.WIDTHS)


def test_the_width_asked_for_is_the_one_at_work():
    wanted = os.environ.get("FASTEQUI_VECTOR_BYTES")
    assert host().vector_bytes == (int(wanted) if wanted else host().register_bytes)


def _sum_of_two(lanes: int) -> str:
    f = Function("sum_of_two", "float", [("arguments", "ptr")])
    (place,) = f.parameters
    a, b = (f.load(f.at(place, i * lanes), "real", lanes) for i in range(2))
    f.store(a + b, place)
    return f.text()


@pytest.mark.parametrize(
    ("name", "register"),
    [
        ("x86-64-v2", "%xmm0"), ("x86-64-v3", "%ymm0"), ("x86-64-v4", "%zmm0"),
        ("apple-m1", "fadd.4s"), ("neoverse-v1", "v0.4s"),
    ],
)  # fmt: skip
def test_other_processors_get_their_own_instructions(name: str, register: str):
    other: Target = offline(name)
    module = compiler.optimized(_sum_of_two(other.vector_bytes // 4), other)
    assert register in other.compiling_machine.emit_assembly(module)


def test_targets_that_are_not_known_are_refused():
    assert "x86-64-v3" in OFFLINE
    with pytest.raises(KeyError):
        offline("pdp-11")
