"""How many threads a command uses: no more than a container's share of the processor.

torch takes all cores that it sees, and a container may see 64 but be given the time of two. Threads
that wait for each other by spinning use that time up, and a step then takes many times as long as
with fewer. This is for commands alone: a library leaves the threads of its host as they are.
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import torch

from fastequi.kernels.processor import usable_cpus

#: With these a user says how many threads there are to be; torch obeys.
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def respect_quota(root: Path = Path("/")) -> None:
    """Use as many threads as the container has whole cores, unless the user chose a number."""
    quota = cpu_quota(root)
    if quota is None or any(os.environ.get(name) for name in VARIABLES):
        return
    torch.set_num_threads(min(torch.get_num_threads(), max(1, int(quota))))


def describe_threads(root: Path = Path("/")) -> str:
    """As in `2 threads; this container may use 2.5 of 64 cores`."""
    n, cores, quota = torch.get_num_threads(), len(usable_cpus()), cpu_quota(root)
    threads = f"{n} thread{'' if n == 1 else 's'}"
    if quota is None or quota >= cores:
        return threads
    return f"{threads}; this container may use {quota:g} of {cores} cores"


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Cores' worth of time that Linux allows this process per second; None without a limit.

    The least of its control group's (v2 or v1) and those of all groups around it. `root` holds
    `proc` and `sys`.
    """
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return None
    quotas = [quota for folder in _folders(root, groups) if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def _folders(root: Path, groups: list[str]) -> Iterator[Path]:
    """Of each group that can limit time, from the outermost in; a container hides some.

    groups  lines `number:controllers:path`; version 2 names no controllers
    """
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        folder = root / "sys/fs/cgroup"
        if controllers:
            folder /= "cpu" if (folder / "cpu").is_dir() else controllers
        yield folder
        for part in PurePosixPath(path).parts:
            if part not in ("/", ".."):
                folder /= part
                yield folder


def _quota(folder: Path) -> float | None:
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            quota, period = ((folder / name).read_text().strip() for name in names)
    except OSError:
        return None
    unlimited = quota == "max" or int(quota) <= 0 or int(period) <= 0
    return None if unlimited else int(quota) / int(period)
