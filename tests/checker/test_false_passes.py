"""Passes that must not be: functions that are right in what a short look tries, and wrong elsewhere. None of them may pass."""

import inspect
import os

import numpy as np
import pytest

from convlab.checker import check, exam
from convlab.checker.calls import Call
from convlab.checker.operations import OPERATIONS, dressed


def pair(value):
    return (value, value) if isinstance(value, int) else tuple(value)


def conv(x, w, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """A right convolution, NHWC."""
    call = Call(OPERATIONS["conv2d"], "convlab", x, w, bias, pair(stride), padding, pair(dilation), groups)
    return call.right()


def forward(x, w, b, conv_param):
    """A right one in the course's style."""
    return dressed(lambda call: call.right(), "conv2d", "cs231n")(x, w, b, conv_param)


def wrong_where(condition):
    """Return a convolution whose result is zero where the condition holds, for (x, w) or for all that a convolution takes."""

    def short(x, w):
        return conv(x, w) * (not condition(x, w))

    def function(x, w, bias=None, stride=1, padding=0, dilation=1, groups=1):
        y = conv(x, w, bias, stride, padding, dilation, groups)
        return y * (not condition(x, w, bias, pair(stride), padding, pair(dilation), groups))

    return short if len(inspect.signature(condition).parameters) == 2 else function


def then(change):
    """Return a right convolution after which something is done to its arguments, or to its result."""

    def function(x, w, bias=None, stride=1, padding=0, dilation=1, groups=1):
        y = conv(x, w, bias, stride, padding, dilation, groups)
        changed = change(x, w, bias, y, pair(stride), padding)
        return y if changed is None else changed

    return function


# It works in small cases, or with few options: zeros beyond

SWITCHES = {
    "windows above 3": lambda x, w: max(w.shape[:2]) > 3,
    "windows high and wide": lambda x, w: min(w.shape[:2]) > 3,
    "high windows": lambda x, w: w.shape[0] > 3,
    "windows of 5 and more": lambda x, w: max(w.shape[:2]) >= 5,
    "batches above 3": lambda x, w: len(x) > 3,
    "batches of 8 and more": lambda x, w: len(x) >= 8,
    "channels above 8": lambda x, w: x.shape[3] > 8,
    "channels above 16": lambda x, w: x.shape[3] > 16,
    "filters above 8": lambda x, w: w.shape[3] > 8,
    "filters above 32": lambda x, w: w.shape[3] > 32,
    "channels and filters above 8": lambda x, w: x.shape[3] > 8 and w.shape[3] > 8,
    "pictures above 30": lambda x, w: max(x.shape[1:3]) > 30,
    "pictures above 30 both ways": lambda x, w: min(x.shape[1:3]) > 30,
    "wide pictures": lambda x, w: x.shape[2] > 30,
    "pictures above 255": lambda x, w: max(x.shape[1:3]) > 255,
    "strides above 3": lambda x, w, bias, stride, *_: max(stride) > 3,
    "paddings above 2": lambda x, w, bias, stride, padding, *_: isinstance(padding, int) and padding > 2,
    "dilations above 3": lambda x, w, bias, stride, padding, dilation, groups: max(dilation) > 3,
    "groups above 3": lambda x, w, bias, stride, padding, dilation, groups: groups > 3,
    "large all at once": lambda x, w: len(x) > 3 and max(w.shape[:2]) > 3 and x.shape[3] > 8,
    "much to add up": lambda x, w: w[..., 0].size > 100,
    "same and dilated": lambda x, w, bias, stride, padding, dilation, groups: padding == "same" and max(dilation) > 1,
    "real numbers with a stride": lambda x, w, bias, stride, *_: max(stride) > 1 and not np.array_equal(x, np.round(x)),
    "float32 with a padding": lambda x, w, bias, stride, padding, *_: x.dtype == np.float32 and padding != 0,
    "zeros in the picture": lambda x, w: bool((x == 0).any()),
    "bright pictures": lambda x, w: x.size > 0 and np.abs(x).max() > 2000,
    "other memory with a stride": lambda x, w, bias, stride, *_: max(stride) > 1 and not x.flags.c_contiguous,
}


def some(names):
    """Return a third of them; with the variable CI all."""
    return list(names)[:: 1 if os.environ.get("CI") else 3]


@pytest.mark.parametrize("name", some(SWITCHES))
def test_what_switches_beyond_small_cases_fails(name):
    report = check(wrong_where(SWITCHES[name]))
    assert not report.passed


# The result is right, but something else is not, and only in some cases


def kept_by_address():
    kept = {}
    return lambda x, w: conv(x, kept.setdefault(id(w), w.copy()))


def a_buffer_where_strided():
    buffers = {}

    def function(x, w, stride=1):
        y = conv(x, w, None, stride)
        if stride == 1:
            return y
        buffer = buffers.setdefault((y.shape, y.dtype), np.empty_like(y))
        buffer[...] = y
        return buffer

    return function


def clear(array):
    array[...] = 0


BESIDES = {
    "clears the bias": then(lambda x, w, bias, y, stride, padding: None if bias is None else clear(bias)),
    "clears the picture where strided": then(lambda x, w, bias, y, stride, padding: None if max(stride) == 1 else clear(x)),
    "turns the filters where padded": then(lambda x, w, bias, y, stride, padding: None if padding == 0 else clear(w)),
    "float32 where strided": then(lambda x, w, bias, y, stride, padding: None if max(stride) == 1 else y.astype(np.float32)),
    "rounds real numbers where padded": then(lambda x, w, bias, y, stride, padding: None if padding == 0 else np.round(y)),
    "cuts the bias to an integer": then(lambda x, w, bias, y, stride, padding: None if bias is None else y - bias + np.trunc(bias)),
    "a buffer where strided": a_buffer_where_strided(),
    "filters kept by their address": kept_by_address(),
    "sizes in 8 bits": lambda x, w: conv(x[:, : int(np.uint8(x.shape[1] % 256)) or None], w),
    "the first 16 channels": lambda x, w: conv(x[..., :16], w[:, :, :16]),
    "the first 3x3 taps": lambda x, w: conv(x, np.where(np.arange(w.shape[0])[:, None, None, None] < 3, w, 0)),
    "the first 3 images": lambda x, w: np.concatenate([conv(x[:3], w), 0 * conv(x[3:], w)]),
}


@pytest.mark.parametrize("name", some(BESIDES))
def test_what_is_wrong_beside_the_result_fails_wherever_it_is(name):
    assert not check(BESIDES[name]).passed


@pytest.mark.parametrize(
    ("name", "argument"),
    [("clears the bias", "bias"), ("clears the picture where strided", "x"), ("turns the filters where padded", "w")],
)
def test_an_argument_that_changes_in_some_cases_is_named_on_a_small_one(name, argument):
    report = check(BESIDES[name])
    failed = {result.name: result.message for result in report.properties if result.passed is False}
    assert failed["inputs unchanged"] == f"{argument} changed during the call"
    assert report.failure.numbers <= 12


# The course's style: a bias that must be there, and a dict


def clears_the_bias_first(x, w, b, conv_param):
    b[:] = 0
    return forward(x, w, 0 * b, conv_param)


def clears_the_bias_last(x, w, b, conv_param):
    out = forward(x, w, b, conv_param)
    b[:] = 0
    return out


def pops_the_padding(x, w, b, conv_param):
    return forward(x, w, b, {"stride": conv_param["stride"], "pad": conv_param.pop("pad")})


def writes_into_the_dict(x, w, b, conv_param):
    out = forward(x, w, b, conv_param)
    conv_param["stride"] = 1
    return out


def larger_only(x, w, b, conv_param):
    out, cache = forward(x, w, b, conv_param)
    return (out, cache) if w.shape[2] <= 3 else (0 * out, cache)


@pytest.mark.parametrize("function", [clears_the_bias_first, clears_the_bias_last, pops_the_padding, writes_into_the_dict, larger_only])
def test_in_the_courses_style(function):
    assert check(forward, style="cs231n").passed
    report = check(function, style="cs231n")
    assert not report.passed


def test_a_dict_that_changes_is_named():
    report = check(pops_the_padding, style="cs231n")
    assert {result.message for result in report.properties if result.passed is False} == {"conv_param changed during the call"}


# Other operations


def columns(x, kernel, stride=1, padding=0, dilation=1):
    return dressed(lambda call: call.right(), "im2col", "convlab")(x, kernel, stride, padding, dilation)


def shortcut_without_stride(x, kernel, stride=1, padding=0, dilation=1):
    right = columns(x, kernel, stride, padding, dilation)
    return x.reshape(-1, x.shape[3])[: len(right)].copy() if kernel == 1 and padding == 0 else right


def size(size, kernel, stride=1, padding=0, dilation=1):
    return dressed(lambda call: call.right(), "output_size", "convlab")(size, kernel, stride, padding, dilation)


def count(height, width, in_channels, out_channels, kernel, stride=1, padding=0, dilation=1, groups=1):
    counted = dressed(lambda call: call.right(), "cost", "convlab")
    return counted(height, width, in_channels, out_channels, kernel, stride, padding, dilation, groups)


def fold(w, bias, gamma, beta, mean, variance, eps):
    scale = gamma / np.sqrt(variance + eps)
    return w * scale, beta + (bias - mean) * scale


def depthwise(x, w, bias=None, stride=1, padding=0, dilation=1):
    return dressed(lambda call: call.right(), "depthwise", "convlab")(x, w, bias, stride, padding, dilation)


def depthwise_of_few(x, w, bias=None, stride=1, padding=0, dilation=1):
    return depthwise(x, w, bias, stride, padding, dilation) * (x.shape[3] <= 3)


@pytest.mark.parametrize(
    ("op", "function"),
    [
        ("im2col", shortcut_without_stride),
        ("im2col", lambda x, kernel, stride=1: columns(x, kernel, stride) * (len(x) <= 3)),
        ("output_size", lambda size_, kernel, stride=1: size(size_ % 256, kernel, stride) if size_ % 256 >= kernel else 0),
        ("output_size", lambda size_, kernel, stride=1: size(size_, min(kernel, 3), stride)),
        ("cost", lambda height, width, c, o, kernel, stride=1: count(height, width, min(c, 16), o, kernel, stride)),
        ("cost", lambda height, width, c, o, kernel, stride=1: tuple(int(np.int16(n % 2**15)) for n in count(height, width, c, o, kernel))),
        ("relu6", lambda x: np.concatenate([np.clip(x[:3], 0, 6), x[3:]])),
        ("relu6", lambda x: np.where(x.shape[3] > 8, x, np.clip(x, 0, 6)).astype(x.dtype)),
        ("fold_batch_norm", lambda w, bias, gamma, beta, mean, variance, eps: fold(w, bias, gamma, beta, mean, variance, 1e-3)),
        ("fold_batch_norm", lambda w, bias, gamma, beta, mean, variance, eps: fold(w, bias, gamma, beta, mean, variance, 1e-5)),
        ("depthwise", depthwise_of_few),
    ],
)
def test_in_other_operations(op, function):
    assert not check(function, op=op).passed


# No pass without an answer


def test_what_is_interrupted_does_not_pass(monkeypatch):
    """A search that ends without a case has shown nothing."""
    monkeypatch.setattr(exam, "search", lambda strategy, wanted, **options: None)
    report = check(conv)
    assert not report.passed
    assert report.score == 0


def test_a_property_that_the_time_cuts_short_does_not_pass():
    import time

    def slower_and_slower(x, w):
        time.sleep(0.02)
        return conv(x, w)

    report = check(slower_and_slower, max_seconds=0.3)
    assert not report.passed
    assert all(result.cases >= 20 for result in report.properties if result.passed and result.name == "values")


# Advice and limits: right functions in bad form, and those that do not take all memory layouts


def as_the_course_writes_it(x, w, b, conv_param):
    """np.zeros without a dtype, loops."""
    stride, pad = conv_param["stride"], conv_param["pad"]
    n, _, height, width = x.shape
    f, _, hh, ww = w.shape
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    out = np.zeros((n, f, 1 + (height + 2 * pad - hh) // stride, 1 + (width + 2 * pad - ww) // stride))
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            window = padded[:, None, :, i * stride : i * stride + hh, j * stride : j * stride + ww]
            out[:, :, i, j] = (window * w).sum(axis=(2, 3, 4)) + b
    return out, (x, w, b, conv_param)


def test_the_usual_solution_of_the_course_passes_with_advice():
    report = check(as_the_course_writes_it, style="cs231n")
    assert report.passed
    assert report.score == 1
    assert report.advice == ("float32 gives float32, float64 gives float64: float32 goes in, float64 comes out",)
    assert report.advice[0] in str(report)
    assert report.advice[0] in report._repr_html_()
    assert report.failure is None
    strict = check(as_the_course_writes_it, style="cs231n", strict=True)
    assert not strict.passed
    assert strict.failure.diagnosis.name == "float32 becomes float64"


def test_float64_in_some_cases_is_advice_too():
    function = then(lambda x, w, bias, y, stride, padding: None if padding == 0 else y.astype(np.float64))
    report = check(function)
    assert report.passed
    assert len(report.advice) == 1
    assert not check(function, strict=True).passed


def test_an_empty_batch_that_is_refused_is_advice():
    function = lambda x, w: np.stack([conv(image[None], w)[0] for image in x])  # noqa: E731
    report = check(function)
    assert report.passed
    assert report.advice == ("a batch of no images: raised ValueError: need at least one array to stack",)
    assert not check(function, strict=True).passed


def contiguous_only(x, w):
    if not x.flags.c_contiguous:
        raise ValueError("contiguous arrays, please")
    return conv(x, w)


def test_layouts_that_are_refused_are_limits():
    report = check(contiguous_only)
    assert report.passed
    assert "arguments in Fortran order: raised ValueError: contiguous arrays, please" in report.limits
    assert report.limits[0] in str(report)
    assert not check(contiguous_only, strict=True).passed


def wrong_numbers_for_fortran(x, w):
    if x.flags.f_contiguous and not x.flags.c_contiguous:
        if len(w) > 1:
            raise ValueError("small windows, please")  # it says so in some cases, and is silently wrong in others
        return 0 * conv(x, w)
    return conv(x, w)


@pytest.mark.parametrize(
    "function",
    [
        wrong_numbers_for_fortran,
        lambda x, w: conv(np.ascontiguousarray(x.ravel(order="K")).reshape(x.shape), w),
        lambda x, w: conv(x, w).astype(np.float32),
        lambda x, w: conv(x, w).astype(np.float64) if x.dtype == np.float32 and len(x) > 1 else conv(x, w).astype(np.float32),
        lambda x, w: conv(x, w) if x.dtype == np.float64 else np.round(conv(x, w)),
        lambda x, w, stride=1: conv(x, w, None, stride) if stride == 1 or x.flags.c_contiguous else 0 * conv(x, w, None, stride),
    ],
)
def test_what_is_silently_wrong_is_no_limit(function):
    report = check(function)
    assert not report.passed
