"""The batch: each image by itself, and none at all."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..calls import Call
from .mistake import EVERYWHERE, Mistake


def _first_image_only(c: Call) -> Any:
    y = c.right()
    if c.op == "im2col" and c.style != "torch":
        rows = (
            y.reshape(len(c.x), math.prod(c.out), y.shape[1])
            if c.style == "convlab"
            else y.reshape(len(y), math.prod(c.out), len(c.x)).transpose(2, 0, 1)
        )
        rows[1:] = 0
        return y
    y[1:] = 0
    return y


def _no_empty_batch(c: Call) -> Any:
    np.concatenate([image[None] for image in c.x])  # raises where there is nothing to join
    return c.right()


MISTAKES = (
    Mistake(
        "only the first image",
        "Only the first image of the batch is worked on; the others' results are zero.",
        "Over how many images does your function go?",
        _first_image_only,
        EVERYWHERE,
        one_image=False,
    ),
    Mistake(
        "first image for all",
        "Every image of the batch gets the first image's result.",
        "Is the image's index used where the picture is read?",
        lambda c: c.but(x=np.broadcast_to(c.x[:1], c.x.shape)).right() if len(c.x) else c.right(),
        EVERYWHERE,
        one_image=False,
    ),
    Mistake(
        "batch added up",
        "The results of all images are added together.",
        "Is your accumulator cleared for each image?",
        lambda c: c.but(x=np.cumsum(c.x, axis=0, dtype=c.x.dtype)).right(),
        EVERYWHERE,
        one_image=False,
    ),
    Mistake(
        "empty batch crashes",
        "A batch of no images raises an error; its result is an empty batch. Data loaders meet it at the end of a filtered data set.",
        "What does your function do with x of shape (0, ...)?",
        _no_empty_batch,
        EVERYWHERE,
        one_image=False,
    ),
)
