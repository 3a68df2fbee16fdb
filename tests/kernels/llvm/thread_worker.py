"""A convolution and its adjoint in a process with threads and forks of its own.

thread_worker.py team=pool fork=1: prints threads, and a digest of all results, as JSON.
"""

import hashlib
import json
import multiprocessing
import os
import sys

import torch

from fastequi.kernels.convolution.differentiable import differentiable
from fastequi.kernels.cpu import backend
from fastequi.kernels.llvm import threads
from fastequi.kernels.testing import problems


def digest() -> str:
    """Values and gradients, and a sum by torch that is long enough for several threads."""
    problem = next(p for p in problems() if p.name == "many neighbors")
    x = [block.requires_grad_() for block in problem.features()]
    vectors = problem.vectors().requires_grad_()
    arguments = problem.edges(), problem.table(), problem.instructions
    out = differentiable(backend)(x, vectors, *arguments)
    gradients = torch.autograd.grad([block.square().sum() for block in out], [vectors, *x])
    by_torch = torch.linspace(0, 1, 1 << 20).square().sum().reshape(1)
    found = hashlib.sha256()
    for tensor in (*out, *gradients, by_torch):
        found.update(tensor.detach().contiguous().numpy().tobytes())
    return found.hexdigest()


def facts() -> dict[str, str | int]:
    return {"threads": threads.n_threads(), "digest": digest()}


def of_a_child() -> dict[str, str | int]:
    """From os.fork."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, json.dumps(facts()).encode())
        os._exit(0)
    os.wait()
    return json.loads(os.read(read, 10_000))


if __name__ == "__main__":
    options = dict(argument.split("=") for argument in sys.argv[1:])
    if options.get("team") == "pool":  # as where torch brings another OpenMP library
        threads._gomp_parallel = lambda: None
    result = [facts()]
    if "fork" in options:
        result += [of_a_child(), facts()]
    if "pool_of_processes" in options:
        with multiprocessing.get_context("fork").Pool(2) as processes:
            result += processes.starmap(facts, [()] * 4)
    print(json.dumps(result))
