"""Benchmarks: nothing wrong is timed, and what is reported hangs together. No test judges how fast anything is."""

import json
import math
import time

import numpy as np
import pytest
from numba import config

import convlab as cl
from convlab import machine
from convlab.bench import Benchmark, Timing, bench_networks, duration, rate
from convlab.bench.kernels import _timed, _workloads
from convlab.conv import runner
from convlab.plan import Plan

SMALL = {"spec": cl.ConvSpec(3, 5, kernel=3, padding="same"), "height": 6, "width": 5, "rounds": 3, "max_seconds": 0.05}


def by_name(result):
    return {timing.name: timing for timing in result.timings}


def mine(x, w, g):
    """A student's kernel, right for every standard convolution."""
    columns = cl.im2col(x, g.spec)
    return (columns @ w.reshape(-1, w.shape[3])).reshape(len(x), *g.out_shape)


def spy(function):
    """Return the function, and the list of input shapes it was called with."""
    calls = []

    def spied(x, w, g):
        calls.append(x.shape)
        return function(x, w, g)

    return spied, calls


def test_the_whole_ladder_is_timed_where_no_kernel_is_named():
    result = cl.bench(**SMALL)
    assert [timing.name for timing in result.timings] == list(cl.KERNELS)
    assert result.shape == (1, 6, 5, 3)
    assert result.dtype == "float32"


def test_a_turn_is_a_rest_then_calls_of_which_the_last_counts(monkeypatch):
    """The first calls of a turn wake threads and fetch data that the others' turns put to sleep and pushed out."""
    now, rests, takes = 0.0, [], iter([0.05, 0.04, 0.03, 0.02])

    def kernel(x, w, g):
        nonlocal now
        now += next(takes)

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    monkeypatch.setattr(time, "sleep", rests.append)
    (*_, workload) = _workloads(SMALL["spec"], (1, 6, 5), np.dtype("float32"))
    assert _timed(kernel, workload, turn=0.1) == pytest.approx(0.03)
    assert rests == [0.05]
    assert next(takes) == 0.02  # 0.05 + 0.04 + 0.03 s have filled the turn


@pytest.mark.parametrize(
    "spec",
    [
        cl.ConvSpec(3, 5, kernel=(3, 2), stride=2, padding=1, dilation=2),
        cl.ConvSpec.depthwise(4, kernel=3, multiplier=2, padding="same"),
        cl.ConvSpec.pointwise(4, 6),
        cl.ConvSpec(4, 6, kernel=3, groups=2),
    ],
    ids=lambda spec: spec.kind,
)
@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_a_timing_hangs_together(spec, dtype):
    result = cl.bench(spec=spec, height=7, width=8, batch=2, dtype=dtype, rounds=3, max_seconds=0.05)
    for timing in result.timings:
        batch, height, width, channels = timing.shape
        assert channels == spec.in_channels
        assert timing.macs == cl.cost(spec, height, width, batch=batch).macs
        assert len(timing.seconds) == 3
        assert 0 < timing.minimum <= timing.median <= max(timing.seconds)
        assert timing.first_call > 0
        assert timing.mac_rate == timing.macs / timing.minimum
        assert timing.runner == timing.name == runner(timing.name, spec, np.dtype(dtype))[1]


def test_a_students_function_takes_part():
    result = cl.bench("im2col", mine, **SMALL)
    assert [timing.name for timing in result.timings] == ["im2col", "mine"]
    assert by_name(result)["mine"].shape == (1, 6, 5, 3)


def test_what_a_students_kernel_lacks_is_run_by_another_and_the_row_says_so():
    spec = cl.ConvSpec.depthwise(3, kernel=3)
    result = cl.bench(cl.Kernel("mine", standard=mine), spec=spec, height=4, width=4, rounds=1, max_seconds=0.05)
    (timing,) = result.timings
    other = runner("auto", spec, np.dtype("float32"))[1]
    assert (timing.name, timing.runner) == ("mine", other)
    assert f"mine (run by {other})" in str(result)


def wrong_only_on(shape):
    def wrong(x, w, g):
        y = mine(x, w, g)
        if x.shape == shape:
            y[0, -1, -1, -1] += 1
        return y

    return wrong


