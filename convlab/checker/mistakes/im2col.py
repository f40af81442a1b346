"""The matrix of columns: the order of windows, taps and images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..calls import Call
from ..operations.im2col import matrix
from .mistake import Mistake


def _channels_last_in_rows(c: Call) -> Any:
    """(C, KH, KW) within a window where (KH, KW, C) is asked for, or the other way round."""
    windows = c.windows().copy()
    n, oh, ow = windows.shape[:3]
    if c.style == "convlab":
        return windows.transpose(0, 1, 2, 5, 3, 4).reshape(n * oh * ow, math.prod(windows.shape[3:]))
    if c.style == "torch":
        return windows.transpose(0, 3, 4, 5, 1, 2).reshape(n, math.prod(windows.shape[3:]), oh * ow)
    return windows.transpose(3, 4, 5, 1, 2, 0).reshape(math.prod(windows.shape[3:]), oh * ow * n)


def _columns_for_rows(c: Call) -> Any:
    return np.swapaxes(c.right(), -1, -2)


def _batch_order(c: Call) -> Any:
    windows = c.windows().copy()
    n, oh, ow, *taps = windows.shape
    if c.style == "convlab":
        return windows.transpose(1, 2, 0, 3, 4, 5).reshape(n * oh * ow, math.prod(taps))
    return windows.transpose(5, 3, 4, 0, 1, 2).reshape(math.prod(taps), n * oh * ow)


def _view_of_the_input(c: Call) -> Any:
    return matrix(c.windows(), c.style)


def _window_by_columns(c: Call) -> Any:
    return c.finish(c.windows().transpose(0, 1, 2, 4, 3, 5))


def _positions_by_columns(c: Call) -> Any:
    return c.finish(c.windows().transpose(0, 2, 1, 3, 4, 5))


MISTAKES = (
    Mistake(
        "order within a window",
        "Within a window, channels and taps are in the wrong order: the numbers are all there, but do not meet the filter's.",
        "In which order does w.reshape put its taps and channels?",
        _channels_last_in_rows,
        ("im2col",),
    ),
    Mistake(
        "windows read column by column",
        "Each window is written down column by column; it should be row by row.",
        "Which index runs fastest in your window?",
        _window_by_columns,
        ("im2col",),
    ),
    Mistake(
        "positions taken column by column",
        "The windows are taken down each column of positions; they should go along each row.",
        "Which is the second window: the one to the right, or the one below?",
        _positions_by_columns,
        ("im2col",),
    ),
    Mistake(
        "matrix transposed",
        "Rows and columns of the matrix are swapped.",
        "Is a window a row or a column?",
        _columns_for_rows,
        ("im2col",),
    ),
    Mistake(
        "images interleaved",
        "The order of images and positions is swapped: the matrix deals with position 0 of every image first where it "
        "should take image after image, "
        "or the other way round.",
        "Which windows lie next to each other: those of one image, or those of one position?",
        _batch_order,
        ("im2col",),
        ("convlab", "cs231n"),
        one_image=False,
    ),
    Mistake(
        "view of the input",
        "Where no windows overlap (a 1x1 kernel, say), reshape gives a view: the matrix lies in the memory of the picture, and whoever "
        "changes the one changes the other.",
        "Does reshape copy?",
        _view_of_the_input,
        ("im2col",),
        one_image=False,
    ),
)
