"""Every rung of the ladder against the reference, the kernel contract, and kernels of one's own."""

import functools
import inspect
import pickle
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from strategies import KINDS, PADDINGS, Case, cases

import convlab as cl
from convlab.kernels import FLOATS, NUMBERS, fastest, naive, resolve

# A rung is tested with every dtype that it says it takes.
RUNG_DTYPES = [(name, dtype) for name, kernel in cl.KERNELS.items() for dtype in kernel.dtypes]
RUNG_FLOATS = [(name, dtype) for name, dtype in RUNG_DTYPES if dtype in FLOATS]


def reference(case, x, w):
    return naive.standard(x, w, case.geometry)


def run(rung, case, x, w):
    return cl.conv2d(x, w, kernel=rung, **case.options)


@settings(max_examples=20)
@given(cases())
def test_naive_is_the_sum_over_each_window_of_the_padded_input(case):
    """The reference itself, against windows cut out of a padded copy."""
    x, w = case.integers(np.int64)
    y = reference(case, x, w)
    spec, geometry = case.spec, case.geometry
    padded = np.pad(x, ((0, 0), *geometry.padding, (0, 0)))
    channels, per_group = w.shape[2], spec.out_channels // spec.groups
    for i in range(geometry.out_height):
        for j in range(geometry.out_width):
            rows = [p + geometry.height.before for p in geometry.height.taps(i)]
            columns = [q + geometry.width.before for q in geometry.width.taps(j)]
            window = padded[:, rows][:, :, columns]
            for o in range(spec.out_channels):
                first = o // per_group * channels
                expected = (window[..., first : first + channels] * w[..., o]).sum(axis=(1, 2, 3))
                assert_array_equal(y[:, i, j, o], expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rung", "dtype"), RUNG_DTYPES)
@given(data=st.data())
def test_every_rung_is_exact_on_small_integers(rung, dtype, kind, data):
    case = data.draw(cases(kinds=(kind,)))
    x, w = case.integers(dtype)
    y = run(rung, case, x, w)
    assert y.dtype == dtype
    assert_array_equal(y, reference(case, x, w), strict=True)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("rung", cl.KERNELS)
@settings(max_examples=10)
@given(data=st.data())
def test_every_rung_knows_every_padding(rung, padding, data):
    """Hypothesis may favour some of the paddings; here each has its turn, with a 1x1 window too."""
    case = data.draw(cases(kinds=("standard", "pointwise"), paddings=(padding,), batches=(1,)))
    x, w = case.integers()
    assert_array_equal(run(rung, case, x, w), reference(case, x, w))


@pytest.mark.parametrize(("rung", "dtype"), RUNG_FLOATS)
@given(case=cases())
def test_every_rung_rounds_within_the_bound(rung, dtype, case):
    """|y - exact| <= K eps conv(|x|, |w|), with K = terms + 1.

    A sum of n products, in any order, with or without fused multiply-adds, rounds no product more than n times (once as
    it is made, n - 1 times as it is added up), each time by a factor of at most 1 + u, u = eps / 2 (Higham 2002, section 3.1).
    So it is off by at most n u conv(|x|, |w|), to first order. Against the float64 reference a float32 result
    needs that once. A float64 result needs it twice, as the reference rounds as well: n eps. The + 1 covers
    the higher orders and the bound's own rounding.
    """
    x, w = case.reals(dtype)
    exact = reference(case, x.astype(np.float64), w.astype(np.float64))
    size = reference(case, np.abs(x).astype(np.float64), np.abs(w).astype(np.float64))
    y = run(rung, case, x, w)
    assert y.dtype == dtype
    assert (np.abs(y - exact) <= (case.terms + 1) * np.finfo(dtype).eps * size).all()


@pytest.mark.parametrize("rung", [name for name, dtype in RUNG_DTYPES if dtype == "int32"])
def test_integers_wrap_around_alike(rung):
    """As NumPy's do, without a warning: modulo 2^32, in any order."""
    x = np.full((1, 3, 3, 2), 2**30, np.int32)
    w = np.full((3, 3, 2, 2), 3, np.int32)
    expected = np.array(18 * 3 * 2**30, np.int64).astype(np.int32)
    assert_array_equal(cl.conv2d(x, w, kernel=rung), np.full((1, 1, 1, 2), expected))


@pytest.mark.parametrize("rung", cl.KERNELS)
@pytest.mark.parametrize(
    "options", [{"stride": 2}, {"padding": 1}, {"stride": (2, 3), "padding": ((0, 1), (2, 0))}, {"stride": 3, "padding": "same"}]
)
def test_a_1x1_window_has_stride_and_padding_too(rung, options):
    case = Case(cl.ConvSpec(3, 4, 1, **options), 5, 7, batch=2, seed=0)
    x, w = case.integers()
    assert_array_equal(run(rung, case, x, w), reference(case, x, w))


SHARED = {
    "standard": Case(cl.ConvSpec(8, 8, 3, padding="same"), 31, 33, batch=1, seed=8),
    "grouped": Case(cl.ConvSpec(8, 16, 3, padding="same", groups=2), 31, 33, batch=1, seed=8),
    "depthwise": Case(cl.ConvSpec.depthwise(16, 3, padding="same"), 61, 61, batch=1, seed=8),
    "pointwise": Case(cl.ConvSpec.pointwise(32, 16), 31, 33, batch=1, seed=8),
}


@functools.cache
def shared_reference(kind):
    return reference(SHARED[kind], *SHARED[kind].integers())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rung", cl.KERNELS)
def test_work_that_is_worth_sharing_among_threads_is_shared_without_loss(rung, kind):
    """Half a million MACs, on an odd number of rows: what Hypothesis draws is too small to be shared."""
    case = SHARED[kind]
    assert cl.cost(case.spec, case.height, case.width).macs > 500_000
    assert_array_equal(run(rung, case, *case.integers()), shared_reference(kind))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rung", cl.KERNELS)
def test_the_contract(rung, kind):
    """Inputs are read-only and stay as they are; the output is new, writable and of their dtype."""
    spec = {
        "standard": cl.ConvSpec(4, 6, 3, padding=1),
        "grouped": cl.ConvSpec(4, 6, 3, padding=1, groups=2),
        "depthwise": cl.ConvSpec.depthwise(4, 3, 2, padding=1),
        "pointwise": cl.ConvSpec.pointwise(4, 6),
    }[kind]
    case = Case(spec, 5, 6, batch=2, seed=1)
    x, w = case.integers()
    kept = x.copy(), w.copy()
    x.flags.writeable = w.flags.writeable = False
    function = cl.KERNELS[rung].function(kind)
    y = function(x, w, case.geometry)
    assert_array_equal(x, kept[0])
    assert_array_equal(w, kept[1])
    assert (y.shape, y.dtype) == ((2, *case.geometry.out_shape), np.float32)
    assert y.flags.c_contiguous
    assert y.flags.writeable
    assert not np.shares_memory(y, x)
    assert not np.shares_memory(y, w)
    assert_array_equal(function(x, w, case.geometry), y)  # and nothing is left behind by a call


# ---- what counts is what runs ----


def executions_of_the_inner_line(case):
    """Count how often the reference runs its `total +=` line, by tracing it."""
    lines, first = inspect.getsourcelines(naive.standard)
    (inner,) = (first + k for k, line in enumerate(lines) if line.lstrip().startswith("total +="))
    count = 0

    def trace(frame, event, _):
        nonlocal count
        if frame.f_code is not naive.standard.__code__:
            return None
        count += event == "line" and frame.f_lineno == inner
        return trace

    x, w = case.integers()
    geometry, before = case.geometry, sys.gettrace()
    sys.settrace(trace)
    try:
        naive.standard(x, w, geometry)
    finally:
        sys.settrace(before)
    return count


@settings(max_examples=15)
@given(cases())
def test_macs_are_executions_of_the_inner_line(case):
    assert executions_of_the_inner_line(case) == cl.cost(case.spec, case.height, case.width, batch=case.batch).macs


def test_the_worked_example_runs_its_inner_line_2160_times():
    assert executions_of_the_inner_line(Case(cl.ConvSpec(3, 5, 3), 6, 6, batch=1, seed=0)) == 2160
    assert executions_of_the_inner_line(Case(cl.ConvSpec.depthwise(3, 3), 6, 6, batch=1, seed=0)) == 432
    assert executions_of_the_inner_line(Case(cl.ConvSpec.pointwise(3, 5), 4, 4, batch=1, seed=0)) == 240


# ---- the registry ----


def test_the_ladder_begins_with_the_reference_and_names_its_rungs():
    assert next(iter(cl.KERNELS)) == "naive"
    for name, kernel in cl.KERNELS.items():
        assert kernel.name == name
        assert set(kernel.dtypes) <= set(NUMBERS)
        assert set(FLOATS) <= set(kernel.dtypes)
        assert all(kernel.function(kind) for kind in KINDS)


def test_nothing_mutates_the_ladder():
    with pytest.raises(TypeError, match="does not support item assignment"):
        cl.KERNELS["mine"] = cl.KERNELS["naive"]
    with pytest.raises(AttributeError, match="cannot assign"):
        cl.KERNELS["naive"].standard = None


@pytest.mark.parametrize("dtype", NUMBERS)
def test_auto_is_the_highest_rung_that_takes_the_dtype(dtype):
    able = [kernel for kernel in cl.KERNELS.values() if dtype in kernel.dtypes]
    assert resolve("auto", np.dtype(dtype)) is fastest(np.dtype(dtype)) is able[-1]


# ---- kernels of one's own ----

X, W = Case(cl.ConvSpec(3, 5, 3), 6, 7, batch=1, seed=2).integers()


class Student:
    """A right kernel that remembers what it was called with."""

    def __init__(self):
        self.calls = []

    def __call__(self, x, w, geometry):
        self.calls.append((x, w, geometry))
        return naive.standard(x, w, geometry)


def test_a_function_or_a_kernel_goes_wherever_a_name_goes():
    mine, expected = Student(), cl.conv2d(X, W, kernel="naive")
    assert_array_equal(cl.conv2d(X, W, kernel=mine), expected)
    assert_array_equal(cl.conv2d(X, W, kernel=cl.Kernel("mine", mine)), expected)
    assert_array_equal(cl.conv2d(X, W, kernel=cl.KERNELS["im2col"]), expected)
    assert_array_equal(cl.conv2d(X, W, kernel=lambda x, w, g: mine(x, w, g)), expected)
    assert len(mine.calls) == 3


def test_a_kernel_gets_checked_contiguous_read_only_arrays_of_one_dtype():
    mine = Student()
    cl.conv2d(X[0, ::-1].astype(">f4"), np.asfortranarray(W.astype(np.int16)), kernel=mine)
    ((x, w, geometry),) = mine.calls
    assert geometry == cl.ConvSpec(3, 5, 3).geometry(6, 7)
    assert x.shape == (1, 6, 7, 3)
    for array in (x, w):
        assert array.dtype == np.float32
        assert array.dtype.isnative
        assert array.flags.c_contiguous
        assert not array.flags.writeable


def test_a_kernel_cannot_write_to_the_callers_arrays():
    def careless(x, w, geometry):
        x[...] = 0

    kept = X.copy()
    with pytest.raises(ValueError, match="read-only"):
        cl.conv2d(X, W, kernel=careless)
    assert_array_equal(X, kept)


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        ("depthwise", lambda kernel: cl.depthwise_conv2d(X, W[..., 0], kernel=kernel)),
        ("grouped", lambda kernel: cl.conv2d(np.concatenate([X, X[..., :1]], 3), W[:, :, :2, :4], groups=2, kernel=kernel)),
    ],
)
def test_what_a_kernel_lacks_is_run_by_the_fastest_rung_and_it_says_so(kind, call):
    mine = Student()
    with pytest.warns(UserWarning, match=f"kernel 'mine' has no {kind} convolution: run by '{fastest(X.dtype).name}'") as caught:
        y = call(cl.Kernel("mine", standard=mine))
    assert caught[0].filename == __file__  # the caller's line, not ours
    assert mine.calls == []
    assert_array_equal(y, call("naive"))


