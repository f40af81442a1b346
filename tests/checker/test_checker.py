"""The checker: right functions pass in every operation and style, wrong ones fail, and what cannot be asked is said."""

import functools
import importlib.util
import inspect
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from numpy.testing import assert_array_equal

import convlab as cl
from convlab import ops
from convlab.checker import SIGNATURES, Case, Crash, cases, check, properties_of
from convlab.checker.domain import read
from convlab.checker.operations import dressed
from convlab.checker.strategies import LAYOUTS, laid_out
from convlab.kernels import im2col

SEEDS = range(20) if os.environ.get("CI") else range(1)
EXAMPLES = Path(cl.__file__).parent / "checker" / "examples"


def passes(function, seed=0, **options):
    report = check(function, seed=seed, **options)
    assert report.passed, str(report)
    assert report.failure is None
    assert report.score == 1
    return report


def spread(w, dilation):
    """Return filters (KH, KW, ...) with zeros between their taps."""
    (down, right), (height, width) = dilation, w.shape[:2]
    wide = np.zeros(((height - 1) * down + 1, (width - 1) * right + 1, *w.shape[2:]), w.dtype)
    wide[::down, ::right] = w
    return wide


def as_pair(value):
    return (value, value) if isinstance(value, int) else tuple(value)


def as_sides(padding):
    return tuple(as_pair(side) for side in as_pair(padding))


# Right functions, written in other ways than the package's


