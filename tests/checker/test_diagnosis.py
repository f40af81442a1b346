"""The diagnosis: students' own code, not the bank's, is called by the name of its mistake, or by none rather than a wrong one."""

import time
from random import Random

import numpy as np
import pytest

import convlab as cl
from convlab.checker import SIGNATURES, Case, check, properties_of
from convlab.checker.diagnosis import Observation, alike, diagnose, remarks
from convlab.checker.domain import read
from convlab.checker.outcome import Outcome


def conv(x, w, stride=1, padding=0, mode="constant"):
    """A right convolution in loops; students' variants below change one thing."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)), mode=mode)
    height, width = (x.shape[1] - w.shape[0]) // stride + 1, (x.shape[2] - w.shape[1]) // stride + 1
    y = np.zeros((len(x), height, width, w.shape[3]), x.dtype)
    for i in range(height):
        for j in range(width):
            window = x[:, i * stride : i * stride + w.shape[0], j * stride : j * stride + w.shape[1]]
            y[:, i, j] = np.tensordot(window, w, 3)
    return y


def diagnosis_of(function, **options):
    report = check(function, **{"strict": True} | options)
    assert not report.passed
    return report.failure.diagnosis


def by_scipys_convention(x, w):
    y = np.zeros((len(x), x.shape[1] - w.shape[0] + 1, x.shape[2] - w.shape[1] + 1, w.shape[3]), x.dtype)
    for u in range(w.shape[0]):
        for v in range(w.shape[1]):
            y += x[:, w.shape[0] - 1 - u :, w.shape[1] - 1 - v :][:, : y.shape[1], : y.shape[2]] @ w[u, v]
    return y


def neighbouring_windows(x, w, stride=1):
    height, width = (x.shape[1] - w.shape[0]) // stride + 1, (x.shape[2] - w.shape[1]) // stride + 1
    y = np.zeros((len(x), height, width, w.shape[3]), x.dtype)
    for i in range(height):
        for j in range(width):
            y[:, i, j] = np.tensordot(x[:, i : i + w.shape[0], j : j + w.shape[1]], w, 3)
    return y


def overwriting_channels(x, w):
    y = None
    for c in range(x.shape[3]):
        y = conv(x[..., c : c + 1], w[:, :, c : c + 1])
    return y


def empty_accumulator(x, w):
    y = np.empty((len(x), x.shape[1] - w.shape[0] + 1, x.shape[2] - w.shape[1] + 1, w.shape[3]), x.dtype)
    for u in range(w.shape[0]):
        for v in range(w.shape[1]):
            y += x[:, u : u + y.shape[1], v : v + y.shape[2]] @ w[u, v]
    return y


def edge_padded(x, w, padding=0):
    return conv(x, w, 1, padding, mode="edge")


def batch_of_one(x, w):
    y = np.zeros((len(x), x.shape[1] - w.shape[0] + 1, x.shape[2] - w.shape[1] + 1, w.shape[3]), x.dtype)
    y[0] = conv(x[:1], w)[0]
    return y


def stacked(x, w):
    return np.stack([conv(image[None], w)[0] for image in x])


def float_out(x, w):
    return conv(x.astype(np.float64), w)


def flattened_in_memory_order(x, w):
    return conv(x.flatten(order="K").reshape(x.shape), w)


def growing_default():
    totals = {}

    def function(x, w):
        y = conv(x, w)
        totals[y.shape] = totals.get(y.shape, 0) + y
        return np.array(totals[y.shape])

    return function


def kept_filters():
    kept = {}

    def function(x, w):
        return conv(x, kept.setdefault((x.shape, w.shape, w.dtype), w.copy()))

    return function


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (by_scipys_convention, "flipped kernel"),
        (neighbouring_windows, "stride only in the output size"),
        (overwriting_channels, "only the last channel kept"),
        (empty_accumulator, "memory never cleared"),
        (edge_padded, "padding with the border's values"),
        (stacked, "empty batch crashes"),
        (float_out, "float32 becomes float64"),
        (flattened_in_memory_order, "assumes C order"),
        (growing_default(), "adds to the last call"),
        (kept_filters(), "first filters kept"),
        (lambda x, w: conv(x, w[:, ::-1]), "kernel mirrored"),
        (lambda x, w: conv(x[..., ::-1], w), "channels in reverse order"),
        (lambda x, w: conv(x, w) / w[..., 0].size, "mean instead of sum"),
        (lambda x, w: conv(x, w)[:, :-1, :-1], "output size without + 1"),
        (lambda x, w, stride=1: conv(x, w), "stride ignored"),
        (lambda x, w, padding=0: conv(x, w), "padding ignored"),
        (lambda x, w, bias=None: conv(x, w), "bias dropped"),
        (lambda x, w: conv(x, w).astype(int), "result cut to integers"),
        (lambda x, w: conv(x.astype(np.float16), w.astype(np.float16)).astype(x.dtype), "summed in float16"),
    ],
)
def test_students_mistakes_are_called_by_their_names(function, name):
    found = diagnosis_of(function)
    assert found.name == name
    assert found.candidates == (name,)
    assert found.explanation
    assert found.hint


def test_the_courses_style():
    def forward(x, w, b, conv_param):
        nhwc = conv(x.transpose(0, 2, 3, 1), w.transpose(2, 3, 1, 0), conv_param["stride"], conv_param["pad"])
        return nhwc.transpose(0, 3, 1, 2) + b, None

    assert diagnosis_of(forward, style="cs231n").name == "bias along the width"
    higher = lambda x, w, b, conv_param: forward(x, w, b[:, None], conv_param)  # noqa: E731
    assert diagnosis_of(higher, style="cs231n").name == "bias along the height"


def test_other_operations():
    assert diagnosis_of(lambda size, kernel, stride=1: (size - kernel) // stride, op="output_size").name == "output size without + 1"
    assert diagnosis_of(lambda size, kernel, stride=1: (size - kernel) / stride + 1, op="output_size").name == "size as a float"
    assert diagnosis_of(lambda x: np.maximum(x, 0), op="relu6").name == "no upper limit"

    def flops(height, width, in_channels, out_channels, kernel):
        kh, kw = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        params = kh * kw * in_channels * out_channels
        return params, 2 * params * (height - kh + 1) * (width - kw + 1)

    assert diagnosis_of(flops, op="cost").name == "FLOPs for MACs"

    def folded(w, bias, gamma, beta, mean, variance, eps):
        scale = gamma / np.sqrt(variance)
        return w * scale, beta + (bias - mean) * scale

    assert diagnosis_of(folded, op="fold_batch_norm").name == "epsilon left out"


def filled(number):
    return lambda x, w: np.full_like(conv(x, w), number)


def test_a_result_that_is_one_number_is_called_that():
    """Not by a mistake that gives this number in the case that is shown: a 1x1 window without its last tap is 0, too."""
    assert diagnosis_of(filled(0)).name == "only zeros"
    assert diagnosis_of(filled(0.5)).name == "one number everywhere"
    assert diagnosis_of(lambda size, kernel, stride=1: 0, op="output_size").name == "only zeros"
    assert diagnosis_of(lambda size, kernel, stride=1: 2, op="output_size").name == "one number everywhere"
    assert diagnosis_of(lambda *arguments: (0, 0), op="cost").name == "only zeros"
    assert diagnosis_of(lambda x: x * 0, op="relu6").name == "only zeros"


def test_a_result_of_zeros_in_another_shape():
    found = diagnosis_of(lambda x, w: np.zeros_like(x))
    assert found.name == "only zeros"
    assert "all that it ever returned is 0" in found.notes


def test_a_mistake_that_gives_the_numbers_of_one_case_only_is_no_diagnosis():
    """One product: 0, as without the last tap. More of them: other numbers than without it."""

    def function(x, w):
        return (0 if x.size == w.size == 1 else 3) * conv(x, w)

    contract = read(function, "conv2d", "convlab")
    values = properties_of(contract)[0]
    cases = [Case(cl.ConvSpec(1, 1, size), size, size) for size in (1, 2)]
    small, large = (Observation(values, case, values.run(contract, function, case), True) for case in cases)
    assert "last tap left out" in diagnose(function, contract, small, [], until=0).candidates
    found = diagnose(function, contract, small, [large], until=0)
    assert (found.name, found.candidates) == ("", ())
    assert any("these numbers are those of: last tap left out" in note for note in found.notes)


@pytest.mark.parametrize(("op", "style"), SIGNATURES)
def test_nothing_returned_is_called_that(op, style):
    found = diagnosis_of(lambda *arguments, **options: None, op=op, style=style)
    assert (found.name, found.candidates) == ("no result returned", ("no result returned",))


def test_the_courses_unfilled_result():
    assert diagnosis_of(lambda x, w, b, conv_param: (None, (x, w, b, conv_param)), style="cs231n").name == "no result returned"


def same_by_division(size, kernel, stride=1, padding=0):
    return size // stride if padding == "same" else (size + 2 * padding - kernel) // stride + 1


def dilation_in_the_size_only(x, kernel, dilation=1):
    kernel, (down, right) = ((k, k) if isinstance(k, int) else k for k in (kernel, dilation))
    height, width = (n - d * (k - 1) for n, k, d in zip(x.shape[1:3], kernel, (down, right), strict=True))
    rows = [x[n, i : i + kernel[0], j : j + kernel[1]].ravel() for n in range(len(x)) for i in range(height) for j in range(width)]
    return np.array(rows, x.dtype).reshape(len(rows), kernel[0] * kernel[1] * x.shape[3])


def first_pixels(x, w, stride=1):
    if w.shape[:2] != (1, 1):
        return conv(x, w, stride)
    height, width = (-(-size // stride) for size in x.shape[1:3])
    pixels = x.reshape(len(x), x.shape[1] * x.shape[2], x.shape[3])[:, : height * width]
    return (pixels @ w[0, 0]).reshape(len(x), height, width, w.shape[3])


@pytest.mark.parametrize(
    ("function", "op", "name"),
    [
        (same_by_division, "output_size", '"same" rounded down'),
        (dilation_in_the_size_only, "im2col", "dilation only in the output size"),
        (first_pixels, "conv2d", "1x1 shortcut takes the first pixels"),
    ],
)
def test_mistakes_of_sizes_and_shortcuts(function, op, name):
    assert diagnosis_of(function, op=op).name == name


def test_two_mistakes_the_first_is_named_and_the_second_announced():
    found = diagnosis_of(lambda x, w, stride=1: by_scipys_convention(x, w))
    assert found.name == "flipped kernel"
    assert any("there may be a second mistake" in note for note in found.notes)


def test_a_mistake_that_nobody_knows_is_not_given_a_name():
    found = diagnosis_of(lambda x, w: conv(x, w) * 3 + 1)
    assert (found.name, found.candidates, found.hint) == ("", (), "")


def test_a_mistake_of_the_bank_in_some_cases_only_is_no_diagnosis():
    """Where the function is right and the mistake is not, the mistake is not the function's."""
    found = diagnosis_of(lambda x, w: by_scipys_convention(x, w) if w.shape[3] == 2 else conv(x, w))
    assert found.name == ""
    assert any("but the function is not wrong in the same cases" in note for note in found.notes)


