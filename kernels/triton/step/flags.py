"""Bits of the flag word of a step, int32 [1] on the device.

SKIN_USED       a pair from outside the list may have come within the cutoff
MOVED_TOO_FAR   an atom has moved further in one step than is allowed
NOT_FINITE      a position, force or energy
OVERFLOW        the list has more edges than its buffers hold; it is not complete
OUT_OF_RANGE    an atom is more than `OFFSET` lattice vectors or bins from the origin
STRAINED        a barostat has strained a cell further in one step than is allowed
"""

from torch import Tensor

SKIN_USED, MOVED_TOO_FAR, NOT_FINITE, OVERFLOW, OUT_OF_RANGE, STRAINED = (
    1 << bit for bit in range(6)
)

#: Numbers between -OFFSET and OFFSET are packed three to an int64, in lexical order.
BITS = 20
OFFSET = 1 << (BITS - 1)


def raise_(flags: Tensor, bit: int, good: Tensor) -> None:
    """Unless all is good; in this form NaN is not."""
    flags |= (~good.all()) * bit
