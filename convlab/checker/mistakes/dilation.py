"""The dilation: how far apart the taps are."""

from __future__ import annotations

from typing import Any

from ..calls import Call
from .mistake import LOOKS, OPEN, SIZES, Mistake


def _dilation_then_crop(c: Call) -> Any:
    return c.finish(c.but(dilation=(1, 1), padding=c.sides).windows()[:, : c.out[0], : c.out[1]])


MISTAKES = (
    Mistake(
        "dilation ignored",
        "The taps lie side by side, whatever the dilation.",
        "How far apart are two neighbouring taps at dilation 2?",
        lambda c: c.but(dilation=(1, 1), padding=c.sides).right(),
        SIZES,
        OPEN,
    ),
    Mistake(
        "dilation only in the output size",
        "The result has the right size, but the taps lie side by side: the dilation is missing where a tap's position is computed.",
        "At dilation 2, which column of its window does tap (0, 1) read?",
        _dilation_then_crop,
        LOOKS,
        OPEN,
    ),
    Mistake(
        "dilation read as gaps",
        "Dilation d means steps of d between taps, thus d - 1 numbers skipped; here d are skipped.",
        "At dilation 1, are neighbouring taps neighbours in the picture?",
        lambda c: c.but(dilation=(c.dilation[0] + 1, c.dilation[1] + 1), padding=c.sides).right(),
        SIZES,
        OPEN,
    ),
    Mistake(
        "dilation doubled",
        "The dilation is applied twice: taps are twice as far apart as they should be, from dilation 2 on.",
        "Is the kernel, or the window, spread out in two places?",
        lambda c: c.but(dilation=tuple(2 * d if d > 1 else 1 for d in c.dilation), padding=c.sides).right(),
        SIZES,
        OPEN,
    ),
    Mistake(
        "dilation along the height only",
        "The taps are spread out along the height but not along the width.",
        "Does the dilation appear in both positions of a tap, its row and its column?",
        lambda c: c.but(dilation=(c.dilation[0], 1), padding=c.sides).right(),
        (*LOOKS, "cost"),
        OPEN,
    ),
    Mistake(
        "dilation along the width only",
        "The taps are spread out along the width but not along the height.",
        "Does the dilation appear in both positions of a tap, its row and its column?",
        lambda c: c.but(dilation=(1, c.dilation[1]), padding=c.sides).right(),
        (*LOOKS, "cost"),
        OPEN,
    ),
    Mistake(
        "dilation of height and width swapped",
        "A dilation (height, width) is read as (width, height).",
        "Which of the dilation's two numbers spreads the rows?",
        lambda c: c.but(dilation=c.dilation[::-1], padding=c.sides).right(),
        LOOKS,
        OPEN,
    ),
    Mistake(
        "extent without - 1",
        "A window of k taps at dilation d spans d * (k - 1) + 1 numbers; here it is taken as d * k, so results are missing.",
        "How many numbers does a window of 1 tap span at dilation 2?",
        lambda c: c.finish(c.windows()[:, : max(0, (c.x.shape[1] + sum(c.sides[0]) - c.dilation[0] * c.kernel[0]) // c.stride[0] + 1)]),
        SIZES,
        OPEN,
    ),
)