def test_a_mistake_that_is_right_where_the_function_fails_is_no_diagnosis():
    """A shortcut for 1x1 kernels explains the smallest case, but not that larger kernels are wrong too."""

    def ignores_padding_but_for_one(x, w, padding=0):
        return conv(x, w, 1, padding if padding != 1 else 0)

    assert diagnosis_of(ignores_padding_but_for_one).name != "1x1 shortcut ignores the padding"


def test_numbers_that_nothing_adds_up_to_come_from_uncleared_memory():
    assert diagnosis_of(lambda x, w: np.add(conv(x, w), 1e64, dtype=x.dtype)).name == "memory never cleared"


def test_a_function_that_always_raises_is_not_called_by_some_mistakes_name():
    def broken(x, w):
        raise IndexError("index 3 is out of bounds")

    assert diagnosis_of(broken).name == ""


def test_mistakes_that_look_alike_on_the_shown_case_are_told_apart():
    """On one 1x2 window a flipped kernel is a mirrored one. The cases that were kept are taken away: it must ask for others itself."""
    contract = read(by_scipys_convention, "conv2d", "convlab")
    values = properties_of(contract)[0]
    case = Case(cl.ConvSpec(1, 1, (1, 2)), 1, 2)
    for function, name in ((by_scipys_convention, "flipped kernel"), (lambda x, w: conv(x, w[:, ::-1]), "kernel mirrored")):
        seen = Observation(values, case, values.run(contract, function, case), True)
        other = Case(cl.ConvSpec(1, 1, 1), 1, 1)
        pointless = Observation(values, other, values.run(contract, function, other), False)
        found = diagnose(function, contract, seen, [pointless], time.monotonic() + 30, Random(0))
        assert found.name == name


