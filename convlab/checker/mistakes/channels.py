"""The channels: which of them meet, in which order."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..calls import Call
from .mistake import EVERYWHERE, SUMS, C, Mistake


def _reshaped_image(c: Call) -> Any:
    n, h, w, channels = c.x.shape
    if c.style == "convlab":
        return c.but(x=c.x.reshape(n, channels, h, w).transpose(0, 2, 3, 1)).right()
    return c.but(x=c.x.transpose(0, 3, 1, 2).reshape(n, h, w, channels)).right()


def _reshaped_filters(c: Call) -> Any:
    if c.style == "convlab":
        return c.but(w=c.w.reshape(c.w.shape[3], *c.w.shape[:3]).transpose(1, 2, 3, 0)).right()
    return c.but(w=c.w.transpose(3, 2, 0, 1).reshape(c.w.shape)).right()


MISTAKES = (
    Mistake(
        "only the first channel read",
        "The sum runs over one channel only: a filter has as many layers as the picture has channels, and all their products are added up.",
        "How many products make up one number of the result, for a 1x1 kernel and 3 channels?",
        lambda c: c.but(x=c.x * (np.arange(c.x.shape[3]) % c.w.shape[2] == 0).astype(c.x.dtype)).right(),
        SUMS,
    ),
    Mistake(
        "only the last channel kept",
        "Each channel's sum overwrites the one before it, so that only the last channel is left; they should be added up.",
        "Inside your loop over the channels: = or +=?",
        lambda c: c.but(x=c.x * (np.arange(c.x.shape[3]) % c.w.shape[2] == c.w.shape[2] - 1).astype(c.x.dtype)).right(),
        SUMS,
    ),
    Mistake(
        "channels in reverse order",
        "The picture's last channel meets the filter's first layer: the order of the channels is turned round, as between RGB and BGR.",
        "Which channel of the picture meets layer 0 of the filter?",
        lambda c: c.but(x=c.x[..., ::-1]).right(),
        EVERYWHERE,
        seen_in="OpenCV reads pictures as BGR",
    ),
    Mistake(
        "input and output channels swapped",
        "The filter's axes for input and output channels are swapped.",
        "Which axis of w is as long as the picture has channels?",
        lambda c: c.but(w=c.w.transpose(0, 1, 3, 2)).right(),
        SUMS,
    ),
    Mistake(
        "filters reshaped, not transposed",
        "The filters were brought into another axis order by reshape. That keeps the numbers' order in memory and only "
        "cuts it up differently; changing the order of axes takes a transpose.",
        "Follow one number of w through your reshape: is it still in the filter that it came from?",
        _reshaped_filters,
        (C,),
    ),
    Mistake(
        "picture reshaped, not transposed",
        "The picture was brought into another axis order by reshape. That keeps the numbers' order in memory and only cuts it up "
        "differently; changing the order of axes takes a transpose.",
        "Follow one pixel through your reshape: are its channels still together?",
        _reshaped_image,
        EVERYWHERE,
    ),
)
