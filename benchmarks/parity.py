"""A provider's convolution against the reference in float64: values and gradients, both forms."""

import torch
from torch import Tensor

from benchmarks.layers import LayerProblem
from benchmarks.providers import PROVIDERS, Forms
from fastequi.kernels.testing import relative_rms

#: Largest relative RMS deviation. Slopes of a table lose digits in float32 to its many intervals,
#: and those who compute the network differ by the table's error; a wrong path is 1e-2 or more.
TOLERANCE = 1e-4


def faults(forms: Forms, problem: LayerProblem) -> list[str]:
    """What deviates by more than the tolerance; empty if all is well."""
    exact = problem.to(torch.float64, torch.device("cpu"))
    found = []
    for form in ("inference", "training") if forms.training else ("inference",):
        got = _derivatives(forms, problem, form)
        expected = _derivatives(PROVIDERS["reference"].bind(exact), exact, form)
        for name, value in expected.items():
            error = relative_rms(got[name], value)
            if not error <= TOLERANCE:
                found.append(f"{form}, {name}: relative RMS {error:.1e} > {TOLERANCE:.0e}")
    return found


def _derivatives(forms: Forms, problem: LayerProblem, form: str) -> dict[str, Tensor]:
    """Messages, and the gradients of <g, messages> by features and by what stands on edges."""
    layout = forms.layout
    x = layout.encode_features(problem.x)
    if form == "inference":
        on_edges, function = {"vectors": problem.vectors}, forms.inference
    else:
        on_edges = {"Y": problem.harmonics, "W": problem.weights}
        assert forms.training is not None
        function = forms.training
    leaves = [t.detach().clone().requires_grad_(True) for t in (*x, *on_edges.values())]
    out = function(leaves[: len(x)], *leaves[len(x) :])
    gradients = torch.autograd.grad(out, leaves, layout.encode_messages(problem.g))
    found = {f"messages[{i}]": b for i, b in enumerate(layout.decode_messages(list(out)))}
    dx = layout.decode_features(list(gradients[: len(x)]))
    found |= {f"gradient by x[{i}]": block for i, block in enumerate(dx)}
    for name, gradient in zip(on_edges, gradients[len(x) :], strict=True):
        found[f"gradient by {name}"] = gradient
    return {name: value.detach().to("cpu", torch.float64) for name, value in found.items()}
