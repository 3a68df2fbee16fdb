"""A few threads that run compiled kernels side by side; ctypes lets go of Python's lock."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch


def n_threads() -> int:
    """As many as torch uses."""
    return torch.get_num_threads()


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="fastequi")


def run_side_by_side(tasks: Sequence[Callable[[], None]]) -> None:
    """Run all tasks, the last on the calling thread; returns when all are done."""
    if not tasks:
        return
    others = [_pool(len(tasks)).submit(task) for task in tasks[:-1]]
    tasks[-1]()
    for other in others:
        other.result()
