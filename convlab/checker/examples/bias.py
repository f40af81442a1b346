"""A convolution with a bias, and a mistake."""

import numpy as np


def conv2d(x: np.ndarray, w: np.ndarray, bias: np.ndarray | None = None, stride: int = 1) -> np.ndarray:
    """Convolve x (N, H, W, C) with w (KH, KW, C, O) into (N, OH, OW, O)."""
    kernel_height, kernel_width, channels, outputs = w.shape
    bias = np.zeros(outputs, x.dtype) if bias is None else bias
    height = (x.shape[1] - kernel_height) // stride + 1
    width = (x.shape[2] - kernel_width) // stride + 1
    y = np.zeros((len(x), height, width, outputs), x.dtype)
    for i in range(height):
        for j in range(width):
            for u in range(kernel_height):
                for v in range(kernel_width):
                    for c in range(channels):
                        y[:, i, j] += x[:, i * stride + u, j * stride + v, c, None] * w[u, v, c] + bias
    return y
