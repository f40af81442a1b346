"""The helper threads: called awake and asleep, called off, sent away, and with a fault in their work."""

import ctypes
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from convlab.kernels import crew, simd
from convlab.kernels.crew import CREW, Helpers


def _count(job, thread):
    """Count in the job's line for this thread, once the caller has opened the job's gate."""
    simd.wait(job, 1)
    simd.add(job + 8 + 8 * thread)


@pytest.fixture
def helpers():
    helpers = Helpers(2)
    yield helpers
    helpers.shutdown()


@pytest.fixture
def work():
    return simd.function_of_jobs(_count)


def states(helpers):
    return list(helpers._slots[:, crew.STATE])


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.001)


def test_helpers_do_every_job_once_whether_they_sleep_or_watch(helpers, work):
    job = np.array([1, 0, 0, 0])
    for calls in range(1, 200):
        helpers.call(work, job.ctypes.data, 2)
        until(lambda calls=calls: list(job[2:]) == [calls, calls])
        helpers.gather()
        if calls % 50 == 0:
            until(lambda: states(helpers) == [crew.ASLEEP] * 2)  # out of patience
    assert_array_equal(job, [1, 0, calls, calls])


def test_one_that_has_begun_is_waited_for(helpers, work):
    job = np.zeros(4, np.int64)
    helpers.call(work, job.ctypes.data, 2)
    until(lambda: states(helpers) == [crew.WORKING] * 2)
    gate = threading.Timer(0.05, lambda: ctypes.c_int64.from_address(job.ctypes.data).__setattr__("value", 1))
    gate.start()
    helpers.gather()
    assert_array_equal(job, [1, 0, 1, 1])


def test_one_that_has_not_begun_is_called_off(helpers, work):
    """The pool's threads are busy with something else, so the job is never begun, and no later call finds it."""
    gate, job = threading.Event(), np.array([1, 0, 0, 0])
    busy = [helpers.submit(gate.wait) for _ in range(2)]
    helpers.call(work, job.ctypes.data, 2)
    helpers.gather()  # would wait for ever
    gate.set()
    assert all(one.result() for one in busy)
    until(lambda: states(helpers) == [crew.ASLEEP] * 2)
    assert_array_equal(job, [1, 0, 0, 0])
    helpers.call(work, job.ctypes.data, 2)
    until(lambda: list(job[2:]) == [1, 1])
    helpers.gather()


def test_a_watching_helper_makes_way_for_a_function_of_python(helpers, work):
    job = np.array([1, 0, 0, 0])
    for _ in range(20):
        helpers.call(work, job.ctypes.data, 2)
        helpers.gather()
        assert helpers.submit(sum, [1, 2]).result(60) == 3


def test_fewer_helpers_than_there_are(helpers, work):
    job = np.array([1, 0, 0, 0])
    helpers.call(work, job.ctypes.data, 1)
    until(lambda: job[2] == 1)
    helpers.gather()
    assert_array_equal(job, [1, 0, 1, 0])


FAULTY = """
import time
import numpy as np
from convlab.kernels import simd
from convlab.kernels.crew import Helpers

def fail(job, thread):
    raise ArithmeticError("thread 1")

helpers = Helpers(1)
job = np.zeros(1, np.int64)
helpers.call(simd.function_of_jobs(fail), job.ctypes.data, 1)
while not job[0]:
    time.sleep(0.001)
helpers.gather()
try:
    simd.raise_failure(int(job[0]))
except ArithmeticError as error:
    print(error)
helpers.shutdown()
"""


@pytest.mark.parametrize("off", ["0", "1"])
def test_what_a_helper_raises_is_kept_in_the_job(off):
    done = subprocess.run(
        [sys.executable, "-c", FAULTY],
        env={**os.environ, "NUMBA_DISABLE_JIT": off},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("thread 1\n", 0), done.stderr


def test_one_call_at_a_time_has_them():
    with CREW.helpers(1) as first, CREW.helpers(1) as second:
        assert isinstance(first, Helpers)
        assert second is None
    with CREW.helpers(0) as none:
        assert none is None
    with CREW.helpers(1) as again:
        assert again is first
    with CREW.helpers(first.count + 1) as more:
        assert more.count == first.count + 1
