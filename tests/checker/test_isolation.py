"""The process around a file under test: what travels, and every way in which a file may misbehave without harm to the grader."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, basic_indices, floating_dtypes, integer_dtypes, scalar_dtypes
from numpy.testing import assert_array_equal

import convlab as cl
from convlab.checker.isolation import Limits, Submission, wire
from convlab.checker.isolation.child import LINE_LOST
from convlab.checker.isolation.fence import Fence
from convlab.checker.isolation.process import LARGEST_OUTPUT, PASSED_ON
from convlab.checker.outcome import Crash, watch

X = np.arange(6.0).reshape(2, 3)
QUICK = Limits(seconds=30, call_seconds=6)
SHORT = Limits(seconds=30, call_seconds=1)


@pytest.fixture
def submission(tmp_path):
    """Return a function that makes a submission of a program; all are closed at the end, and must have left nothing."""
    with contextlib.ExitStack() as stack:

        def make(code, function="f", limits=QUICK, name="student.py", **options):
            path = tmp_path / name
            path.write_text(textwrap.dedent(code), encoding="utf-8")
            return stack.enter_context(Submission(path, function, limits, **options))

        yield make


def alive(noted):
    """Return whether a process runs, zombies aside: one that noted its number and the namespace in which it has it."""
    number, namespace = noted
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):  # it may have ended by now
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
            own = fields["NSpid"].split()[-1], os.readlink(status.with_name("ns") / "pid")
            if own == (number, namespace) and fields["State"].split()[0] != "Z":
                return True
    return False


def pids(folder):
    """Return what `note` wrote into files of a folder."""
    return [tuple(path.read_text().split()) for path in folder.glob("pid-*") if not path.name.endswith("~")]


# What travels


def there_and_back(value, spec=None, layouts=False):
    """Pack and unpack, and return the value."""
    message = wire.pack(value, layouts)
    header, body = wire.lengths(message[: wire.HEAD.size])
    start = wire.HEAD.size
    assert len(message) == start + header + body
    return wire.unpack(message[start : start + header], message[start + header :], spec, layouts)[0]


plain_dtypes = (floating_dtypes(endianness="?") | integer_dtypes(endianness="?") | scalar_dtypes()).filter(
    lambda dtype: wire.PLAIN.fullmatch(dtype.str)
)


@pytest.mark.parametrize("layouts", [True, False])
@given(st.data())
def test_arrays_arrive_as_they_were(layouts, data):
    array = data.draw(arrays(data.draw(plain_dtypes), data.draw(array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))))
    array = array.transpose(data.draw(st.permutations(range(array.ndim))))
    array = np.asarray(array[data.draw(basic_indices(array.shape, allow_newaxis=True))])  # strides, negative ones, new axes
    array.flags.writeable = writeable = data.draw(st.booleans()) and array.flags.writeable
    got = there_and_back(array, layouts=layouts)
    assert_array_equal(got, array, strict=True)
    assert got.tobytes() == array.tobytes()  # NaN's bits and the zeros' signs too
    assert got.dtype == array.dtype
    if not layouts:
        assert got.flags.c_contiguous
        return
    if array.size:
        assert got.strides == array.strides
    assert got.flags.writeable == writeable
    assert got.flags.aligned == array.flags.aligned


def test_broadcast_views_and_unaligned_arrays_stay_what_they_are():
    small = there_and_back(np.broadcast_to(np.arange(3.0), (1000, 1000, 3)), layouts=True)
    assert small.strides == (0, 0, 8)
    unaligned = np.zeros(17, np.uint8)[1:].view(np.float64)
    assert not unaligned.flags.aligned
    assert not there_and_back(unaligned, layouts=True).flags.aligned


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=5,
    )
)
def test_values_arrive_as_they_were(value):
    assert repr(there_and_back(value)) == repr(value)


@pytest.mark.parametrize("scalar", [np.float32(0.1), np.int64(3), np.bool_(True), np.float64("nan")])
def test_scalars_of_numpy_stay_such(scalar):
    got = there_and_back((scalar,))[0]
    assert type(got) is type(scalar)
    assert_array_equal(got, scalar)


@pytest.mark.parametrize(
    "spec",
    [cl.ConvSpec(4, 6, (2, 3), stride=(2, 1), padding="same", groups=2), cl.ConvSpec(1, 1, 2, padding=((0, 1), (2, 3)), dilation=(1, 2))],
)
def test_specs_and_geometries_arrive_as_they_were(spec):
    assert there_and_back(spec, spec=cl.ConvSpec) == spec
    assert there_and_back((X, spec.geometry(7, 9)), spec=cl.ConvSpec)[1] == spec.geometry(7, 9)


@pytest.mark.parametrize("value", [object(), {1: 2}, np.array([None]), np.zeros(2, "U3"), 1j, len, "a" * 10_001, 1 << 2000])
def test_of_anything_else_a_description_arrives(value):
    got = there_and_back(value)
    assert isinstance(got, wire.Foreign)
    assert type(got).__name__ == type(value).__name__


def test_a_list_within_itself_ends():
    value: list = []
    value.append(value)
    assert "Foreign" not in repr(there_and_back(value))
    assert repr(there_and_back(value)).count("[") == wire.DEEPEST


NUMBERS = {"dtype": "<f8", "shape": [1], "part": 0}
PLACED = {**NUMBERS, "strides": [16], "offset": 0, "writeable": True}
FORGED: dict = {
    **{
        f"{name}={value!r}"[:60]: {"array": NUMBERS | {name: value}}
        for name, value in (
            ("dtype", "|O"),
            ("dtype", "<f8,<f8"),
            ("dtype", 3),
            ("shape", [2]),
            ("shape", [-2]),
            ("shape", [1.0]),
            ("shape", [1e9]),
            ("shape", [10**6, 10**6]),
            ("shape", [2**63, 2**63]),
            ("shape", ["a", 4294967296]),
            ("shape", 4),
            ("part", 7),
            ("part", -1),
            ("part", [0]),
        )
    },
    "a part twice": {"list": [{"array": NUMBERS}] * 2},
    "nothing of an array": {"array": {}},
    "a pickle": {"pickle": "cos\nsystem"},
    "no list": {"list": 3},
    "no geometry": {"geometry": [{}, 1, 1]},
    "two kinds": {"list": [], "tuple": []},
    "a bare list": [1],
}
PLACES = {
    f"{name}={value!r}": {"array": PLACED | {name: value}}
    for name, value in (
        ("shape", [2]),
        ("strides", [16, 8]),
        ("strides", ["a"]),
        ("offset", 8),
        ("offset", -8),
        ("offset", "a"),
        ("shape", [-1]),
    )
}
TEXTS = {"depth": "[" * 100_000, "no JSON": "nonsense", "digits": "9" * 10_000}


@pytest.mark.parametrize("layouts", [True, False])
@pytest.mark.parametrize("name", [*FORGED, *TEXTS])
def test_a_forged_message_is_refused(name, layouts):
    tree = TEXTS.get(name) or json.dumps(FORGED[name])
    with pytest.raises(wire.REFUSED):
        wire.unpack(f'{{"parts": [8], "value": {tree}}}'.encode(), bytes(8), cl.ConvSpec, layouts)


@pytest.mark.parametrize("name", PLACES)
def test_no_array_lies_beyond_its_bytes(name):
    with pytest.raises(wire.REFUSED):
        wire.unpack(f'{{"parts": [8], "value": {json.dumps(PLACES[name])}}}'.encode(), bytes(8), layouts=True)


def test_a_submission_has_no_say_in_where_arrays_lie():
    odd = PLACED | {"strides": [-(2**40)], "offset": 2**40}
    value, _ = wire.unpack(f'{{"parts": [8], "value": {{"array": {json.dumps(odd)}}}}}'.encode(), bytes(8))
    assert_array_equal(value, [0.0], strict=True)


@given(st.binary(max_size=200), st.data())
def test_a_damaged_message_is_refused_or_read(junk, data):
    message = wire.pack([X, {"a": 1}, "text", np.float32(3)], id=4)
    at = data.draw(st.integers(wire.HEAD.size, len(message)))
    damaged = message[:at] + junk + message[at + data.draw(st.integers(0, 50)) :]
    header, _ = wire.lengths(message[: wire.HEAD.size])
    start = wire.HEAD.size
    with contextlib.suppress(wire.REFUSED):
        wire.unpack(damaged[start : start + header], damaged[start + header :])


def test_messages_have_a_largest_size():
    with pytest.raises(wire.TooLarge, match="32 MiB at most"):
        wire.pack(np.broadcast_to(1.0, (10**6, 10**6)))
    with pytest.raises(wire.TooLarge, match="at most"):
        wire.pack(["x" * 9999] * 500)
    with pytest.raises(wire.TooLarge, match="1000 arrays at most: it has 0 MiB and 1001"):
        wire.pack([np.zeros(1)] * 1001)
    with pytest.raises(wire.TooLarge, match="1000 arrays at most: it has 1001"):
        wire.unpack(json.dumps({"parts": [0] * 1001}).encode(), b"")
    with pytest.raises(wire.TooLarge, match="promises"):
        wire.lengths(wire.HEAD.pack(8, 2**60))


# The proxy


def test_it_is_called_like_the_function(submission):
    f = submission("def f(x, w, bias=None, *, stride=(1, 1), pad: int = 0, **rest): return stride, pad, x + w")
    f.load()
    assert f.__name__ == "f"
    assert str(inspect.signature(f)) == "(x, w, bias=None, *, stride=(1, 1), pad=0, **rest)"
    stride, pad, y = f(X, w=X.astype(np.float32), pad=2)
    assert (stride, pad) == ((1, 1), 2)
    assert_array_equal(y, 2 * X, strict=True)
    assert f.left == []


def test_a_class_a_partial_and_a_function_without_signature(submission):
    code = "import functools, numpy\nclass K:\n def __call__(self, x, stride=1): return x\nf = K()\n"
    f = submission(code + "g = functools.partial(f, stride=2)\nh = numpy.maximum")
    f.load()
    assert str(inspect.signature(f)) == "(x, stride=1)"
    g = Submission(f.path, "g")
    with g:
        g.load()
        assert str(inspect.signature(g)) == "(x, *, stride=2)"
    with Submission(f.path, "h") as h:
        assert_array_equal(h(X, 2.0), np.maximum(X, 2))


def test_memory_layouts_arrive(submission):
    f = submission("def f(x): return x.strides, x.flags.c_contiguous, x.flags.writeable, x.tolist()")
    for x in (X, X.T, X[::-1, ::2], np.broadcast_to(X[0], (4, 3))):
        assert f(x) == (x.strides, x.flags.c_contiguous, x.flags.writeable, x.tolist())


def test_a_call_is_watched_where_it_runs(submission):
    """What `outcome.watch` says of a function here, the other process says of it there."""
    code = """
        import numpy as np
        buffer = np.zeros((2, 3))
        def writes(x, w, *, p): x[0, :] = 7; p['pad'] = 9; return 0
        def gives_back(x): return x[:, ::-1], x.copy()
        def one_buffer(x): buffer[:] = x; return buffer
        def right(x): return x + 1
    """
    names: dict = {}
    exec(textwrap.dedent(code), names)
    calls = {"writes": [([X.T, X], {"p": {"pad": 1}})], "gives_back": [([X], {})], "one_buffer": [([X], {}), ([X + 1], {})]}
    calls["right"] = [([X], {}), ([X + 1], {}), ([X], {})]
    for name, arguments in calls.items():
        here = watch(names[name], [([np.array(x) for x in xs], {key: dict(v) for key, v in more.items()}) for xs, more in arguments])
        f = submission(code, name)
        there = f.watch(arguments)
        assert repr(there) == repr(here), name
    assert here.changed == here.aliases == ()
    assert_array_equal(X, np.arange(6.0).reshape(2, 3))


def test_calls_are_watched_together(submission):
    f = submission("kept = []\ndef f(x):\n  kept.append(x)\n  return sum(map(id, kept[:1])) == id(x)", limits=SHORT)
    assert f.watch([([X], {})] * 3).value is True  # the later arrays are written into the first
    slow = submission("import time\ndef f(x): time.sleep(0.7); return x", limits=SHORT)
    assert_array_equal(slow.watch([([X], {})] * 3).value, X)
    with pytest.raises(Crash, match="3 calls took longer than 3 s"):
        submission("import time\ndef f(x): time.sleep(2); return x", limits=SHORT).watch([([X], {})] * 3)


@pytest.mark.parametrize("changed", [[2], [-1], ["bias"], [None], [[0]], 7, [0.5]])
def test_forged_words_about_a_call_are_refused(submission, changed):
    f = submission(
        f"""
        import sys
        def f(x):
            frame = sys._getframe()
            while 'wire' not in frame.f_globals: frame = frame.f_back
            pack = frame.f_globals['wire'].pack
            frame.f_globals['wire'].pack = lambda value, **header: pack(value, **{{**header, 'changed': {changed!r}}})
            return x
        """
    )
    assert "is no answer" in crash(f)


def test_read_only_arguments_are_read_only_there(submission):
    f = submission("def f(x):\n  x[0] = 1")
    x = X.copy()
    x.flags.writeable = False
    with pytest.raises(ValueError, match=r"read-only \(student.py, line 2: x\[0\] = 1\)"):
        f(x)


def test_the_ladders_contract_needs_no_convlab(submission):
    f = submission("import sys, numpy\ndef f(x, w, geometry): return numpy.array(geometry.out_shape), 'convlab' in sys.modules")
    shape, loaded = f(X, X, cl.ConvSpec(3, 5, 3, padding="same").geometry(7, 9))
    assert_array_equal(shape, [7, 9, 5])
    assert loaded is False


def test_what_was_never_written_shows(submission):
    f = submission("import numpy as np\ndef f(n):\n  y = np.empty(n)\n  [np.zeros(n) for _ in range(9)]\n  return y")
    for n in (1, 6, 100, 4000):
        f(n)  # leaves blocks of zeros behind
        assert not np.any(f(n) == 0), n


def test_tensors_and_dataclasses_arrive_as_arrays_and_dicts(submission):
    f = submission(
        """
        from dataclasses import dataclass
        @dataclass
        class Cost:
            params: int
            macs: int
        class Tensor:
            def __init__(self, array): self.array = array
            def __array__(self, dtype=None, copy=None): return self.array
        def f(x): return Cost(3, 4), Tensor(x + 1), object()
        """
    )
    cost, tensor, other = f(X)
    assert cost == {"params": 3, "macs": 4}
    assert_array_equal(tensor, X + 1)
    assert (type(other).__name__, repr(other)) == ("object", "<builtins.object>")


# Errors of the function


@pytest.mark.parametrize(
    ("line", "kind", "message"),
    [
        ("x[7]", IndexError, "index 7 is out of bounds"),
        ("{}['key']", KeyError, "key"),
        ("x @ x", ValueError, "matmul"),
        ("np.sum(x, axis=9)", ValueError, "axis 9 is out of bounds"),
        ("f(x)", RecursionError, "recursion"),
        ("input()", EOFError, "EOF"),
        ("b'\\xff'.decode()", Exception, "can't decode"),
        ("np.ones((20000, 300))", ValueError, "32 MiB at most"),
    ],
)
def test_an_exception_arrives_with_its_type_and_its_line(submission, line, kind, message):
    f = submission(f"import numpy as np\ndef f(x):\n    return {line}")
    with pytest.raises(kind, match=message) as caught:
        f(X)
    assert "student.py, line 3: return" in str(caught.value) or "20000" in line
    assert not isinstance(caught.value, Crash)


def test_an_exception_of_its_own_keeps_its_name(submission):
    f = submission("class Wrong(ValueError):\n  def __str__(self): return 1/0\ndef f(x): raise Wrong")
    with pytest.raises(ValueError, match="its message raises ZeroDivisionError") as caught:
        f(X)
    assert type(caught.value).__name__ == "Wrong"


def test_after_an_exception_the_same_process_goes_on(submission):
    f = submission("import os\ndef f(n):\n  if n: raise ValueError('no')\n  return os.getpid()")
    first = f(0)
    with pytest.raises(ValueError, match="no"):
        f(1)
    assert f(0) == first


# Faults: each ends as one clear Crash, soon


def crash(f, *args):
    """Call, and return the message of the crash."""
    started = time.monotonic()
    with pytest.raises(Crash) as caught:
        f(*(args or (X,)))
    f.close()
    assert time.monotonic() - started < 20
    message = str(caught.value)
    assert "\n" not in message
    return message


FAULTS = {
    "endless loop": ("def f(x):\n  while True: pass", "one call took longer than 1 s: an endless loop"),
    "segfault": ("import ctypes\ndef f(x):\n  ctypes.string_at(0)", "died during one call: SIGSEGV (Segmentation fault), at line 3"),
    "abort": ("import os\ndef f(x): os.abort()", "SIGABRT"),
    "kill": ("import os\ndef f(x): os.kill(os.getpid(), 9)", "SIGKILL (Killed); the system may have run out of memory"),
    "kill the group": ("import os\ndef f(x): os.kill(0, 9)", "SIGKILL"),
    "sys.exit": ("import sys\ndef f(x): sys.exit(3)", "called exit(3)"),
    "KeyboardInterrupt": ("def f(x): raise KeyboardInterrupt", "raised KeyboardInterrupt"),
    "os._exit": ("import os\ndef f(x): os._exit(7)", "ended itself during one call, with exit code 7"),
    "40 GB": (
        "import numpy as np\ndef f(x): return np.empty(40 * 10**9, np.uint8)",
        "more than 4096 MiB of memory needed: Unable to allocate",
    ),
    "prints": (f"def f(x):\n  for _ in range({LARGEST_OUTPUT // 1000}): print('x' * 9999)", "printed more than 10 MB"),
    "closed": ("import os\ndef f(x): os.closerange(0, 200)", "closed the file descriptors"),
    "closed and taken": (
        "import os\ndef f(x):\n  os.closerange(0, 999)\n  for i in range(50): open(f'{i}', 'w+')\n  return x",
        "closed the file descriptors",
    ),
    "forged": (
        "import os\ndef f(x):\n  for fd in range(3, 999):\n    try: os.write(fd, b'x' * 99)\n    except OSError: pass",
        "is no answer",
    ),
    "LINE_LOST": (f"import os\ndef f(x): os._exit({LINE_LOST})", "closed the file descriptors"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_a_call_is_one_clear_line(submission, name):
    code, line = FAULTS[name]
    assert line in crash(submission(code, limits=SHORT if "endless" in name else QUICK))


LOADING = {
    "import error": (
        "import nosuchmodule",
        "student.py does not load: ModuleNotFoundError: No module named 'nosuchmodule' (student.py, line 1:",
    ),
    "syntax error": ("def f(x)\n  pass", "student.py does not load: SyntaxError: expected ':' (student.py, line 1: def f(x))"),
    "null bytes": ("f = 1\0", "does not load: "),
    "bad encoding": ("# coding: nosuch\nf = 1", "does not load: SyntaxError"),
    "exception": ("def f(x): return x\n1 / 0", "ZeroDivisionError: division by zero (student.py, line 2: 1 / 0)"),
    "exit": ("import sys\nsys.exit('bye')", "SystemExit: bye"),
    "no function": ("def g(x): return x\nclass C: pass", "student.py does not load: the file has no 'f': it defines g"),
    "empty": ("", "the file has no 'f': it defines no function"),
    "no callable": ("f = 3", "'f' must be a function: it is int"),
    "endless loop": ("while True: pass", "loading student.py took longer than 1 s"),
    "os._exit": ("import os\nos._exit(0)", "ended itself during loading student.py, with exit code 0"),
}


@pytest.mark.parametrize("name", LOADING)
def test_a_file_that_does_not_load_is_one_clear_line(submission, name):
    code, line = LOADING[name]
    assert line in crash(submission(code, limits=SHORT if "endless" in name else QUICK))


def test_after_a_crash_the_next_call_starts_anew(submission):
    f = submission("import os\ndef f(n):\n  if n: os._exit(1)\n  return os.getcwd()")
    first = f(0)
    assert "exit code 1" in crash(f, 1)
    second = f(0)
    assert first != second
    assert not os.path.exists(first)


def test_the_time_for_the_whole_is_bounded(submission):
    f = submission("import time\ndef f(x): time.sleep(0.3); return x", limits=Limits(seconds=2, call_seconds=60))
    started = time.monotonic()
    with pytest.raises(Crash, match="the 2 s for the whole check are used up"):
        list(map(f, [X] * 100))
    assert 1.5 < time.monotonic() - started < 8
    with pytest.raises(Crash, match="the 2 s for the whole check are used up"):
        f(X)


def test_a_prompt_print_is_kept_and_a_flood_is_cut(submission):
    f = submission("import sys\ndef f(x): print('hello'); print('there', file=sys.stderr); print('x' * 100_000); return x")
    f(X)
    f.close()
    assert f.output.startswith("hello\nthere\nxxx")
    assert len(f.output) < 5000


def test_what_is_written_to_stdout_does_not_disturb_the_line(submission):
    f = submission("import os, sys\ndef f(x): os.write(1, bytes(range(256))); sys.stdout.close(); sys.stderr = None; return x + 1")
    assert_array_equal(f(X), X + 1)
    assert_array_equal(f(X), X + 1)


# What it leaves behind

NOTE = """
import os, time, subprocess
def note(pid):
    path = os.path.join(os.path.dirname(__file__), f'pid-{pid}')
    with open(path + '~', 'w') as file:
        file.write(f"{pid} {os.readlink('/proc/self/ns/pid')}")
    os.rename(path + '~', path)
