"""A backend that exists only here: the four operations, as the definitions have them, counted."""

from collections import Counter
from typing import Any

from fastequi.kernels.convolution import definitions

calls: Counter[str] = Counter()


def forward(*arguments: Any, **named: Any) -> Any:
    """As `definitions.forward`."""
    calls["forward"] += 1
    return definitions.forward(*arguments, **named)


def vjp(*arguments: Any, **named: Any) -> Any:
    """As `definitions.vjp`."""
    calls["vjp"] += 1
    return definitions.vjp(*arguments, **named)


def jvp(*arguments: Any, **named: Any) -> Any:
    """As `definitions.jvp`."""
    calls["jvp"] += 1
    return definitions.jvp(*arguments, **named)


def jvp_vjp(*arguments: Any, **named: Any) -> Any:
    """As `definitions.jvp_vjp`."""
    calls["jvp_vjp"] += 1
    return definitions.jvp_vjp(*arguments, **named)