def test_mistakes_that_cannot_be_told_apart_are_all_listed():
    contract = read(by_scipys_convention, "conv2d", "convlab")
    values = properties_of(contract)[0]
    case = Case(cl.ConvSpec(1, 1, (1, 2)), 1, 2)
    seen = Observation(values, case, values.run(contract, by_scipys_convention, case), True)
    found = diagnose(by_scipys_convention, contract, seen, [], 0, Random(0))  # no time to ask for others
    assert found.name == ""
    assert {"flipped kernel", "kernel mirrored"} <= set(found.candidates)


# What the numbers say


def said(function, case):
    contract = read(function, "conv2d", "convlab")
    property = properties_of(contract)[0]
    return " | ".join(remarks(contract, Observation(property, case, property.run(contract, function, case), True)))


CASE = Case(cl.ConvSpec(2, 3, (2, 3)), 4, 5, batch=2)


@pytest.mark.parametrize(
    ("wrong", "remark"),
    [
        (lambda x, w: conv(x, w)[:, :, :-1], "the width is 2, it must be 3 (1 too few)"),
        (lambda x, w: np.repeat(conv(x, w), 2, axis=1), "the height is 6, it must be 3 (3 too many)"),
        (lambda x, w: conv(x, w)[..., :2], "the channels is 2, it must be 3"),
        (lambda x, w: conv(x, w)[0], "the result has 3 axes, it must have 4"),
        (lambda x, w: 3 * conv(x, w), "every number is 3 times what it should be"),
        (lambda x, w: conv(x, w) - 7, "every number is off by -7"),
        (lambda x, w: 0 * conv(x, w), "every number is 0"),
        (lambda x, w: conv(x, w) * np.inf, "some results are infinite or not a number"),
        (batch_of_one, "wrong only at batch 1 of 0 to 1"),
        (lambda x, w: conv(x, w) + np.array([0, 0, 1]), "wrong only at channels 2 of 0 to 2"),
    ],
)
def test_remarks(wrong, remark):
    assert remark in said(wrong, CASE)