def einsum_conv(x, w, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Every tap's shifted picture at once."""
    w, (down, right) = spread(w, as_pair(dilation)), as_pair(stride)
    x = np.pad(x, ((0, 0), *as_sides(padding), (0, 0)))
    channels = x.shape[3]
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[:2], axis=(1, 2))[:, ::down, ::right]
    split = windows.reshape(*windows.shape[:3], groups, channels // groups, *w.shape[:2])
    filters = w.reshape(*w.shape[:3], groups, -1)
    y = np.einsum("nijgcuv,uvcgo->nijgo", split, filters)
    y = y.reshape(*windows.shape[:3], w.shape[3])
    return y if bias is None else y + bias


def fft_conv(x, w, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """A product of spectra: right, with a larger rounding error, and computed at stride 1."""
    w, (down, right) = spread(w, as_pair(dilation)), as_pair(stride)
    x = np.pad(x, ((0, 0), *as_sides(padding), (0, 0)))
    size = tuple(a + b - 1 for a, b in zip(x.shape[1:3], w.shape[:2], strict=True))
    pictures = np.fft.rfft2(x, size, axes=(1, 2))
    filters = np.fft.rfft2(w[::-1, ::-1], size, axes=(0, 1))
    per_group, depth = w.shape[3] // groups, w.shape[2]
    y = np.zeros((len(x), *pictures.shape[1:3], w.shape[3]), pictures.dtype)
    for o in range(w.shape[3]):
        first = o // per_group * depth
        y[..., o] = (pictures[..., first : first + depth] * filters[..., o]).sum(axis=3)
    full = np.fft.irfft2(y, size, axes=(1, 2)) if len(x) else np.zeros((0, *size, w.shape[3]))
    y = full[:, w.shape[0] - 1 : x.shape[1], w.shape[1] - 1 : x.shape[2]][:, ::down, ::right].astype(x.dtype)
    return y if bias is None else y + bias


def loops(x, w, b, conv_param):
    """The course's way: loops, NCHW, a cache."""
    stride, pad = conv_param["stride"], conv_param["pad"]
    n, _, height, width = x.shape
    f, _, hh, ww = w.shape
    assert (height + 2 * pad - hh) % stride == 0
    assert (width + 2 * pad - ww) % stride == 0
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    out = np.zeros((n, f, 1 + (height + 2 * pad - hh) // stride, 1 + (width + 2 * pad - ww) // stride), x.dtype)
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            window = padded[:, :, i * stride : i * stride + hh, j * stride : j * stride + ww]
            for k in range(f):
                out[:, k, i, j] = (window * w[k]).sum(axis=(1, 2, 3)) + b[k]
    return out, (x, w, b, conv_param)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("conv", [einsum_conv, fft_conv])
def test_right_functions_written_otherwise_pass(conv, seed):
    report = passes(conv, seed)
    left_out = {result.name for result in report.properties if result.passed is None}
    assert left_out == {"padding same", "padding same, stride"}  # the only form that they refuse


@pytest.mark.parametrize("seed", SEEDS)
def test_the_courses_style_passes_with_and_without_a_cache(seed):
    passes(loops, seed, style="cs231n")
    passes(lambda x, w, b, conv_param: loops(x, w, b, conv_param)[0], seed, style="cs231n")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rung", cl.KERNELS)
def test_every_rung_passes(rung, seed):
    for op, front in (("conv2d", cl.conv2d), ("depthwise", cl.depthwise_conv2d), ("pointwise", cl.pointwise_conv2d)):
        report = passes(functools.partial(front, kernel=rung), seed, op=op, name=rung)
        assert not [result for result in report.properties if result.passed is None]
    passes(functools.partial(cl.conv2d, kernel=rung, layout="NCHW"), seed, style="torch")


@pytest.mark.parametrize("rung", cl.KERNELS)
def test_every_rung_passes_by_the_ladders_own_contract(rung):
    kernel = cl.KERNELS[rung]
    for op, function in (("conv2d", kernel.standard), ("depthwise", kernel.depthwise), ("pointwise", kernel.pointwise)):
        report = passes(function, op=op)
        results = {result.name: result for result in report.properties}
        assert results["stride pairs"].passed
        assert results["bias"].passed is None
        assert "asked without bias" in results["bias"].message


@pytest.mark.parametrize("op", ["conv2d", "depthwise", "pointwise"])
def test_a_kernel_goes_through_the_front_door(op):
    report = passes(cl.KERNELS["im2col"], op=op)
    assert report.name == "im2col"
    with pytest.raises(ValueError, match="a Kernel runs 'conv2d', 'depthwise', 'pointwise': op='im2col'"):
        check(cl.KERNELS["im2col"], op="im2col")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("op", "style"), [pair for pair in SIGNATURES if pair[0] not in ("relu6", "fold_batch_norm")])
def test_the_bank_without_a_mistake_passes(op, style, seed):
    """The engine that mistakes are made from is right by itself: what is caught is the mistake."""
    passes(dressed(lambda call: call.right(), op, style), seed, op=op, style=style)


def fold(w, bias, gamma, beta, mean, variance, eps):
    scale = gamma / np.sqrt(variance + eps)
    return w * scale, beta + (bias - mean) * scale


def test_the_other_operations_pass():
    passes(ops.relu6, op="relu6")
    passes(lambda x: np.minimum(np.maximum(x, 0), 6), op="relu6", style="torch")
    passes(lambda x, spec: cl.im2col(x, spec), op="im2col")
    passes(lambda x, geometry: cl.kernels.im2col.columns(x, geometry).copy(), op="im2col")
    passes(lambda size, kernel, s=1, p=0: (size + 2 * p - kernel) // s + 1, op="output_size", style="cs231n")
    passes(lambda spec, height, width: cl.cost(spec, height, width), op="cost")
    passes(fold, op="fold_batch_norm")
    passes(
        lambda w, b, g, beta, m, v, eps: (fold(w.T, b, g, beta, m, v, eps)[0].T, fold(w.T, b, g, beta, m, v, eps)[1]),
        op="fold_batch_norm",
        style="torch",
    )


def test_folded_filters_do_what_batch_norm_does():
    """`expected` of fold_batch_norm against the package's batch norm: another way to the same numbers."""
    case = Case(cl.ConvSpec(2, 3, 2), 4, 5, with_bias=True)
    s = case.statistics
    w, bias = fold(case.w, case.bias, s["gamma"], s["beta"], s["mean"], s["variance"], case.eps)
    after = ops.batch_norm(cl.conv2d(case.x, case.w, case.bias), s["gamma"], s["beta"], s["mean"], s["variance"], case.eps)
    np.testing.assert_allclose(cl.conv2d(case.x, w, bias), after, rtol=1e-12, atol=1e-9)


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch", reason="PyTorch is an oracle: pip install torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the cases are tiny: more threads only wait for each other
    yield torch
    torch.set_num_threads(threads)


@pytest.mark.parametrize("seed", SEEDS)
def test_torch_passes(torch, seed):
    from_numpy = lambda array: torch.from_numpy(np.ascontiguousarray(array))  # noqa: E731

    def conv(x, w, bias=None, stride=1, padding=0, dilation=1, groups=1):
        bias = None if bias is None else from_numpy(bias)
        return torch.nn.functional.conv2d(from_numpy(x), from_numpy(w), bias, stride, padding, dilation, groups)

    passes(conv, seed, style="torch")
    passes(conv, seed, style="torch", op="depthwise")
    passes(lambda x, w, bias=None, stride=1: conv(x, w, bias, stride).numpy(), seed, style="torch", op="pointwise")

    def unfold(x, kernel_size, dilation=1, padding=0, stride=1):
        if not len(x):  # torch refuses an empty batch here
            return np.zeros(
                (
                    0,
                    x.shape[1] * np.prod(as_pair(kernel_size)),
                    cl.ConvSpec(1, 1, kernel_size, stride, padding, dilation).geometry(*x.shape[2:]).positions,
                )
            )
        return torch.nn.functional.unfold(from_numpy(x), kernel_size, dilation, padding, stride)

    passes(unfold, seed, style="torch", op="im2col")


@pytest.mark.parametrize("seed", SEEDS)
def test_scipy_passes(seed):
    signal = pytest.importorskip("scipy.signal", reason="SciPy is an oracle: pip install scipy")

    def correlate(method):
        def conv(x, w, stride=1, padding=0):
            x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
            out = (x.shape[1] - w.shape[0] + 1, x.shape[2] - w.shape[1] + 1)
            y = np.zeros((len(x), *out, w.shape[3]), x.dtype)
            for n in range(len(x)):
                for o in range(w.shape[3]):
                    y[n, :, :, o] = signal.correlate(x[n], w[..., o], mode="valid", method=method)[:, :, 0]
            return y[:, ::stride, ::stride]

        return conv

    for method in ("direct", "fft"):
        passes(correlate(method), seed)


# What a function takes


def asked(report):
    return {result.name for result in report.properties if result.passed is not None}


def test_an_option_without_a_parameter_is_not_exercised_and_the_report_says_so():
    report = passes(lambda x, w: einsum_conv(x, w))
    assert asked(report) & {"stride", "padding", "dilation", "groups", "bias"} == set()
    assert "the function has no parameter for dilation" in str(report)
    assert report.exercised == ()
    report = passes(lambda x, w, stride=1, dilation=1: einsum_conv(x, w, None, stride, 0, dilation))
    assert {"stride", "stride pairs", "dilation"} <= asked(report)
    assert report.exercised == ("stride", "dilation")


def test_everything_is_exercised_where_the_function_takes_keywords_of_any_name():
    report = passes(lambda x, w, **options: cl.conv2d(x, w, kernel="im2col", **options))
    assert all(result.passed for result in report.properties)


def test_forms_that_a_function_refuses_are_not_held_against_it():
    def conv(x, w, stride=1, padding=0):
        if not isinstance(stride, int) or not isinstance(padding, int):
            raise TypeError("an int, please")
        return einsum_conv(x, w, None, stride, padding)

    report = passes(conv)
    assert {"stride", "padding"} <= asked(report)
    assert asked(report) & {"stride pairs", "padding pairs", "padding sides", "padding same"} == set()
    assert "the function refuses stride=(1, 2)" in str(report)


def test_a_form_that_is_taken_and_wrong_is_held_against_it():
    report = check(lambda x, w, stride=1: einsum_conv(x, w, None, as_pair(stride)[0]))
    assert {result.name for result in report.properties if result.passed is False} >= {"stride pairs"}
    assert next(result for result in report.properties if result.name == "stride").passed


def test_padding_by_word_only():
    def conv(x, w, stride=1, padding="valid"):
        if padding not in ("valid", "same"):
            raise ValueError("a word, please")
        return cl.conv2d(x, w, stride=stride, padding=padding, kernel="im2col")

    report = passes(conv)
    assert {"padding", "padding same", "padding same, stride"} <= asked(report)


def test_a_function_that_knows_words_only_is_not_asked_for_numbers():
    def conv(x, w, stride=1, padding="valid"):
        return cl.conv2d(x, w, stride=stride, padding="same" if padding == "same" else "valid", kernel="im2col")

    report = passes(conv)
    assert {"padding", "padding same"} <= asked(report)
    assert asked(report) & {"padding pairs", "padding sides"} == set()
    numbers = lambda x, w, padding=0: einsum_conv(x, w)  # noqa: E731
    assert not check(numbers).passed  # with a number as its default it must take notice of numbers


def test_options_without_a_default_are_always_given():
    def conv(x, w, b, stride, padding):
        return einsum_conv(x, w, b, stride, padding)

    assert {"bias", "stride", "padding"} <= asked(passes(conv))


@pytest.mark.parametrize("form", ["(KH, KW, C)", "(KH, KW, C, M)"])
def test_depthwise_filters_of_either_rank(form):
    def conv(x, w, stride=1):
        if form == "(KH, KW, C)":
            kernel_height, kernel_width, channels = w.shape
            multiplier = 1
        else:
            kernel_height, kernel_width, channels, multiplier = w.shape
        return cl.depthwise_conv2d(x, w.reshape(kernel_height, kernel_width, channels, multiplier), stride=stride, kernel="im2col")

    report = check(conv, op="depthwise")
    wrong = [result.name for result in report.properties if result.passed is False]
    assert wrong == ([] if form == "(KH, KW, C, M)" else ["multiplier"])


def test_a_rung_of_the_ladder_is_asked_for_several_filters_per_channel():
    """In the ladder's contract too: `depthwise_conv2d` hands such filters to a student's kernel."""

    def one_filter_each(x, w, geometry):
        return np.einsum("nijuvc,uvc->nijc", im2col.windows(x, geometry), w[:, :, 0, : x.shape[3]])

    report = check(one_filter_each, op="depthwise")
    assert [result.name for result in report.properties if result.passed is False] == ["multiplier"]


def test_a_signature_is_read_through_wrappers():
    def conv(x, w, stride=1):
        return einsum_conv(x, w, None, stride)

    def wrapper(*args, **kwargs):
        return conv(*args, **kwargs)

    wrapper.__signature__ = inspect.signature(conv)
    assert read(wrapper, "conv2d", "convlab").names == {"stride": "stride"}
    assert asked(passes(wrapper)) == asked(passes(conv))


# Wrong functions


def wrong(function, **options):
    report = check(function, **options)
    assert not report.passed
    assert report.failure is not None
    assert report.score < 1
    return report


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda x, w: None, "returned nothing (None)"),
        (lambda x, w: [1.0], "must return an array: it returned list"),
        (lambda x, w: np.array(["a"]), "must return an array of real numbers: it returned dtype <U1"),
        (lambda x, w: np.array([None]), "dtype object"),
        (lambda x, w: einsum_conv(x, w) * 1j, "dtype complex128"),
        (lambda x, w: 1 / 0, "raised ZeroDivisionError: division by zero"),
        (lambda x, w: sys.exit(3), "raised SystemExit: 3"),
        (lambda x: x, "raised TypeError"),
        (lambda x, w: einsum_conv(x, w)[0], "the result has the shape"),
        (lambda x, w: einsum_conv(x, w) * np.nan, "numbers are wrong"),
        (lambda x, w: np.zeros((0,)), "the result has the shape (0,)"),
        (lambda x, w: np.float64(3), "the result has the shape ()"),
    ],
)
def test_what_is_no_convolution_fails_with_a_line_that_says_so(function, said):
    report = wrong(function)
    assert said in report.failure.message
    assert said in str(report)


def test_a_function_without_a_result_scores_nothing():
    assert wrong(lambda x, w: None).score == 0


def test_only_what_is_wrong_loses_its_share():
    report = wrong(lambda x, w, stride=1: einsum_conv(x, w, None, 1))
    by_name = {result.name: result.passed for result in report.properties}
    assert by_name["values"]
    assert by_name["rectangles"]
    assert by_name["stride"] is False
    assert 0.5 < report.score < 1


def test_a_course_sets_its_own_weights():
    no_stride = lambda x, w, stride=1: einsum_conv(x, w, None, 1)  # noqa: E731
    only = {p.name: 0.0 for p in properties_of(read(no_stride, "conv2d", "convlab"))}
    assert check(no_stride, weights=only | {"stride": 1.0}).score == 0
    assert check(no_stride, weights=only | {"values": 3.0}).score == 1
    assert check(no_stride, weights=only | {"values": 3.0, "stride": 1.0}).score == 0.75


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"op": "conv3d"}, ValueError, "op must be one of 'conv2d'.*: op='conv3d'"),
        ({"style": "jax"}, ValueError, "style must be one of 'convlab', 'cs231n', 'torch': style='jax'"),
        ({"op": "depthwise", "style": "cs231n"}, ValueError, "style 'cs231n' has conv2d, im2col, .*: op='depthwise'"),
        ({"weights": {"speed": 1.0}}, ValueError, "weights must name properties, which are 'values'.*: 'speed'"),
        ({"weights": {"values": -1}}, ValueError, "a weight must be a number of at least 0: 'values' has -1"),
        ({"weights": {"values": float("nan")}}, ValueError, "a weight must be"),
        ({"max_seconds": 0}, ValueError, "max_seconds must be positive: max_seconds=0"),
        ({"max_seconds": float("nan")}, ValueError, "max_seconds must be positive"),
    ],
)
def test_wrong_options_are_refused(options, error, said):
    with pytest.raises(error, match=said):
        check(einsum_conv, **options)