"""
LEAVING = {
    "child": "def f(x): note(subprocess.Popen(['sleep', '300']).pid); return 1",
    "daemon": """
def f(x):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            note(os.getpid())
            time.sleep(300)
        os._exit(0)
    time.sleep(0.2)
    return 1
""",
    "ignores SIGTERM": """
import signal
def f(x):
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        note(os.getpid())
        time.sleep(300)
    time.sleep(0.2)
    return 1
""",
}


@pytest.mark.skipif(sys.platform != "linux", reason="finding daemons needs a subreaper and /proc")
@pytest.mark.parametrize("name", LEAVING)
def test_processes_left_behind_are_named_and_killed(submission, tmp_path, name):
    f = submission(NOTE + LEAVING[name])
    assert f(X) == 1
    assert [alive(pid) for pid in pids(tmp_path)] == [True]
    f.close()
    assert f.left == ["1 process left running: each must be ended by the function"]
    assert [alive(pid) for pid in pids(tmp_path)] == [False]


@pytest.mark.skipif(sys.platform != "linux", reason="finding daemons needs a subreaper and /proc")
@pytest.mark.parametrize("end", ["os._exit(3)", "os.kill(os.getpid(), 11)", "time.sleep(300)"])
def test_a_crash_leaves_no_daemon(submission, tmp_path, end):
    f = submission(NOTE + LEAVING["daemon"].replace("return 1", end), limits=SHORT)
    crash(f)
    assert len(pids(tmp_path)) == 1
    assert not alive(pids(tmp_path)[0])


def test_a_fork_that_comes_home_does_not_answer(submission):
    f = submission("import os\ndef f(x): os.fork(); return os.getpid()")
    assert f(X) == f(X)
    f.close()
    assert f.left == []


def test_threads_left_running_are_named(submission):
    f = submission("import threading, time\ndef f(x): threading.Thread(target=time.sleep, args=(300,)).start(); return 1")
    assert f(X) == 1
    f.close()
    assert f.left == ["threads left running: the process did not end within 2 s of its last call"]


def test_a_pool_that_is_closed_leaves_nothing(submission):
    f = submission(
        """
        from concurrent.futures import ThreadPoolExecutor
        def f(x):
            with ThreadPoolExecutor(2) as pool:
                return sum(pool.map(float, x.flat))
        """
    )
    assert f(X) == X.sum()
    f.close()
    assert f.left == []


def test_its_folder_is_its_own_and_goes(submission):
    f = submission(
        """
        import os, tempfile
        def f(x):
            open('file', 'w').write('x')
            os.makedirs('a/b'); os.chmod('a', 0)
            return os.getcwd(), tempfile.gettempdir(), os.path.expanduser('~'), os.listdir()
        """
    )
    folder, *others, files = f(X)
    assert others == [folder, folder]
    assert folder != os.getcwd()
    assert sorted(files) == ["a", "file"]
    assert os.path.isdir(folder)
    f.close()
    assert not os.path.exists(folder)


def test_the_environment_is_not_passed_on(submission, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    f = submission("import os\ndef f(x): return list(os.environ), os.environ.get('PATH')")
    names, path = f(X)
    assert path == os.environ["PATH"]
    assert "SECRET_TOKEN" in os.environ
    ours = {"HOME", "TMPDIR", "NUMBA_CACHE_DIR", "MALLOC_PERTURB_", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"}
    assert set(names) <= ours | set(PASSED_ON)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_it_dies_with_the_grader_and_so_does_its_folder(tmp_path):
    (tmp_path / "student.py").write_text(
        NOTE + "open(__file__ + '.cwd', 'w').write(os.getcwd())\ndef f(x):\n  note(os.getpid())\n  while True: pass"
    )
    code = f"from convlab.checker.isolation import Submission; Submission({str(tmp_path / 'student.py')!r}, 'f')(1)"
    grader = subprocess.Popen([sys.executable, "-c", code])
    try:
        end = time.monotonic() + 30
        while not pids(tmp_path):
            assert time.monotonic() < end
            time.sleep(0.02)
    finally:
        grader.kill()
        grader.wait()
    end = time.monotonic() + 10
    folder = (tmp_path / "student.py.cwd").read_text()
    while alive(pids(tmp_path)[0]) or os.path.exists(folder):
        assert time.monotonic() < end
        time.sleep(0.02)


# What it may import


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("convlab", "import {0}\ndef f(x): return 1"),
        ("json", "import {0}\ndef f(x): return 1"),  # one that is loaded by then
        ("convlab", "from {0}.checker import mistakes\ndef f(x): return 1"),
        ("convlab", "def f(x): import {0}.conv as c"),
        ("json", "import importlib\ndef f(x): importlib.import_module('{0}.decoder')"),
        ("convlab", "def f(x): exec('__import__(\"{0}\")')"),
    ],
)
def test_a_forbidden_module_is_refused(submission, name, code):
    f = submission(code.format(name), limits=Limits(forbid=("torch", name)))
    with pytest.raises((Crash, ImportError), match=f"{name}.* is forbidden here: the kernel must be your own"):
        f(X)


WAYS_ROUND = {
    "the finder removed": "sys.meta_path.pop(0); import {0}",
    "all finders replaced": "import importlib.machinery; sys.meta_path[:] = [importlib.machinery.PathFinder]; import {0}",
    "loaded by its path": """
