"""Threads that convolve at once, and a fork after use. Each in a process of its own, so that a crash is a failed test."""

import multiprocessing
import os
import subprocess
import sys

import pytest

import convlab as cl

pytestmark = pytest.mark.parametrize("rung", cl.KERNELS)

# Convolutions of every kind, small enough for rung 1, and where the rung has threads one that is worth them; each with the right answer.
PREPARE = """
import sys
import threading
from importlib import import_module
import numpy as np
import convlab as cl

rung = sys.argv[1]
rng = np.random.default_rng(0)
work, cases = [], [((2, 6, 7, 4), (3, 3, 4, 6)), ((2, 6, 7, 4), (3, 3, 2, 6)), ((2, 6, 7, 4), (3, 3, 1, 8)), ((2, 6, 7, 4), (1, 1, 4, 6))]
if rung in ("jit", "tiled"):
    cases.append(((1, 47, 49, 16), (3, 3, 16, 16)))
    macs = 47 * 49 * 3 * 3 * 16 * 16
    assert macs >= import_module(f"convlab.kernels.{rung}").WORTH_A_THREAD
for size, shape in cases:
    x, w = (rng.integers(-8, 9, s).astype(np.float32) for s in (size, shape))
    options = dict(padding=1, groups=size[3] // shape[2])
    work.append((x, w, options, cl.conv2d(x, w, kernel="im2col", **options)))

def right(i):
    x, w, options, expected = work[i % len(work)]
    return np.array_equal(cl.conv2d(x, w, kernel=rung, **options), expected)
"""

THREADS = """
seen = []
start = threading.Barrier(8)

def several(i):
    start.wait()
    seen.extend(right(i + k) for k in range(5))

threads = [threading.Thread(target=several, args=(i,)) for i in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("right", seen.count(True), "of", len(seen))
"""

FORK = """
import multiprocessing

def child():
    sys.exit(0 if all(right(i) for i in range(5)) else 1)

print("before", all(right(i) for i in range(5)))
process = multiprocessing.get_context("fork").Process(target=child)
process.start()
process.join(60)
print("child", process.exitcode)
if process.is_alive():
    process.kill()
print("after", all(right(i) for i in range(5)))
"""


def run(script, rung, **environment):
    """Run the script in a new process and return what it printed; a crash or a deadlock fails the test."""
    command = [sys.executable, "-c", PREPARE + script, rung]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ | environment)
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr}"
    return done.stdout.split("\n")[:-1]


def test_threads_at_once_get_what_each_gets_alone(rung):
    """From the very first call on, so that loading and compiling are raced for as well.

    Under Numba's workqueue, the threading layer that it has everywhere: the one that ends the process if two threads enter at once.
    """
    assert run(THREADS, rung, NUMBA_THREADING_LAYER="workqueue") == ["right 40 of 40"]


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this platform has no fork")
def test_a_fork_after_use_works_in_child_and_parent(rung):
    """Under Numba's default layer, which on Linux is OpenMP: the one that ends a forked child that comes back to it."""
    assert run(FORK, rung) == ["before True", "child 0", "after True"]
