"""PyTorch's convolution as an oracle: other people's code, the same numbers."""

import numpy as np
import pytest
from hypothesis import given
from numpy.testing import assert_array_equal
from strategies import cases

import convlab as cl

torch = pytest.importorskip("torch", reason="PyTorch is an oracle: pip install torch")


def torch_conv2d(case, x, w, bias=None):
    """Convolve NCHW arrays with `torch.nn.functional`; it pads by zeros that are given, so they go around x first."""
    (top, bottom), (left, right) = case.geometry.padding
    padded = torch.nn.functional.pad(torch.from_numpy(x), (left, right, top, bottom))
    options = {name: value for name, value in case.options.items() if name != "padding"}
    bias = None if bias is None else torch.from_numpy(bias)
    return torch.nn.functional.conv2d(padded, torch.from_numpy(w), bias, **options).numpy()


def to_nchw(x, w):
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)), np.ascontiguousarray(w.transpose(3, 2, 0, 1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rung", cl.KERNELS)
@given(case=cases(batches=(1, 2)))
def test_conv2d_is_torchs(rung, dtype, case):
    nhwc = case.integers(dtype)
    x, w = to_nchw(*nhwc)
    bias = np.arange(case.spec.out_channels).astype(dtype)
    expected = torch_conv2d(case, x, w, bias)
    assert_array_equal(cl.conv2d(x, w, bias, kernel=rung, layout="NCHW", **case.options), expected, strict=True)
    assert_array_equal(cl.conv2d(*nhwc, bias, kernel=rung, **case.options), expected.transpose(0, 2, 3, 1), strict=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(case=cases(batches=(1, 2)))
def test_real_numbers_agree_within_both_roundings(dtype, case):
    """Two sums of n products, each off by at most n u conv(|x|, |w|), u = eps / 2: together n eps; + 1 for the higher orders.

    (See test_kernels for the reason.)
    """
    x, w = to_nchw(*case.reals(dtype))
    size = torch_conv2d(case, np.abs(x).astype(np.float64), np.abs(w).astype(np.float64))
    difference = cl.conv2d(x, w, layout="NCHW", **case.options) - torch_conv2d(case, x, w)
    assert (np.abs(difference) <= (case.terms + 1) * np.finfo(dtype).eps * size).all()


@given(case=cases(paddings=("int", "pair"), batches=(1, 2)))
def test_torchs_own_padding_is_an_int_or_a_pair(case):
    """Here torch does the padding: ours as an int or a pair is meant as its."""
    x, w = to_nchw(*case.integers())
    options = case.options | {"padding": tuple(side for side, _ in case.geometry.padding)}
    expected = torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(w), **options).numpy()
    assert_array_equal(cl.conv2d(x, w, layout="NCHW", **options), expected)


@given(case=cases(paddings=("same",), batches=(1, 2), max_stride=1))
# Torch warns that a zero more on one side costs it a copy; that zero is what is tested.
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
def test_same_is_torchs_same_where_torch_has_it(case):
    """At stride 1: torch refuses "same" with another. It too puts the odd zero behind."""
    x, w = to_nchw(*case.integers())
    expected = torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(w), **case.options).numpy()
    assert_array_equal(cl.conv2d(x, w, layout="NCHW", **case.options), expected)


def test_same_at_stride_2_and_padding_1_give_one_shape_and_different_values():
    """What makes TensorFlow's weights fail in a PyTorch network: `padding=1` reads other pixels."""
    rng = np.random.default_rng(0)
    x, w = rng.integers(-8, 9, (1, 3, 8, 8)).astype(np.float32), rng.integers(-8, 9, (4, 3, 3, 3)).astype(np.float32)
    ones = torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(w), stride=2, padding=1).numpy()
    same = cl.conv2d(x, w, stride=2, padding="same", layout="NCHW")
    assert_array_equal(cl.conv2d(x, w, stride=2, padding=1, layout="NCHW"), ones)
    assert same.shape == ones.shape
    assert (same != ones).any()


@given(case=cases(kinds=("depthwise",), batches=(1, 2)))
def test_depthwise_takes_torchs_weights(case):
    x, w = to_nchw(*case.integers())
    options = {name: value for name, value in case.options.items() if name != "groups"}
    assert_array_equal(cl.depthwise_conv2d(x, w, layout="NCHW", **options), torch_conv2d(case, x, w))


@given(case=cases(kinds=("standard",), batches=(1, 2)))
def test_im2col_is_torchs_unfold(case):
    """`unfold` lists channels before taps and keeps windows as columns; the numbers are the same."""
    x, _ = case.integers()
    spec, (top_bottom, left_right) = case.spec, case.geometry.padding
    padded = torch.nn.functional.pad(torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2))), (*left_right, *top_bottom))
    unfolded = torch.nn.functional.unfold(padded, spec.kernel, dilation=spec.dilation, stride=spec.stride).numpy()
    taps = unfolded.reshape(len(x), spec.in_channels, -1, case.geometry.positions)  # (N, C, KH * KW, OH * OW)
    assert_array_equal(cl.im2col(x, spec), taps.transpose(0, 3, 2, 1).reshape(len(x) * case.geometry.positions, -1))
