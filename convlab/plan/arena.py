"""Lay out: every value of a plan, and every step's scratch, in one arena.

A value lives from the step that makes it to the last that reads it. What never lives at the same time may share memory. No layout can be
smaller than the bytes that live during the most crowded step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..machinecode.vectors import padded


class Wants(NamedTuple):
    """Bytes that a step wants for its output (none if that is the caller's), rings and middle, and the steps whose outputs it reads."""

    output: int
    ring: int
    middle: int
    reads: tuple[int, ...]


class Places(NamedTuple):
    """Where a step's output, rings and middle begin."""

    output: int
    ring: int
    middle: int


class Arena(NamedTuple):
    """The bytes of an arena, the least that any layout needs, and each step's places."""

    size: int
    least: int
    places: list[Places]


class _Block(NamedTuple):
    """Bytes that are wanted from one step to another, and what for: the number of the step, and a field of `Places`."""

    size: int
    first: int
    last: int
    purpose: tuple[int, str]


def lay_out(wants: Sequence[Wants]) -> Arena:
    """Give every value and every step's scratch a place.

    Blocks are placed one after another, each at the lowest address where it meets none that is wanted at the same time.
    The order decides how well they fit; the best of a few sensible orders is taken.
    """
    ends = list(range(len(wants)))  # the last step that reads each output
    for i, want in enumerate(wants):
        for value in want.reads:
            ends[value] = i
    blocks = []
    for i, want in enumerate(wants):
        blocks.append(_Block(padded(want.output, 1), i, ends[i], (i, "output")))
        blocks += [_Block(padded(size, 1), i, i, (i, name)) for name, size in (("ring", want.ring), ("middle", want.middle))]
    crowds = [sum(block.size for block in blocks if block.first <= i <= block.last) for i in range(len(wants))]
    fullest = [max(crowds[block.first : block.last + 1]) for block in blocks]
    orders = (
        sorted(blocks, key=lambda block: -block.size),
        [block for _, block in sorted(zip(fullest, blocks, strict=True), key=lambda pair: (-pair[0], -pair[1].size))],
        sorted(blocks, key=lambda block: (block.first - block.last, -block.size)),
        blocks,
    )
    size, starts = min((_placed(order) for order in orders), key=lambda result: result[0])
    places = [Places(*(starts.get((i, name), 0) for name in Places._fields)) for i in range(len(wants))]
    return Arena(size, max(crowds), places)


def _placed(blocks: Sequence[_Block]) -> tuple[int, dict[tuple[int, str], int]]:
    """Place blocks in this order, each as low as it can be; return the bytes used, and where each begins."""
    starts: dict[tuple[int, str], int] = {}
    placed: list[tuple[int, int, int, int]] = []  # begin, end, first step, last step
    for block in blocks:
        begin = 0
        for other, end, first, last in sorted(placed):
            if first <= block.last and block.first <= last and other < begin + block.size:
                begin = max(begin, end)
        placed.append((begin, begin + block.size, block.first, block.last))
        starts[block.purpose] = begin
    return max(end for _, end, *_ in placed), starts
