"""The stride: where windows lie."""

from __future__ import annotations

import math
from typing import Any

from ..calls import Call
from .mistake import EVERYWHERE, OPEN, STEPS, C, D, Mistake, P


def _stride_then_crop(c: Call) -> Any:
    return c.finish(c.but(stride=(1, 1)).windows()[:, : c.out[0], : c.out[1]])


def _rows_side_by_side(c: Call) -> Any:
    return c.finish(c.but(stride=(1, c.stride[1]), padding=c.sides).windows()[:, : c.out[0]])


def _columns_side_by_side(c: Call) -> Any:
    return c.finish(c.but(stride=(c.stride[0], 1), padding=c.sides).windows()[:, :, : c.out[1]])


def _first_pixels(c: Call) -> Any:
    if c.kernel != (1, 1):
        return c.right()
    pixels = c.but(stride=(1, 1), padding=c.sides).windows()
    n, height, width, *taps = pixels.shape
    return c.finish(pixels.reshape(n, height * width, *taps)[:, : math.prod(c.out)].reshape(n, *c.out, *taps))


def _shortcut(c: Call, **ignored: Any) -> Any:
    return c.but(**ignored).right() if c.kernel == (1, 1) else c.right()


MISTAKES = (
    Mistake(
        "stride ignored",
        "The window moves by one, whatever the stride: the result is larger than it should be.",
        "Where does the stride come into your output size, and where into the position of the window?",
        lambda c: c.but(stride=(1, 1), padding=c.sides).right(),
        STEPS,
    ),
    Mistake(
        "stride only in the output size",
        "The result has the right size, but the windows lie side by side: the stride is missing where the window's position is computed.",
        "For output (1, 1) at stride 2: in which row and column does the window begin?",
        _stride_then_crop,
        EVERYWHERE,
        seen_in="teaching code whose examples all have stride 1",
    ),
    Mistake(
        "stride along the height only",
        "The window moves by the stride from row to row, but by one from column to column.",
        "Does the stride appear in both positions, the row's and the column's?",
        lambda c: c.but(stride=(c.stride[0], 1), padding=c.sides).right(),
        (C, D, P, "im2col", "cost"),
    ),
    Mistake(
        "stride along the width only",
        "The window moves by the stride from column to column, but by one from row to row.",
        "Does the stride appear in both positions, the row's and the column's?",
        lambda c: c.but(stride=(1, c.stride[1]), padding=c.sides).right(),
        (C, D, P, "im2col", "cost"),
    ),
    Mistake(
        "row position without the stride",
        "The result has the right size and its columns are right, but each window lies just one row below the one above it: "
        "the stride is missing where a window's row is computed.",
        "For output (1, 1) at stride 2: in which row does the window begin, and in which column?",
        _rows_side_by_side,
        EVERYWHERE,
    ),
    Mistake(
        "column position without the stride",
        "The result has the right size and its rows are right, but each window lies just one column beside the one before: "
        "the stride is missing where a window's column is computed.",
        "For output (1, 1) at stride 2: in which row does the window begin, and in which column?",
        _columns_side_by_side,
        EVERYWHERE,
    ),
    Mistake(
        "stride of height and width swapped",
        "A stride (height, width) is read as (width, height).",
        "Which of the stride's two numbers moves the window down?",
        lambda c: c.but(stride=c.stride[::-1], padding=c.sides).right(),
        EVERYWHERE,
        OPEN,
    ),
    Mistake(
        "stride of the height used for the width",
        "Of a stride (height, width) only the first number is used.",
        "Where is the second number of the stride used?",
        lambda c: c.but(stride=(c.stride[0], c.stride[0]), padding=c.sides).right(),
        EVERYWHERE,
        OPEN,
    ),
    Mistake(
        "1x1 shortcut ignores the stride",
        "A 1x1 kernel takes a shortcut (one matrix product for all pixels) that forgets the stride; larger kernels are right.",
        "What does your function do differently for 1x1 kernels?",
        lambda c: _shortcut(c, stride=(1, 1)),
        (C,),
        seen_in="a fast path for 1x1 kernels in published teaching code",
    ),
    Mistake(
        "1x1 shortcut takes the first pixels",
        "A 1x1 kernel takes a shortcut (one matrix product for a list of pixels), and the list is cut to the number of outputs: the result "
        "has the right size, but holds the first pixels, row by row, in place of those that the stride steps to.",
        "With a 1x1 kernel and stride 2, which pixel makes the second number of the result?",
        _first_pixels,
        (C, P),
    ),
    Mistake(
        "1x1 shortcut ignores the padding",
        "A 1x1 kernel takes a shortcut (one matrix product for all pixels) that forgets the padding; larger kernels are right.",
        "What does your function do differently for 1x1 kernels?",
        lambda c: _shortcut(c, padding=0),
        (C,),
    ),
)
