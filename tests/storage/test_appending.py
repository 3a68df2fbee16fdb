"""Files that only grow: whole records, and back to where a checkpoint left them."""

import errno
import os

import pytest

from fastequi.storage.appending import AppendFile


def test_full_disk_leaves_no_half_record(tmp_path, monkeypatch):
    """The second pwrite of a record fails, as on a disk that fills up in the middle."""
    file = AppendFile(tmp_path / "log")
    file.write(b"first\n")
    real = os.pwrite
    answers = iter([lambda fd, data, at: real(fd, data[:3], at), None])

    def pwrite(fd, data, at):
        answer = next(answers)
        if answer is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return answer(fd, data, at)

    monkeypatch.setattr("fastequi.storage.appending.os.pwrite", pwrite)
    with pytest.raises(OSError, match="No space"):
        file.write(b"second\n")
    monkeypatch.undo()
    assert (tmp_path / "log").read_bytes() == b"first\n"
    file.write(b"third\n")
    file.close()
    assert (tmp_path / "log").read_bytes() == b"first\nthird\n"