import importlib.machinery, importlib.util
sys.meta_path.pop(0)
place = importlib.machinery.PathFinder.find_spec('{0}')
spec = importlib.util.spec_from_file_location('other', place.origin, submodule_search_locations=place.submodule_search_locations)
sys.modules['other'] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
""",
    "run as a script": "import runpy; sys.meta_path.pop(0); runpy.run_module('{0}')",
}


@pytest.mark.parametrize("name", ["convlab", "wave", "ctypes"])
@pytest.mark.parametrize("way", WAYS_ROUND)
def test_there_is_no_way_round_the_fence_by_its_finder(submission, way, name):
    f = submission(f"import sys\n{WAYS_ROUND[way].format(name)}\ndef f(x): return 1", limits=Limits(forbid=("torch", name)))
    with pytest.raises((Crash, ImportError), match=f"{name} is forbidden here"):
        f(X)


def test_a_module_that_does_without_the_forbidden_one_goes_on(submission):
    f = submission("try:\n  import torch\nexcept ImportError:\n  torch = None\ndef f(x): return torch", limits=Limits(forbid=("torch",)))
    assert f(X) is None


def test_the_fence_has_no_gaps_between_names():
    fence = Fence(["scipy.signal", "torch"])
    assert [fence.refuses(name) for name in ("torch", "torch.nn", "torchvision", "scipy", "scipy.signal", "scipy.signal.x")] == [
        True,
        True,
        False,
        False,
        True,
        True,
    ]


def test_files_beside_it_can_be_imported_where_they_are_its_own(submission, tmp_path):
    (tmp_path / "helper_beside.py").write_text("def double(x): return 2 * x")
    code = "from helper_beside import double\ndef f(x): return double(x)"
    assert_array_equal(submission(code)(X), 2 * X)
    assert "No module named 'helper_beside'" in crash(submission(code, siblings=False))


def test_no_bytecode_is_left_beside_it(submission, tmp_path):
    (tmp_path / "helper_beside.py").write_text("")
    submission("import helper_beside\ndef f(x): return 1")(X)
    assert not list(tmp_path.rglob("__pycache__"))


# What the caller gets wrong


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seconds": 0}, "seconds must be above 0: seconds=0"),
        ({"call_seconds": float("nan")}, "call_seconds must be above 0: call_seconds=nan"),
        ({"seconds": float("inf")}, "seconds must be above 0"),
        ({"memory": 100}, "memory must be at least 512 MiB, or NumPy does not load: memory=100"),
        ({"forbid": ("torch", "numpy")}, "numpy cannot be forbidden, the arguments are its arrays: forbid=torch,numpy"),
    ],
)
def test_wrong_limits(options, message):
    with pytest.raises(ValueError, match=message):
        Limits(**options)


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file: "):
        Submission(tmp_path / "nosuch.py", "f")
    with pytest.raises(FileNotFoundError, match="no such file: "):
        Submission(tmp_path, "f")


def test_the_least_memory_suffices_for_numpy(submission):
    assert_array_equal(submission("def f(x): return x", limits=Limits(memory=512))(X), X)


def test_open_files_do_not_pile_up(submission):
    f = submission("import os\ndef f(n): os._exit(1)")
    crash(f, 1)
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        crash(f, 1)
    assert len(os.listdir("/dev/fd")) == before
