"""Memory: arguments that are written to, order assumed, something kept between calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..calls import Call
from .mistake import EVERYWHERE, SPATIAL, C, D, Mistake, P


def _scratch_input(c: Call) -> Any:
    y = c.right()
    c.x[...] = 0
    return y


def _filters_turned_in_place(c: Call) -> Any:
    y = c.right()
    c.w[...] = c.w[::-1, ::-1].copy()
    return y


def _into_the_input(c: Call) -> Any:
    y = c.right()
    _, height, width, channels = y.shape
    room = c.x[:, :height, :width, :channels]
    if room.shape != y.shape:
        return y
    room[...] = y
    return room


def _never_cleared(c: Call) -> Any:
    y = c.right()
    total = np.empty(y.shape if c.style == "convlab" else y.transpose(0, 3, 1, 2).shape, y.dtype)
    total += y if c.style == "convlab" else y.transpose(0, 3, 1, 2)
    return total if c.style == "convlab" else total.transpose(0, 2, 3, 1)


def _in_memory_order(c: Call) -> Any:
    native = c.x if c.style == "convlab" else c.x.transpose(0, 3, 1, 2)
    read = native.ravel(order="K").reshape(native.shape)
    return c.but(x=read if c.style == "convlab" else read.transpose(0, 2, 3, 1)).right()


def _strides_without_sign(c: Call) -> Any:
    return c.but(x=np.flip(c.x, tuple(axis for axis, step in enumerate(c.x.strides) if step < 0))).right()


def _adds_to_the_last() -> Callable[[Call], Any]:
    totals: dict[tuple[Any, ...], np.ndarray] = {}

    def run(c: Call) -> Any:
        y = c.right()
        total = totals.setdefault((y.shape, y.dtype), np.zeros_like(y))
        total += y
        return total.copy()

    return run


def _one_buffer() -> Callable[[Call], Any]:
    buffers: dict[tuple[Any, ...], np.ndarray] = {}

    def run(c: Call) -> Any:
        y = c.right()
        buffer = buffers.setdefault((y.shape, y.dtype), np.empty_like(y))
        buffer[...] = y
        return buffer

    return run


def _first_filters_kept() -> Callable[[Call], Any]:
    filters: dict[tuple[Any, ...], np.ndarray] = {}
    return lambda c: c.but(w=filters.setdefault((c.x.shape, c.w.shape, c.w.dtype), c.w.copy())).right()


MISTAKES = (
    Mistake(
        "input overwritten",
        "The result is right, but x holds other numbers afterwards: whoever uses the picture again (the next branch "
        "of the network, say) gets nonsense.",
        "Does your function write into x, or into a view of it?",
        _scratch_input,
        EVERYWHERE,
        one_image=False,
    ),
    Mistake(
        "filters overwritten",
        "The result is right, but w holds other numbers afterwards: the next call works with other filters.",
        "Does your function write into w, or into a view of it?",
        _filters_turned_in_place,
        SPATIAL,
        one_image=False,
    ),
    Mistake(
        "result written into the input",
        "Where it fits, the result is written into the memory of x: the picture is lost, and whoever changes one changes the other.",
        "Where does the memory of your result come from?",
        _into_the_input,
        (C, D, P),
        one_image=False,
    ),
    Mistake(
        "memory never cleared",
        "The sums are added to memory that np.empty did not clear: the result depends on what lay there before, and "
        "may even be right by luck.",
        "What does a fresh array hold before you add to it?",
        _never_cleared,
        (C, D, P),
        unstable=True,
    ),
    Mistake(
        "assumes C order",
        "The numbers are read in the order in which they lie in memory. An array in Fortran order (a transposed one, "
        "say) is read in a wrong order.",
        "Does your function use raw memory, ravel or strides? Does it hold for x.transpose()?",
        _in_memory_order,
        EVERYWHERE,
        seen_in="fast paths that are silently wrong for Fortran-ordered input",
        one_image=False,
    ),
    Mistake(
        "negative strides ignored",
        "An array that is a reversed view (x[::-1]) is read as if it ran forwards.",
        "Does your function use raw memory or strides? Does it hold for x[:, ::-1]?",
        _strides_without_sign,
        EVERYWHERE,
        one_image=False,
    ),
    Mistake(
        "adds to the last call",
        "The sums of the previous call are still there when the next one begins: right once, wrong from then on.",
        "Is your accumulator made anew in every call? Default arguments and globals are not.",
        _adds_to_the_last,
        EVERYWHERE,
        one_image=False,
        stateful=True,
    ),
    Mistake(
        "one buffer for all calls",
        "Every call returns the same array, so an earlier result changes when the function is called again.",
        "Call it twice with different pictures: is the first result still what it was?",
        _one_buffer,
        EVERYWHERE,
        one_image=False,
        stateful=True,
    ),
    Mistake(
        "first filters kept",
        "Filters are remembered by their shape: when w holds other numbers in the next call, the old ones are used.",
        "By what does your cache recognise a filter?",
        _first_filters_kept,
        (C, D, P),
        one_image=False,
        stateful=True,
    ),
)
