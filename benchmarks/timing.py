"""Timing: warm-up, medians and spread, and repeats in turn so that ratios come from one run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch

#: One sample is at least so long; short calls are repeated within it.
SAMPLE_S = 0.01


@dataclass(frozen=True)
class Timing:
    """Seconds per call of every sample, in the order in which they were taken."""

    samples: tuple[float, ...]

    def percentile(self, p: float) -> float:
        return float(np.percentile(self.samples, p))

    @property
    def p20(self) -> float:
        return self.percentile(20)

    @property
    def p50(self) -> float:
        return self.percentile(50)

    @property
    def p80(self) -> float:
        return self.percentile(80)

    def per(self, n: float) -> "Timing":
        """The same per part: per edge, per atom, per step."""
        return Timing(tuple(s / n for s in self.samples))

    def reciprocal(self) -> "Timing":
        """Per second."""
        return Timing(tuple(1 / s for s in self.samples))


def ratio(slow: Timing, fast: Timing) -> Timing:
    """How many times `fast` is faster, sample by sample of one interleaved run."""
    return Timing(tuple(a / b for a, b in zip(slow.samples, fast.samples, strict=True)))


def interleaved(
    calls: Mapping[str, Callable[[], Any]],
    device: torch.device,
    repeats: int = 9,
    warmup: int = 2,
    budget_s: float = 60.0,
) -> dict[str, Timing]:
    """Time several calls in turns: A B C A B C ..., after `warmup` calls of each.

    Stops after `repeats` rounds, or after at least three when the budget is used up.
    """
    inner = {name: _warm_up(call, device, warmup) for name, call in calls.items()}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    started = perf_counter()
    for done in range(repeats):
        if done >= 3 and perf_counter() - started > budget_s:
            break
        for name, call in calls.items():
            samples[name].append(_sample(call, device, inner[name]))
    return {name: Timing(tuple(values)) for name, values in samples.items()}


def measure(call: Callable[[], Any], device: torch.device, **options: Any) -> Timing:
    """Time one call."""
    return interleaved({"call": call}, device, **options)["call"]


def _warm_up(call: Callable[[], Any], device: torch.device, warmup: int) -> int:
    """Calls per sample, from the last of the warm-up calls (the first may compile)."""
    seconds = 0.0
    for _ in range(max(warmup, 1)):
        seconds = _sample(call, device, 1)
    return max(1, min(1000, round(SAMPLE_S / max(seconds, 1e-7))))


def _sample(call: Callable[[], Any], device: torch.device, n: int) -> float:
    synchronize(device)
    started = perf_counter()
    for _ in range(n):
        call()
    synchronize(device)
    return (perf_counter() - started) / n


def synchronize(device: torch.device) -> None:
    """Wait for an accelerator; nothing on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
