"""The writing thread: order, waiting, and what happens when a write fails."""

import errno
import threading
from pathlib import Path

import pytest

from fastequi.errors import DiskError
from fastequi.md.trajectory.writer import BackgroundWriter

PATH = Path("some.file")


def test_jobs_run_in_order_on_another_thread():
    writer, seen = BackgroundWriter(), []
    for i in range(50):
        writer.submit(PATH, lambda i=i: seen.append((i, threading.current_thread())))
    writer.flush()
    assert [i for i, _ in seen] == list(range(50))
    assert threading.current_thread() not in {thread for _, thread in seen}
    writer.close()
    writer.close()


def test_submit_waits_when_the_queue_is_full():
    writer, release = BackgroundWriter(max_waiting=1), threading.Event()
    writer.submit(PATH, release.wait)
    writer.submit(PATH, lambda: None)
    third = threading.Thread(target=writer.submit, args=(PATH, lambda: None))
    third.start()
    third.join(0.1)
    assert third.is_alive()
    release.set()
    third.join(5)
    assert not third.is_alive()
    writer.close()


@pytest.mark.parametrize("call", ["submit", "flush", "close"])
def test_failure_names_the_file_and_stops_all_later_writes(call):
    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    writer, seen = BackgroundWriter(), []
    writer.submit(PATH, full)
    with pytest.raises(DiskError, match=r"some\.file: cannot be written: No space left"):
        writer.flush()
    calls = {
        "submit": lambda: writer.submit(PATH, lambda: seen.append(1)),
        "flush": writer.flush,
        "close": writer.close,
    }
    with pytest.raises(DiskError, match="No space left"):
        calls[call]()
    assert not seen
