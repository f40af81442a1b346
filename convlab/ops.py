"""What a network does between its convolutions, in NumPy: one function an operation.

Images are (N, H, W, C) throughout; every function returns a new array of the input's dtype.
"""

from __future__ import annotations

import numpy as np


def batch_norm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray, variance: np.ndarray, eps: float) -> np.ndarray:
    """Normalise each channel with the statistics seen in training, then scale and shift it.

    ``gamma * (x - mean) / sqrt(variance + eps) + beta`` (Ioffe and Szegedy 2015, algorithm 2), which at
    inference is one multiplication and one addition per number.

    Examples
    --------
    >>> x = np.array([[1.0, 10.0], [3.0, 30.0]])
    >>> batch_norm(x, np.ones(2), np.zeros(2), x.mean(0), x.var(0), eps=0.0)
    array([[-1., -1.],
           [ 1.,  1.]])
    """
    scale = gamma / np.sqrt(variance + x.dtype.type(eps))
    return x * scale + (beta - mean * scale)


def relu(x: np.ndarray) -> np.ndarray:
    """Return max(x, 0), number by number; NaN stays NaN."""
    return np.maximum(x, x.dtype.type(0))


def relu6(x: np.ndarray) -> np.ndarray:
    """Return min(max(x, 0), 6), number by number; NaN stays NaN (Krizhevsky 2010).

    Examples
    --------
    >>> relu6(np.array([-1.0, 2.5, 8.0]))
    array([0. , 2.5, 6. ])
    """
    return np.clip(x, x.dtype.type(0), x.dtype.type(6))


def global_average_pool(x: np.ndarray) -> np.ndarray:
    """Return each channel's mean over all pixels: (N, H, W, C) -> (N, C).

    Examples
    --------
    >>> global_average_pool(np.arange(8.0).reshape(1, 2, 2, 2))
    array([[3., 4.]])
    """
    return x.mean(axis=(1, 2))


def dense(x: np.ndarray, w: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Return x (N, C) @ w (C, O) + bias (O,): the classifier, a pointwise convolution of one pixel."""
    return x @ w + bias


def softmax(x: np.ndarray) -> np.ndarray:
    """Return probabilities along the last axis; the largest logit is taken off first, so nothing overflows.

    Examples
    --------
    >>> softmax(np.array([1000.0, 1000.0]))
    array([0.5, 0.5])
    """
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