def test_what_cannot_be_called_is_refused():
    with pytest.raises(TypeError, match="fn must be a function or a Kernel: fn=3"):
        check(3)


# Time, crashes, repeatability


def test_the_time_is_bounded_and_what_was_not_reached_counts_as_wrong():
    def slow(x, w):
        time.sleep(0.03)
        return einsum_conv(x, w)

    started = time.monotonic()
    report = check(slow, max_seconds=0.5)
    assert time.monotonic() - started < 5
    assert not report.passed
    assert {result.message for result in report.properties if result.passed is False} == {"not reached: the time is up"}


def test_a_wrong_and_slow_function_is_shrunk_in_bounded_time():
    def slow(x, w, stride=1):
        time.sleep(0.01)
        return einsum_conv(x, w[::-1, ::-1], None, stride)

    started = time.monotonic()
    report = wrong(slow, max_seconds=2)
    assert time.monotonic() - started < 12  # 2, and the bounds for shrinking and diagnosing
    assert report.failure.diagnosis.name == "flipped kernel"


def test_pure_loops_are_judged_in_time():
    report = passes(functools.partial(cl.conv2d, kernel="naive"))
    assert report.seconds < 20


def test_a_crash_is_a_failed_case_and_ends_the_exercise():
    calls = []

    def conv(x, w, stride=1):
        calls.append(stride)
        if stride not in (1, (1, 2)):
            raise Crash("the process ended with a segmentation fault")
        return einsum_conv(x, w, None, stride)

    report = wrong(conv)
    assert calls.count(2) + calls.count(3) == 1
    by_name = {result.name: result for result in report.properties}
    assert by_name["values"].passed
    assert by_name["stride"].message == "the process ended with a segmentation fault"
    assert by_name["together"].message == "not reached: the process ended with a segmentation fault"
    assert "segmentation fault" in str(report)


