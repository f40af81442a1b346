"""When the machine does not do its part: disks that cannot be written or hold damaged code, threads and processes that come and go.

Most tests have a process of their own, so that a crash is a failed test, and a time limit, so that a hang is one.
"""

import ctypes
import json
import multiprocessing
import os
import py_compile
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numba
import pytest

import convlab as cl
from convlab.machinecode import cache
from convlab.machinecode.inline import JIT

pytestmark = pytest.mark.skipif(not JIT, reason="without the JIT nothing is kept on disk, and threads wait for each other")

CI = bool(os.environ.get("CI"))
POSIX = os.name == "posix"
ROOT = POSIX and os.geteuid() == 0

# Two functions are compiled, so that what is said once is seen to be said once.
CONVOLVE = """
import json, warnings
import numpy as np

rng = np.random.default_rng(0)
right = []
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    import convlab as cl
    from convlab.kernels import jit

    for dtype in DTYPES:
        for size in (3, 1):
            x, w = (rng.integers(-8, 9, shape).astype(dtype) for shape in [(2, 6, 7, 3), (size, size, 3, 5)])
            right.append(np.array_equal(cl.conv2d(x, w, kernel="jit"), cl.conv2d(x, w, kernel="im2col")))
hits = [sum(function.stats.cache_hits.values()) for function in (jit._standard, jit._pointwise)]
print(json.dumps({"file": cl.__file__, "right": all(right), "hits": hits, "said": [str(one.message) for one in said]}))
"""


class Copy:
    """A copy of the package that a test may damage, and whose processes have no other folder to keep compiled code in."""

    def __init__(self, folder):
        self.folder = folder
        self.kernels = folder / "convlab" / "kernels"
        self.environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
        self.environment.pop("NUMBA_CACHE_DIR", None)
        # A home below a file is one that nobody can make.
        (folder / "file").touch()
        for name in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA", "USERPROFILE"):
            self.environment[name] = str(folder / "file" / "none")

    def run(self, before="", dtypes=("float32",), command=(), **environment):
        """Convolve in a new process, and return what it says."""
        script = f"DTYPES = {dtypes}\n{before}\n{CONVOLVE}"
        command = [*command, sys.executable, "-c", script]
        environment = self.environment | environment
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False, cwd=self.folder)
        assert done.returncode == 0, f"exit {done.returncode}: {done.stderr}"
        result = json.loads(done.stdout)
        assert Path(result["file"]).is_relative_to(self.folder), "another convlab was imported"
        assert result["right"]
        return result

    def run_powerless(self, **environment):
        """Convolve in a process that may not write to read-only folders: root's processes otherwise may."""
        drop = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if ROOT else []
        return self.run(command=drop, **environment)

    def kept(self, pattern="*.nb*", folder=None):
        return sorted((folder or self.kernels).rglob(pattern))


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """Return a package that has compiled two functions for two dtypes, and kept them beside itself."""
    copy = _copied(tmp_path_factory.mktemp("warm"))
    assert copy.run(dtypes=("float32", "float64")) == {
        "file": str(copy.folder / "convlab" / "__init__.py"), "right": True, "hits": [0, 0], "said": []
    }  # fmt: skip
    assert len(copy.kept("*.nbi")) == 2
    assert len(copy.kept("*.nbc")) == 4
    return copy


def _copied(folder, source=None, *ignored):
    source = source or Path(cl.__file__).parent
    shutil.copytree(source, folder / "convlab", ignore=shutil.ignore_patterns(*ignored) if ignored else _without_caches)
    return Copy(folder)


_without_caches = shutil.ignore_patterns("__pycache__")


@pytest.fixture
def cold_package(tmp_path):
    return _copied(tmp_path)


@pytest.fixture
def warm_package(warm, tmp_path):
    return _copied(tmp_path, warm.folder / "convlab", "nothing is left out")