def test_the_warning_names_the_callers_line_however_deep_the_kernel_is_asked_for():
    mine = cl.Kernel("mine", standard=Student())
    with pytest.warns(UserWarning, match="kernel 'mine' has no depthwise convolution") as caught:
        cl.separable_conv2d(X, W[..., 0], np.eye(X.shape[-1]), kernel=mine)
    assert caught[0].filename == __file__


def test_a_kernel_without_pointwise_runs_it_as_the_window_that_it_is():
    mine, other = Student(), Student()
    w = W[0, 0]
    cl.pointwise_conv2d(X, w, kernel=cl.Kernel("mine", standard=mine))
    assert len(mine.calls) == 1
    cl.pointwise_conv2d(X, w, kernel=cl.Kernel("mine", standard=mine, pointwise=other))
    assert (len(mine.calls), len(other.calls)) == (1, 1)


def test_each_kind_is_run_by_its_own_function():
    kernel = cl.Kernel("mine", *(Student() for _ in KINDS))
    cl.depthwise_conv2d(X, W[..., 0], kernel=kernel)
    cl.separable_conv2d(X, W[..., 0], W[0, 0], kernel=kernel)
    cl.conv2d(np.concatenate([X, X[..., :1]], 3), W[:, :, :2, :4], groups=2, kernel=kernel)
    cl.conv2d(X, W, kernel=kernel)
    assert [len(getattr(kernel, kind).calls) for kind in ("depthwise", "pointwise", "grouped", "standard")] == [2, 1, 1, 1]


