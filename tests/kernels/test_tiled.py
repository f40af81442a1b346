"""The tiled rung where its own machinery could go wrong: blocks, slices, tails, rings. `test_kernels.py` has what holds for every rung."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import convlab as cl
from convlab.kernels import im2col, tiled
from convlab.kernels.tiled import schedule
from convlab.machinecode.vectors import VECTORS

SPECS = st.one_of(
    st.builds(
        lambda channels, kernel, stride, padding, dilation: cl.ConvSpec.depthwise(channels, kernel, 1, stride, padding, dilation),
        st.integers(1, 40),
        st.sampled_from([1, 2, 3, (3, 2), (1, 4), 5]),
        st.integers(1, 3),
        st.sampled_from(["same", "valid", ((2, 0), (1, 3))]),
        st.integers(1, 2),
    ),
    st.builds(
        lambda groups, inputs, outputs, kernel, stride, padding, dilation: cl.ConvSpec(
            groups * inputs, groups * outputs, kernel, stride, padding, dilation, groups
        ),
        st.integers(1, 3),
        st.integers(1, 9),
        st.integers(1, 80),
        st.sampled_from([1, 2, 3, (2, 3)]),
        st.integers(1, 3),
        st.sampled_from(["same", "valid", ((2, 0), (1, 3))]),
        st.integers(1, 2),
    ),
)


def integers(spec, height, width, dtype):
    rng = np.random.default_rng(0)
    return tuple(rng.integers(-8, 9, shape).astype(dtype) for shape in ((2, height, width, spec.in_channels), spec.weight_shape))


@pytest.mark.parametrize("dtype", cl.KERNELS["tiled"].dtypes)
@given(SPECS, st.integers(9, 24), st.integers(9, 24))
def test_more_channels_than_a_vector_and_more_pixels_than_a_tile(dtype, spec, height, width):
    x, w = integers(spec, height, width, dtype)
    geometry = spec.geometry(height, width)
    y = tiled.convolve(x, w, geometry)
    assert_array_equal(y, getattr(im2col, spec.kind)(x, w, geometry), strict=True)


@settings(max_examples=10)
@given(st.integers(1, 4000), SPECS, st.integers(9, 20))
def test_any_size_of_block_gives_the_same_numbers(cache, spec, side):
    """A cache of a few bytes forces blocks of one row; the ring then keeps rows from block to block."""
    x, w = integers(spec, side, side + 1, np.float32)
    geometry = spec.geometry(side, side + 1)
    usual = schedule.CACHE
    try:
        schedule.CACHE = cache
        y = tiled.convolve(x, w, geometry)
    finally:
        schedule.CACHE = usual
    assert_array_equal(y, getattr(im2col, spec.kind)(x, w, geometry))


@given(st.integers(1, 70), st.integers(1, 8))
def test_slices_cover_all_channels_and_share_them_out(vectors, threads):
    width = schedule._slice(vectors, threads)
    assert 1 <= width <= VECTORS
    slices = -(-vectors // width)
    shares = [min(slices * (t + 1) // threads * width, vectors) - slices * t // threads * width for t in range(threads)]
    assert sum(shares) == vectors
    if vectors >= 4 * threads:
        assert max(shares) <= min(shares) + VECTORS


def test_nan_stays_where_it_is_and_infinity_too():
    """A tile computes more columns than there are, and a ring holds more channels: none of it may leak."""
    rng = np.random.default_rng(0)
    for spec in (cl.ConvSpec(5, 21, 3, padding="same"), cl.ConvSpec.depthwise(21, 3, padding="same"), cl.ConvSpec.pointwise(5, 21)):
        x, w = rng.standard_normal((1, 8, 9, spec.in_channels)), rng.standard_normal(spec.weight_shape)
        x[0, 2, 3, 1], x[0, 6, 7, 2] = np.nan, np.inf
        options = {"padding": spec.padding, "groups": spec.groups}
        # The order of a sum decides its last bits, not what becomes of NaN and infinity.
        assert_allclose(cl.conv2d(x, w, kernel="tiled", **options), cl.conv2d(x, w, kernel="naive", **options), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", cl.KERNELS["tiled"].dtypes)
def test_nothing_behind_the_input_is_read(dtype, guarded):
    """The last pixel's last channel is the last number before a forbidden page, whatever the tail of the channels."""
    for channels in (1, 7, 8, 15, 16, 17, 33):
        for spec in (
            cl.ConvSpec(channels, 9, 3),
            cl.ConvSpec.depthwise(channels, 3),
            cl.ConvSpec.depthwise(channels, 3, 1, 2, "same"),
            cl.ConvSpec.pointwise(channels, 9),
        ):
            x, w = (guarded(values).array for values in integers(spec, 7, 6, dtype))
            geometry = spec.geometry(7, 6)
            assert_array_equal(tiled.convolve(x, w, geometry), getattr(im2col, spec.kind)(x, w, geometry))


def test_inputs_are_left_alone_and_may_be_read_only():
    spec = cl.ConvSpec(3, 20, 3, padding="same")
    x, w = integers(spec, 9, 9, np.float32)
    x.flags.writeable = w.flags.writeable = False
    before = x.copy(), w.copy()
    tiled.convolve(x, w, spec.geometry(9, 9))
    assert_array_equal(x, before[0])
    assert_array_equal(w, before[1])


def test_integers_are_refused_by_name():
    with pytest.raises(TypeError, match="kernel 'tiled' takes float32, float64: dtype=int32"):
        cl.conv2d(np.ones((4, 4, 1), np.int32), np.ones((2, 2, 1, 1), np.int32), kernel="tiled")
    assert cl.conv2d(np.ones((4, 4, 1), np.int32), np.ones((2, 2, 1, 1), np.int32)).dtype == np.int32  # "auto" passes over it


def test_all_pictures_of_a_batch_count_when_threads_are_asked_for(monkeypatch):
    asked = []
    monkeypatch.setattr(tiled, "cores", lambda: 8)
    monkeypatch.setattr(tiled, "available", lambda workers: asked.append(workers) or 0)
    rng = np.random.default_rng(0)
    x, w = (rng.integers(-8, 9, shape).astype(np.float32) for shape in [(8, 24, 24, 16), (3, 3, 16, 16)])
    one = 24 * 24 * 3 * 3 * 16 * 16
    assert one < tiled.WORTH_A_THREAD < 8 * one
    y = cl.conv2d(x, w, padding="same", kernel="tiled")
    assert_array_equal(cl.conv2d(x[0], w, padding="same", kernel="tiled"), y[0])
    assert asked == [7, 0]


def test_a_batch_is_shared_where_all_of_it_is_worth_it(monkeypatch):
    """One of these pictures is too little work for two threads; 64 of them are not."""
    spec, wanted = cl.ConvSpec(8, 8, 3, padding="same"), []
    monkeypatch.setattr(tiled, "cores", lambda: 2)
    monkeypatch.setattr(tiled, "available", lambda workers: wanted.append(workers) or 0)
    geometry = spec.geometry(32, 32)
    for batch in (1, 64):
        assert (batch * geometry.positions * np.prod(spec.weight_shape) >= schedule.WORTH_A_THREAD) == (batch == 64)
        tiled.convolve(np.ones((batch, 32, 32, 8), np.float32), np.ones(spec.weight_shape, np.float32), geometry)
    assert wanted == [0, 1]