@pytest.fixture
def read_only():
    """Return a function that takes all rights to write from a folder until the test is over."""
    if not POSIX or (ROOT and not shutil.which("setpriv")):
        pytest.skip("this system has no folders that are read-only for this user")
    changed = []

    def protect(folder):
        for path in [*folder.rglob("*"), folder]:
            changed.append((path, path.stat().st_mode))
            path.chmod(path.stat().st_mode & ~0o222)

    yield protect
    for path, mode in reversed(changed):
        path.chmod(mode)


def test_a_read_only_package_without_a_home_compiles_for_itself(cold_package, read_only):
    read_only(cold_package.folder)
    (said,) = cold_package.run_powerless()["said"]
    assert said.startswith(cache.NOT_KEPT)
    assert "NUMBA_CACHE_DIR" in said
    assert "PermissionError" in said
    assert cold_package.kept() == []  # otherwise the folder was none that could not be written


def test_a_read_only_package_keeps_its_code_where_it_is_told_to(cold_package, read_only, tmp_path_factory):
    """What the warning advises does help."""
    read_only(cold_package.folder)
    place = tmp_path_factory.mktemp("told")
    assert cold_package.run_powerless(NUMBA_CACHE_DIR=str(place))["said"] == []
    assert len(cold_package.kept("*.nbi", place)) == 2


def test_code_that_was_kept_is_read_where_nothing_can_be_written(warm_package, read_only):
    read_only(warm_package.folder)
    result = warm_package.run_powerless()
    assert result["hits"] == [1, 1]
    assert result["said"] == []


def test_a_read_only_place_of_code_is_read(cold_package, read_only, tmp_path_factory):
    """An image of a container may bring its compiled code in the folder that NUMBA_CACHE_DIR names."""
    place = tmp_path_factory.mktemp("told")
    cold_package.run(NUMBA_CACHE_DIR=str(place))
    read_only(cold_package.folder)
    read_only(place)
    result = cold_package.run_powerless(NUMBA_CACHE_DIR=str(place))
    assert result["hits"] == [1, 1]
    assert result["said"] == []


def test_a_package_without_sources_compiles_for_itself(cold_package):
    """Numba takes no place for it: it could not tell whether the code had changed."""
    for path in (cold_package.folder / "convlab").rglob("*.py"):
        py_compile.compile(str(path), str(path.with_suffix(".pyc")), doraise=True)
        path.unlink()
    (said,) = cold_package.run()["said"]
    assert said.startswith(cache.NOT_KEPT)
    assert "no locator available" in said


@pytest.mark.skipif(not POSIX, reason="this system does not limit the size of files")
def test_a_full_disk_costs_a_warning(cold_package):
    """Files may be made, but hold nothing: what a full disk does, as far as a process can tell."""
    (said,) = cold_package.run("import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))")["said"]
    assert said.startswith(cache.NOT_KEPT)
    assert "OSError" in said
    assert cold_package.kept() == []  # no half of a file is left to be read later


def _cut(share):
    return pytest.param(lambda code: code[: int(len(code) * share)], id=f"cut to {share}")


def _zeroed(page):
    return pytest.param(lambda code: code[: 4096 * page] + bytes(4096) + code[4096 * (page + 1) :], id=f"page {page} lost")


# A write that was cut short, and a machine that went down: the second page holds machine code, and Numba would run what is left of it.
DAMAGES = [_cut(0), _cut(0.5), _zeroed(1)]
if CI:
    DAMAGES += [*map(_cut, (0.01, 0.2, 0.9, 0.99)), *map(_zeroed, (0, 2, 3, 4, 5, 6, 7, 8))]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_code_is_compiled_anew_and_replaced(warm_package, damage):
    _damage(warm_package, "nbc", damage)
    first = warm_package.run()
    (said,) = first["said"]
    assert said.startswith(cache.DAMAGED)
    assert first["hits"] == [0, 0]
    second = warm_package.run()
    assert second["hits"] == [1, 1]
    assert second["said"] == []


@pytest.mark.parametrize("damage", [_cut(0), _cut(0.5)])
def test_a_damaged_index_is_made_anew(warm_package, damage):
    _damage(warm_package, "nbi", damage)
    (said,) = warm_package.run()["said"]
    assert said.startswith(cache.DAMAGED)
    assert warm_package.run()["hits"] == [1, 1]


