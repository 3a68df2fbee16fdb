"""How much a convolution has to do: FLOP and bytes per edge, counted from the instruction tables.

Per edge and path (l1, l2 -> l3) with `channels` and coefficients C[a, b, k]:

* flop_shared   C is contracted with Y into M[a, k], 2 per nonzero of C, shared by all channels
* flop_forward  then out[k] += w * sum_a x[a] M[a, k]: per channel 2 per nonzero of M, 2 per k
* flop_direct   the same without M: per channel 1 per pair (a, b), 2 per nonzero of C, 2 per k

The force adjoint is counted as three times `flop_direct`. Bytes are those that cannot be avoided
in the inference form: four table entries per radial weight and the gathered features; the adjoint
also writes the gradient of the features. Both come from the cache where one layer fits.
"""

from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.timing import measure
from fastequi.irreps import Irreps, hidden_irreps
from fastequi.kernels.instructions import Instructions, Path, make_instructions
from fastequi.kernels.presets import PRESETS, middle_layer


@dataclass(frozen=True)
class Work:
    """What one layer has to do per directed edge; counts of numbers, or FLOP."""

    paths: int
    nonzeros: int
    weights: int
    features: int
    messages: int
    harmonics: int
    flop_forward: int
    flop_direct: int
    flop_shared: int

    def flop(self, mode: str) -> int:
        """Useful FLOP per edge: forward, or forward and force adjoint."""
        return self.flop_forward + (3 * self.flop_direct if mode in BOTH_PASSES else 0)

    def bytes(self, mode: str, itemsize: int = 4) -> int:
        """Bytes per edge; the training form reads W from memory and writes its gradient."""
        weights = self.weights if mode in TRAINING else 4 * self.weights
        total = weights + self.features
        if mode in BOTH_PASSES:
            total += weights + 2 * self.features + (self.weights if mode in TRAINING else 0)
        return total * itemsize

    def floor_ns(self, mode: str, peaks: "Peaks", itemsize: int = 4) -> float:
        """Least time per edge: per pass the longer of moving the bytes and doing the FLOP."""
        forward = mode.replace(" + adjoint", "")
        passes = [(self.bytes(forward, itemsize), self.flop(forward))]
        if mode in BOTH_PASSES:
            both = self.bytes(mode, itemsize), self.flop(mode)
            passes.append((both[0] - passes[0][0], both[1] - passes[0][1]))
        GB_s = peaks.memory_GB_s if mode in TRAINING else peaks.cache_GB_s
        return sum(max(b / GB_s, f / peaks.GFLOP_s) for b, f in passes)


FORWARD, FORCES = "forward", "forward + adjoint"
TRAINING_FORWARD, TRAINING_BOTH = "training forward", "training forward + adjoint"
MODES = (FORWARD, FORCES, TRAINING_FORWARD, TRAINING_BOTH)
BOTH_PASSES = (FORCES, TRAINING_BOTH)
TRAINING = (TRAINING_FORWARD, TRAINING_BOTH)


def count(instructions: Instructions) -> Work:
    """The work of a layer."""
    counts = [(path, *_path_counts(path)) for path in instructions.paths]
    return Work(
        paths=len(instructions.paths),
        nonzeros=sum(c for _, c, _, _ in counts),
        weights=instructions.n_weights,
        features=instructions.irreps_in.dim,
        messages=instructions.irreps_out.dim,
        harmonics=(instructions.l_max + 1) ** 2,
        flop_forward=sum(p.channels * (2 * m + 2 * (2 * p.l3 + 1)) for p, _, m, _ in counts),
        flop_direct=sum(
            p.channels * (pairs + 2 * c + 2 * (2 * p.l3 + 1)) for p, c, _, pairs in counts
        ),
        flop_shared=sum(2 * c for _, c, _, _ in counts),
    )


