"""Adam and AdamW in one pass over the weights, through torch's fused kernel.

m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g^2,  w <- w - rate m' / (sqrt(v') + eps), m' and v'
free of bias (Kingma and Ba 2015); AMSGrad takes the largest v so far (Reddi et al. 2018). Weight
decay is added to g, or in AdamW taken from w (Loshchilov and Hutter 2019).

torch.optim would do the same steps, but loads torch's compiler first: 150 MB and seconds.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

BETAS, EPSILON = (0.9, 0.999), 1e-8

_KERNELS: dict[str, Callable[..., None]] = {
    "adam": torch.ops.aten._fused_adam_,
    "adamw": torch.ops.aten._fused_adamw_,
}


class Adam:
    """An optimiser of `tensors`; those without a gradient stay as they are.

    rate   the learning rate, set before each step
    state  per tensor its moments exp_avg, exp_avg_sq, with AMSGrad max_exp_avg_sq, and the number
           of steps; empty before its first step
    """

    def __init__(
        self, tensors: Sequence[Tensor], kind: str, rate: float, amsgrad: bool, weight_decay: float
    ) -> None:
        self.tensors, self.rate = list(tensors), rate
        self.amsgrad, self.weight_decay = amsgrad, weight_decay
        self._kernel = _KERNELS[kind]
        self._moments = ["exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if amsgrad else [])]
        self.state: dict[Tensor, dict[str, Tensor]] = {}

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for tensor in self.tensors:
            tensor.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move the weights along their gradients."""
        moving = [tensor for tensor in self.tensors if tensor.grad is not None]
        states = [self._state_of(tensor) for tensor in moving]
        for state in states:
            state["step"] += 1
        moments = {name: [state[name] for state in states] for name in self._moments}
        for kind in {(t.dtype, t.device) for t in moving}:  # scales are float64, weights are not
            these = [i for i, t in enumerate(moving) if (t.dtype, t.device) == kind]
            self._kernel(
                [moving[i] for i in these],
                [moving[i].grad for i in these],
                *([of[i] for i in these] for of in moments.values()),
                *(() if self.amsgrad else ([],)),
                [states[i]["step"] for i in these],
                lr=self.rate, beta1=BETAS[0], beta2=BETAS[1], eps=EPSILON,
                weight_decay=self.weight_decay, amsgrad=self.amsgrad, maximize=False,
            )  # fmt: skip

    def _state_of(self, tensor: Tensor) -> dict[str, Tensor]:
        if not self.state.get(tensor):
            fresh = {name: torch.zeros_like(tensor.detach()) for name in self._moments}
            fresh["step"] = torch.zeros((), dtype=torch.float32, device=tensor.device)
            self.state[tensor] = fresh
        return self.state[tensor]
