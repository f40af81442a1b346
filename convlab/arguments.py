"""What arguments may be: each function returns one as the engine wants it, or raises what states the rule and the value."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Sequence
from typing import Any

LARGEST = 2**31 - 1
"""Largest size: an index made of one times another, as compiled kernels make them, then fits into 64 bits."""


def integer(name: str, value: object, least: int) -> int:
    """Return `value` as a plain int from `least` to `LARGEST`, or say what is wrong with it."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]  # what has no index is refused below
    except TypeError:
        raise TypeError(f"{name} must be an integer: {name}={value!r}") from None
    if number < least:
        raise ValueError(f"{name} must be at least {least}: {name}={number}")
    if number > LARGEST:
        raise ValueError(f"{name} must be at most {LARGEST}: {name}={number}")
    return number


def pair(name: str, value: object, least: int) -> tuple[int, int]:
    """Return an int or a pair (height, width) as a pair of plain ints."""
    value = listed(value)
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        number = integer(name, value, least)
        return number, number
    if len(value) != 2:
        raise ValueError(f"{name} must be an integer or a pair (height, width): {name}={value!r}")
    return integer(f"{name} height", value[0], least), integer(f"{name} width", value[1], least)


def listed(value: object) -> object:
    """Return an array as the list or the number that it stands for, and anything else as it is."""
    return value.tolist() if hasattr(value, "tolist") else value


def number(name: str, value: object) -> float:
    """Return `value` if it is a real number, or say what it is."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number: {name}={value!r}")
    try:
        return float(value)
    except OverflowError:  # a whole number beyond every float
        return math.inf if value > 0 else -math.inf  # type: ignore[operator]  # reals have an order, their stub has none


def one_of(name: str, value: object, allowed: tuple[str, ...]) -> Any:
    """Return `value` if it is one of these words, or say which they are."""
    if not (isinstance(value, str) and value in allowed):
        raise ValueError(f"{name} must be one of {', '.join(allowed)}: {name}={value!r}")
    return value