def _damage(package, kind, damage):
    files = package.kept(f"*.{kind}")
    assert len(files) >= 2
    for path in files:
        path.write_bytes(damage(path.read_bytes()))


def test_damaged_code_that_cannot_be_replaced_is_not_run(warm_package, read_only):
    for path in warm_package.kept("*.nbi"):
        path.write_bytes(path.read_bytes()[:100])
    read_only(warm_package.folder)
    result = warm_package.run_powerless()
    assert result["hits"] == [0, 0]
    assert [one.partition(" (")[0] for one in result["said"]] == [cache.DAMAGED, cache.NOT_KEPT]


def test_code_for_another_signature_is_not_run(warm_package):
    """Two processes that compile a function for two dtypes at the same time may overwrite each other's code."""
    first, second = warm_package.kept("jit._standard*.nbc")
    code = first.read_bytes(), second.read_bytes()
    first.write_bytes(code[1])
    second.write_bytes(code[0])
    result = warm_package.run(dtypes=("float32", "float64"))
    assert result["hits"] == [0, 2]
    assert result["said"]


@pytest.mark.parametrize("file", ["machinecode/vectors.py", "kernels/tiled/matmul.py", "kernels/jit.py"])
def test_code_made_from_other_sources_is_not_run(warm_package, file):
    """A compiled function holds those that it calls, in any file of two folders: an update of one must not leave its old code in use."""
    with (warm_package.folder / "convlab" / file).open("a") as source:
        source.write("# an update\n")
    assert warm_package.run()["hits"] == [0, 0]
    assert warm_package.run()["hits"] == [1, 1]


def test_what_is_kept_is_compiled_as_by_numba():
    """The cache must not change how a function is compiled: options reach Numba, and both decorators give what Numba's give."""

    def twice(x):
        return 2 * x

    options = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy", "boundscheck": True}
    assert cache.njit(cache=True, **options)(twice).targetoptions == numba.njit(**options)(twice).targetoptions
    signature = numba.types.int64(numba.types.int64)
    ours, numbas = cache.cfunc(signature)(twice), numba.cfunc(signature)(twice)
    assert ours._compiler.targetoptions == numbas._compiler.targetoptions
    assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(ours.address)(21) == 42


# A plan and two rungs, on work that is worth sharing, with the right answers: for the plan what a plan of one thread gives.
PREPARE = """
import multiprocessing, os, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import convlab as cl

rng = np.random.default_rng(0)
model = cl.Model.random(cl.mobilenet_v2(alpha=0.1, resolution=32, classes=5))
plan, alone = model.compile(threads=3), model.compile(threads=1)
xs = rng.uniform(-1, 1, (8, 1, 32, 32, 3)).astype(np.float32)
expected = [alone(x) for x in xs]
x, w = (rng.integers(-8, 9, shape).astype(np.float32) for shape in [(1, 56, 57, 16), (3, 3, 16, 16)])
sums = cl.conv2d(x, w, padding=1, kernel="im2col")

def right(i):
    if i % 3 == 0:
        return np.array_equal(plan(xs[i % 8]), expected[i % 8])
    return np.array_equal(cl.conv2d(x, w, padding=1, kernel="jit" if i % 3 == 1 else "tiled"), sums)
"""


def run(script, timeout=120, **environment):
    """Run a script that prepares its work in a new process, and return the lines it printed; it must end well and say nothing else."""
    done = start(script, timeout, **environment)
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1]


def start(script, timeout=120, **environment):
    command = [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", PREPARE + script]
    # A group of its own: children of a process that hangs hold its output open, so they have to be ended with it.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment, start_new_session=POSIX
    ) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL) if POSIX else process.kill()
            raise
    assert process.returncode == 0, f"exit {process.returncode}: {errors}"
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


CALLERS = """
start = threading.Barrier(8)

def several(i):
    start.wait()
    return [right(i + k) for k in range(CALLS)]

with ThreadPoolExecutor(8) as pool:
    seen = [one for part in pool.map(several, range(8)) for one in part]
print(seen.count(True), "of", len(seen))
"""


