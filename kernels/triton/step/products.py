"""Kernel: many products of blocks with matrices, those of a layer, in one launch."""

# Triton's language is not quite Python's.
# pyright: reportArgumentType=false, reportGeneralTypeIssues=false, reportOperatorIssue=false

import triton
import triton.language as tl


@triton.jit
def multiply(
    x, matrices, y, tiles, entries, scales, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
):  # fmt: skip
    """y (+)= scale x @ matrix of every entry; a program makes a tile of a result.

    x, matrices, y   memory in which blocks [rows, channels] and matrices [n_in, n_out] are
    tiles [programs, 3] int32    entry, first row, first column
    entries [entries, 7] int64   where x, matrix and y begin, end of the rows, n_in, n_out, whether
                                 to add; n_in = 0 writes zeros
    """
    tile = tiles + tl.program_id(0) * 3
    number = tl.load(tile).to(tl.int64)
    entry = entries + number * 7
    row = tl.load(tile + 1).to(tl.int64) + tl.arange(0, ROWS)  # [ROWS]
    column = tl.load(tile + 2) + tl.arange(0, COLUMNS)  # [COLUMNS]
    k = tl.arange(0, DEPTH)  # [DEPTH]
    n_in, n_out = tl.load(entry + 4), tl.load(entry + 5)
    is_row, is_column = (row < tl.load(entry + 3))[:, None], (column < n_out)[None, :]
    x_at = x + tl.load(entry) + row[:, None] * n_in + k[None, :]
    matrix_at = matrices + tl.load(entry + 1) + k[:, None] * n_out + column[None, :]
    total = tl.zeros([ROWS, COLUMNS], x.dtype.element_ty)

    for first in range(0, n_in, DEPTH):
        inside = first + k < n_in
        a = tl.load(x_at + first, mask=is_row & inside[None, :], other=0.0)
        b = tl.load(matrix_at + first * n_out, mask=inside[:, None] & is_column, other=0.0)
        total = tl.dot(a, b, total, input_precision="ieee", out_dtype=x.dtype.element_ty)

    total *= tl.load(scales + number).to(total.dtype)
    at = y + tl.load(entry + 2) + row[:, None] * n_out + column[None, :]
    if tl.load(entry + 6) != 0:
        total += tl.load(at, mask=is_row & is_column, other=0.0)
    tl.store(at, total, mask=is_row & is_column)
