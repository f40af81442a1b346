"""Rung 1: the equation, loop by loop.

A convolution layer lays a window on the input, multiplies what it sees with a filter, tap by
tap, and adds everything up. That sum is one number of one output channel::

    y[n, i, j, o] = sum over u, v, c of   x[n, p(i, u), q(j, v), g*C + c] * w[u, v, c, o]

where ``p(i, u) = i * stride - top + u * dilation`` is the row under tap ``u`` (``q`` likewise for
columns), ``C = in_channels / groups``, and ``g`` is the group that output channel ``o`` belongs
to. Outside the picture ``x`` is zero: that is all that padding means, so nothing is copied into
a larger array here; a tap that falls outside multiplies a zero.

The loops below are this sentence and nothing else. ``groups=1`` makes it the standard
convolution, ``groups=in_channels`` the depthwise one, a 1x1 window the pointwise one: one
function serves all of them, and every other rung of the ladder is compared with it.

What to see here: the inner line runs exactly once per multiply-accumulate, so counting its runs
is counting MACs. Python spends some tenths of a microsecond on each, thousands of times what the
processor needs. The next rungs keep the sum and change how it is run.
"""

from __future__ import annotations

import numpy as np

from ..geometry import ConvGeometry


def standard(x: np.ndarray, w: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
    """Convolve x (N, H, W, C) with w (KH, KW, C/groups, O) into (N, OH, OW, O).

    Examples
    --------
    >>> from convlab.geometry import ConvSpec
    >>> x = np.arange(9.0).reshape(1, 3, 3, 1)
    >>> w = np.ones((2, 2, 1, 1))
    >>> standard(x, w, ConvSpec(1, 1, kernel=2).geometry(3, 3))[0, :, :, 0]
    array([[ 8., 12.],
           [20., 24.]])
    """
    rows, columns = geometry.height, geometry.width
    kernel_height, kernel_width, channels, outputs = w.shape
    per_group = outputs // geometry.spec.groups
    zero = x.dtype.type(0)
    y = np.empty((len(x), *geometry.out_shape), x.dtype)
    for n in range(len(x)):
        for i in range(rows.output):
            for j in range(columns.output):
                for o in range(outputs):
                    first = o // per_group * channels  # where this output's group begins
                    total = zero
                    for u in range(kernel_height):
                        for v in range(kernel_width):
                            p = rows.start(i) + u * rows.dilation
                            q = columns.start(j) + v * columns.dilation
                            inside = 0 <= p < rows.input and 0 <= q < columns.input
                            for c in range(channels):
                                total += (x[n, p, q, first + c] if inside else zero) * w[u, v, c, o]
                    y[n, i, j, o] = total
    return y
