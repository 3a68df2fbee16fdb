"""Prints the Triton kernels of one convolution from its instruction tables; README.md has formulas.

To read those of a convolution from 64x1o to 0e and 1o with harmonics up to degree 2:

    python -m fastequi.kernels.triton.printer 64x1o 2 natural 1x0e+1x1o
"""

import sys

import torch

from fastequi.irreps import Irreps
from fastequi.kernels.instructions import EdgeParity, Instructions, make_instructions
from fastequi.kernels.triton.body import IMPORTS, Body, decorator
from fastequi.kernels.triton.form import Form, Group, Operation
from fastequi.kernels.triton.forward import Forward
from fastequi.kernels.triton.jvp import JVP
from fastequi.kernels.triton.jvp_vjp import JVPVJP
from fastequi.kernels.triton.plan import Step, plan
from fastequi.kernels.triton.vjp import VJP

BODIES: dict[Operation, type[Body]] = {
    "forward": Forward, "vjp": VJP, "jvp": JVP, "jvp_vjp": JVPVJP,
}  # fmt: skip

#: Of dynamics; of the first pass of training; of the second.
FORMS = (
    Form("forward", "table"),
    Form("vjp", "table"),
    Form("forward", "pair_weights"),
    Form("vjp", "pair_weights"),
    Form("jvp", "pair_weights", has_tangents=True),
    Form("jvp_vjp", "pair_weights", has_tangents=True),
)


def print_kernel(instructions: Instructions, group: Group, form: Form) -> str:
    """Source of the module whose function `kernel` computes the group."""
    return BODIES[form.operation](instructions, group, form).text()


def print_together(instructions: Instructions, steps: tuple[Step, ...], form: Form) -> str:
    """Source of the module whose function `kernel` does all steps of a pass, side by side.

    Features are x0, x1, ... there, by the number of their irrep, and their gradients dx0, ...
    """
    functions, calls, numbered = [], [], {}
    for k, step in enumerate(steps):
        body = BODIES[form.operation](instructions, step.group, form, part="part")
        i, end = step.group.input, step.slot + step.n_blocks
        inside = [name.split(":")[0] for name in body.names()]
        own = {"x": f"x{i}", "dx": f"dx{i}", "slot": str(step.slot)}
        given = [own.get(name, name) for name in inside]
        typed = (full.replace(name, to, 1) for full, name, to in zip(
            body.names(), inside, given, strict=True))  # fmt: skip
        numbered |= dict.fromkeys(name for name in typed if not name.isdigit())
        functions += ["", "", *body.function(f"step{k}")]
        calls += [
            f"    {'elif' if k else 'if'} part < {end}:",
            f"        step{k}({', '.join([*given, f'part - {step.slot}'])})",
        ]
    names = sorted(numbered, key=lambda name: "fp" in name)  # numbers come last
    head = [decorator(names), f"def kernel({', '.join(names)}):", "    part = tl.program_id(1)"]
    return "\n".join([IMPORTS, *functions, "", "", *head, *calls, ""])


def print_source(instructions: Instructions, form: Form, dtype: torch.dtype = torch.float32) -> str:
    """The kernels that a pass launches, one module after the other, for readers."""
    steps = plan(instructions, form, dtype)
    return "\n\n".join(print_kernel(instructions, step.group, form) for step in steps)


if __name__ == "__main__":
    irreps, l_max, parity, wanted = sys.argv[1:5]
    edge_parity: EdgeParity = "even" if parity == "even" else "natural"
    shown = make_instructions(Irreps.parse(irreps), int(l_max), edge_parity, Irreps.parse(wanted))
    print("\n\n".join(print_source(shown, form) for form in FORMS))
