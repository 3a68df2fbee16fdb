"""Compiles Triton kernels for GPUs that are not here, and reads what came out.

The disassembler in Triton's wheel says what a kernel needs. Instructions are those of the longest
loop.
"""

import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastequi.kernels.triton.plan import options

#: Compute capability or AMD architecture, and the lanes of its warps.
TARGETS: dict[str, tuple[int | str, int]] = {
    "sm_80": (80, 32), "sm_90": (90, 32), "sm_100": (100, 32), "gfx942": ("gfx942", 64),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Usage:
    """What one kernel needs: registers of a thread, bytes of local and of shared memory.

    Then instructions per trip of the edge loop, by kind (NVIDIA only).
    """

    registers: int
    spills: int
    shared: int
    instructions: int = 0
    loads: int = 0
    math: int = 0
    shuffles: int = 0
    atomics: int = 0


def compile_for(
    target: str, kernel: Any, types: Mapping[str, str], constants: Mapping[str, Any],
    own: Mapping[str, Any] | None = None,
) -> Usage:  # fmt: skip
    """A kernel whose parameters have these types, or are constants; pointers are aligned.

    own: options of its own, besides those of all kernels.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = [parameter.name for parameter in kernel.params]
    signature = {name: types.get(name, "constexpr") for name in names}
    aligned: dict[tuple[int], list] = {
        (i,): [["tt.divisibility", 16]]
        for i, name in enumerate(names)
        if signature[name].startswith("*")
    }
    known = {name: constants[name] for name in names if name in constants}
    source = ASTSource(fn=kernel, signature=signature, constexprs=known, attrs=aligned)
    architecture, lanes = TARGETS[target]
    capability = architecture if isinstance(architecture, int) else None
    gpu = GPUTarget("hip" if capability is None else "cuda", architecture, lanes)
    chosen = options(capability) | dict(own or {})
    return _read(triton.compile(source, target=gpu, options=chosen), target)


def _read(compiled: Any, target: str) -> Usage:
    if target.startswith("gfx"):
        text = compiled.asm["amdgcn"]

        def number(key: str) -> int:
            found = re.search(rf"\.{key}:\s*(\d+)", text)
            return int(found[1]) if found else 0

        spills = number("private_segment_fixed_size")  # bytes; other spills stay in registers
        return Usage(number("vgpr_count"), spills, compiled.metadata.shared)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        usage = _cuobjdump("-res-usage", file.name)
        loop = _longest_loop(_cuobjdump("-sass", file.name))
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:(\d+)", usage)
    assert found is not None, usage

    def count(*names: str) -> int:
        return sum(op.startswith(names) for op in loop)

    return Usage(
        int(found[1]), int(found[2]), compiled.metadata.shared, len(loop),
        loads=count("LDG"), math=count("FFMA", "FMUL", "FADD", "DFMA", "DMUL", "DADD"),
        shuffles=count("SHFL"), atomics=count("RED", "ATOM"),
    )  # fmt: skip


def _cuobjdump(option: str, path: str) -> str:
    import triton

    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    return subprocess.run([tool, option, path], capture_output=True, text=True, check=True).stdout


def _longest_loop(sass: str) -> list[str]:
    """Opcodes between the target of the longest backward branch and the branch."""
    code = [
        (int(address, 16), text.strip())
        for address, text in re.findall(r"/\*([0-9a-f]{4,})\*/\s+([^;]+);", sass)
    ]
    best = (0, 0)
    for address, text in code:
        jump = re.search(r"\bBRA\b.*?(0x[0-9a-f]+)", text)
        if jump and int(jump[1], 16) < address and address - int(jump[1], 16) > best[1] - best[0]:
            best = (int(jump[1], 16), address)
    ops = [re.sub(r"^@!?U?P\w+\s+", "", text) for at, text in code if best[0] <= at <= best[1]]
    return [op.split()[0] for op in ops if op]
