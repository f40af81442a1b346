"""Counts of parameters and multiply-accumulates."""

from __future__ import annotations

from ..calls import Call
from .mistake import Mistake


def _counts(params: int, macs: int) -> tuple[int, int]:
    return params, macs


def _area(c: Call) -> int:
    return c.kernel[0] * c.kernel[1]


def _positions(c: Call) -> int:
    return c.out[0] * c.out[1]


MISTAKES = (
    Mistake(
        "FLOPs for MACs",
        "Additions and multiplications are counted apart, which gives twice the number of multiply-accumulates.",
        "Is a multiplication with its addition one operation in your count, or two?",
        lambda c: _counts(c.w.size, 2 * c.right()[1]),
        ("cost",),
        seen_in="counts that do not match a paper's are often FLOPs for MACs",
    ),
    Mistake(
        "bias counted as parameters",
        "The biases are among the parameters; they are asked for without.",
        "How many numbers are in w alone?",
        lambda c: _counts(c.w.size + c.w.shape[3], c.right()[1]),
        ("cost",),
    ),
    Mistake(
        "input positions counted",
        "The MACs are counted per input pixel; the kernel is applied once per output position.",
        "How often is the window laid down?",
        lambda c: _counts(c.w.size, c.w.size * c.x.shape[1] * c.x.shape[2]),
        ("cost",),
        seen_in='formulas with one D_F for the input and the output, which holds at stride 1 with "same" padding only',
    ),
    Mistake(
        "groups ignored in the count",
        "Every filter is counted with all input channels; in a grouped convolution it reads its group's only.",
        "How many channels does one filter read?",
        lambda c: _counts(c.w.size * c.groups, c.right()[1] * c.groups),
        ("cost",),
        seen_in="a course text that counts 27 x 48 multiplications for a depthwise layer of 9 x 48",
    ),
    Mistake(
        "groups divided twice",
        "The groups reduce the count twice: in the filters' depth and in their number. There are as many filters as output channels.",
        "How many filters are there, in all groups together?",
        lambda c: _counts(c.w.size // c.groups, c.right()[1] // c.groups),
        ("cost",),
    ),
    Mistake(
        "input channels forgotten",
        "A filter is counted as flat; it has a layer for each channel that it reads.",
        "How many numbers does one 3x3 filter have, for 3 channels?",
        lambda c: _counts(_area(c) * c.w.shape[3], _area(c) * c.w.shape[3] * _positions(c)),
        ("cost",),
    ),
    Mistake(
        "output channels forgotten",
        "One filter is counted; there is one for each output channel.",
        "How many filters are there?",
        lambda c: _counts(_area(c) * c.w.shape[2], _area(c) * c.w.shape[2] * _positions(c)),
        ("cost",),
    ),
    Mistake(
        "params and MACs swapped",
        "Both counts are right but come in the wrong order.",
        "Which comes first?",
        lambda c: c.right()[::-1],
        ("cost",),
    ),
)
