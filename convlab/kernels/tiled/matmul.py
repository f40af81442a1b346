"""The matrix product: a micro-kernel of a few dozen instructions, in which a convolution spends its time, and the loops round it.

A core starts two fused multiply-adds a cycle, and that is its peak. Four things keep ordinary loops from it, and the tile below meets each:

* **Latency.** An FMA's result is ready four cycles later. A sum that waits for itself runs at
  an eighth of the peak, so at least eight sums must be under way at once.
* **Loads.** A core loads two vectors a cycle: if every FMA fetched both its factors, the loads would set
  the pace. A tile of R pixels x V vectors of output channels loads R + V times for its R * V FMAs.
* **Memory.** Weights come from the third-level cache at a fraction of the speed at which a tile uses them. So
  while it computes on one panel, it asks for the next, a little with each channel.
* **Stores.** The sums stay in registers for the whole reduction and are stored once. Bias, clamp and shortcut
  happen there, where the numbers already are, so they cost no pass over memory.

So a tile should be as large as the registers allow. Of 32 registers, 6 x 4 sums leave eight for the factors
(10 loads for 24 FMAs); 7 x 4 would fit only just, LLVM then parks sums in memory, and the larger tile is
the slower one. Of 16 registers, 6 x 2 leave four. The reduction is this, once for every shape up to the
largest (`sums` are registers)::

    for each tap, for each channel k of the run:
        for v in vectors:  b[v] = the panel's next vector            # weights, stored in just this order
        for r in rows:     sums[r, v] += input[pixel r, k] * b[v]    # one number, spread over the lanes

That weights are *packed* into panels of V vectors has two reasons: the loop reads one stream instead of V, and a
matrix row of 4 KiB would put all of a panel's column into the same few sets of the cache.

Where a tile's numbers begin stands in an *indirection buffer*: an address for each tap. All arguments are addresses and strides in bytes:
like C, these functions trust their caller. Whole vectors are read only from panels and rings, which are padded to whole vectors; what is
not a whole vector is read and stored under a mask.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import cgutils
from numba.extending import register_jitable

from ...machinecode.inline import called, micro_kernels
from ...machinecode.memory import array_at, get
from ...machinecode.vectors import INT64, SUMS, VECTOR, VECTORS, Emitter, vectors

ROWS = tuple(min(8, SUMS // max(width, 1)) for width in range(VECTORS + 1))
"""The most pixels in a tile, by its width in vectors: a narrow tile has more, so that enough sums are under way."""


@register_jitable  # Python calls it as well, and must not compile it for that
def panels(columns, size):
    """Return how many panels hold the weights of `columns` outputs: as few as can be."""
    return (vectors(columns, size) + VECTORS - 1) // VECTORS


@register_jitable
def _case(rows, width):
    """Return the number of a tile's shape."""
    return rows * (VECTORS + 1) + width


