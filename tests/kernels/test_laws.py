"""Laws that hold for convolution itself, whatever the code: on every rung, exact on small integers."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from strategies import Case, cases

import convlab as cl

pytestmark = pytest.mark.parametrize("rung", cl.KERNELS)


def run(rung, case, x, w, **changed):
    return cl.conv2d(x, w, kernel=rung, **(case.options | changed))


@given(case=cases(), a=st.integers(-3, 3), b=st.integers(-3, 3))
def test_linear_in_the_input(rung, case, a, b):
    (x, w), (other, _) = case.integers(), dataclasses.replace(case, seed=case.seed + 1).integers()
    assert_array_equal(run(rung, case, a * x + b * other, w), a * run(rung, case, x, w) + b * run(rung, case, other, w))


@given(case=cases(), a=st.integers(-3, 3), b=st.integers(-3, 3))
def test_linear_in_the_filter(rung, case, a, b):
    (x, w), (_, other) = case.integers(), dataclasses.replace(case, seed=case.seed + 1).integers()
    assert_array_equal(run(rung, case, x, a * w + b * other), a * run(rung, case, x, w) + b * run(rung, case, x, other))


@given(case=cases(kinds=("standard",)), data=st.data())
def test_a_delta_is_the_identity(rung, case, data):
    """One 1 at any tap (u, v), from each channel to itself: every output is the input under that tap."""
    x, _ = case.integers()
    channels, (height, width) = case.spec.in_channels, case.spec.kernel
    u, v = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    delta = np.zeros((height, width, channels, channels), np.float32)
    delta[u, v] = np.eye(channels)
    down, across = case.spec.dilation
    padding = ((u * down, (height - 1 - u) * down), (v * across, (width - 1 - v) * across))  # brings tap (u, v) over its pixel
    y = cl.conv2d(x, delta, padding=padding, dilation=(down, across), kernel=rung)
    assert_array_equal(y, x)


@given(case=cases(kinds=("grouped", "depthwise")))
def test_groups_are_a_concatenation(rung, case):
    x, w = case.integers()
    groups = case.spec.groups
    slices = zip(np.split(x, groups, axis=3), np.split(w, groups, axis=3), strict=True)
    apart = [run(rung, case, *pair, groups=1) for pair in slices]
    assert_array_equal(run(rung, case, x, w), np.concatenate(apart, axis=3))


@given(case=cases())
def test_dilation_is_a_filter_with_zeros_between(rung, case):
    x, w = case.integers()
    (down, across), (height, width) = case.spec.dilation, case.spec.kernel
    stuffed = np.zeros((down * (height - 1) + 1, across * (width - 1) + 1, *w.shape[2:]), w.dtype)
    stuffed[::down, ::across] = w
    assert_array_equal(run(rung, case, x, w), run(rung, case, x, stuffed, dilation=1))


@given(case=cases())
def test_stride_is_subsampling(rung, case):
    x, w = case.integers()
    down, across = case.spec.stride
    # "same" pads by the stride: take its zeros as they were resolved.
    padding = case.geometry.padding
    everywhere = run(rung, case, x, w, stride=1, padding=padding)
    assert_array_equal(run(rung, case, x, w), everywhere[:, ::down, ::across])


@given(case=cases())
def test_padding_is_zeros_around_the_input(rung, case):
    x, w = case.integers()
    padded = np.pad(x, ((0, 0), *case.geometry.padding, (0, 0)))
    assert_array_equal(run(rung, case, x, w), run(rung, case, padded, w, padding="valid"))


@given(case=cases(kinds=("pointwise",), paddings=("valid",), max_stride=1))
def test_pointwise_is_a_matmul(rung, case):
    x, w = case.integers()
    assert_array_equal(run(rung, case, x, w), x @ w[0, 0])
    assert_array_equal(cl.pointwise_conv2d(x, w[0, 0], kernel=rung), x @ w[0, 0])


@given(case=cases(paddings=("valid",), max_stride=1), down=st.integers(0, 3), across=st.integers(0, 3))
def test_a_moved_input_moves_the_output(rung, case, down, across):
    x, w = case.integers()
    moved = np.pad(x, ((0, 0), (down, 0), (across, 0), (0, 0)))
    assert_array_equal(run(rung, case, moved, w)[:, down:, across:], run(rung, case, x, w))


@given(case=cases())
def test_pictures_of_a_batch_do_not_meet(rung, case):
    x, w = case.integers()
    apart = [run(rung, case, image, w) for image in x]
    assert_array_equal(run(rung, case, x, w), np.array(apart, x.dtype).reshape(len(x), *case.geometry.out_shape))


@given(case=cases())
def test_turning_the_picture_and_the_filter_turns_the_output(rung, case):
    """Height and width exchange their roles everywhere: a mix-up of the two would show."""
    x, w = case.integers()
    turned = {name: value[::-1] for name, value in case.options.items() if isinstance(value, tuple)}
    y = run(rung, case, x.swapaxes(1, 2), w.swapaxes(0, 1), **turned)
    assert_array_equal(y, run(rung, case, x, w).swapaxes(1, 2))


@given(case=cases(kinds=("standard", "pointwise")))
def test_the_matrix_of_columns_times_the_filters_is_the_convolution(rung, case):
    x, w = case.integers()
    matrix = cl.im2col(x, case.spec)
    assert matrix.dtype == x.dtype
    assert matrix.shape == (len(x) * case.geometry.positions, case.terms)
    y = matrix @ w.reshape(-1, case.spec.out_channels)
    assert_array_equal(y.reshape(len(x), *case.geometry.out_shape), run(rung, case, x, w))


@given(case=cases(kinds=("depthwise",)), outputs=st.integers(1, 4))
def test_separable_is_standard_with_the_product_of_both_filters(rung, case, outputs):
    """w[u, v, c, o] = sum over m of depthwise[u, v, c, m] * pointwise[c * M + m, o]: what a separable layer can express."""
    x, w = case.integers()
    channels = case.spec.in_channels
    depthwise = w.reshape(*case.spec.kernel, channels, -1)
    pointwise = np.random.default_rng(case.seed).integers(-4, 5, (case.spec.out_channels, outputs)).astype(np.float32)
    product = np.einsum("uvcm,cmo->uvco", depthwise, pointwise.reshape(channels, -1, outputs))
    options = {name: value for name, value in case.options.items() if name != "groups"}
    y = cl.separable_conv2d(x, depthwise, pointwise, kernel=rung, **options)
    between = cl.depthwise_conv2d(x, depthwise, kernel=rung, **options)
    assert_array_equal(y, cl.pointwise_conv2d(between, pointwise, kernel=rung))
    assert_array_equal(y, cl.conv2d(x, product, kernel=rung, **options))


def test_convolution_here_is_cross_correlation(rung):
    """The filter is not flipped: the tap at the top left meets the pixel at the top left."""
    case = Case(cl.ConvSpec(1, 1, 3), 3, 3, batch=1, seed=0)
    x, w = case.integers()
    assert run(rung, case, x, w).item() == (x[0] * w[..., 0]).sum()
    assert run(rung, case, x, w[::-1, ::-1]).item() != (x[0] * w[..., 0]).sum()
