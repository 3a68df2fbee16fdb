"""The peak of multiply-adds that this processor reaches, measured.

    python -m benchmarks.peak

Independent sums, a vector register each, are multiplied and added to: nothing is loaded, none waits
for another, so what is left is the rate of the multiply-add units. A second loop, of operations
that do wait for each other, counts cycles. A multiply-add is two FLOP.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from fastequi.kernels.llvm.arguments import REALS, Arguments, Named
from fastequi.kernels.llvm.compiler import Kernel
from fastequi.kernels.llvm.ir import Function, Value, Variable
from fastequi.kernels.llvm.plan import Plan, PlannedCall
from fastequi.kernels.processor import Processor, processor

#: Registers for the two factors, and some that the loop may need.
SPARE_REGISTERS = 4
#: Rounds over all sums per trip of the loop, so that its own counting does not show.
ROUNDS = 4
#: Dependent operations per trip of the loop that counts cycles.
CHAIN = 64
#: At least so many runs of about a millisecond, so many of them alike, and seconds at most.
SAMPLES, UNDISTURBED, BUDGET_S = 100, 5, 3.0
DTYPES = {"float32": torch.float32, "float64": torch.float64}

#: GFLOP/s by dtype, then by threads.
Rates = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Loop:
    """What one call of the kernel runs: `trips` over `sums` vectors of `lanes`."""

    dtype: str
    lanes: int
    sums: int
    trips: int = 100_000

    @property
    def flop(self) -> float:
        return 2.0 * self.trips * ROUNDS * self.sums * self.lanes

    def start(self) -> Tensor:
        """Sums that differ, which go to 1: neither tiny nor large numbers, which may be slower."""
        vectors = [*np.linspace(0.5, 1.5, self.sums), 0.75, 0.25]
        return torch.tensor(vectors, dtype=DTYPES[self.dtype]).repeat_interleave(self.lanes)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    torch.set_num_threads(parser.parse_args(arguments).threads)
    print(f"processor  {processor()}")
    GHz = clock_GHz()
    print(f"clock      {GHz:.2f} GHz")
    for dtype, by_threads in measured_peaks().items():
        for threads, GFLOP_s in by_threads.items():
            per_cycle = GFLOP_s / GHz / int(threads)
            print(
                f"{dtype}    {threads} threads  {GFLOP_s:7.1f} GFLOP/s, "
                f"{per_cycle:.1f} FLOP per cycle and thread"
            )


def measured_peaks() -> Rates:
    """GFLOP/s by dtype, then by threads: '1' and as many as torch uses."""
    counts = sorted({1, torch.get_num_threads()})
    return {dtype: {str(n): peak_GFLOP_s(dtype, n) for n in counts} for dtype in DTYPES}


def peak_GFLOP_s(dtype: str, threads: int) -> float:
    """The best of some samples, on so many threads at once; 'float32' or 'float64'."""
    loop = loop_for(dtype, processor())
    kernel = Kernel("multiply_adds", print_multiply_adds(loop), 4, arguments(DTYPES[dtype]))
    data = [loop.start() for _ in range(threads)]
    with n_threads(threads):
        return threads * loop.flop / _best_s(kernel, loop.trips, data) / 1e9


def clock_GHz() -> float:
    """Cycles per nanosecond while one thread is busy."""
    kernel, trips = Kernel("chain", print_chain(), 4, arguments(None)), 50_000
    data = torch.tensor([1, 3, 5])
    return trips * CHAIN / _best_s(kernel, trips, [data]) / 1e9


def arguments(dtype: torch.dtype | None) -> Arguments:
    """An array of reals or, None, of integers."""
    return Arguments(dtype or torch.float64, {"data": "int64s" if dtype is None else "reals"})


def loop_for(dtype: str, cpu: Processor) -> Loop:
    """As many sums as registers allow: 12 of 16, 28 of 32; two units of four cycles need 8."""
    if not isinstance(cpu.register_bytes, int) or not isinstance(cpu.vector_registers, int):
        raise ValueError(f"the registers of this processor are not known: {cpu}")
    lanes = cpu.register_bytes // DTYPES[dtype].itemsize
    return Loop(dtype, lanes, cpu.vector_registers - SPARE_REGISTERS)


@contextmanager
def n_threads(count: int) -> Iterator[None]:
    """Torch's threads, which kernels take, for the time being."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def print_multiply_adds(loop: Loop) -> str:
    """IR: at the first argument lie vectors, one behind the other: sums, factor, addend."""
    f, trips, data = _begin("multiply_adds", REALS[DTYPES[loop.dtype]])
    places = [f.at(data, k * loop.lanes) for k in range(loop.sums + 2)]
    *starts, factor, addend = (f.load(place, "real", loop.lanes) for place in places)
    sums = [Variable(f, start) for start in starts]
    with f.loop(0, trips):
        for _ in range(ROUNDS):
            for total in sums:
                total.set(total.get() * factor + addend)
    for place, total in zip(places, sums, strict=False):
        f.store(total.get(), place)
    return f.text()


def print_chain() -> str:
    """IR: CHAIN additions and exclusive ors of integers per trip, each of one cycle."""
    f, trips, data = _begin("chain", "double")
    start, added, flipped = (f.load(f.at(data, k, "i64"), "i64") for k in range(3))
    value = Variable(f, start)
    with f.loop(0, trips):
        x = value.get()
        for _ in range(CHAIN // 2):
            total = x + added
            x = f.emit(f"xor i64 {total.name}, {flipped.name}", "i64")
        value.set(x)
    f.store(value.get(), f.at(data, 0, "i64"))
    return f.text()


def _begin(name: str, real: str) -> tuple[Function, Value, Value]:
    """A kernel as plans call them: its trips, and the address that is its first argument."""
    integers = [(text, "i64") for text in ("trips", "second", "third", "fourth")]
    f = Function(name, real, [*integers, ("arguments", "ptr")])
    return f, f.parameters[0], f.load(f.at(f.parameters[4], 0, "i64"), "ptr")


def _best_s(kernel: Kernel, trips: int, data: list[Tensor]) -> float:
    """Seconds of the fastest of many short runs, each array of `data` on a thread of its own.

    A run is shorter than the turn that a busy system gives to other programs, so that one of them
    is likely to have had its cores to itself.
    """
    places = {f"data{k}": tensor for k, tensor in enumerate(data)}
    plan = Plan([[PlannedCall(kernel, (trips, 0, 0, 0), {"data": Named(name)})] for name in places])
    samples: list[float] = []
    started = perf_counter()
    while not _settled(samples) and perf_counter() - started < BUDGET_S:
        began = perf_counter()
        plan.run(places)
        samples.append(perf_counter() - began)
    return min(samples)


def _settled(samples: list[float]) -> bool:
    """Whether enough runs came close to the fastest: those that nobody disturbed are all alike."""
    fastest = sorted(samples)[:UNDISTURBED]
    return len(samples) >= SAMPLES and fastest[-1] < 1.01 * fastest[0]


if __name__ == "__main__":
    main()
