"""The size along one axis."""

from __future__ import annotations

from .mistake import Mistake

MISTAKES = (
    Mistake(
        "size as a float",
        "The size is divided with /, which gives a float; a size is a whole number.",
        "What is 7 / 2, and what is 7 // 2?",
        lambda c: (c.x.shape[1] + sum(c.sides[0]) - c.extent[0]) / c.stride[0] + 1,
        ("output_size",),
    ),
    Mistake(
        "padding counted once",
        "The padding is added once; it lies on both sides.",
        "How many zeros does padding 1 add to a row?",
        lambda c: (c.x.shape[1] + c.sides[0][0] - c.extent[0]) // c.stride[0] + 1,
        ("output_size",),
    ),
    Mistake(
        "size rounded to the nearest",
        "The quotient is rounded to the nearest whole number; a window that does not fit is not there, so it is rounded down.",
        "How many windows of 2 fit into a row of 5 at stride 2?",
        lambda c: int((c.x.shape[1] + sum(c.sides[0]) - c.extent[0]) / c.stride[0] + 0.5) + 1,
        ("output_size",),
    ),
)
