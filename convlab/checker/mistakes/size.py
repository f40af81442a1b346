"""The output's size, and height against width."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..calls import Call
from .mistake import LOOKS, OPEN, STEPS, C, D, Mistake, P

_SQUARE = "teaching code that is tried on square pictures only"


def _rounded_up(c: Call) -> Any:
    extra = [
        -(size + sum(side) - extent) % step for size, side, extent, step in zip(c.x.shape[1:3], c.sides, c.extent, c.stride, strict=True)
    ]
    return c.but(padding=tuple((before, after + more) for (before, after), more in zip(c.sides, extra, strict=True))).right()


def _size_without_padding(c: Call) -> Any:
    height, width = c.but(padding=0).out
    return c.finish(c.windows()[:, :height, :width])


def _same_rounded_down(c: Call) -> Any:
    if c.padding != "same":
        return c.right()
    return c.finish(c.windows()[:, : c.x.shape[1] // c.stride[0], : c.x.shape[2] // c.stride[1]])


def _square_output(c: Call) -> Any:
    windows = c.windows()
    side = c.out[0]
    return c.finish(np.pad(windows, ((0, 0), (0, 0), (0, max(0, side - c.out[1])), (0, 0), (0, 0), (0, 0)))[:, :, :side])


def _square_kernel(c: Call) -> Any:
    side = c.kernel[0]
    w = c.w[:, :side]
    return c.but(w=np.pad(w, ((0, 0), (0, side - w.shape[1]), (0, 0), (0, 0)))).right()


def _output_transposed(c: Call) -> Any:
    return c.right().transpose(0, 2, 1, 3)


MISTAKES = (
    Mistake(
        "output size without + 1",
        "The last row and the last column of the result are missing: n - k steps make n - k + 1 positions, because the window "
        "also stands somewhere before its first step.",
        "In how many places does a window of 3 fit into a row of 3? And of 4?",
        lambda c: c.finish(c.windows()[:, :-1, :-1]),
        STEPS,
    ),
    Mistake(
        "output size rounded up",
        "Where the stride leaves a remainder, the result has a row or column more than it should: a window that only half fits is counted. "
        "The size is rounded down, and what is left over is not read.",
        "Does the last window of your result lie on the picture with all its taps?",
        _rounded_up,
        (C, D, "im2col", "output_size", "cost"),
        OPEN,
        seen_in="Caffe's pooling layers round up where its convolutions round down; PyTorch's pooling has ceil_mode",
    ),
    Mistake(
        '"same" rounded down',
        'With "same" there is an output for every stride-th row, and one for the rows that are left over: the size is rounded up.',
        'At stride 2, where do the windows begin in a row of 5 with "same"?',
        _same_rounded_down,
        ("output_size", "cost"),
    ),
    Mistake(
        "output size forgets the padding",
        "The padding is added to the picture but not to the formula of the output size: rows and columns are missing.",
        "How large is the picture that the window really moves on?",
        _size_without_padding,
        LOOKS,  # of a size or a count it is the same as no padding at all
        seen_in="a course text that gives the output size as (n - f) / s + 1",
    ),
    Mistake(
        "width taken from the height",
        "The result is as wide as it is high: the output's height is used for its width.",
        "Try a picture that is wider than it is high.",
        _square_output,
        (C, D, P, "im2col", "cost"),
        seen_in=_SQUARE,
    ),
    Mistake(
        "kernel width taken from its height",
        "The kernel is treated as square: its height is used for its width.",
        "Try a kernel of 1 row and 3 columns.",
        _square_kernel,
        (C, D, "im2col", "cost"),
        seen_in=_SQUARE,
    ),
    Mistake(
        "rows and columns of the output swapped",
        "The result is transposed: its rows are where its columns should be.",
        "In which order do your two loops over positions fill the result?",
        _output_transposed,
        (C, D, P),
    ),
)
