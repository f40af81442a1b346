"""Rung 3: the loops again, compiled.

The loops of `naive` are fine; it is Python that is slow at running them. Numba translates them
to machine code at the first call (and keeps the result on disk, ``cache=True``). Three changes
let the processor do its best with them:

* **Order.** The loop over output channels moves inside. The weights ``w[u, v, c, :]`` and the
  outputs ``y[n, i, j, :]`` then lie side by side in memory, and the compiler turns the inner
  line into vector instructions: 4, 8 or 16 multiply-accumulates at once. (In `naive` order the
  inner loop sums over ``c``. A compiler may not reorder a floating-point sum, so it would
  stay one number at a time.)
* **Borders.** Whether a tap falls outside the picture depends on the row or the column alone, so
  it is asked once per tap, not once per channel.
* **Cores.** Rows of outputs do not depend on each other, so all rows of all images are dealt out to
  threads. ``nogil`` lets them run at once: compiled code needs no interpreter.

(Numba can share out a loop by itself, with `prange`. Its thread pools are not for a library, though: the OpenMP
one kills a process that was forked after its first use, the built-in one a process whose threads call it at once.)

``fastmath={"contract"}`` permits one thing only: a multiply and an add may become one fused
instruction, rounded once. Sums keep their order, and NaN and infinity behave as in `naive`.

What still costs: each multiply-accumulate loads an output from the cache and stores it back. Keeping the
outputs in registers over the whole sum is the next step up.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from ..geometry import ConvGeometry
from ..machinecode.cache import njit
from ..machinecode.threads import available, cores, share

compiled = njit(cache=True, nogil=True, fastmath={"contract"})

WORTH_A_THREAD = 500_000
"""MACs: below this, waking a thread and waiting for it is not worth its help."""


@compiled
def _standard(first, last, x, w, y, top, left, stride_height, stride_width, dilation_height, dilation_width):
    _, height, width, _ = x.shape
    _, out_height, out_width, outputs = y.shape
    kernel_height, kernel_width, channels, _ = w.shape
    for row in range(first, last):
        n, i = row // out_height, row % out_height
        for j in range(out_width):
            for u in range(kernel_height):
                p = i * stride_height - top + u * dilation_height
                if 0 <= p < height:
                    for v in range(kernel_width):
                        q = j * stride_width - left + v * dilation_width
                        if 0 <= q < width:
                            for c in range(channels):
                                pixel = x[n, p, q, c]
                                for o in range(outputs):
                                    y[n, i, j, o] += pixel * w[u, v, c, o]


@compiled
def _grouped(first, last, x, w, y, groups, top, left, stride_height, stride_width, dilation_height, dilation_width):
    _, height, width, _ = x.shape
    _, out_height, out_width, outputs = y.shape
    kernel_height, kernel_width, channels, _ = w.shape
    per_group = outputs // groups
    for row in range(first, last):
        n, i = row // out_height, row % out_height
        for j in range(out_width):
            for u in range(kernel_height):
                p = i * stride_height - top + u * dilation_height
                if 0 <= p < height:
                    for v in range(kernel_width):
                        q = j * stride_width - left + v * dilation_width
                        if 0 <= q < width:
                            for g in range(groups):
                                for c in range(channels):
                                    pixel = x[n, p, q, g * channels + c]
                                    for o in range(g * per_group, (g + 1) * per_group):
                                        y[n, i, j, o] += pixel * w[u, v, c, o]


@compiled
def _depthwise(first, last, x, w, y, top, left, stride_height, stride_width, dilation_height, dilation_width):
    _, height, width, channels = x.shape
    _, out_height, out_width, outputs = y.shape
    kernel_height, kernel_width, _, _ = w.shape
    multiplier = outputs // channels
    for row in range(first, last):
        n, i = row // out_height, row % out_height
        for j in range(out_width):
            for u in range(kernel_height):
                p = i * stride_height - top + u * dilation_height
                if 0 <= p < height:
                    for v in range(kernel_width):
                        q = j * stride_width - left + v * dilation_width
                        if 0 <= q < width:
                            if multiplier == 1:  # the usual case, and the one that vectorises over channels
                                for c in range(channels):
                                    y[n, i, j, c] += x[n, p, q, c] * w[u, v, 0, c]
                            else:
                                for c in range(channels):
                                    pixel = x[n, p, q, c]
                                    for o in range(c * multiplier, (c + 1) * multiplier):
                                        y[n, i, j, o] += pixel * w[u, v, 0, o]


@compiled
def _pointwise(first, last, x, w, y, top, left, stride_height, stride_width, _dilation_height, _dilation_width):
    _, height, width, channels = x.shape
    _, out_height, out_width, outputs = y.shape
    for row in range(first, last):
        n, i = row // out_height, row % out_height
        p = i * stride_height - top
        if 0 <= p < height:
            for j in range(out_width):
                q = j * stride_width - left
                if 0 <= q < width:
                    for c in range(channels):
                        pixel = x[n, p, q, c]
                        for o in range(outputs):
                            y[n, i, j, o] += pixel * w[0, 0, c, o]


def _run(loops: Callable[..., None], x: np.ndarray, w: np.ndarray, geometry: ConvGeometry, *options: int) -> np.ndarray:
    """Deal the output's rows to as many threads as there are cores, or to none where there is little to do."""
    y = np.zeros((len(x), *geometry.out_shape), x.dtype)
    rows = len(x) * geometry.out_height
    arguments = (x, w, y, *options, *_steps(geometry))
    wanted = min(cores(), rows) if len(x) * geometry.positions * w.size >= WORTH_A_THREAD else 1
    threads = available(wanted - 1) + 1
    share(loops, [(*part, *arguments) for part in pairwise(rows * i // threads for i in range(threads + 1))])
    return y


def _steps(geometry: ConvGeometry) -> tuple[int, int, int, int, int, int]:
    rows, columns = geometry.height, geometry.width
    return rows.before, columns.before, rows.stride, columns.stride, rows.dilation, columns.dilation


def standard(x: np.ndarray, w: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
    """Convolve x (N, H, W, C) with w (KH, KW, C, O) into (N, OH, OW, O)."""
    return _run(_standard, x, w, geometry)


def grouped(x: np.ndarray, w: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
    """Convolve each group of channels with its own filters, w (KH, KW, C/groups, O)."""
    return _run(_grouped, x, w, geometry, geometry.spec.groups)


def depthwise(x: np.ndarray, w: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
    """Convolve each channel with its own filters, w (KH, KW, 1, C*M)."""
    return _run(_depthwise, x, w, geometry)


def pointwise(x: np.ndarray, w: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
    """Mix the channels of each pixel, w (1, 1, C, O)."""
    return _run(_pointwise, x, w, geometry)
