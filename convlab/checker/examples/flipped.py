"""A convolution in loops, with a mistake."""

import numpy as np


def conv2d(x: np.ndarray, w: np.ndarray, stride: int = 1, padding: int = 0) -> np.ndarray:
    """Convolve x (N, H, W, C) with w (KH, KW, C, O) into (N, OH, OW, O)."""
    images, _, _, channels = x.shape
    kernel_height, kernel_width, _, outputs = w.shape
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    height = (x.shape[1] - kernel_height) // stride + 1
    width = (x.shape[2] - kernel_width) // stride + 1
    y = np.zeros((images, height, width, outputs), x.dtype)
    for n in range(images):
        for i in range(height):
            for j in range(width):
                for o in range(outputs):
                    for u in range(kernel_height):
                        for v in range(kernel_width):
                            for c in range(channels):
                                tap = w[kernel_height - 1 - u, kernel_width - 1 - v, c, o]
                                y[n, i, j, o] += x[n, i * stride + u, j * stride + v, c] * tap
    return y
