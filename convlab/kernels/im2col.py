"""Rung 2: the same sum as a matrix product.

Every output number is a dot product of one window with one filter. Write each window as a row of
a matrix (its ``KH * KW * C`` numbers side by side) and each filter as a column of another; then
all outputs of a layer are one matrix product, and NumPy hands that to BLAS, which has been tuned
for decades::

    columns (N*OH*OW, KH*KW*C)  @  filters (KH*KW*C, O)  =  outputs (N*OH*OW, O)

The rows are found without arithmetic on indices: `sliding_window_view` looks at the padded
input through new strides, so window (i, j) is a *view*; only the final `reshape`, which wants
the numbers side by side, copies.

That copy is the price. Each input is stored once per window that covers it: for a 3x3 kernel at
stride 1 the matrix is nine times the input. A depthwise layer has the same bytes to move but
only one filter per channel to use them on, which is why im2col is a poor way to run it. A 1x1
kernel needs no matrix at all: the input already is one. With a stride, that holds only after
the rows and columns that no window reads have been left out.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..geometry import ConvGeometry


def pad(x: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
    """Surround x (N, H, W, C) with the geometry's zeros; without padding x itself."""
    return np.pad(x, ((0, 0), *geometry.padding, (0, 0))) if any(map(any, geometry.padding)) else x


def windows(x: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
    """Return all windows of x (N, H, W, C) as a view (N, OH, OW, KH, KW, C) into the padded input."""
    rows, columns = geometry.height, geometry.width
    view = sliding_window_view(pad(x, geometry), (rows.extent, columns.extent), axis=(1, 2))
    # Stride: keep every s-th window. Dilation: keep every d-th tap of each.
    view = view[:, :: rows.stride, :: columns.stride, :, :: rows.dilation, :: columns.dilation]
    return view.transpose(0, 1, 2, 4, 5, 3)


def columns(x: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
    """Return the matrix of windows (N*OH*OW, KH*KW*C): where they overlap a copy, and the memory that im2col costs."""
    _, _, depth = geometry.in_shape
    kernel_height, kernel_width = geometry.spec.kernel
    return windows(x, geometry).reshape(len(x) * geometry.positions, kernel_height * kernel_width * depth)


def standard(x: np.ndarray, w: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
    """Convolve x (N, H, W, C) with w (KH, KW, C, O) as one matrix product.

    Examples
    --------
    >>> from convlab.geometry import ConvSpec
    >>> x = np.arange(9.0).reshape(1, 3, 3, 1)
    >>> g = ConvSpec(1, 1, kernel=2).geometry(3, 3)
    >>> columns(x, g)
    array([[0., 1., 3., 4.],
           [1., 2., 4., 5.],
           [3., 4., 6., 7.],
           [4., 5., 7., 8.]])
    >>> standard(x, np.ones((2, 2, 1, 1)), g)[0, :, :, 0]
    array([[ 8., 12.],
           [20., 24.]])
    """
    y = columns(x, geometry) @ w.reshape(-1, w.shape[3])
    return y.reshape(len(x), *geometry.out_shape)


def grouped(x: np.ndarray, w: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
    """Convolve each group's channels with its own filters: a stack of matrix products, one a group."""
    groups = geometry.spec.groups
    kernel_height, kernel_width, channels, outputs = w.shape
    taps = kernel_height * kernel_width
    cut = columns(x, geometry).reshape(-1, taps, groups, channels)
    stack = cut.transpose(2, 0, 1, 3).reshape(groups, -1, taps * channels)
    filters = w.reshape(taps * channels, groups, outputs // groups).transpose(1, 0, 2)
    y = stack @ filters  # (groups, N*OH*OW, O/groups)
    return np.ascontiguousarray(y.transpose(1, 0, 2)).reshape(len(x), *geometry.out_shape)


def depthwise(x: np.ndarray, w: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
    """Convolve each channel with its own filters, w (KH, KW, 1, C*M): no sum over channels, so no matmul."""
    depth = geometry.spec.in_channels
    taps = w.shape[0] * w.shape[1]
    cut = columns(x, geometry).reshape(-1, taps, depth)
    filters = w.reshape(taps, depth, -1)
    return np.einsum("ptc,tcm->pcm", cut, filters).reshape(len(x), *geometry.out_shape)


def pointwise(x: np.ndarray, w: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
    """Mix the channels of each pixel: x is the matrix already, once the pixels that no window reads are left out."""
    read = pad(x, geometry)[:, :: geometry.height.stride, :: geometry.width.stride]
    y = read.reshape(-1, x.shape[3]) @ w.reshape(w.shape[2:])
    return y.reshape(len(x), *geometry.out_shape)
