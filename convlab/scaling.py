"""The two passes that scale a picture, compiled: every new pixel of an axis is a weighted sum of neighbouring old ones.

`images.taps` says which, and how much each weighs. Down the columns a sum of whole rows is what vector registers do best. Along the rows
the colours of a pixel are three sums side by side.
"""

from __future__ import annotations

import numpy as np

from .machinecode.cache import njit

compiled = njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})


@compiled
def down(first, weights, pixels, result):
    """Scale the height: pixels (H, N) of any numbers to result (T, N), float32."""
    for i in range(len(first)):
        line = result[i]
        line[:] = 0
        for k in range(weights.shape[1]):
            line += weights[i, k] * pixels[first[i] + k]


@compiled
def along(first, weights, pixels, result):
    """Scale the width: pixels (H, W, C) of any numbers to result (H, T, C), float32."""
    height, width, colours = pixels.shape
    line = np.empty(width * colours, np.float32)
    for i in range(height):
        line[:] = pixels[i].reshape(-1)
        for j in range(len(first)):
            if colours == 3:
                red = green = blue = np.float32(0)
                place = 3 * first[j]
                for k in range(weights.shape[1]):
                    weight = weights[j, k]
                    red += weight * line[place]
                    green += weight * line[place + 1]
                    blue += weight * line[place + 2]
                    place += 3
                result[i, j, 0], result[i, j, 1], result[i, j, 2] = red, green, blue
            else:
                for c in range(colours):
                    total = np.float32(0)
                    for k in range(weights.shape[1]):
                        total += weights[j, k] * line[(first[j] + k) * colours + c]
                    result[i, j, c] = total
