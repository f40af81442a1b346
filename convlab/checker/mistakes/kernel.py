"""The kernel and the sum: which tap meets which number, and what becomes of the products."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..calls import Call
from .mistake import EVERYWHERE, LOOKS, SPATIAL, C, D, Mistake, P

_CROSS = "scipy.signal.convolve2d flips its kernel, as mathematics does; correlate2d and every deep-learning framework do not"


def _one_based(c: Call) -> Any:
    return c.but(x=np.pad(c.x, ((0, 0), (0, 1), (0, 1), (0, 0)))[:, 1:, 1:], padding=c.sides).right()


def _last_tap_missing(c: Call) -> Any:
    windows = c.windows().copy()
    windows[:, :, :, -1:], windows[:, :, :, :, -1:] = 0, 0
    return c.finish(windows)


MISTAKES = (
    Mistake(
        "flipped kernel",
        "The kernel is turned by 180 degrees before it is laid on the picture. That is the convolution of mathematics; what networks call "
        "convolution is cross-correlation: the kernel lies on the picture as it is written.",
        "Which tap of the kernel meets the top left number of the window?",
        lambda c: c.but(w=c.w[::-1, ::-1]).right(),
        SPATIAL,
        seen_in=_CROSS,
    ),
    Mistake(
        "kernel upside down",
        "The kernel's rows are read from the bottom to the top; its columns are right.",
        "Follow the row index of the kernel: where does it begin, and which way does it run?",
        lambda c: c.but(w=c.w[::-1]).right(),
        SPATIAL,
    ),
    Mistake(
        "kernel mirrored",
        "The kernel's columns are read from the right to the left; its rows are right.",
        "Follow the column index of the kernel: where does it begin, and which way does it run?",
        lambda c: c.but(w=c.w[:, ::-1]).right(),
        SPATIAL,
    ),
    Mistake(
        "kernel transposed",
        "The kernel's rows and columns are swapped: the tap that belongs to the right neighbour is used for the lower one.",
        "Does the first index of the kernel run along the height of the picture, as it should?",
        lambda c: c.but(w=c.w.transpose(1, 0, 2, 3)).right(),
        SPATIAL,
    ),
    Mistake(
        "last tap left out",
        "The last row and the last column of the kernel are never read: the loops over the taps end one too early.",
        "How many taps does your loop visit for a kernel of size 3? And of size 1?",
        _last_tap_missing,
        LOOKS,
    ),
    Mistake(
        "counted from one",
        "Each window begins one row and one column too late, so the first row and column of the picture are never "
        "read: formulas that count "
        "from 1 were turned into code that counts from 0.",
        "Which numbers of the picture does the very first window read?",
        _one_based,
        EVERYWHERE,
        seen_in="a course text that sums x(h' + m, ...) over m = 1, ..., M: with one counting base for both, row 1 is never read",
    ),
    Mistake(
        "mean instead of sum",
        "The products are averaged, not added up: every result is too small by the number of taps.",
        "What is done with the products of one window?",
        lambda c: c.plus_bias(c.products() / math.prod(c.w.shape[:3])),
        (C, D, P),
    ),
    Mistake(
        "negative sums cut off",
        "Negative sums come out as zero: an activation (ReLU) is applied that belongs to the next layer.",
        "Can your function return a negative number?",
        lambda c: np.maximum(c.right(), 0),
        (C, D, P),
    ),
    Mistake(
        "absolute value",
        "The sign of the sums is lost.",
        "Can your function return a negative number?",
        lambda c: np.abs(c.right()),
        (C, D, P),
    ),
)
