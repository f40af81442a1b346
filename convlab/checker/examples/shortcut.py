"""A convolution with a faster way for 1x1 kernels, and a mistake."""

import numpy as np


def conv2d(x: np.ndarray, w: np.ndarray, stride: int = 1, padding: int = 0) -> np.ndarray:
    """Convolve x (N, H, W, C) with w (KH, KW, C, O) into (N, OH, OW, O)."""
    kernel_height, kernel_width, _, outputs = w.shape
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    if (kernel_height, kernel_width) == (1, 1):
        return x @ w[0, 0]
    height = (x.shape[1] - kernel_height) // stride + 1
    width = (x.shape[2] - kernel_width) // stride + 1
    y = np.zeros((len(x), height, width, outputs), x.dtype)
    for i in range(height):
        for j in range(width):
            window = x[:, i * stride : i * stride + kernel_height, j * stride : j * stride + kernel_width]
            y[:, i, j] = np.tensordot(window, w, 3)
    return y