def _stand_in(
    case, count, last, indirection, taps, run, offset, a_stride, panel, _ahead, _ahead_stride, c, c_stride, shortcut, size, clamp
):
    rows, width = divmod(case, VECTORS + 1)
    rows, columns = count * rows, (width - 1) * (VECTOR // size) + last
    weights = array_at(panel, (1 + taps * run, columns), (width * VECTOR, size), size)
    sums = np.repeat(weights[:1], rows, axis=0)
    for tap in range(taps):
        pixels = array_at(get(indirection + 8 * tap) + offset, (rows, run), (a_stride, size), size)
        sums += pixels @ weights[1 + tap * run :][:run]
    sums = np.clip(sums, *array_at(clamp, (2,), (size,), size))
    if shortcut:
        sums += array_at(shortcut, (rows, columns), (c_stride, size), size)
    array_at(c, (rows, columns), (c_stride, size), size)[:] = sums


@micro_kernels(_stand_in, _case, [(rows, width) for width in range(1, VECTORS + 1) for rows in range(1, ROWS[width] + 1)])
def tiles(
    e: Emitter,
    shape: tuple[int, int],
    count: Any,
    last: Any,
    indirection: Any,
    taps: Any,
    run: Any,
    offset: Any,
    a_stride: Any,
    panel: Any,
    ahead: Any,
    ahead_stride: Any,
    c: Any,
    c_stride: Any,
    shortcut: Any,
    size: Any,
    clamp: Any,
) -> None:
    """Compute `count` tiles below each other: the last of its vectors has `last` columns."""
    rows, width = shape
    builder = e.builder
    low, high = e.broadcast(clamp), e.broadcast(e.at(clamp, e.size))
    sums = [e.registers(width) for _ in range(rows)]
    places = [(r, v) for r in range(rows) for v in range(width)]
    weights = cgutils.alloca_once(builder, INT64)
    coming = cgutils.alloca_once_value(builder, ahead)
    with e.loop(count) as tile:
        done = e.times(tile.index, rows)
        for v in range(width):
            bias = e.load(e.vector, e.at(panel, v * VECTOR))
            for r in range(rows):
                builder.store(bias, sums[r][v])
        builder.store(e.at(panel, width * VECTOR), weights)
        with e.loop(taps) as tap:
            first = e.at(e.at(e.load(INT64, e.at(indirection, e.times(tap.index, 8))), offset), e.times(a_stride, done))
            pixels = [e.at(first, e.times(a_stride, r)) for r in range(rows)]
            with e.loop(run) as k:
                here = builder.load(weights)
                b = [e.load(e.vector, e.at(here, v * VECTOR)) for v in range(width)]
                builder.store(e.at(here, width * VECTOR), weights)
                next = builder.load(coming)
                e.prefetch(next)
                builder.store(e.at(next, ahead_stride), coming)
                for r in range(rows):
                    a = e.broadcast(e.at(pixels[r], e.times(k.index, e.size)))
                    for v in range(width):
                        builder.store(e.fma(a, b[v], builder.load(sums[r][v])), sums[r][v])

        past = e.times(c_stride, done)

        def at(base: Any, r: int, v: int) -> Any:
            return e.at(e.at(e.at(base, past), e.times(c_stride, r)), v * VECTOR)

        for r, v in places:
            builder.store(e.clamp(builder.load(sums[r][v]), low, high), sums[r][v])
        with builder.if_then(builder.icmp_signed("!=", shortcut, e.constant(0))):
            for r, v in places:
                # Behind the last number lies the next pixel, or memory that is not ours: read no more than there is.
                more = e.load(e.vector, at(shortcut, r, v)) if v < width - 1 else e.load_masked(at(shortcut, r, v), last)
                builder.store(e.builder.fadd(builder.load(sums[r][v]), more), sums[r][v])
        for r, v in places:
            if v < width - 1:
                e.store(builder.load(sums[r][v]), at(c, r, v))
        with builder.if_else(builder.icmp_signed("==", last, e.constant(e.lanes))) as (whole, partly):
            with whole:
                for r in range(rows):
                    e.store(builder.load(sums[r][-1]), at(c, r, width - 1))
            with partly:
                for r in range(rows):
                    e.store_masked(builder.load(sums[r][-1]), at(c, r, width - 1), last)


def multiply(
    size, indirection, outputs, taps, run, strips, pixels, offset, a_stride, weights, columns, first, last, c_stride, shift, coming,
    length, clamp,
):  # fmt: skip
    """Multiply strips of pixels with the panels first .. last-1 of a matrix of `columns` columns.

    For each strip, `indirection` holds the addresses where the taps of its first pixel begin, `outputs` where its outputs go; what a
    shortcut carries lies `shift` bytes from there, if that is not 0.
    The outermost loop runs over panels: a panel is fetched once and stays in the cache while all pixels pass by.
    Meanwhile the tiles ask, a little each, for the memory that is needed next: the `length` bytes at `coming`, or else the next panel.
    """
    if pixels == 0:  # a thread's share may be nothing
        return
    lanes, wide, count = VECTOR // size, vectors(columns, size), panels(columns, size)
    for panel in range(first, last):
        begin, end = wide * panel // count, wide * (panel + 1) // count
        tail = min(columns - (end - 1) * lanes, lanes)
        here = weights + begin * VECTOR * (1 + taps * run)
        ahead = weights + end * VECTOR * (1 + taps * run)
        rows = ROWS[end - begin]
        high = (pixels + rows - 1) // rows
        least, more = pixels // high, pixels % high
        ahead_stride = (ahead - here) // (strips * high * taps * run) + 1
        if length:
            ahead = coming + (panel - first) * length // (last - first)
            ahead_stride = length // ((last - first) * strips * high * taps * run) + 1
        for strip in range(strips):
            starts = indirection + strip * taps * 8
            c = get(outputs + strip * 8) + begin * VECTOR
            a = offset
            for longer in range(1, -1, -1):  # first the tiles of one row more
                rows, some = least + longer, more if longer else high - more
                if some:
                    shortcut = c + shift if shift != 0 else 0
                    tiles(
                        _case(rows, end - begin), some, tail, starts, taps, run, a, a_stride, here, ahead, ahead_stride, c, c_stride,
                        shortcut, size, clamp,
                    )  # fmt: skip
                    ahead += some * taps * run * ahead_stride
                    a += some * rows * a_stride
                    c += some * rows * c_stride


call_multiply = called(multiply)
