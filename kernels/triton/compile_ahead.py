"""Compiles all kernels of a model before its first step, several at a time.

Triton compiles a kernel when it is first launched: one after the other, 20 s and more for a model.
Here processes do it, each through what a launch does up to the launch, for a GPU that they need not
see; the step then finds everything in Triton's cache. `python -m` runs one of these processes: it
takes a job per line from its input and answers each with a line.
"""

import hashlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from threading import local
from typing import Any

import torch

from fastequi._version import __version__
from fastequi.kernels.instructions import Instructions
from fastequi.kernels.triton import launch, operators
from fastequi.kernels.triton.form import Form
from fastequi.kernels.triton.plan import can_be_together, options, plan
from fastequi.kernels.triton.step.kernels import KERNELS, parameter_type

logger = logging.getLogger(__name__)

#: The job of all steps of a pass side by side.
TOGETHER = "together"


@dataclass(frozen=True)
class Job:
    """A kernel of `step.kernels.KERNELS`, or of a convolution by its layer, form and number.

    The number may be TOGETHER.
    """

    name: str
    dtype: str
    layer: str = ""
    form: str = ""
    needs_dx: bool = True
    is_scaled: bool = False
    deterministic: bool = False


def jobs_of(
    layers: Sequence[Instructions], dtype: torch.dtype, has_cutoff_scale: bool
) -> list[Job]:
    """What a step of dynamics launches; what several layers share, once."""
    number = str(dtype).removeprefix("torch.")
    deterministic = torch.are_deterministic_algorithms_enabled()
    found = {}
    for k, layer in enumerate(layers):
        for form in (Form("forward", "table"), Form("vjp", "table")):
            texts = operators.text_of_layer(layer), operators.text_of_form(form)
            needs_dx = k > 0 or form.operation == "forward"
            of_plan = layer, form, dtype
            together = [TOGETHER] if can_be_together(*of_plan) else []  # takes longest
            for name in [*together, *map(str, range(len(plan(*of_plan))))]:
                job = Job(name, number, *texts, needs_dx, has_cutoff_scale, deterministic)
                found[job] = None
    of_step = [name for name, kernel in KERNELS.items() if kernel.ahead]
    return [*found, *(Job(name, number) for name in of_step)]


def compile_job(job: Job, capability: int) -> None:
    """Into Triton's cache, for the GPU of the driver that is active."""
    dtype = getattr(torch, job.dtype)
    if not job.layer:
        kernel = KERNELS[job.name]
        function: Any = kernel.function(job.name)
        constants = kernel.constexprs(launch.LANES)
        types = {
            p.name: parameter_type(job.name, p.name, dtype)
            for p in function.params
            if p.name not in constants
        }
        arguments = {name: _argument(type) for name, type in types.items()} | constants
        _warm_up(function, arguments, options(capability) | kernel.options)
        return
    layer, form = operators.layer_of_text(job.layer), operators.form_of_text(job.form)
    together = job.name == TOGETHER
    number = 0 if together else int(job.name)
    function = launch.launches(layer, form, dtype, together)[number].kernel
    own = {"cutoff_scale": dtype if job.is_scaled else None, "NEEDS_DX": job.needs_dx}
    own |= {"DETERMINISTIC": job.deterministic, **dict.fromkeys(("slot", "n_slots"), 1)}
    own |= dict.fromkeys(("sender", "row_start", "pair"), torch.int64)
    arguments = {
        p.name: own.get(p.name, 1.0 if p.annotation_type else dtype) for p in function.params
    }
    _warm_up(function, arguments, options(capability))


def _warm_up(function: Any, arguments: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """A launch without its last step; memory is given by the type of its numbers."""
    from triton.runtime.jit import MockTensor

    given = {name: MockTensor.wrap_dtype(value) for name, value in arguments.items()}
    function.run(grid=(1,), warmup=True, **given, **options)


def _argument(type: str) -> Any:
    """Something of a parameter's type."""
    pointers = {"*fp32": torch.float32, "*fp64": torch.float64, "*i64": torch.int64}
    pointers |= {"*i32": torch.int32, "*i1": torch.bool}
    return pointers.get(type, 1.0 if type.startswith("fp") else 1)


def prepare(layers: Sequence[Instructions], dtype: torch.dtype, has_cutoff_scale: bool) -> None:
    """For the GPU that is here; nothing to do where Triton's cache has it all."""
    from triton import __version__ as triton_version
    from triton.runtime.cache import get_cache_manager

    capability = launch.capability_of(torch.device("cuda"))
    if capability is None:
        return
    jobs = jobs_of(layers, dtype, has_cutoff_scale)
    text = json.dumps([__version__, triton_version, capability, *map(asdict, jobs)])
    done = get_cache_manager(hashlib.sha256(text.encode()).hexdigest())
    if done.get_file("compiled") is None:
        compile_all(jobs, capability)
        done.put(b"", "compiled")


# -- processes -----------------------------------------------------------------------------------


def compile_all(jobs: Sequence[Job], capability: int, n_processes: int | None = None) -> None:
    """All jobs, saying so. Raises RuntimeError with what Triton said where one fails."""
    n_processes = min(n_processes or len(os.sched_getaffinity(0)), len(jobs))
    own, workers = local(), []

    def run(job: Job) -> None:
        if not hasattr(own, "worker"):
            own.worker = _start(capability)
            workers.append(own.worker)
        _ask(own.worker, job)

    with ThreadPoolExecutor(n_processes) as threads:
        try:
            for k, _ in enumerate(threads.map(run, jobs)):
                logger.info("compiled kernel %d of %d for this GPU", k + 1, len(jobs))
        finally:
            threads.shutdown(cancel_futures=True)
            for worker in workers:
                worker.communicate()


def _start(capability: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fastequi.kernels.triton.compile_ahead", str(capability)]
    environment = os.environ | {"TRITON_INTERPRET": "0", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def _ask(worker: subprocess.Popen[str], job: Job) -> None:
    assert worker.stdin is not None
    assert worker.stdout is not None
    print(json.dumps(asdict(job)), file=worker.stdin, flush=True)
    if (answer := worker.stdout.readline().strip()) != "done":
        raise RuntimeError(f"Triton could not compile {job}: {answer or 'it ended'}")


class OfflineDriver:
    """What Triton asks of a driver until it launches."""

    def __init__(self, target: Any) -> None:
        self.target = target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_current_target(self) -> Any:
        return self.target


def compile_offline_for(capability: int) -> None:
    """From now on this process compiles for such a GPU; it can launch nothing."""
    from triton.backends.compiler import GPUTarget
    from triton.runtime.driver import driver

    driver.set_active(OfflineDriver(GPUTarget("cuda", capability, 32)))  # type: ignore[arg-type]


def serve(lines: Iterable[str], capability: int) -> Iterator[str]:
    """Answers to jobs."""
    compile_offline_for(capability)
    for line in lines:
        try:
            compile_job(Job(**json.loads(line)), capability)
            yield "done"
        except Exception as error:
            yield " ".join(repr(error).split())


if __name__ == "__main__":
    for answer in serve(sys.stdin, int(sys.argv[1])):
        print(answer, flush=True)
