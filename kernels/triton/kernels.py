"""Device functions that the printed kernels call, and the ordered sum over edges of an owner.

The kernels themselves are printed from the instruction tables by `printer.py`.
"""

import triton
import triton.language as tl


@triton.jit
def direction(vx, vy, vz):
    """Unit vector, length and 1 / length."""
    square = vx * vx + vy * vy + vz * vz
    inverse = tl.rsqrt(square)
    return vx * inverse, vy * inverse, vz * inverse, square * inverse, inverse


@triton.jit
def turning(ux, uy, uz, inverse, tx, ty, tz):
    """Change of the unit vector along the displacement t, and n . t, that of the length."""
    rate = ux * tx + uy * ty + uz * tz
    return (tx - rate * ux) * inverse, (ty - rate * uy) * inverse, (tz - rate * uz) * inverse, rate


@triton.jit
def spline(t):
    """I0..I2 of `radial_table.py`: what the coefficients of the slope add to the value."""
    last = t * t * t * 0.16666666666666666
    first = t * (0.5 - 0.5 * t + t * t * 0.16666666666666666)
    return first, t - first - last, last


@triton.jit
def spline_slope(t):
    """B0..B2: dI0/dt..dI2/dt."""
    one = 1.0 - t
    return 0.5 * one * one, 0.5 + t * one, 0.5 * t * t


@triton.jit
def add(pointer, value, mask, DETERMINISTIC: tl.constexpr):
    """Add to memory that other programs add to, or, deterministic, to memory of one's own."""
    if DETERMINISTIC:
        tl.store(pointer, tl.load(pointer, mask=mask) + value, mask=mask)
    else:
        tl.atomic_add(pointer, value, mask=mask, sem="relaxed")


@triton.jit
def sum_by_owner(per_edge, order, start_of, total, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """total [owners, WIDTH] += per_edge [edges, WIDTH] over each owner's edges, in order.

    order     [edges]       edges sorted by owner
    start_of  [owners + 1]  where each owner's edges start in `order`
    """
    owner = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)  # [BLOCK]

    mask = column < WIDTH
    start, end = tl.load(start_of + owner), tl.load(start_of + owner + 1)

    place = total + owner * WIDTH + column
    result = tl.load(place, mask=mask, other=0.0)  # [BLOCK]
    for i in range(start, end):
        edge = tl.load(order + i)
        result += tl.load(per_edge + edge * WIDTH + column, mask=mask, other=0.0)

    tl.store(place, result, mask=mask)