@pytest.mark.parametrize(
    ("returned", "got"),
    [
        (np.zeros((1, 6, 7, 5), np.float32), r"float32 \(1, 6, 7, 5\)"),
        (np.zeros((4, 5, 5), np.float32), r"float32 \(4, 5, 5\)"),
        (np.zeros((1, 4, 5, 5)), r"float64 \(1, 4, 5, 5\)"),
        (np.zeros((1, 4, 5, 5)).tolist(), "list"),
        (None, "NoneType"),
    ],
)
def test_a_wrong_result_is_refused(returned, got):
    def mine(x, w, geometry):
        return returned

    with pytest.raises(ValueError, match=rf"kernel 'mine' must return float32 \(1, 4, 5, 5\): it returned {got}"):
        cl.conv2d(X, W, kernel=mine)


def test_a_kernels_own_error_comes_through():
    def broken(x, w, geometry):
        raise IndexError("mine")

    with pytest.raises(IndexError, match="mine"):
        cl.conv2d(X, W, kernel=broken)


def test_what_is_no_kernel_is_refused():
    with pytest.raises(ValueError, match=f"kernel must be one of 'auto', {', '.join(map(repr, cl.KERNELS))}: kernel='fast'"):
        cl.conv2d(X, W, kernel="fast")
    with pytest.raises(TypeError, match=r"kernel must be a name, a Kernel or a function f\(x, w, geometry\): kernel=3"):
        cl.conv2d(X, W, kernel=3)
    with pytest.raises(TypeError, match="kernel 'mine' takes float32: dtype=float64"):
        cl.conv2d(X.astype(np.float64), W, kernel=cl.Kernel("mine", naive.standard, dtypes=("float32",)))


@pytest.mark.parametrize("rung", cl.KERNELS)
def test_a_rung_goes_to_another_process(rung):
    copied = pickle.loads(pickle.dumps(cl.KERNELS[rung]))
    assert copied == cl.KERNELS[rung]


def test_rungs_differ_on_infinity_times_a_padded_zero_as_conv2d_says():
    skips = {
        rung
        for rung in cl.KERNELS
        if not np.isnan(cl.conv2d(np.ones((3, 3, 1)), np.full((3, 3, 1, 1), np.inf), padding=1, kernel=rung)).any()
    }
    (note,) = [line for line in cl.conv2d.__doc__.split("\n\n") if "padded zero" in line]
    makes, skip = note.split("padded zero")[1].split(";")
    assert {rung for rung in cl.KERNELS if f"`{rung}`" in makes} == set(cl.KERNELS) - skips
    assert {rung for rung in cl.KERNELS if f"`{rung}`" in skip} == skips
