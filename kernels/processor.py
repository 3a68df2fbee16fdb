"""What this processor is, and what of it the compiled kernels use: the facts behind a speed.

Names come from /proc/cpuinfo, instructions from LLVM, cores from /sys; what cannot be found is
"unknown", the registers of the kernels for one where llvmlite is not installed. A hypervisor may
hide which of its CPUs share a core.
"""

import functools
import os
import platform
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from fastequi.kernels.llvm.target import Target

Unknown = Literal["unknown"]
UNKNOWN: Unknown = "unknown"

_CPUINFO = Path("/proc/cpuinfo")
_SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
#: Keys of /proc/cpuinfo on x86, and on ARM.
_VENDOR, _FAMILY, _MODEL = (
    ("vendor_id", "CPU implementer"), ("cpu family", "CPU architecture"), ("model", "CPU part"),
)  # fmt: skip


@dataclass(frozen=True)
class Processor:
    """One processor as this process sees it.

    vendor, family, model  as the processor reports them
    instructions           the widest vector instructions, or what processors of its kind have
    register_bytes         of one of its vector registers
    vector_registers       how many of them there are
    vector_bytes           of the vectors in kernels, FASTEQUI_VECTOR_BYTES where it is set
    cores                  CPUs that this process may run on
    hyperthreads           whether two of those share a core
    """

    name: str
    vendor: str
    family: str
    model: str
    instructions: str
    register_bytes: int | Unknown
    vector_registers: int | Unknown
    vector_bytes: int | Unknown
    avx2: bool
    avx512: bool
    cores: int
    hyperthreads: bool | Unknown

    def __str__(self) -> str:
        shared = {True: "some share a core", False: "each its own core", UNKNOWN: "sharing unknown"}
        registers = f"{self.vector_registers} registers of {self.register_bytes} bytes"
        return (
            f"{self.name} ({self.vendor}, family {self.family}, model {self.model}), "
            f"{self.instructions}, {registers}; {self.cores} CPUs, {shared[self.hyperthreads]}"
        )


@functools.cache
def processor() -> Processor:
    """This one."""
    facts = _cpuinfo()
    target = _compiled_for()
    features = target.instructions if target else set(facts.get("flags", "").split())
    vendor, family, model = (_first(facts, keys) for keys in (_VENDOR, _FAMILY, _MODEL))
    avx2, avx512 = "avx2" in features, "avx512f" in features
    cpus = usable_cpus()
    return Processor(
        name=facts.get("model name") or platform.processor() or platform.machine(),
        vendor=vendor,
        family=family,
        model=model,
        instructions="AVX-512" if avx512 else "AVX2" if avx2 else platform.machine(),
        register_bytes=target.register_bytes if target else UNKNOWN,
        vector_registers=target.register_count if target else UNKNOWN,
        vector_bytes=target.vector_bytes if target else UNKNOWN,
        avx2=avx2,
        avx512=avx512,
        cores=len(cpus),
        hyperthreads=share_a_core(cpus),
    )


def _compiled_for() -> "Target | None":
    """What kernels are made for; None where nothing can be compiled."""
    if find_spec("llvmlite") is None:
        return None
    from fastequi.kernels.llvm.target import host

    return host()


def usable_cpus() -> list[int]:
    """Numbers of the CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def share_a_core(cpus: list[int], siblings: str = _SIBLINGS) -> bool | Unknown:
    """Whether two of these CPUs are hyperthreads of one core; siblings: a file for each CPU."""
    try:
        groups = [cpu_list(Path(siblings.format(cpu)).read_text()) for cpu in cpus]
    except (OSError, ValueError):
        return UNKNOWN
    return any(len(group & set(cpus)) > 1 for group in groups)


def cpu_list(text: str) -> set[int]:
    """Numbers in the kernel's notation: "0-2,8" is 0, 1, 2 and 8."""
    found: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def _cpuinfo() -> dict[str, str]:
    """Of the first CPU."""
    try:
        first = _CPUINFO.read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _first(facts: dict[str, str], keys: tuple[str, ...]) -> str:
    return next((facts[key] for key in keys if facts.get(key)), UNKNOWN)
