"""Input that is legal but unkind: memory in any order, numbers that are none, sizes beyond reason."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from strategies import KINDS, Case, cases

import convlab as cl
from convlab.kernels import naive

pytestmark = pytest.mark.parametrize("rung", cl.KERNELS)


def misaligned(array):
    """Copy the array to an address that is no multiple of its item size."""
    buffer = np.zeros(array.nbytes + 1, np.uint8)
    copy = buffer[1:].view(array.dtype).reshape(array.shape)
    copy[...] = array
    assert array.size == 0 or not copy.flags.aligned
    return copy


def every_other(array):
    """Return the array as a view of every second number of a larger one."""
    wide = np.full((*array.shape[:-1], 2 * array.shape[-1]), 77, array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]


def read_only(array):
    copy = array.copy()
    copy.flags.writeable = False
    return copy


class Subclass(np.ndarray):
    pass


# Each gives back an array with equal numbers in another guise.
GUISES = {
    "Fortran order": np.asfortranarray,
    "negative strides": lambda array: array[::-1, ::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1, ::-1],
    "transposed": lambda array: array.transpose(3, 1, 0, 2).copy().transpose(2, 1, 3, 0),
    "every other number": every_other,
    "read-only": read_only,
    "big-endian": lambda array: array.astype(array.dtype.newbyteorder(">")),
    "misaligned": misaligned,
    "subclass": lambda array: array.view(Subclass),
}
guises = st.sampled_from(sorted(GUISES))


@given(case=cases(), guise_x=guises, guise_w=guises)
def test_the_memory_layout_does_not_matter(rung, case, guise_x, guise_w):
    x, w = case.integers()
    y = cl.conv2d(GUISES[guise_x](x), GUISES[guise_w](w), kernel=rung, **case.options)
    assert type(y) is np.ndarray
    assert y.dtype.isnative
    assert_array_equal(y, naive.standard(x, w, case.geometry))


@pytest.mark.parametrize("guise", GUISES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_guise_meets_every_kind(rung, kind, guise):
    spec = {
        "standard": cl.ConvSpec(4, 6, (3, 2), stride=2, padding=1),
        "grouped": cl.ConvSpec(4, 6, (3, 2), stride=2, padding=1, groups=2),
        "depthwise": cl.ConvSpec(4, 8, (3, 2), stride=2, padding=1, groups=4),
        "pointwise": cl.ConvSpec(4, 6, 1, stride=2),
    }[kind]
    case = Case(spec, 5, 7, batch=2, seed=4)
    x, w = case.integers()
    y = cl.conv2d(GUISES[guise](x), GUISES[guise](w), kernel=rung, **case.options)
    assert_array_equal(y, naive.standard(x, w, case.geometry))


@given(case=cases(batches=(3,)))
def test_broadcast_views_are_as_good_as_copies(rung, case):
    x, w = case.integers()
    one_picture, one_pixel = np.broadcast_to(x[:1], x.shape), np.broadcast_to(x[:, :1, :1], x.shape)
    one_filter = np.broadcast_to(w[..., :1], w.shape)
    for view in (one_picture, one_pixel):
        y = cl.conv2d(view, one_filter, kernel=rung, **case.options)
        assert_array_equal(y, naive.standard(view.copy(), one_filter.copy(), case.geometry))


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_batch_gives_an_empty_batch(rung, kind):
    groups = {"grouped": 2, "depthwise": 4}.get(kind, 1)
    w = np.ones((1, 1, 4 // groups, 8) if kind == "pointwise" else (3, 3, 4 // groups, 8), np.float32)
    y = cl.conv2d(np.ones((0, 5, 6, 4), np.float32), w, np.ones(8, np.float32), groups=groups, padding="same", kernel=rung)
    assert (y.shape, y.dtype) == ((0, 5, 6, 8), np.float32)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@given(case=cases(batches=(2,)), data=st.data())
def test_nan_and_infinity_reach_the_windows_that_read_them_and_no_other(rung, number, case, data):
    x, w = case.integers()
    spec, g = case.spec, case.geometry
    w[w == 0] = 1  # 0 * inf is NaN as well; so all is infinite or all is NaN, and the reference says which
    p, q = data.draw(st.integers(0, case.height - 1)), data.draw(st.integers(0, case.width - 1))
    c = data.draw(st.integers(0, spec.in_channels - 1))
    x[1, p, q, c] = number
    y = cl.conv2d(x, w, kernel=rung, **case.options)
    assert_array_equal(y, naive.standard(x, w, g))
    rows = [p in g.height.taps(i) for i in range(g.out_height)]
    columns = [q in g.width.taps(j) for j in range(g.out_width)]
    outputs = [o // (spec.out_channels // spec.groups) == c // w.shape[2] for o in range(spec.out_channels)]
    reached = np.zeros(y.shape, bool)
    reached[1] = np.array(rows)[:, None, None] & np.array(columns)[:, None] & np.array(outputs)
    assert_array_equal(~np.isfinite(y), reached)


@given(case=cases(paddings=("valid",)), data=st.data())
def test_a_weight_that_is_not_finite_reaches_its_output_channel(rung, case, data):
    """Without padding: `conv2d` notes that rungs differ on infinity times a padded zero."""
    x, w = case.integers()
    x[x == 0] = 1
    o = data.draw(st.integers(0, case.spec.out_channels - 1))
    w[-1, -1, -1, o] = np.inf
    y = cl.conv2d(x, w, kernel=rung, **case.options)
    assert_array_equal(y, naive.standard(x, w, case.geometry))
    assert np.isinf(y[..., o]).all()
    assert np.isfinite(np.delete(y, o, axis=3)).all()


def test_overflow_is_infinity_without_a_warning(rung):
    x = np.full((3, 3, 1), 3e38, np.float32)
    assert_array_equal(cl.conv2d(x, np.ones((2, 2, 1, 1), np.float32), kernel=rung), np.full((2, 2, 1), np.inf, np.float32))


def test_the_smallest_numbers_are_not_flushed_to_zero(rung):
    tiny = np.finfo(np.float32).smallest_subnormal
    assert_array_equal(cl.conv2d(np.full((2, 2, 1), tiny), np.ones((2, 2, 1, 1), np.float32), kernel=rung), np.full((1, 1, 1), 4 * tiny))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"padding": 10**9}, ValueError, "too big|too large|Maximum allowed"),
        ({"padding": (10**9, 2 * 10**9)}, ValueError, "too big|too large|Maximum allowed"),
        ({"padding": 10**7}, MemoryError, "Unable to allocate"),
        ({"padding": 10**12}, ValueError, "padding must be at most 2147483647"),
        ({"dilation": 10**9}, ValueError, "the window must fit into the padded input"),
        ({"stride": 10**30}, ValueError, "stride must be at most 2147483647"),
        ({"groups": 10**9}, ValueError, "groups must divide in_channels"),
    ],
)
def test_sizes_beyond_reason_are_an_error_not_a_crash(rung, options, error, message):
    with pytest.raises(error, match=message):
        cl.conv2d(np.ones((4, 5, 2), np.float32), np.ones((2, 2, 2, 3), np.float32), kernel=rung, **options)


def test_the_largest_stride_works(rung):
    x, w = Case(cl.ConvSpec(2, 3, 2), 4, 5, batch=1, seed=5).integers()
    assert_array_equal(cl.conv2d(x, w, stride=2**31 - 1, kernel=rung), cl.conv2d(x, w, kernel="naive")[:, :1, :1])


def test_a_filter_as_large_as_the_picture_and_one_pixel_of_padding(rung):
    case = Case(cl.ConvSpec(2, 3, (5, 7), padding=1), 5, 7, batch=1, seed=6)
    x, w = case.integers()
    assert_array_equal(cl.conv2d(x, w, padding=1, kernel=rung), naive.standard(x, w, case.geometry))


def test_one_pixel_is_a_picture(rung):
    x, w = np.full((1, 1, 1), 3, np.float32), np.full((1, 1, 1, 1), 7, np.float32)
    assert_array_equal(cl.conv2d(x, w, kernel=rung), np.full((1, 1, 1), 21, np.float32))


def test_all_padding_windows_are_zero(rung):
    """More padding than the window is large: the outermost windows see no pixel at all."""
    x, w = Case(cl.ConvSpec(1, 2, 2), 2, 3, batch=1, seed=7).integers()
    y = cl.conv2d(x, w, padding=4, kernel=rung)
    assert_array_equal(y[:, 3:-3, 3:-3], cl.conv2d(x, w, padding=1, kernel="naive"))
    y[:, 3:-3, 3:-3] = 0
    assert not y.any()
