"""The cache folder as machines have it: shared, read-only, full, private, oddly named, damaged.

Not here: file systems without locks, because no lock is taken.
"""

import errno
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastequi.storage import cache

CONTENT = bytes(range(256)) * 20
NOBODY = 65534


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Not there yet; nor are the folders above it."""
    monkeypatch.setenv("FASTEQUI_CACHE", str(tmp_path / "there" / "cache"))
    return tmp_path / "there" / "cache"


def kept() -> Path:
    """An entry that is there."""
    cache.write("entry", CONTENT)
    assert cache.read("entry") == CONTENT
    return cache.cache_folder() / "entry"


def fail_with(code: int, monkeypatch: pytest.MonkeyPatch, method: str, part: int = 0) -> None:
    """Path.method fails, having written the first `part` bytes."""

    def fail(path: Path, *arguments: bytes) -> None:
        if part:
            with path.open("wb") as file:
                file.write(arguments[0][:part])
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(Path, method, fail)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("part", [0, 700])
def test_where_nothing_can_be_written_nothing_is_left(
    code: int, part: int, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    """Read-only, full or over quota; what was there is still read."""
    kept()
    fail_with(code, monkeypatch, "write_bytes", part)
    cache.write("other", CONTENT)
    cache.write("entry", CONTENT[::-1])
    assert cache.read("other") is None
    assert cache.read("entry") == CONTENT
    assert [path.name for path in folder.iterdir()] == ["entry"]


@pytest.mark.parametrize("code", [errno.EPERM, errno.EEXIST, errno.ESTALE])
def test_where_no_file_can_be_replaced(code: int, folder: Path, monkeypatch: pytest.MonkeyPatch):
    kept()
    fail_with(code, monkeypatch, "replace")
    cache.write("entry", CONTENT[::-1])
    assert cache.read("entry") == CONTENT
    assert [path.name for path in folder.iterdir()] == ["entry"]


def test_stopped_while_writing(folder: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupt(path: Path, content: bytes) -> None:
        path.touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cache.write("entry", CONTENT)
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, where root cannot write either")
def test_folder_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FASTEQUI_CACHE", "/proc/fastequi")
    cache.write("entry", CONTENT)
    assert cache.read("entry") is None


def test_a_reader_never_takes_part_of_an_entry():
    """As where a rename is not atomic, after a power cut, or with a failing disk."""
    path = kept()
    whole = path.read_bytes()
    for length in (0, 1, 31, 32, 33, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert cache.read("entry") is None, length
    for place in (0, 31, 32, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert cache.read("entry") is None, place
    path.write_bytes(whole + b"\0")
    assert cache.read("entry") is None
    kept()  # written anew


def test_a_folder_in_the_place_of_an_entry(folder: Path):
    (folder / "entry").mkdir(parents=True)
    cache.write("entry", CONTENT)
    assert cache.read("entry") is None
    assert [path.name for path in folder.iterdir()] == ["entry"]


def test_machines_with_equal_process_numbers_do_not_write_the_same_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    """Containers that share a folder are all process 1 or 7."""
    monkeypatch.setattr(os, "getpid", lambda: 7)
    names = []
    monkeypatch.setattr(Path, "write_bytes", lambda path, content: names.append(path.name))
    for _ in range(2):
        cache.write("entry", CONTENT)
    assert len(set(names)) == 2


@pytest.mark.parametrize("name", ["with spaces", "größe µ Å ²", "日本語", "a'b\"c$d"])
def test_names_of_folders(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FASTEQUI_CACHE", str(tmp_path / name))
    assert kept().parent.name == name


@pytest.fixture
def umask_077() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask_077")
def test_what_umask_makes_private_stays_private():
    assert kept().stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs to be root")
@pytest.mark.usefixtures("umask_077")
def test_private_folder_of_another_user(monkeypatch: pytest.MonkeyPatch):
    """Nothing is read, nothing written, nothing raised."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        monkeypatch.setenv("FASTEQUI_CACHE", f"{place}/cache")
        kept()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setuid(NOBODY)
                cache.write("other", CONTENT)
                status = 0 if cache.read("entry") is None and cache.read("other") is None else 2
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert os.listdir(f"{place}/cache") == ["entry"]


def test_user_without_a_home(monkeypatch: pytest.MonkeyPatch):
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for variable in ("FASTEQUI_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(Path, "home", unknown)
    cache.write("entry", CONTENT)
    assert cache.read("entry") is None
