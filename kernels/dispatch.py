"""Which implementation of the convolution runs, and why; said aloud, never a silent fall-back."""

from fastequi.errors import InputError

#: Implementations in this version, best first.
IMPLEMENTATIONS = ("reference",)


def choose_kernels(requested: str) -> tuple[str, str]:
    """(implementation, reason) for 'auto' or a name. Raises InputError for an unknown name."""
    if requested == "auto":
        return IMPLEMENTATIONS[0], "the only implementation in this version"
    if requested not in IMPLEMENTATIONS:
        raise InputError(
            f"kernels = {requested!r} is not available in this version; "
            f"allowed: auto, {', '.join(IMPLEMENTATIONS)}"
        )
    return requested, "as asked"