@pytest.mark.parametrize("shape", [(1, 2, 2, 3), (1, 3, 3, 3), (1, 6, 5, 3)], ids=["smallest crop", "crop", "whole"])
def test_a_wrong_kernel_is_refused_before_anything_is_timed(shape):
    wrong, calls = spy(wrong_only_on(shape))
    right, rights = spy(mine)
    right.__name__, wrong.__name__ = "right", "wrong"
    with pytest.raises(ValueError, match=r"kernel 'wrong' must be right before it is timed: .* 1 of \d+ outputs differ"):
        cl.bench(right, wrong, **{**SMALL, "max_seconds": 10})
    assert calls[-1] == shape
    # `right` was compared, on the smallest crop twice, and never timed: 6x5, 3x3, 2x2, 1x1.
    assert sorted(rights) == sorted([(1, 1, 1, 3), (1, 1, 1, 3), (1, 2, 2, 3), (1, 3, 3, 3), (1, 6, 5, 3)])


def test_the_first_wrong_output_is_named():
    with pytest.raises(ValueError, match=r"first at \(n, i, j, o\) = \(0, 5, 4, 4\): -?\d+, must be -?\d+"):
        cl.bench(wrong_only_on((1, 6, 5, 3)), **{**SMALL, "max_seconds": 10})


def test_a_crop_is_refused_too_where_nan_hides_a_difference():
    with pytest.raises(ValueError, match="outputs differ"):
        cl.bench(lambda x, w, g: np.full_like(mine(x, w, g), np.nan), **SMALL)


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda x, w, g: mine(x, w, g).astype(np.float64), r"must return float32 \(1, 1, 1, 5\): it returned float64 \(1, 1, 1, 5\)"),
        (lambda x, w, g: mine(x, w, g)[0], r"must return float32 \(1, 1, 1, 5\): it returned float32 \(1, 1, 5\)"),
        (lambda x, w, g: None, "it returned NoneType"),
    ],
)
def test_a_result_of_another_shape_or_dtype_is_refused(function, match):
    with pytest.raises(ValueError, match=match):
        cl.bench(function, **SMALL)


def test_a_kernel_cannot_write_to_its_input():
    def greedy(x, w, g):
        x += 1
        return mine(x, w, g)

    with pytest.raises(ValueError, match="read-only"):
        cl.bench(greedy, **SMALL)


def test_a_slow_kernel_is_timed_on_a_crop_and_the_row_says_so():
    # naive cannot do 28 million MACs in a thousandth of a second; im2col is timed where its result is known.
    result = cl.bench("naive", "im2col", spec=cl.ConvSpec(32, 64, 3, padding="same"), height=40, width=40, rounds=1, max_seconds=0.001)
    naive = by_name(result)["naive"]
    assert naive.shape[1] < 40
    assert f"{naive.shape[1]}x{naive.shape[2]}x32" in str(result)


def test_no_kernel_gets_further_than_the_references():
    fast, calls = spy(lambda x, w, g: mine(x, w, g))
    result = cl.bench(fast, spec=cl.ConvSpec(3, 4, 3, padding="same"), height=64, width=64, rounds=1, max_seconds=1e-9)
    # No reference has a result beyond the smallest crop in a nanosecond.
    assert set(calls) == {(1, 1, 1, 3)}
    assert result.timings[0].shape == (1, 1, 1, 3)


def test_a_batch_counts():
    result = cl.bench("im2col", **{**SMALL, "batch": 3, "max_seconds": 10})
    (timing,) = result.timings
    assert timing.shape == (3, 6, 5, 3)
    assert timing.macs == 3 * 6 * 5 * 135