def test_a_crash_on_a_form_is_no_refusal():
    def conv(x, w, stride=1):
        if not isinstance(stride, int):
            raise Crash("the call took more than 2 s")
        return einsum_conv(x, w, None, stride)

    report = wrong(conv)
    assert {result.name: result.passed for result in report.properties}["stride pairs"] is False


def test_a_crash_at_once_is_reported():
    def conv(x, w):
        raise Crash("killed")

    report = wrong(conv)
    assert report.score == 0
    assert report.failure.message == "killed"


def plain(report):
    return report.to_dict() | {"seconds": 0}


def test_the_same_seed_gives_the_same_report():
    flipped = lambda x, w, stride=1: einsum_conv(x, w[::-1, ::-1], None, stride)  # noqa: E731
    assert plain(check(flipped, seed=5)) == plain(check(flipped, seed=5))


def test_seeds_draw_different_cases():
    def shapes(seed):
        seen = []
        check(lambda x, w: seen.append(x.shape) or einsum_conv(x, w), seed=seed)
        return seen

    assert shapes(1) == shapes(1)
    assert shapes(1) != shapes(2)


def test_nothing_is_written_and_warnings_of_the_function_are_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def conv(x, w):
        np.float64(1) / np.zeros(1)  # would warn
        return einsum_conv(x, w)

    passes(conv)
    assert list(tmp_path.iterdir()) == []