def _path_counts(path: Path) -> tuple[int, int, int]:
    """Nonzeros of C, of M [a, k], and pairs (a, b) that occur."""
    nonzero = np.abs(path.coefficients) > 1e-10
    return int(nonzero.sum()), int(nonzero.any(axis=1).sum()), int(nonzero.any(axis=2).sum())


# -- the layers that are measured ----------------------------------------------------------------

#: Of both parities no odd scalars reach the middle layer; it makes the first.
_FULL_PARITY = hidden_irreps((64, 64, 64), "full")
_ENTERING = Irreps.parse("64x0e+64x1e+64x1o+64x2e+64x2o")

#: Middle layers of models that people run: features that enter, hidden widths of W(r)'s network.
LAYERS: dict[str, tuple[Irreps, tuple[int, ...]]] = {
    "sevennet-0": (hidden_irreps(*PRESETS["sevennet-0"]), (64, 64)),
    "sevennet-l3i5": (hidden_irreps(*PRESETS["sevennet-l3i5"]), (64, 64)),
    "nequip-l2-64-parity": (_ENTERING, (128,)),
    "nequip-m": (hidden_irreps(*PRESETS["nequip-m"]), (128,)),
    "nequip-l": (hidden_irreps(*PRESETS["nequip-l"]), (128,)),
    "nequip-l3-128": (hidden_irreps((128, 128, 128, 128), "natural"), (128,)),
    "nequip-xl": (hidden_irreps(*PRESETS["nequip-xl"]), (128,)),
}


def layer_instructions(name: str) -> Instructions:
    """The convolution of a middle layer."""
    if name in PRESETS:
        return middle_layer(name)
    irreps = LAYERS[name][0]
    wanted = _FULL_PARITY if irreps == _ENTERING else irreps
    return make_instructions(irreps, irreps.l_max, "natural", wanted)


# -- what the machine can do ---------------------------------------------------------------------


@dataclass(frozen=True)
class Peaks:
    """What a device can do at best, in GB/s and GFLOP/s, and where that is from."""

    memory_GB_s: float
    cache_GB_s: float
    GFLOP_s: float
    source: str


#: float32 without tensor cores. Memory and arithmetic are the data sheets', the cache is assumed.
_KNOWN = {
    "H100": Peaks(3350.0, 5500.0, 67000.0, "data sheet; cache assumed"),
    "H200": Peaks(4800.0, 5500.0, 67000.0, "data sheet; cache assumed"),
}


def peaks(device: torch.device) -> Peaks:
    """Of a known GPU, or measured now: multiply-adds, copies within and beyond the cache."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for known, value in _KNOWN.items():
            if known in name:
                return value
    memory_GB_s = _copy_GB_s(2**28, device)
    if device.type == "cpu":
        from benchmarks.peak import peak_GFLOP_s  # compiles, which only a CPU needs

        threads = torch.get_num_threads()
        cache_GB_s = _copy_GB_s(2**17, device) * threads  # copied by one core
        GFLOP_s = peak_GFLOP_s("float32", threads)
        return Peaks(memory_GB_s, cache_GB_s, GFLOP_s, "measured: multiply-adds, copies")
    GFLOP_s, cache_GB_s = _product_GFLOP_s(device), _copy_GB_s(2**23, device)
    return Peaks(memory_GB_s, cache_GB_s, GFLOP_s, "measured: matrix product, copies")


def _product_GFLOP_s(device: torch.device) -> float:
    a = torch.randn(1024, 1024, device=device)
    out = torch.empty_like(a)
    return 2 * 1024**3 / measure(lambda: torch.mm(a, a, out=out), device).percentile(0) / 1e9


def _copy_GB_s(n_bytes: int, device: torch.device) -> float:
    """The best rate of a copy; bytes read and bytes written both count."""
    source = torch.ones(n_bytes // 8, device=device)
    target = torch.empty_like(source)
    return n_bytes / measure(lambda: target.copy_(source), device).percentile(0) / 1e9
