"""The depthwise window: a micro-kernel for a few neighbouring pixels, and the loops round it.

There is no reduction over channels, so nothing to spread: a vector is 16 channels of one pixel. The tile sums up to eight neighbouring
pixels at once. For 3x3 windows at stride 1 or 2, where neighbours share taps, it *slides*: it loads each input once for all of them,
and where there are 32 registers it sums two rows of pixels, which share inputs too. Other windows go tap by tap.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable

from ...machinecode.inline import called, micro_kernels
from ...machinecode.memory import array_at, get
from ...machinecode.vectors import INT64, VECTOR, Emitter, vectors

PIXELS, LINES = 8, 2 if VECTOR == 64 else 1
"""Outputs that the tile sums at once: neighbours, and rows of them."""


@register_jitable
def _case(rows, pixels, slide):
    """Return the number of a tile's shape; a window that shares no taps is laid on one row at a time."""
    return (rows * (PIXELS + 1) + pixels) * 3 + slide


def _stand_in(case, count, wide, last, indirection, taps, offset, x_stride, weights, y, y_stride, y_row_stride, size, clamp):
    rows, pixels = divmod(case // 3, PIXELS + 1)
    pixels, lanes = count * pixels, VECTOR // size
    for row in range(rows):
        for vector in range(wide):
            width = last if vector == wide - 1 else lanes
            mine = array_at(weights + vector * VECTOR * (1 + taps), (1 + taps, width), (VECTOR, size), size)
            sums = np.repeat(mine[:1], pixels, axis=0)
            for tap in range(taps):
                start = get(indirection + 8 * (row * taps + tap)) + offset + vector * VECTOR
                sums += array_at(start, (pixels, width), (x_stride, size), size) * mine[1 + tap]
            here = array_at(y + row * y_row_stride + vector * VECTOR, (pixels, width), (y_stride, size), size)
            here[:] = np.clip(sums, *array_at(clamp, (2,), (size,), size))


SHAPES = [(rows, pixels, slide) for slide in range(3) for rows in range(1, LINES + 1 if slide else 2) for pixels in range(1, PIXELS + 1)]


@micro_kernels(_stand_in, _case, SHAPES)
def tiles(
    e: Emitter,
    shape: tuple[int, int, int],
    count: Any,
    wide: Any,
    last: Any,
    indirection: Any,
    taps: Any,
    offset: Any,
    x_stride: Any,
    weights: Any,
    y: Any,
    y_stride: Any,
    y_row_stride: Any,
    size: Any,
    clamp: Any,
) -> None:
    """Compute `count` tiles beside each other, of `wide` vectors of channels: the last vector has `last` channels."""
    rows, pixels, slide = shape
    builder = e.builder
    low, high = e.broadcast(clamp), e.broadcast(e.at(clamp, e.size))
    with e.loop(count) as tile, e.loop(wide) as vector:
        done = e.times(tile.index, pixels)
        shift = e.times(vector.index, VECTOR)
        mine = e.at(weights, e.times(shift, e.at(taps, 1)))
        sums = [e.registers(pixels) for _ in range(rows)]
        places = [(r, p) for r in range(rows) for p in range(pixels)]
        bias = e.load(e.vector, mine)
        for r, p in places:
            builder.store(bias, sums[r][p])

        def start(tap: Any) -> Any:
            return e.at(e.at(e.at(e.load(INT64, e.at(indirection, e.times(tap, 8))), offset), e.times(x_stride, done)), shift)

        def add(r: int, p: int, x: Any, w: Any) -> None:
            builder.store(e.fma(x, w, builder.load(sums[r][p])), sums[r][p])

        if slide:
            pixel_stride = builder.sdiv(x_stride, e.constant(slide))
            w = {}
            for line in range((rows - 1) * slide + 3):  # lines of the input, from the top
                if line < 3:
                    w[line] = [e.load(e.vector, e.at(mine, (1 + 3 * line + v) * VECTOR)) for v in range(3)]
                r = 0 if line < 3 else rows - 1
                first = start(e.constant(9 * r + 3 * (line - r * slide)))
                for q in range((pixels - 1) * slide + 3):
                    x = e.load(e.vector, e.at(first, e.times(pixel_stride, q)))
                    for r, v in ((r, v) for r in range(rows) for v in range(3)):
                        u, (p, rest) = line - r * slide, divmod(q - v, slide)
                        if 0 <= u < 3 and rest == 0 and 0 <= p < pixels:
                            add(r, p, x, w[u][v])
        else:
            with e.loop(taps) as tap:
                one = e.load(e.vector, e.at(mine, e.times(e.at(tap.index, 1), VECTOR)))
                first = start(tap.index)
                for p in range(pixels):
                    add(0, p, e.load(e.vector, e.at(first, e.times(x_stride, p))), one)

        def at(r: int, p: int) -> Any:
            return e.at(e.at(e.at(e.at(y, shift), e.times(y_stride, done)), e.times(y_row_stride, r)), e.times(y_stride, p))

        whole = builder.or_(builder.icmp_signed("<", vector.index, e.at(wide, -1)), builder.icmp_signed("==", last, e.constant(e.lanes)))
        with builder.if_else(whole) as (then, otherwise):
            with then:
                for r, p in places:
                    e.store(e.clamp(builder.load(sums[r][p]), low, high), at(r, p))
            with otherwise:
                for r, p in places:
                    e.store_masked(e.clamp(builder.load(sums[r][p]), low, high), at(r, p), last)


def lay(size, rows, pixels, slide, width, indirection, taps, x_stride, weights, y, y_stride, y_row_stride, clamp):
    """Convolve `width` channels apart, for `rows` rows of pixels; `indirection` has the addresses of each row's taps."""
    lanes, wide = VECTOR // size, vectors(width, size)
    tail = width - (wide - 1) * lanes
    across = (pixels + PIXELS - 1) // PIXELS
    least, more = pixels // across, pixels % across
    offset = 0
    for longer in range(1, -1, -1):  # first the tiles of one pixel more
        count, some = least + longer, more if longer else across - more
        if some:
            case = _case(rows, count, slide)
            tiles(case, some, wide, tail, indirection, taps, offset, x_stride, weights, y, y_stride, y_row_stride, size, clamp)
            offset += some * count * x_stride
            y += some * count * y_stride


call_lay = called(lay)
