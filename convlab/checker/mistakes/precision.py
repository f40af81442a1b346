"""Numbers cut, overflown, or of another precision."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..calls import Call
from .mistake import EVERYWHERE, C, D, Mistake, P


def _half(c: Call) -> Any:
    with np.errstate(all="ignore"):
        y = c.but(x=c.x.astype(np.float16), w=c.w.astype(np.float16), bias=None).right()
    return c.plus_bias(y.astype(c.x.dtype))


MISTAKES = (
    Mistake(
        "result cut to integers",
        "The result is stored as integers: everything after the decimal point is cut off.",
        "Which dtype has the array that you put your sums into?",
        lambda c: c.right().astype(np.int64),
        EVERYWHERE,
    ),
    Mistake(
        "result overflows 8 bits",
        "The result is stored in 8 bits, as pictures are: sums below 0 or above 255 wrap around.",
        "Which dtype has the array that you put your sums into? How large can a sum be?",
        lambda c: c.right().astype(np.int64).astype(np.uint8),
        (C, D, P),
    ),
    Mistake(
        "float32 becomes float64",
        "float32 goes in and float64 comes out: twice the memory, and the next layer is slower for it.",
        "Which dtype does np.zeros make if none is given?",
        lambda c: c.right().astype(np.float64),
        EVERYWHERE,
        seen_in="im2col functions in published teaching code; np.zeros makes float64",
        one_image=False,
    ),
    Mistake(
        "float64 becomes float32",
        "Whatever goes in, float32 comes out: half of the digits of float64 are lost.",
        "Which dtype does your result have, for a float64 picture?",
        lambda c: c.right().astype(np.float32),
        EVERYWHERE,
        one_image=False,
    ),
    Mistake(
        "summed in float16",
        "The sums are made in half precision, with 11 bits: whole numbers above 2048 and most fractions are rounded.",
        "Which dtype have your products?",
        _half,
        (C, D, P),
    ),
)