def test_right_in_the_interior():
    case = Case(cl.ConvSpec(1, 1, 3, padding=1), 4, 5)
    assert "right wherever the window lies on the picture" in said(edge_padded, case)
    assert "right wherever" not in said(lambda x, w, padding=0: conv(x, w, 1, padding) + 1, case)


def test_nothing_is_said_of_right_numbers():
    assert said(conv, CASE) == ""


# Comparing outcomes


def test_outcomes_alike():
    contract, value = read(conv, "conv2d", "convlab"), np.ones((2, 3, 3, 3))
    one = Outcome(value)

    def same(other):
        return alike(contract, CASE, one, other)

    assert same(Outcome(value + 1e-13))
    assert not same(Outcome(value + 1e-3))
    assert not same(Outcome(value.astype(np.float32)))
    assert not same(Outcome(value[:1]))
    assert not same(Outcome(value, changed=("x",)))
    assert not same(Outcome(value, aliases=(0,)))
    assert not same(Outcome(value, overwritten=True))
    assert not same(Outcome(error="raised ValueError"))
    assert alike(contract, CASE, Outcome(error="raised ValueError: a"), Outcome(error="raised IndexError: b"))
    assert not alike(contract, CASE, Outcome(error="returned nothing (None)", nothing=True), Outcome(error="must be an integer"))
    nans = np.full_like(value, np.nan)
    assert alike(contract, CASE, Outcome(nans), Outcome(nans))
    assert not same(Outcome(nans))
