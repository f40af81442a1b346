"""A right convolution: one loop over the taps, each of which meets all positions at once."""

import numpy as np


def conv2d(x: np.ndarray, w: np.ndarray, bias: np.ndarray | None = None, stride: int = 1, padding: int = 0) -> np.ndarray:
    """Convolve x (N, H, W, C) with w (KH, KW, C, O) into (N, OH, OW, O)."""
    kernel_height, kernel_width, _, outputs = w.shape
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    height = (x.shape[1] - kernel_height) // stride + 1
    width = (x.shape[2] - kernel_width) // stride + 1
    y = np.zeros((len(x), height, width, outputs), x.dtype)
    for u in range(kernel_height):
        for v in range(kernel_width):
            y += x[:, u : u + stride * height : stride, v : v + stride * width : stride][:, :height, :width] @ w[u, v]
    return y if bias is None else y + bias