def test_the_table():
    timings = (
        Timing("naive", "naive", (1, 4, 4, 32), 294_912, 12.5, 0.0025, (0.1, 0.2, 0.4)),
        Timing("jit", "jit", (1, 56, 56, 32), 57_802_752, 90.0, 1.25, (0.01, 0.005, 0.02)),
    )
    result = Benchmark(cl.ConvSpec(32, 64, 3, padding="same"), (1, 56, 56, 32), "float32", timings, 46.24e9, machine.describe())
    assert result.table.head[-2:] == ("vs naive", "of peak")
    assert result.table.rows == [
        ("naive", "4x4x32", "294,912", "2.50 ms", "100 ms", "200 ms", "2.95 M", "1.0 x", "0.0 %"),
        ("jit", "56x56x32", "57,802,752", "1.25 s", "5.00 ms", "10.0 ms", "11.6 G", "3,920 x", "50.0 %"),
    ]
    assert str(result).startswith("standard 56x56x32 -> 56x56x64, window 3x3, float32: verified equal, then timed\n")
    assert "<td" in result._repr_html_()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(123.4, "123 s"), (1.0, "1.00 s"), (0.0123, "12.3 ms"), (4.56e-5, "45.6 us"), (1e-9, "0.001 us")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(("per_second", "text"), [(1.5e9, "1.50 G"), (3.14e6, "3.14 M"), (2e3, "2.00 k"), (2.5e12, "2500 G")])
def test_rates(per_second, text):
    assert rate(per_second) == text


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"rounds": 0}, ValueError, "rounds must be at least 1: rounds=0"),
        ({"rounds": 1.5}, TypeError, "rounds must be an integer"),
        ({"max_seconds": 0}, ValueError, "max_seconds must be positive and finite: max_seconds=0"),
        ({"max_seconds": math.nan}, ValueError, "max_seconds must be positive"),
        ({"max_seconds": math.inf}, ValueError, "max_seconds must be positive and finite"),
        ({"batch": 0}, ValueError, "batch must be at least 1"),
        ({"height": 0}, ValueError, "height must be at least 1"),
        ({"dtype": "float16"}, TypeError, "takes float32.*: dtype=float16"),
        ({"height": 1, "spec": cl.ConvSpec(3, 5, kernel=3)}, ValueError, "the output would be empty"),
    ],
)
def test_wrong_arguments(arguments, error, match):
    with pytest.raises(error, match=match):
        cl.bench(**{**SMALL, **arguments})


def test_wrong_kernels():
    with pytest.raises(ValueError, match=r"kernel must be one of .*: kernel='nix'"):
        cl.bench("nix", **SMALL)
    with pytest.raises(TypeError, match="kernel must be a name, a Kernel or a function"):
        cl.bench(3, **SMALL)
    with pytest.raises(ValueError, match=r"kernels must have different names, .*: im2col, im2col"):
        cl.bench("im2col", "im2col", **SMALL)


def test_an_absurd_size_is_refused_by_its_output_first():
    with pytest.raises(ValueError, match="the output would be empty"):
        cl.bench(spec=cl.ConvSpec(10**9, 10**9, kernel=3), height=2, width=2)


def test_plans_are_verified_and_timed_on_one_thread_and_on_all_cores():
    model = cl.Model.random(cl.mobilenet_v2(alpha=0.25, resolution=32, classes=4))
    result = bench_networks(model, batch=2, rounds=2)
    assert {timing.threads for timing in result.timings} == set(result.peaks) == {1, machine.cores()}
    for timing in result.timings:
        assert timing.macs == 2 * cl.cost(model.network).macs
        assert len(timing.seconds) == 2
        assert min(timing.seconds) > 0
    assert json.loads(json.dumps(result.to_dict()))["timings"][0]["batch"] == 2
    assert str(machine.cores()) in str(result)


def test_a_plan_that_is_wrong_is_not_timed(monkeypatch):
    model = cl.Model.random(cl.mobilenet_v1(alpha=0.25, resolution=32, classes=4))
    monkeypatch.setattr(Plan, "__call__", lambda self, x: np.zeros((1, 4), np.float32))
    with pytest.raises(ValueError, match=r"a plan must agree with its model before it is timed: .* differs by 1 of the largest"):
        bench_networks(model)
    with pytest.raises(ValueError, match="needs at least one model"):
        bench_networks()


def test_the_peak_of_the_same_run_is_there_for_floats_only():
    small = {"spec": cl.ConvSpec(2, 2, 3), "height": 6, "width": 6, "max_seconds": 0.01}
    result = cl.bench("im2col", **small)
    if config.DISABLE_JIT:
        assert result.peak is None
        assert result.table.rows[0][-1] == ""
    else:
        assert result.peak > 0
        assert result.table.rows[0][-1].endswith(" %")
    assert json.loads(json.dumps(result.to_dict()))["machine"]["cores"] == machine.cores()
    assert cl.bench("im2col", dtype="int64", **small).peak is None
