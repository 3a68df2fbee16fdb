"""Devices: which one computes, what it is called, how much memory it took."""

import os
import resource
import sys
from pathlib import Path

import torch

from fastequi.errors import InputError


def choose_device(device: str) -> torch.device:
    """'auto' or a torch device. Raises InputError when it does not exist here."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device = {device!r} cannot be used: {reason}") from error
    return chosen


def device_of_process(device: str) -> torch.device:
    """As `own_device`, of the processes that torchrun started."""
    place, here = int(os.environ["LOCAL_RANK"]), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return own_device(device, place, here, "training.device")


def own_device(device: str, place: int, here: int, key: str) -> torch.device:
    """As `choose_device`; of several processes on one machine, each takes a GPU of its own.

    place, here  which of how many processes on this machine; key, the name of `device` in a TOML

    Raises InputError where there are fewer GPUs than processes, or one GPU is asked for by all.
    """
    chosen = choose_device(device)
    if chosen.type != "cuda" or (here == 1 and chosen.index is not None):
        return chosen
    if chosen.index is not None:
        raise InputError(
            f"{key}: got {device!r}, but {here} processes cannot share one GPU; "
            "allowed: auto, cuda (each takes its own), cpu"
        )
    if here > torch.cuda.device_count():
        raise InputError(
            f"{here} processes on a machine with {torch.cuda.device_count()} GPUs: start as many "
            "processes as there are GPUs"
        )
    return torch.device("cuda", place)


def accelerators() -> dict[str, str]:
    """The GPUs that torch can use here: name of the device -> what it is; empty without any."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {f"cuda:{i}": torch.cuda.get_device_name(i) for i in range(count)}


def synchronize(device: torch.device) -> None:
    """Wait until all that was asked of a device is done; a CPU never lags behind."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory_MB(device: torch.device) -> float:
    """The most memory that was in use: of the accelerator, or of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6  # bytes there, KiB here


def free_bytes(device: torch.device) -> int | None:
    """Memory that nobody uses: of the accelerator, or of this machine; None if unknown."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    found = [field_of("/proc/meminfo", "MemAvailable"), _left_in_group()]
    return min((value for value in found if value is not None), default=None)


def field_of(path: str, name: str) -> int | None:
    """A line `name: 123 kB` of a file of Linux, in bytes."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return 1024 * int(found[0]) if found else None


def _left_in_group() -> int | None:
    """What a container's limit leaves; None without one."""
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (group / "memory.max").read_text(), (group / "memory.current").read_text()
    except OSError:
        return None
    return None if limit.strip() == "max" else max(0, int(limit) - int(used))
