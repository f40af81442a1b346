"""SciPy's correlation as an oracle: signal processing's definition, channel by channel."""

import numpy as np
import pytest
from hypothesis import given
from numpy.testing import assert_array_equal
from strategies import cases

import convlab as cl

signal = pytest.importorskip("scipy.signal", reason="SciPy is an oracle: pip install scipy")


def correlate(case, x, w):
    """Sum `scipy.signal.correlate2d` over channels, with padding, dilation and stride made of zeros and slices."""
    spec, g = case.spec, case.geometry
    down, across = spec.dilation
    taps = np.zeros((g.height.extent, g.width.extent, *w.shape[2:]), w.dtype)
    taps[::down, ::across] = w
    padded = np.pad(x, ((0, 0), *g.padding, (0, 0)))
    y = np.zeros((len(x), *g.out_shape), x.dtype)
    for n in range(len(x)):
        for o in range(spec.out_channels):
            first = o // (spec.out_channels // spec.groups) * w.shape[2]
            for c in range(w.shape[2]):
                # method="direct": the Fourier way would round.
                everywhere = signal.correlate(padded[n, :, :, first + c], taps[:, :, c, o], mode="valid", method="direct")
                y[n, :, :, o] += everywhere[:: spec.stride[0], :: spec.stride[1]]
    return y


@pytest.mark.parametrize("rung", cl.KERNELS)
@given(case=cases())
def test_conv2d_is_scipys_correlation(rung, case):
    x, w = case.integers()
    assert_array_equal(cl.conv2d(x, w, kernel=rung, **case.options), correlate(case, x, w))


@pytest.mark.parametrize("rung", [name for name, kernel in cl.KERNELS.items() if "int64" in kernel.dtypes])
@given(case=cases())
def test_integers_too(rung, case):
    x, w = case.integers(np.int64)
    assert_array_equal(cl.conv2d(x, w, kernel=rung, **case.options), correlate(case, x, w), strict=True)


def test_convolution_in_the_mathematicians_sense_flips_the_filter():
    rng = np.random.default_rng(0)
    x, w = rng.integers(-8, 9, (5, 6)), rng.integers(-8, 9, (3, 2))
    ours = cl.conv2d(x[:, :, None], w[::-1, ::-1, None, None])[:, :, 0]
    assert_array_equal(ours, signal.convolve2d(x, w, mode="valid"))
