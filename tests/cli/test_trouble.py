"""What befalls a run from outside: walltime, closed terminals, full disks, removed folders."""

import errno
import os
import pty
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from run_files import records, wait_for

from fastequi.storage import appending

TOY = Path(__file__).with_name("toy_fastequi.py")


def test_walltime_ends_with_a_checkpoint(toml, command, tmp_path, monkeypatch):
    assert command("run", toml(tmp_path / "whole", steps=60)).code == 0
    path = toml(tmp_path / "parts", steps=60)
    monkeypatch.setenv("TOY_DELAY_S", "0.05")
    result = command("run", path, "--max-walltime", "0:01")
    assert result.code == 75
    assert "after writing a checkpoint; to go on: fastequi run" in result.err
    monkeypatch.setenv("TOY_DELAY_S", "0")
    assert command("run", path, "--resume", "--max-walltime", "01:00:00").code == 0
    assert records(tmp_path / "parts" / "run") == records(tmp_path / "whole" / "run")


@pytest.fixture
def hangups_count() -> Iterator[None]:
    """Also where the tests themselves were started by nohup, whose children ignore SIGHUP."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangups_count")
def test_a_closed_terminal_is_a_stop(toml, spawn, tmp_path):
    directory = tmp_path / "run"
    process = spawn("run", toml(steps=200), TOY_DELAY_S="0.03")
    wait_for(lambda: (directory / "log.csv").exists(), process)
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 75
    assert "after writing a checkpoint" in err
    assert list((directory / "checkpoints").iterdir())


@pytest.mark.usefixtures("hangups_count")
def test_a_terminal_that_is_really_closed(toml, tmp_path):
    """Whoever writes to it gets an error; that is no reason for another exit code."""
    path, directory = toml(steps=300), tmp_path / "run"
    process, terminal = pty.fork()
    if process == 0:
        os.environ.update(TOY_DELAY_S="0.03", OMP_NUM_THREADS="1")
        os.execv(sys.executable, [sys.executable, str(TOY), "run", str(path)])
    end = time.monotonic() + 60
    while not (directory / "log.csv").exists() and time.monotonic() < end:
        if select.select([terminal], [], [], 0.05)[0]:
            os.read(terminal, 4096)
    os.close(terminal)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 75
    assert len(list((directory / "checkpoints").iterdir())) >= 1


def test_nohup_keeps_it_running(toml, spawn, tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does, for its children
    try:
        process = spawn("run", toml(steps=40), TOY_DELAY_S="0.03")
    finally:
        signal.signal(signal.SIGHUP, before)
    wait_for(lambda: (tmp_path / "run" / "log.csv").exists(), process)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=30)
    assert process.returncode == 0


def fill_disk(monkeypatch, name: str, size: int) -> None:
    """Whatever would make the file of this name longer than `size` finds the disk full."""
    original = os.pwrite

    def pwrite(descriptor: int, data: memoryview, position: int) -> int:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path.name == name and position + len(data) > size:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(descriptor, data, position)

    monkeypatch.setattr(appending.os, "pwrite", pwrite)


@pytest.mark.parametrize("name", ["log.csv", "trajectory.extxyz"])
def test_a_full_disk_is_no_wrong_input(toml, command, tmp_path, monkeypatch, name):
    assert command("run", toml(tmp_path / "whole", steps=60)).code == 0
    size = (tmp_path / "whole" / "run" / name).stat().st_size
    path = toml(tmp_path / "parts", steps=60)
    with monkeypatch.context() as patch:
        fill_disk(patch, name, int(0.7 * size))
        result = command("run", path)
    assert result.code == 74
    assert f"{name}: cannot be written: No space left on device" in result.err
    assert "the checkpoint of step 40 is intact: --resume goes on from there" in result.err
    assert command("run", path, "--resume").code == 0
    assert records(tmp_path / "parts" / "run") == records(tmp_path / "whole" / "run")


def test_no_room_for_a_checkpoint(toml, command, tmp_path, monkeypatch):
    """Half a checkpoint is not left behind; the one before it is whole."""
    original = Path.write_bytes

    def write_bytes(path: Path, data: bytes) -> int:
        if path.name == "step-000000040.safetensors.tmp":
            original(path, data[:100])
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(path, data)

    path = toml(steps=60)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", write_bytes)
        result = command("run", path)
    assert result.code == 74
    assert "step-000000040.safetensors" in result.err
    assert "the checkpoint of step 20 is intact" in result.err
    kept = sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept == ["step-000000000.safetensors", "step-000000020.safetensors"]
    assert command("run", path, "--resume").code == 0


def test_the_folder_is_removed(toml, spawn, tmp_path):
    directory = tmp_path / "run"
    process = spawn("run", toml(steps=400), TOY_DELAY_S="0.02")
    wait_for(lambda: (directory / "checkpoints" / "step-000000020.safetensors").exists(), process)
    shutil.rmtree(directory)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 74
    assert err.count("fastequi:") == 1
    assert f"{directory} is gone: it was removed or renamed while the run was writing" in err


def test_a_full_tmpfs(toml, command, tmp_path):
    """The real thing, where this test may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.system(f"mount -t tmpfs -o size=96k tmpfs {disk} 2>/dev/null") != 0:
        pytest.skip("no tmpfs can be mounted here")
    try:
        path = toml(steps=300)
        path.write_text(path.read_text().replace('"run"', f'"{disk}/run"'))
        result = command("run", path)
        assert result.code == 74
        assert "No space left on device" in result.err
        assert "is intact: --resume goes on from there" in result.err
        os.system(f"mount -o remount,size=4m {disk}")
        assert command("run", path, "--resume").code == 0
        assert (disk / "run" / "summary.json").exists()
        links = [Path(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
        left_open = [os.readlink(link) for link in links if link.exists()]
        assert not [name for name in left_open if name.startswith(str(disk))]
    finally:
        os.system(f"umount --lazy {disk}")


def test_checkpoints_kept(toml, command, tmp_path):
    path = toml(steps=100)
    path.write_text(path.read_text() + "checkpoints_kept = 4\n")
    assert command("run", path).code == 0
    kept = sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept == [f"step-{step:09d}.safetensors" for step in (40, 60, 80, 100)]


def test_columns_of_the_trajectory(toml, command, tmp_path):
    path = toml(steps=20)
    path.write_text(path.read_text() + 'trajectory_columns = ["forces"]\n')
    assert command("run", path).code == 0
    header = (tmp_path / "run" / "trajectory.extxyz").read_text().splitlines()[1]
    assert "Properties=species:S:1:pos:R:3:forces:R:3 " in header
    path.write_text(
        path.read_text().replace('["forces"]', "[]").replace("= 20\ntemp", "= 30\ntemp")
    )
    result = command("run", path, "--resume")
    assert result.code == 2
    assert "output.trajectory_columns: ['forces'] -> []" in result.err
