"""The bank: wrong convolutions, each in a line or a few, with the explanation that a teacher would give.

The bank has two uses. It proves the checker: each of these must be caught. And it is the diagnosis: a mistake that
returns, number for number, what a student's function returned is very likely the student's mistake.

A mistake is written once, against a `Call`: NHWC images, HWIO filters, pairs. `Mistake.function` dresses it as a student's
function of any operation and style that it applies to. To add one, add an entry to the file of its kind; the tests find it there.
"""

from __future__ import annotations

from . import (
    batch,
    bias,
    channels,
    cost,
    dilation,
    fold_batch_norm,
    groups,
    im2col,
    kernel,
    memory,
    nothing,
    output_size,
    padding,
    precision,
    relu6,
    size,
    stride,
)
from .mistake import Mistake
from .nothing import NO_RESULT, ONE_NUMBER, ONLY_ZEROS

__all__ = ["MISTAKES", "NO_RESULT", "ONE_NUMBER", "ONLY_ZEROS", "Mistake", "mistakes_of"]

FILES = (
    *(kernel, stride, size, padding, channels, bias, batch, dilation, groups, memory, precision),
    *(im2col, output_size, cost, relu6, fold_batch_norm, nothing),
)
"""In the order in which they are tried."""

MISTAKES: tuple[Mistake, ...] = tuple(mistake for file in FILES for mistake in file.MISTAKES)
"""All of them."""


def mistakes_of(op: str, style: str) -> list[Mistake]:
    """Return those that can be made in an operation and style."""
    return [mistake for mistake in MISTAKES if mistake.applies(op, style)]
