"""The bias."""

from __future__ import annotations

import math
from typing import Any

from ..calls import Call
from .mistake import C, D, Mistake, P


def _bias_along_width(c: Call) -> Any:
    return c.products() if c.bias is None else c.products() + c.bias[:, None]


def _bias_along_height(c: Call) -> Any:
    return c.products() if c.bias is None else c.products() + c.bias[:, None, None]


MISTAKES = (
    Mistake(
        "bias dropped",
        "The bias is not added.",
        "Where does your function use the bias?",
        lambda c: c.products(),
        (C, D, P),
    ),
    Mistake(
        "bias added once per tap",
        "The bias is added inside the loop over the taps, so it counts as many times as there are products; it "
        "belongs to the finished sum.",
        "How often does the line that adds the bias run for one number of the result?",
        lambda c: c.products() if c.bias is None else c.products() + c.bias * math.prod(c.w.shape[:3]),
        (C, D, P),
    ),
    Mistake(
        "bias along the width",
        "The bias is added along the width: it must be added per output channel.",
        "How long is the bias, and which axis of the result is as long?",
        _bias_along_width,
        (C, D, P),
        seen_in="NumPy broadcasts from the last axis, which is the width in NCHW",
    ),
    Mistake(
        "bias along the height",
        "The bias is added along the height: it must be added per output channel.",
        "How long is the bias, and which axis of the result is as long?",
        _bias_along_height,
        (C, D, P),
    ),
    Mistake(
        "first bias for all channels",
        "Every output channel gets the first channel's bias.",
        "Which number of the bias belongs to output channel 1?",
        lambda c: c.products() if c.bias is None else c.products() + c.bias[0],
        (C, D, P),
    ),
    Mistake(
        "bias subtracted",
        "The bias is taken off instead of added.",
        "What is the result where all products are zero?",
        lambda c: c.products() if c.bias is None else c.products() - c.bias,
        (C, D, P),
    ),
)
