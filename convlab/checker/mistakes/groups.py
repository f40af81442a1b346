"""Groups, and the depthwise convolution, in which every channel is one."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..calls import Call
from .mistake import OPEN, C, D, Mistake


def _interleaved_inputs(c: Call) -> Any:
    order = np.arange(c.x.shape[3]).reshape(-1, c.groups).T.ravel()  # group g reads channels g, g + groups, ...
    return c.but(x=c.x[..., order]).right()


def _interleaved_outputs(c: Call) -> Any:
    y = c.products()
    order = np.arange(y.shape[3]).reshape(c.groups, -1).T.ravel()  # one output of each group in turn
    return c.plus_bias(y[..., order])


def _one_group(c: Call) -> Any:
    return c.but(x=c.x[..., : c.w.shape[2]], groups=1).right()


def _channels_tiled(c: Call) -> Any:
    outputs = c.w.shape[3]
    return c.but(x=c.x[..., np.arange(outputs) % c.x.shape[3]], groups=outputs).right()


def _channels_added(c: Call) -> Any:
    y = c.products()
    return c.plus_bias(np.broadcast_to(y.sum(axis=3, keepdims=True), y.shape))


MISTAKES = (
    Mistake(
        "groups ignored",
        "Every output channel reads the first group's channels: the group's offset is missing where the picture is read.",
        "Which input channels belong to the last output channel?",
        _one_group,
        (C,),
        OPEN,
    ),
    Mistake(
        "input groups interleaved",
        "The groups take the input channels in turn (0, 2, 4 and 1, 3, 5); a group is a block of neighbouring "
        "channels (0, 1, 2 and 3, 4, 5).",
        "With 4 channels and 2 groups, which channels does the first group read?",
        _interleaved_inputs,
        (C,),
        OPEN,
    ),
    Mistake(
        "output groups interleaved",
        "The groups' results are dealt out in turn; each group's output channels stay together.",
        "With 4 output channels and 2 groups, which ones come from the first group?",
        _interleaved_outputs,
        (C,),
        OPEN,
    ),
    Mistake(
        "multiplier before channel",
        "The filters of a channel lie together in the result: channel c, filter m is output c * M + m. Here they are "
        "in the order m * C + c.",
        "With 2 channels and 3 filters each, from which channel is output 1?",
        _interleaved_outputs,
        (D,),
        OPEN,
    ),
    Mistake(
        "channels dealt out in turn",
        "With M filters per channel, output o reads channel o // M: each channel is repeated M times before the next one comes. Here "
        "output o reads channel o % C: the channels come one after the other, and then all of them again.",
        "With 2 channels and 3 filters each, from which channel is output 1?",
        _channels_tiled,
        (D,),
        OPEN,
        seen_in="np.tile where np.repeat is meant",
    ),
    Mistake(
        "channels added up",
        "The channels' results are added together, as in a standard convolution; a depthwise convolution keeps them apart.",
        "From how many input channels is one output channel of a depthwise convolution made?",
        _channels_added,
        (D,),
        OPEN,
    ),
    Mistake(
        "first channel's filter for all",
        "Each channel has a filter of its own; here the first one is used for all.",
        "Which axis of w belongs to the channels?",
        lambda c: c.but(w=np.broadcast_to(c.w[..., :1], c.w.shape)).right(),
        (D,),
        OPEN,
    ),
    Mistake(
        "first channel for all filters",
        "Every filter reads the first channel of the picture.",
        "Which channel of the picture belongs to output channel 1?",
        lambda c: c.but(x=np.broadcast_to(c.x[..., :1], c.x.shape)).right(),
        (D,),
        OPEN,
    ),
)
