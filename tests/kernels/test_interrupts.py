"""Ctrl-C at any moment: while Numba compiles, while kernels and plans run, in the midst of a fork. Each in a process of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from convlab.machinecode.inline import JIT
from convlab.machinecode.interrupts import uninterrupted

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no timers that send signals")
compiled = pytest.mark.skipif(not JIT, reason="without the JIT nothing compiles, and no worker takes part")

ROOT = str(Path(__file__).resolve().parents[2])
INTERRUPTS = 5000 if os.environ.get("CI") else 500


@pytest.fixture
def run(tmp_path):
    """Return a function that runs a script in a new process, which must end well within the time, and returns the lines it prints."""

    def run(script, *arguments, timeout=300, **environment):
        file = tmp_path / "script.py"  # Numba keeps nothing of a function that stands in no file, and says so
        file.write_text(script)
        command = [sys.executable, "-W", "ignore:This process:DeprecationWarning", str(file), *map(str, arguments)]
        environment = os.environ | {"PYTHONPATH": ROOT} | environment
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, env=environment)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    return run


# Plans and rungs, on work that is worth sharing. A child that hangs is ended by the time limit of the test.
PREPARE = """
import os, random, signal, sys, time
import numpy as np
import convlab as cl
from convlab.machinecode import atomics, threads as pools

random.seed(0)
rng = np.random.default_rng(0)
model = cl.Model.random(cl.mobilenet_v2(alpha=0.1, resolution=32, classes=5))
plan, alone = model.compile(threads=2), model.compile(threads=1)
picture = rng.uniform(-1, 1, (32, 32, 3)).astype(np.float32)
logits = alone(picture)
x, w = (rng.integers(-8, 9, shape).astype(np.float32) for shape in [(2, 40, 56, 32), (3, 3, 32, 32)])
sums = cl.conv2d(x, w, padding=1, kernel="im2col")
work = [
    lambda: np.array_equal(plan(picture), logits),
    lambda: np.array_equal(cl.conv2d(x, w, padding=1, kernel="jit"), sums),
    lambda: np.array_equal(cl.conv2d(x, w, padding=1, kernel="tiled"), sums),
]

def meet(job, thread):
    atomics.add(job + 8 + 8 * thread)
    looks = 0
    while thread == 0 and atomics.look(job + 16) == 0 and looks < 1000:
        atomics.nap()
        looks += 1

def helped():
    # Workers still take part: in a call of compiled code, and in one of Python's.
    function, met, seen = atomics.function_of_jobs(meet), 0, set()
    for _ in range(100):
        job = np.zeros(3, np.int64)
        pools.together(function, job.ctypes.data, 1)
        met += int(job[2])
        pools.share(lambda part: (seen.add(pools._thread.get_ident()), time.sleep(0.01)), [(0,), (1,)])
        if met and len(seen) > 1:
            return True
    return False

assert all(one() for one in work) and helped()
"""

# A timer sends a signal to which Python answers as it does to Ctrl-C, at a moment within the call's usual time.
STORM = """
signal.signal(signal.SIGALRM, signal.default_int_handler)
usual = []
for one in work:
    start = time.perf_counter()
    one()
    usual.append(time.perf_counter() - start)
interrupts = [0] * len(work)
wrong = 0
while sum(interrupts) < int(sys.argv[1]):
    i = random.randrange(len(work))
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 1.2 * usual[i]))
        wrong += not work[i]()
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        interrupts[i] += 1
signal.signal(signal.SIGALRM, signal.SIG_IGN)
threads = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0
print(wrong, all(one() for one in work), helped(), threads <= len(pools.pool().states()) + 1, min(interrupts) > 0, pools.pool().busy())
"""


@compiled
def test_interrupts_at_random_moments_leave_a_process_as_it_was(run):
    """Every call that is not interrupted is right; afterwards results are, workers take part, and no thread is left over."""
    assert run(PREPARE + STORM, INTERRUPTS) == ["0 True True True True False"]


FORK = """
pool = pools.pool()
signal.signal(signal.SIGALRM, lambda *_: answers.append(all(one() for one in work)))
answers, codes = [], []
for _ in range(int(sys.argv[1])):
    signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 2e-3))
    child = os.fork()
    if child == 0:
        signal.setitimer(signal.ITIMER_REAL, 0)
        os._exit(0 if all(answers) and all(one() for one in work) else 1)
    codes.append(os.waitpid(child, 0)[1])
    signal.setitimer(signal.ITIMER_REAL, 0)
os.register_at_fork(before=lambda: os.kill(os.getpid(), signal.SIGALRM), after_in_child=lambda: os.kill(os.getpid(), signal.SIGALRM))
for _ in range(10):  # and in the midst of it, on both sides
    child = os.fork()
    if child == 0:
        os._exit(0 if len(answers) and all(answers) else 1)
    codes.append(os.waitpid(child, 0)[1])
print(codes.count(0), len(answers) >= 10, all(answers), all(one() for one in work), helped())
"""


@compiled
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_signal_handler_that_calls_kernels_while_the_process_forks(run):
    forks = 200 if os.environ.get("CI") else 20
    assert run(PREPARE + FORK, forks) == [f"{forks + 10} True True True True"]


# Each try is a process that has nothing compiled and nothing kept; its parent is a timer. What it prints comes after the interrupt.
COMPILE = """
import signal, sys, threading, time, os
import numpy as np
signal.signal(signal.SIGINT, signal.default_int_handler)
import convlab as cl
x, w = np.ones((1, 8, 8, 4), np.float32), np.ones((3, 3, 4, 4), np.float32)
threading.Timer(float(sys.argv[2]), lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    while True:
        cl.conv2d(x, w, kernel=sys.argv[1])
        time.sleep(0.001)
except KeyboardInterrupt:
    print("interrupted")
print(cl.conv2d(x, w, kernel=sys.argv[1])[0, 0, 0])
"""


@compiled
@pytest.mark.parametrize(("rung", "tries"), [("jit", 6), ("tiled", 1)])
def test_an_interrupt_while_numba_loads_and_compiles_is_heard_and_nothing_breaks(run, rung, tries, tmp_path):
    """Neither lost ("Exception ignored on calling ctypes callback") nor followed by half an import or a lock that stays."""
    for i in range(tries * 3 if os.environ.get("CI") else tries):
        after = 0.02 + 0.21 * (i % 6) + 0.05 * (i // 6)
        lines = run(COMPILE, rung, after, NUMBA_CACHE_DIR=str(tmp_path / f"{i}"), timeout=120)
        assert lines == ["interrupted", "[36. 36. 36. 36.]"], after


@pytest.fixture
def interruptible():
    """Let Ctrl-C interrupt: a shell's background jobs, this suite perhaps among them, are begun without."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_a_function_that_must_finish_is_finished_before_its_interrupt():
    done = []

    def work():
        signal.raise_signal(signal.SIGINT)
        inner()
        done.append("outer")
        return "never seen"

    @uninterrupted
    def inner():
        signal.raise_signal(signal.SIGINT)
        done.append("inner")

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        uninterrupted(work)()
    assert done == ["inner", "outer"]
    assert signal.getsignal(signal.SIGINT) is before
    assert uninterrupted(sum)([1, 2]) == 3
    with pytest.raises(ZeroDivisionError):
        uninterrupted(divmod)(1, 0)
    assert signal.getsignal(signal.SIGINT) is before
