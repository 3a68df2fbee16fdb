"""Commands use no more threads than a container has cores' worth of time, unless told otherwise.

The files of control groups are laid out as Linux shows them in and outside of containers. Shares
(weights without a limit) have no test: they bind only while others compute, and set nothing here.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fastequi.cli import info, report, threads
from fastequi.cli.main import run_command
from fastequi.cli.threads import cpu_quota, describe_threads, respect_quota

V2, V1 = "0::{}\n", "5:memory:/elsewhere\n4:cpu,cpuacct:{}\n0::/\n"


def machine(root: Path, groups: str, files: dict[str, str]) -> Path:
    """A root folder with /proc/self/cgroup, and files below /sys/fs/cgroup."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, content in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    return root


def cfs(folder: str, quota: int, period: int = 100_000) -> dict[str, str]:
    return {f"{folder}/cpu.cfs_quota_us": str(quota), f"{folder}/cpu.cfs_period_us": str(period)}


CASES = {
    "v2, container": (V2.format("/"), {"cpu.max": "250000 100000"}, 2.5),
    "v2, no limit": (V2.format("/"), {"cpu.max": "max 100000"}, None),
    "v2, other period": (V2.format("/"), {"cpu.max": "5000 10000"}, 0.5),
    "v2, no cpu controller": (V2.format("/"), {"memory.max": "max"}, None),
    "v2, seen from outside": (
        V2.format("/kube/pod7/box"),
        {"kube/cpu.max": "max 100000", "kube/pod7/cpu.max": "300000 100000",
         "kube/pod7/box/cpu.max": "400000 100000", "kube/pod8/cpu.max": "1000 100000"},
        3.0,
    ),
    "v2, moved to a sibling": (V2.format("/../../b"), {"cpu.max": "200000 100000"}, 2.0),
    "v1, container": (V1.format("/docker/abc"), cfs("cpu", 150_000), 1.5),
    "v1, both names": (V1.format("/"), cfs("cpu,cpuacct", 200_000), 2.0),
    "v1, no limit": (V1.format("/"), cfs("cpu", -1), None),
    "v1, nested": (
        V1.format("/slurm/job_3"), cfs("cpu", -1) | cfs("cpu/slurm/job_3", 400_000), 4.0,
    ),
    "v1, cpuset is another": ("3:cpuset:/small\n", cfs("cpu/small", 100_000), None),
    "v1, folder that is gone": (V1.format("/a"), {"cpu/a/tasks": ""}, None),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_quota_of(case: str, tmp_path: Path):
    groups, files, expected = CASES[case]
    assert cpu_quota(machine(tmp_path, groups, files)) == expected


def test_where_there_are_no_control_groups(tmp_path: Path):
    assert cpu_quota(tmp_path) is None


def test_this_machine_can_be_asked():
    quota = cpu_quota()
    assert quota is None or quota > 0


@pytest.fixture
def four_threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """torch's number of threads, as if it were four, in a list."""
    now = [4]
    monkeypatch.setattr(torch, "get_num_threads", lambda: now[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda n: now.__setitem__(0, n))
    monkeypatch.setattr(threads, "usable_cpus", lambda: list(range(64)))
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return now


@pytest.mark.parametrize(("quota", "n"), [(0.3, 1), (1.0, 1), (1.9, 1), (2.5, 2), (4, 4), (9, 4)])
def test_threads_fit_into_the_quota(quota: float, n: int, four_threads: list[int], tmp_path: Path):
    """Never more than torch would take; the rest of a core is left to the output's thread."""
    root = machine(tmp_path, V2.format("/"), {"cpu.max": f"{int(quota * 1e5)} 100000"})
    respect_quota(root)
    assert four_threads == [n]
    assert describe_threads(root) == (
        f"{n} thread{'s' * (n > 1)}; this container may use {quota:g} of 64 cores"
    )


@pytest.mark.parametrize("name", threads.VARIABLES)
def test_the_users_number_of_threads_stands(
    name: str, four_threads: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """And what is printed says that it does not fit."""
    root = machine(tmp_path, V2.format("/"), {"cpu.max": "100000 100000"})
    monkeypatch.setenv(name, "4")
    respect_quota(root)
    assert describe_threads(root) == "4 threads; this container may use 1 of 64 cores"


def test_without_a_quota_nothing_is_said(four_threads: list[int], tmp_path: Path):
    for root in (
        tmp_path / "none",
        machine(tmp_path, V2.format("/"), {"cpu.max": "6400000 100000"}),
    ):
        respect_quota(root)
        assert describe_threads(root) == "4 threads"


def test_what_the_commands_print(four_threads, capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(threads, "cpu_quota", lambda root: 2.5)
    assert run_command(["info"]) == 0
    assert "2 threads; this container may use 2.5 of 64 cores" in capsys.readouterr().out
    assert report._device(torch.device("cpu")) == (
        "cpu (2 threads; this container may use 2.5 of 64 cores)"
    )
    assert "2 threads;" in info.machine()["processor"]


@pytest.mark.parametrize("command", ["run", "train", "evaluate", "bench", "info"])
def test_commands_that_compute_respect_it(
    command: str, four_threads: list[int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(threads, "cpu_quota", lambda root: 1.0)
    run_command([command, "/nowhere/at-all"])  # which is as far as most of them come
    assert four_threads == [1]


def test_a_library_leaves_the_threads_of_its_host_alone():
    code = (
        "import torch; torch.set_num_threads(3); import fastequi; from ase.build import bulk\n"
        "from fastequi.cli import threads; threads.cpu_quota = lambda root: 1.0\n"
        "atoms = bulk('Si'); atoms.calc = fastequi.FastEquiCalculator('silicon', device='cpu')\n"
        "atoms.get_forces(); print(torch.get_num_threads())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.split() == ["3"]
