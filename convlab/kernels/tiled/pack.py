"""Weights in the order in which micro-kernels read them: panels for products, vectors for windows on each channel apart.

A panel holds a few vectors of columns: of the bias, then of every row of the matrix. So a tile reads one stream.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...machinecode.cache import njit
from ...machinecode.memory import empty, move, zero
from ...machinecode.vectors import VECTOR, padded, vectors
from .matmul import panels
from .step import DEPTHWISE


@njit(cache=True, nogil=True, error_model="numpy")
def _pack(size, rows, columns, source, stride, bias, packed):
    """Copy a matrix, rows `stride` bytes apart, to panels."""
    wide, count = vectors(columns, size), panels(columns, size)
    for panel in range(count):
        begin, end = wide * panel // count * VECTOR, wide * (panel + 1) // count * VECTOR
        width, used = end - begin, min(end, columns * size) - begin
        here = packed + begin * (1 + rows)
        if used < width or not bias:
            for row in range(1 + rows):
                zero(here + row * width, width)
        if bias:
            move(1, used, bias + begin, 0, here, 0)
        move(rows, used, source + begin, stride, here + width, width)


def pack(w: np.ndarray, bias: np.ndarray | None = None, into: np.ndarray | None = None) -> np.ndarray:
    """Return a matrix of weights (K, N) as panels, flat: for each panel its columns of the bias, then of every row of w."""
    rows, columns = w.shape
    if into is None:
        into = empty((1 + rows) * padded(columns, w.itemsize)).view(w.dtype)
    if w.strides[1] != w.itemsize:
        w = np.ascontiguousarray(w)
    if bias is not None:
        bias = np.ascontiguousarray(bias)
    _pack(w.itemsize, rows, columns, w.ctypes.data, w.strides[0], 0 if bias is None else bias.ctypes.data, into.ctypes.data)
    return into


def pack_window(w: np.ndarray, groups: int, window: int, bias: np.ndarray | None = None) -> np.ndarray:
    """Return the filters (KH, KW, C/groups, O) of a window as a step reads them."""
    taps = w.reshape(-1, w.shape[3])
    if window != DEPTHWISE:
        columns = w.shape[3] // groups
        numbers = (1 + len(taps)) * padded(columns, w.itemsize) // w.itemsize
        packed = empty(groups * numbers * w.itemsize).view(w.dtype)
        for g in range(groups):
            mine = slice(g * columns, (g + 1) * columns)
            pack(taps[:, mine], None if bias is None else bias[mine], packed[g * numbers : (g + 1) * numbers])
        return packed
    lanes = VECTOR // w.itemsize
    wide = vectors(w.shape[3], w.itemsize)
    whole = np.zeros((1 + len(taps), wide * lanes), w.dtype)
    whole[1:, : w.shape[3]] = taps
    if bias is not None:
        whole[0, : w.shape[3]] = bias
    return whole.reshape(len(whole), wide, lanes).transpose(1, 0, 2).ravel()


def pack_slices(w: np.ndarray, width: int, bias: np.ndarray) -> np.ndarray:
    """Return pointwise weights (K, N) as panels that no boundary between slices of `width` columns runs through."""
    return np.concatenate([pack(w[:, c : c + width], bias[c : c + width]) for c in range(0, w.shape[1], width)])


def join(arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, list[int]]:
    """Return arrays end to end as bytes, each at a multiple of a vector's, and where each begins."""
    sizes = [padded(array.nbytes, 1) for array in arrays]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    joined = empty(sum(sizes))
    for array, start in zip(arrays, starts, strict=True):
        joined[start : start + array.nbytes] = array.view(np.uint8)
    return joined, starts