def test_a_check_leaves_no_files(tmp_path):
    """In a process of its own, with a module of the student's own: Hypothesis keeps what it reads in those. Its own folder stays set."""
    folder, work = tmp_path / "modules", tmp_path / "work"
    folder.mkdir()
    work.mkdir()
    (folder / "student.py").write_text("def size(size, kernel, stride=1):\n    return (size - kernel) // stride + 1\n")
    code = """
import student, convlab
from hypothesis import configuration
def home():
    found = configuration.storage_directory()
    return getattr(found, "path", found)
before = home()
assert convlab.check(student.size, op="output_size").passed
assert home() == before
"""
    paths = os.pathsep.join([str(folder), str(Path(cl.__file__).parents[1])])
    environment = {name: value for name, value in os.environ.items() if name != "HYPOTHESIS_STORAGE_DIRECTORY"} | {"PYTHONPATH": paths}
    subprocess.run([sys.executable, "-B", "-c", code], cwd=work, env=environment, check=True, timeout=120)
    assert list(work.iterdir()) == []


def test_the_front_gives_options_on_and_names_what_is_missing():
    assert cl.check(einsum_conv, seed=3).seed == 3
    code = "import sys; sys.modules['hypothesis'] = None\nimport convlab\nfrom convlab import *\nconvlab.check(print)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1] == 'ModuleNotFoundError: checking needs Hypothesis: pip install "convlab-engine[lab]"'


