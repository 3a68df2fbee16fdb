"""Adam is torch's, to the last bit, without what torch.optim brings along."""

import subprocess
import sys

import pytest
import torch

from fastequi.training.adam import Adam


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_steps_are_those_of_torch(kind: str, amsgrad: bool, decay: float):
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(n, generator=generator, dtype=d) for n, d in
             ((37, torch.float32), (5, torch.float64), (4, torch.float32))]  # fmt: skip
    mine, theirs = ([t.clone().requires_grad_(True) for t in start] for _ in range(2))
    ours = Adam(mine, kind, 0.01, amsgrad, decay)
    reference = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[kind](
        theirs, lr=0.01, amsgrad=amsgrad, weight_decay=decay, fused=True
    )
    for step in range(4):
        for a, b in zip(mine, theirs, strict=True):
            gradient = torch.randn(a.shape, generator=generator, dtype=a.dtype)
            a.grad = b.grad = gradient
        mine[2].grad = theirs[2].grad = None  # this one is never part of a step
        ours.rate = reference.param_groups[0]["lr"] = 0.01 / (step + 1)
        ours.step()
        reference.step()
    for a, b, c in zip(mine, theirs, start, strict=True):
        assert torch.equal(a, b)
        assert (c is start[2]) == torch.equal(a, c)


def test_no_compiler_is_loaded():
    program = (
        "import sys, torch; from fastequi.training.adam import Adam\n"
        "w = torch.ones(3, requires_grad=True); w.grad = w.detach()\n"
        "Adam([w], 'adam', 0.1, True, 0.0).step()\n"
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
