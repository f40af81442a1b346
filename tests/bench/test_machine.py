"""What the machine can do: the loops do what they are said to do. No test judges how fast anything is."""

import os
import re
import sys
from itertools import pairwise

import numpy as np
import pytest

from convlab import machine

numba = pytest.importorskip("numba", reason="the peaks are compiled loops")
compiled = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="peaks are measured by compiled loops: the JIT is off")


@compiled
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("turns", [0, 1, 7, 1000])
def test_the_peak_loop_does_every_multiply_add_it_counts(dtype, turns):
    from convlab.machinecode.vectors import SUMS

    fma, _ = machine._loops()
    number = np.dtype(dtype).type
    # sum = sum * 1 + 1, turns times, in each of the chains; small integers are exact.
    total = fma(turns, number(1), number(1))
    assert total == turns * SUMS
    assert type(total) is float  # Numba returns both dtypes so
    # sum = sum * 2 + 1 from zero is 2^turns - 1: the factor is used, and no chain is optimised away.
    few = min(turns, 16)
    assert fma(few, number(2), number(1)) == (2**few - 1) * SUMS


@compiled
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_flops_are_two_a_lane_a_chain_a_turn_and_a_thread(dtype):
    from convlab.machinecode.vectors import SUMS, VECTOR

    lanes = VECTOR // np.dtype(dtype).itemsize
    for threads in (1, 2):
        burst = machine.fma_burst(dtype, threads)
        turns, rest = divmod(burst.amount, 2 * lanes * SUMS * threads)
        assert rest == 0
        assert turns >= 1024
        burst.run()


@compiled
def test_the_triad_computes_the_triad():
    _, triad = machine._loops()
    rng = np.random.default_rng(0)
    b, c = rng.integers(-9, 10, (2, 1001)).astype(np.float64)
    a = np.full(1003, np.nan)
    triad(a[1:-1], b, c, 3.0)
    np.testing.assert_array_equal(a[1:-1], b + 3 * c)
    assert np.isnan(a[[0, -1]]).all()


@compiled
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_threads_share_all_of_the_triads_arrays(threads, monkeypatch):
    """Each thread has its own slice: together they cover every element once."""
    seen = []

    def spy(a, b, c, scalar):
        if len(a) > 1:  # the first call compiles
            seen.append((a.ctypes.data, a.nbytes))
        assert len(a) == len(b) == len(c)

    monkeypatch.setattr(machine, "_loops", lambda: (None, spy))
    burst = machine.triad_burst(threads, cache_bytes=4096)
    burst.run()
    seen.sort()
    assert len(seen) == threads
    assert all(start + size == following for (start, size), (following, _) in pairwise(seen))
    assert sum(size for _, size in seen) * 3 == burst.amount
    assert burst.amount / 3 >= 4 * 4096


@compiled
def test_rates_are_positive_and_finite():
    for value in (machine.fma_peak(rounds=2), machine.fma_peak("float64", threads=2, rounds=1)):
        assert 0 < value < np.inf


def test_a_rate_is_the_best_of_the_rounds():
    class Clock:
        def __init__(self):
            self.now, self.waits = 0.0, iter([4.0, 2.0, 8.0])

        def __call__(self):
            return self.now

        def run(self):
            self.now += next(self.waits)

    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine.time, "perf_counter", clock)
        assert machine._best(machine.Burst(clock.run, 100), rounds=3) == 50.0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties threads to cores")
def test_what_runs_together_has_a_core_each_and_the_caller_gets_its_own_back():
    before = os.sched_getaffinity(0)
    seen = []
    machine._together([lambda: seen.append(os.sched_getaffinity(0))] * len(before))()
    assert sorted(map(sorted, seen)) == [[core] for core in sorted(before)]
    assert os.sched_getaffinity(0) == before


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties threads to cores")
def test_where_threads_may_not_be_tied_they_run_all_the_same(monkeypatch):
    def forbidden(thread, cores):
        raise PermissionError("not permitted")

    monkeypatch.setattr(os, "sched_setaffinity", forbidden)
    done = []
    machine._together([lambda: done.append(1)] * 2)()
    assert done == [1, 1]


def test_an_error_in_a_thread_is_not_lost():
    def bad():
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        machine._together([lambda: None, bad])()


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: machine.fma_burst("int32"), TypeError, "float32 or float64: dtype=int32"),
        (lambda: machine.fma_burst(threads=0), ValueError, "threads must be at least 1: threads=0"),
        (lambda: machine.triad_burst(threads=-1), ValueError, "threads must be at least 1: threads=-1"),
        (lambda: machine._best(machine.Burst(lambda: None, 1), 0), ValueError, "rounds must be at least 1: rounds=0"),
    ],
)
def test_wrong_input_is_refused(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_without_the_jit_there_is_no_peak(monkeypatch):
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    machine._loops.cache_clear()
    try:
        with pytest.raises(RuntimeError, match="NUMBA_DISABLE_JIT must not be set"):
            machine.fma_peak()
    finally:
        machine._loops.cache_clear()


def test_the_last_level_cache_is_the_largest(tmp_path):
    for index, size in enumerate(("48K", "32K", "1024K", "32M")):
        (tmp_path / f"index{index}").mkdir()
        (tmp_path / f"index{index}" / "size").write_text(f"{size}\n")
    assert machine.last_level_cache(tmp_path) == 32 << 20


def test_where_the_system_tells_no_cache_there_is_none(tmp_path):
    assert machine.last_level_cache(tmp_path) is None


def test_blas_is_named_without_threadpoolctl_too(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    library = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
    assert machine.blas().startswith(library)
    assert "threadpoolctl would tell" in machine.blas()


def test_threadpoolctl_names_the_kernel():
    pytest.importorskip("threadpoolctl", reason="tells which of its kernels BLAS runs")
    assert "kernel" in machine.blas()
    assert "unknown (threadpoolctl" not in machine.blas()


def test_versions_name_what_is_installed_and_nothing_else():
    found = machine.versions("pytest", "no-such-package")
    assert found["numpy"] == np.__version__
    assert found["pytest"] == pytest.__version__
    assert "no-such-package" not in found


def test_the_description_hangs_together():
    d = machine.describe()
    assert d.cores >= 1
    assert d.vector_bits in (128, 256, 512)
    assert d.cpu == machine.cpu_name() != ""
    assert re.fullmatch(r".+ \([\w.-]+\)", d.cpu)  # brand and design: one brand has designs of different peaks
    assert d.versions["numba"] == numba.__version__