# Strategies


@given(case=cases(stride="pair", padding="sides", dilation="int", grouped=True, bias=True, batches=(0, 1, 2)))
def test_cases_fit_and_their_options_mean_their_spec(case):
    spec = cl.ConvSpec(case.spec.in_channels, case.spec.out_channels, case.spec.kernel, **case.options)
    zero = ((0, 0), (0, 0))
    assert (zero if spec.padding == "valid" else spec.padding) == (zero if case.spec.padding == "valid" else case.spec.padding)
    assert (spec.stride, spec.dilation, spec.groups) == (case.spec.stride, case.spec.dilation, case.spec.groups)
    assert case.geometry.positions > 0
    assert case.x.shape == (case.batch, *case.geometry.in_shape)
    assert (case.x != 0).all()
    assert (case.w != 0).all()
    assert case.numbers == case.x.size + case.w.size


@given(case=cases(stride="int", padding="int", divides=True))
def test_strides_that_divide_leave_nothing_unread(case):
    assert case.geometry.height.unread == case.geometry.width.unread == 0


@given(case=cases(window="whole", dilation="int"))
def test_a_whole_window_has_one_position(case):
    assert case.geometry.positions == 1


@pytest.mark.parametrize("layout", ["C", *LAYOUTS])
@given(case=cases())
def test_layouts_hold_the_same_numbers(layout, case):
    array = laid_out(case.x, layout)
    assert_array_equal(array, case.x)
    assert not np.may_share_memory(array, case.x)
    assert array.flags.writeable == (layout != "read-only")
    if layout == "reversed":
        assert all(step < 0 for step, size in zip(array.strides, array.shape, strict=True) if size > 1)


# Examples


def example(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.conv2d


MISTAKE_OF = {
    "right": None,
    "flipped": "flipped kernel",
    "shortcut": "1x1 shortcut ignores the stride",
    "too_small": "output size without + 1",
    "bias": "bias added once per tap",
    "square": "width taken from the height",
}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_the_shipped_examples(path):
    report = check(example(path))
    expected = MISTAKE_OF[path.stem]
    assert report.passed == (expected is None)
    if expected:
        assert report.failure.diagnosis.name == expected


def test_all_examples_are_shipped():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(MISTAKE_OF)
