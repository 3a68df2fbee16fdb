"""A thread that writes files in the order asked for, so that no step waits for the disk."""

import queue
import threading
from collections.abc import Callable
from pathlib import Path

from fastequi.errors import DiskError, FastEquiError, InputError

Job = tuple[Path, Callable[[], object]]


class BackgroundWriter:
    """Runs jobs one after the other on a thread of its own.

    A job must own its data. If one fails, the rest is dropped (nothing may be written after a gap)
    and the next call of `submit`, `flush` or `close` raises DiskError naming the file.
    """

    def __init__(self, max_waiting: int = 8) -> None:
        """`max_waiting` jobs may wait; then `submit` waits too, so that memory stays bounded."""
        self._jobs: queue.Queue[Job | None] = queue.Queue(max_waiting)
        self._failure: FastEquiError | None = None
        self._thread = threading.Thread(target=self._work, name="fastequi-writer", daemon=True)
        self._thread.start()

    def submit(self, path: Path, job: Callable[[], object]) -> None:
        """Have `job` run after those before it; `path` is the file to name if it fails."""
        self._raise_failure()
        self._jobs.put((path, job))

    def flush(self) -> None:
        """Wait until all jobs are done."""
        self._jobs.join()
        self._raise_failure()

    def close(self) -> None:
        """Finish all jobs and end the thread; calling it twice does no harm."""
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join()
        self._raise_failure()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            path, run = job
            try:
                if self._failure is None:
                    run()
            except InputError as error:
                self._failure = error
            except Exception as error:  # shown in the run, whatever it is
                reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
                name = getattr(error, "filename", None) or path
                self._failure = DiskError(f"{name}: cannot be written: {reason}")
                self._failure.__cause__ = error
            finally:
                self._jobs.task_done()
        self._jobs.task_done()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
