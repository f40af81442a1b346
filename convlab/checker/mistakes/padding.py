"""The padding: how much, on which side, with what."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..calls import Call
from .mistake import LOOKS, OPEN, SIZES, C, D, Mistake

_TF = "at stride 2 TensorFlow's \"SAME\" pads (0, 1) where PyTorch's padding=1 pads (1, 1): the same shape, other numbers"


def _padded_channels(c: Call) -> Any:
    amount = c.sides[0][0]
    shifted = np.pad(c.x, ((0, 0), (0, 0), (0, 0), (amount, amount)))[..., : c.x.shape[3]]
    return c.but(x=shifted).right()


def _same_as_symmetric(c: Call) -> Any:
    return c.but(padding=tuple(extent // 2 for extent in c.extent)).right() if c.padding == "same" else c.right()


def _same_odd_zero_first(c: Call) -> Any:
    if c.padding != "same":
        return c.right()
    return c.but(padding=tuple((after, before) for before, after in c.sides)).right()


def _circular(c: Call) -> Any:
    return c.finish(c.windows("wrap"))


def _negative_indices(c: Call) -> Any:
    (top, bottom), (left, right) = c.sides
    wrapped = np.pad(c.x, ((0, 0), (top, 0), (left, 0), (0, 0)), mode="wrap")
    return c.but(x=np.pad(wrapped, ((0, 0), (0, bottom), (0, right), (0, 0))), padding=0).right()


MISTAKES = (
    Mistake(
        "padding ignored",
        "No zeros are added: the result is too small, and the picture's border is never in a window's middle.",
        "Where does your function use its padding?",
        lambda c: c.but(padding=0).right(),
        SIZES,
    ),
    Mistake(
        "padding on top and left only",
        "Zeros are added above and to the left but not below and to the right: rows and columns are missing at the end.",
        "How many rows does the padded picture have: the picture's plus how many?",
        lambda c: c.but(padding=tuple((before, 0) for before, _ in c.sides)).right(),
        SIZES,
    ),
    Mistake(
        "all padding at the bottom right",
        "The result has the right size, but all the zeros lie below and to the right: the picture is not moved into "
        "the middle of the padded one.",
        "At which position of the padded picture does the picture begin?",
        lambda c: c.but(padding=tuple((0, before + after) for before, after in c.sides)).right(),
        LOOKS,
    ),
    Mistake(
        "all padding at the top left",
        "The result has the right size, but all the zeros lie above and to the left of the picture.",
        "How many rows of zeros lie below the picture?",
        lambda c: c.but(padding=tuple((before + after, 0) for before, after in c.sides)).right(),
        LOOKS,
    ),
    Mistake(
        "padding along the height only",
        "Rows of zeros are added, columns are not.",
        "How many columns does the padded picture have?",
        lambda c: c.but(padding=(c.sides[0], (0, 0))).right(),
        (C, D, "im2col", "cost"),
    ),
    Mistake(
        "padding along the width only",
        "Columns of zeros are added, rows are not.",
        "How many rows does the padded picture have?",
        lambda c: c.but(padding=((0, 0), c.sides[1])).right(),
        (C, D, "im2col", "cost"),
    ),
    Mistake(
        "padding of height and width swapped",
        "A padding (height, width) is read as (width, height).",
        "Which of the padding's two numbers adds rows?",
        lambda c: c.but(padding=c.sides[::-1]).right(),
        LOOKS,
        OPEN,
    ),
    Mistake(
        "padding with the border's values",
        "The border's numbers are repeated outwards instead of zeros: right in the interior, wrong at the border.",
        "What does a tap that lies outside of the picture multiply?",
        lambda c: c.finish(c.windows("edge")),
        LOOKS,
    ),
    Mistake(
        "padding wraps around",
        "What leaves the picture on one side comes in again on the other: the picture is treated as periodic.",
        "What does a tap that lies outside of the picture multiply? Negative indices of NumPy count from the end.",
        _circular,
        LOOKS,
        seen_in="products of discrete Fourier transforms without zero padding are circular convolutions",
    ),
    Mistake(
        "negative indices above and to the left",
        "Below and to the right zeros are read, but above and to the left the index of a row or a column is negative, and Python counts "
        "that from the end: x[-1] is the last row. Nothing is raised, and the opposite border comes in.",
        "For output (0, 0) with padding 1: which row does the first tap ask for, and what does Python make of that number?",
        _negative_indices,
        LOOKS,
        seen_in="loops that test only whether an index is too large",
    ),
    Mistake(
        "padding with ones",
        "Taps outside of the picture multiply ones instead of zeros: right in the interior, wrong at the border.",
        "What does a tap that lies outside of the picture multiply?",
        lambda c: c.but(x=np.pad(c.x, ((0, 0), *c.sides, (0, 0)), constant_values=1), padding=0).right(),
        LOOKS,
    ),
    Mistake(
        "padding on the channel axis",
        "Zeros are added along the channels instead of around the picture.",
        "Which axes does your padding widen? Print the shape of the padded picture.",
        _padded_channels,
        LOOKS,
    ),
    Mistake(
        '"same" taken as symmetric',
        '"same" pads both sides by half the window. That is TensorFlow\'s rule only at stride 1: with a stride fewer '
        "zeros are needed, and an odd "
        "one goes to the bottom and right alone.",
        'How many zeros does "same" need so that the output has ceil(input / stride) rows?',
        _same_as_symmetric,
        LOOKS,
        ("convlab",),
        seen_in=_TF,
    ),
    Mistake(
        '"same" puts the odd zero first',
        'Where "same" needs an odd number of zeros, the additional one goes to the bottom and right; here it lies at the top and left.',
        "With a 2x2 kernel and stride 1, on which side is the one row of zeros?",
        _same_odd_zero_first,
        LOOKS,
        ("convlab",),
    ),
)
