"""What runs between convolutions: against the formulas in float64, and as laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convlab import ops

DTYPES = ("float32", "float64")
seeds = st.integers(0, 2**32 - 1)


@given(seeds, st.sampled_from(DTYPES), st.sampled_from([0.0, 1e-5, 1e-3, 0.5]))
def test_batch_norm_is_the_formula(seed: int, dtype: str, eps: float) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, 3, 4, 5)).astype(dtype)
    gamma, beta, mean = rng.normal(size=(3, 5)).astype(dtype)
    variance = rng.uniform(0.1, 3, 5).astype(dtype)
    y = ops.batch_norm(x, gamma, beta, mean, variance, eps)
    x64, gamma64, beta64, mean64, variance64 = (a.astype(np.float64) for a in (x, gamma, beta, mean, variance))
    root = np.sqrt(variance64 + eps)
    # x * scale + (beta - mean * scale): each term is rounded at most six times on its way, by half an eps of its own size.
    size = np.abs(gamma64 / root) * (np.abs(x64) + np.abs(mean64)) + np.abs(beta64)
    error = np.abs(y - (gamma64 * (x64 - mean64) / root + beta64))
    assert (error <= 6 * np.finfo(dtype).eps * size).all()
    assert y.dtype == dtype
    assert y.shape == x.shape


@given(seeds)
def test_batch_norm_with_a_batchs_own_statistics_normalises_it(seed: int) -> None:
    x = np.random.default_rng(seed).normal(3, 7, size=(4, 5, 6, 2))
    y = ops.batch_norm(x, np.ones(2), np.zeros(2), x.mean((0, 1, 2)), x.var((0, 1, 2)), eps=0.0)
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(y.var((0, 1, 2)), 1, rtol=1e-12)


def test_batch_norm_neutral_statistics_change_nothing() -> None:
    x = np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3)
    one, zero = np.ones(3, np.float32), np.zeros(3, np.float32)
    np.testing.assert_array_equal(ops.batch_norm(x, one, zero, zero, one, 0.0), x)


def test_eps_keeps_a_dead_channel_finite() -> None:
    x = np.zeros((1, 1, 1, 1), np.float32)
    zero, one = np.zeros(1, np.float32), np.ones(1, np.float32)
    np.testing.assert_array_equal(ops.batch_norm(x, one, one, zero, zero, 1e-3), np.ones_like(x))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("relu", "top"), [(ops.relu, np.inf), (ops.relu6, 6.0)])
def test_relus(relu, top: float, dtype: str) -> None:
    x = np.array([-np.inf, -1, -0.0, 0, 0.5, 5.999, 6, 6.001, 1e30, np.inf, np.nan], dtype)
    y = relu(x)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, [min(max(v, 0.0), top) if v == v else np.nan for v in x.tolist()])


@given(seeds)
def test_relu6_is_idempotent_and_monotone(seed: int) -> None:
    x = np.sort(np.random.default_rng(seed).normal(3, 5, 50))
    y = ops.relu6(x)
    np.testing.assert_array_equal(ops.relu6(y), y)
    assert (np.diff(y) >= 0).all()
    np.testing.assert_allclose(y, ops.relu(x) - ops.relu(x - 6), rtol=1e-13, atol=1e-13)  # relu6 is a difference of two relus


@given(seeds, st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.sampled_from(DTYPES))
def test_global_average_pool(seed: int, n: int, height: int, width: int, dtype: str) -> None:
    x = np.random.default_rng(seed).normal(size=(n, height, width, 3)).astype(dtype)
    y = ops.global_average_pool(x)
    assert y.dtype == dtype
    assert y.shape == (n, 3)
    # A sum of up to 81 numbers, in any order: at most 81 roundings.
    exact = x.astype(np.float64).mean((1, 2))
    assert (np.abs(y - exact) <= 81 * np.finfo(dtype).eps * np.abs(x).max()).all()


def test_pooling_one_pixel_gives_it_back() -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 1, 1, 3)
    np.testing.assert_array_equal(ops.global_average_pool(x), x[:, 0, 0])


@given(seeds, st.sampled_from(DTYPES))
def test_dense_is_loops(seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    x, w, bias = (rng.integers(-9, 10, shape).astype(dtype) for shape in ((2, 4), (4, 3), (3,)))
    y = ops.dense(x, w, bias)
    assert y.dtype == dtype
    for n, o in np.ndindex(2, 3):
        assert y[n, o] == sum(x[n, c] * w[c, o] for c in range(4)) + bias[o]


@given(seeds, st.sampled_from(DTYPES), st.floats(-1e4, 1e4))
def test_softmax_laws(seed: int, dtype: str, shift: float) -> None:
    x = np.random.default_rng(seed).normal(0, 20, (3, 7)).astype(dtype)
    p = ops.softmax(x)
    eps = np.finfo(dtype).eps
    assert p.dtype == dtype
    assert ((p >= 0) & (p <= 1)).all()
    np.testing.assert_allclose(p.sum(-1), 1, rtol=7 * eps)  # seven numbers added
    np.testing.assert_array_equal(np.argmax(p, -1), np.argmax(x, -1))
    # A shift changes nothing but the rounding of x + shift, half an eps of its size; exp makes that a relative error.
    moved = x + x.dtype.type(shift)
    bound = 2 * eps * (np.abs(moved).max() + np.abs(x).max() + 10)
    np.testing.assert_allclose(ops.softmax(moved), p, rtol=float(bound), atol=float(np.finfo(dtype).tiny))


def test_softmax_does_not_overflow_or_underflow() -> None:
    np.testing.assert_array_equal(ops.softmax(np.array([1e30, 1e30, -1e30], np.float32)), np.array([0.5, 0.5, 0], np.float32))
    np.testing.assert_array_equal(ops.softmax(np.array([-1e300, -1e300])), [0.5, 0.5])


def test_softmax_of_one_class_is_certain() -> None:
    np.testing.assert_array_equal(ops.softmax(np.array([[3.0], [-7.0]])), [[1.0], [1.0]])


@pytest.mark.parametrize(
    "function",
    [ops.relu, ops.relu6, ops.global_average_pool, ops.softmax, lambda x: ops.batch_norm(x, *np.ones((4, x.shape[-1]), x.dtype), 1e-3)],
)
def test_the_input_is_left_as_it_was(function) -> None:
    x = np.linspace(-9, 9, 24, dtype=np.float32).reshape(1, 2, 3, 4)
    before = x.copy()
    y = function(x)
    assert not np.shares_memory(x, y)
    np.testing.assert_array_equal(x, before)