@pytest.mark.parametrize(
    "environment",
    [{"NUMBA_THREADING_LAYER": "workqueue"}, {"NUMBA_NUM_THREADS": "1"}, {"NUMBA_THREADING_LAYER": "workqueue", "NUMBA_NUM_THREADS": "5"}],
    ids=["workqueue", "one thread", "more threads than cores"],
)
def test_plans_and_rungs_at_once_whatever_numba_is_told(environment):
    """The workqueue ends a process in which two threads enter it: nothing here may use it."""
    calls = 300 if CI else 30
    assert run(f"CALLS = {calls}\n{CALLERS}", **environment) == [f"{8 * calls} of {8 * calls}"]


# A child that hangs, on a lock that was held as it was forked, is ended by the alarm; its exit code is then none of ours.
FORKS = """
import signal

for i in range(6):
    right(i)  # compiled before: a fork in the midst of compiling is Numba's affair
stop = threading.Event()
wrong = []

def call(i):
    while not stop.is_set():
        if not right(i):
            wrong.append(i)

callers = [threading.Thread(target=call, args=(i,)) for i in range(4)]
for caller in callers:
    caller.start()
codes = []
for _ in range(FORKS):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        os._exit(0 if all(right(i) for i in range(6)) else 1)
    codes.append(os.waitpid(child, 0)[1])
stop.set()
for caller in callers:
    caller.join()
print(codes.count(0), "of", len(codes), "and", len(wrong), "wrong")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forks_while_other_threads_are_calling():
    forks = 100 if CI else 10
    assert run(f"FORKS = {forks}\n{FORKS}", timeout=300) == [f"{forks} of {forks} and 0 wrong"]


POOL = """
for i in range(6):
    right(i)  # used before the children are made, with helpers
with multiprocessing.get_context("METHOD").Pool(2) as pool:
    ys = pool.map(plan, [xs[i % 8] for i in range(32)], chunksize=1)
    zs = [pool.apply(cl.conv2d, (x, w), {"padding": 1, "kernel": kernel}) for kernel in ("jit", "tiled") * 2]
    pool.close()
    pool.join()
print(sum(np.array_equal(y, expected[i % 8]) for i, y in enumerate(ys)), sum(np.array_equal(z, sums) for z in zs))
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_plan_goes_to_a_pool_of_processes(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    assert run(POOL.replace("METHOD", method)) == ["32 4"]


# The last line's time is compared with the time of the end.
DAEMON = """
def forever():
    i = 0
    while True:
        assert right(i)
        i += 1

for i in range(3):
    right(i)
for _ in range(3):
    threading.Thread(target=forever, daemon=True).start()
time.sleep(0.2)
print(time.time(), flush=True)
"""

IDLE = """
for i in range(3):
    right(i)
from convlab.machinecode import threads

print(len(threads.pool().states()), time.time(), flush=True)
"""

LONG = 20.0
"""Seconds: an exit takes some hundredths of one, on a starved machine a few; who waits for a helper waits for ever."""


def test_a_process_ends_while_daemon_threads_call():
    """At any moment of a call: threads are stopped wherever they next ask for the interpreter, which must not crash or wait."""
    for _ in range(20 if CI else 3):
        done = start(DAEMON)
        assert time.time() - float(done.stdout) < LONG
        assert not done.stderr  # nor may a call fail because it comes late


ATEXIT = """
import atexit

for i in range(3):
    right(i)
atexit.register(lambda: print([right(i) for i in range(6)]))
"""


def test_a_call_as_the_process_ends_is_a_call():
    """Python runs `atexit` functions when it has stopped its pools of threads: then the caller must do the work alone."""
    assert run(ATEXIT) == [str([True] * 6)]


def test_a_process_ends_at_once_while_helpers_wait():
    (line,) = run(IDLE)
    helpers, when = line.split()
    assert int(helpers) >= 1  # else nobody waited
    assert time.time() - float(when) < LONG
