"""Submissions that mean harm: whatever they do, no wrong one passes, the grader goes on, and nothing of them is left.

`HARM` has the deeds. Each is done while the file loads and during a call, and Hypothesis combines them (with CI set: many more). What runs
where a system forbids namespaces is tried behind a filter of system calls, as a container's.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convlab.checker import batch
from convlab.checker.grading import gradescope, junit, to_csv
from convlab.checker.isolation import FileReport, Limits, check_file
from convlab.checker.isolation import process as process_file
from convlab.checker.isolation.folder import remove

LONG = bool(os.environ.get("CI"))
ROOT = Path(__file__).resolve().parents[2]
LIMITS = Limits(seconds=12, call_seconds=3)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc, and Linux has what keeps a submission in")

ABOVE = """
def above():
    '''Return the keeper and the grader, or whichever of them can be named, and nobody above: this runs on people's machines.'''
    keeper = os.getppid()
    if keeper == 1:  # the first process of a namespace of its own; else this process would have ended with its keeper
        return [1] if os.getpid() < 20 else []
    grader = int(open(f'/proc/{keeper}/stat').read().rpartition(') ')[2].split()[1])
    return [keeper, grader] if grader > 1 else [keeper]
above = above()
"""

FORGE = """
def to_grader(message):
    import fcntl, stat
    for fd in range(3, 50):
        try:
            if not stat.S_ISFIFO(os.fstat(fd).st_mode) or not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_WRONLY: continue
        except OSError: continue
        rest = message
        while rest: rest = rest[os.write(fd, rest):]

def forge(shape, parts):
    import json, struct
    array = {"dtype": "|u1", "shape": shape, "part": 0}
    for id in range(1, 5):
        text = json.dumps({"id": id, "value": {"list": [{"array": array}] * parts}, "parts": [2**24]}).encode()
        to_grader(struct.pack(">IQ", len(text), 2**24) + text + bytes(2**24))
"""

HARM = {
    **{
        f"{name} to all parents": f"for pid in above:\n  try: os.kill(pid, signal.{name})\n  except OSError: pass\n"
        for name in ("SIGINT", "SIGTERM", "SIGKILL", "SIGSTOP", "SIGSEGV", "SIGHUP", "SIGCHLD")
    },
    "SIGINT again and again": """
if os.fork() == 0:
    for _ in range(200):
        for pid in above:
            try: os.kill(pid, signal.SIGINT)
            except OSError: pass
        time.sleep(0.01)
    os._exit(0)
""",
    "SIGKILL to its group": "os.killpg(0, 9)",
    "a daemon that kills its parents": """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for pid in above:
            try: os.kill(pid, 9)
            except OSError: pass
        time.sleep(300)
    os._exit(0)
""",
    "a hundred children": "for _ in range(100):\n  if os.fork() == 0:\n    time.sleep(300)\n    os._exit(0)\n",
    "children without end": "for _ in range(5000):\n  try: pid = os.fork()\n  except OSError: break\n  if pid == 0: time.sleep(300)\n",
    "folders 3000 deep": "for _ in range(3000): os.mkdir('d'); os.chdir('d')\n",
    "folders without rights": "os.makedirs('a/b/c'); os.chmod('a/b', 0); os.chmod('a', 0); os.chmod('.', 0)",
    "its own folder removed": "import shutil; shutil.rmtree(os.environ['HOME'])",
    "a sparse file": "with open('big', 'wb') as file: file.truncate(2**29)",
    "a file beyond the limit": "with open('big', 'wb') as file: file.truncate(20 * 2**30)",
    "pipes and links": "os.mkfifo('pipe'); os.symlink('/', 'root'); os.symlink('loop', 'loop'); os.symlink('/dev/zero', 'zero')",
    "odd names": """
for name in ('n' * 255, '\u6f22' * 85, 'a\\nb', '\\x1b[31m', '\\x07', os.fsdecode(b'\\xff')):
    open(name, 'w').close()
""",
    "garbage into every file": "for fd in range(3, 99):\n  try: os.write(fd, os.urandom(64))\n  except OSError: pass\n",
    "every file closed": "os.closerange(0, 99)",
    "an absurd shape": "forge(['a', 4294967296], 1)",
    "one part many times": "forge([2**24], 150)",
    "a header without end": "to_grader(b'\\xff' * 12)",
    "finders removed": "sys.meta_path.clear(); sys.path_hooks.clear()",
    "the library broken": """
import json, numpy
json.dumps = json.loads = numpy.array_equal = numpy.asarray = lambda *a, **k: True
os.getpid = lambda: 7
""",
    "memory of others": """
for pid in above:
    try:
        maps = open(f'/proc/{pid}/maps').read().split('\\n')
        with open(f'/proc/{pid}/mem', 'r+b', buffering=0) as memory:
            memory.seek(int(next(line for line in maps if 'rw-p' in line).split('-')[0], 16))
            memory.write(bytes(4096))
    except (OSError, StopIteration): pass
""",
    "files of others": """
for pid in above:
    for fd in range(3, 30):
        try:
            with open(f'/proc/{pid}/fd/{fd}', 'wb', buffering=0, opener=lambda p, f: os.open(p, os.O_WRONLY | os.O_NONBLOCK)) as other:
                other.write(b'{"report": {}}\\n' * 9)
        except OSError: pass
""",
    "control characters": "print('\\x1b[2J\\x07\\0'); raise type('\\x1b[31mE', (ValueError,), {})('\\x1b]0;title\\x07 \\0 \\ud800')",
    "an exit that says them": "sys.exit('\\x1b[31m\\x07\\0')",
    "an interrupt": "raise KeyboardInterrupt",
    "an abort": "os.abort()",
    "an alarm": "signal.alarm(1); time.sleep(2)",
    "a handler for all": """
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
""",
    "a thread without end": "import threading\nthreading.Thread(target=lambda: [None for _ in iter(int, 1)]).start()",
    "deep recursion": "sys.setrecursionlimit(10**6)\ndef down(): down()\ndown()",
    "stopped": "os.kill(os.getpid(), signal.SIGSTOP)",
    "mounts": "import ctypes\nctypes.CDLL(None).umount2(b'/proc', 2); ctypes.CDLL(None).unshare(0x10000000)",
    "root again": "import ctypes\ntry: os.setresuid(0, 0, 0)\nexcept OSError: pass\nctypes.CDLL(None).setns(3, 0)",
}
WRONG = "y = np.maximum(x, 0)  # not below 6"


def program(at_load: list[str], in_call: list[str], wrong: bool = True) -> str:
    """Return a submission that does harm, and clips wrongly."""
    lines = "import os, signal, sys, time\nimport numpy as np\n" + ABOVE + FORGE
    lines += "".join(f"{HARM[name]}\n" for name in at_load)
    body = "".join(f"{HARM[name]}\n" for name in in_call) + (WRONG if wrong else "y = np.clip(x, 0, 6)") + "\nreturn y\n"
    return f"{lines}\ndef f(x):\n{textwrap.indent(body, '  ')}"


def leftovers() -> set[str]:
    """Return folders of submissions that are still there, and processes that have one as their home."""
    temporary = Path(os.environ.get("TMPDIR", "/tmp"))
    found = {str(path) for path in temporary.glob("convlab-check-*")}
    for variables in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # it may have ended by now
            if f"HOME={temporary}/convlab-check-".encode() in variables.read_bytes():
                found.add(variables.parent.name)
    return found


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Let folders of submissions be where no other test looks."""
    path = tmp_path / "tmp"
    path.mkdir()
    monkeypatch.setenv("TMPDIR", str(path))
    monkeypatch.setattr(process_file.tempfile, "tempdir", str(path))


def assert_harmless(path: Path, code: str) -> FileReport:
    """Check a wrong submission and look at what is left of it."""
    path.write_text(code, encoding="utf-8", errors="surrogatepass")
    started, memory = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = check_file(path, "f", op="relu6", limits=LIMITS)
    assert not report.passed
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 300_000  # KiB
    assert time.monotonic() - started < LIMITS.seconds + 30
    texts = [str(report), *leaves(report.to_dict()), *leaves(gradescope(report)), junit([report]), to_csv([batch.row("f.py", report)])]
    assert not [text for text in texts if not text.translate({ord(c): None for c in "\n\t\r"}).isprintable()]
    assert FileReport.from_dict(json.loads(json.dumps(report.to_dict()))).properties == report.properties
    end = time.monotonic() + 10
    while found := leftovers():
        assert time.monotonic() < end, found
        time.sleep(0.05)
    return report


def leaves(value) -> list[str]:
    """Return every text in plain values."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in leaves(part)]
    return [text for part in value for text in leaves(part)] if isinstance(value, list) else []


ALWAYS_LOADING = ["SIGINT again and again", "a daemon that kills its parents", "folders 3000 deep", "one part many times"]
ALWAYS_CALLED = [
    "SIGKILL to all parents",
    "control characters",
    "memory of others",
    "an absurd shape",
    "odd names",
    "folders without rights",
]


@pytest.mark.parametrize("name", HARM if LONG else ALWAYS_LOADING)
def test_harm_while_loading(tmp_path, name):
    assert_harmless(tmp_path / "student.py", program([name], []))


@pytest.mark.parametrize("name", HARM if LONG else ALWAYS_CALLED)
def test_harm_in_a_call(tmp_path, name):
    assert_harmless(tmp_path / "student.py", program([], [name]))


deeds = st.lists(st.sampled_from(sorted(HARM)), max_size=3)


@settings(max_examples=100 if LONG else 2, suppress_health_check=list(HealthCheck))  # it is the checker that draws within
@given(deeds, deeds)
def test_harm_combined(tmp_path_factory, at_load, in_call):
    assert_harmless(tmp_path_factory.mktemp("harm") / "student.py", program(at_load, in_call))


# Where the system gives no namespaces, and where it gives nothing

FILTER = """
import ctypes, struct, sys

def forbid(*calls):
    '''Let system calls fail with EPERM, for this process and those that it starts.'''
    lines = [struct.pack("HBBI", 0x20, 0, 0, 0)]  # load the call's number
    for i, number in enumerate(calls):
        lines.append(struct.pack("HBBI", 0x15, len(calls) - i, 0, number))  # if it is this one, jump to the last line
    lines += [struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000), struct.pack("HBBI", 0x06, 0, 0, 0x00050001)]
    data = b"".join(lines)
    lines_at = ctypes.create_string_buffer(data, len(data))
    filter = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(lines), ctypes.addressof(lines_at)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(38, 1, 0, 0, 0)
    if libc.prctl(22, 2, filter, 0, 0):
        sys.exit("no filters of system calls here")
"""
NUMBERS = {"x86_64": {"unshare": 272, "setresuid": 117}, "aarch64": {"unshare": 97, "setresuid": 147}}.get(os.uname().machine, {})


def without(calls: tuple[str, ...], code: str, **options) -> subprocess.CompletedProcess:
    """Run Python code in a process in which the system refuses some calls."""
    numbers = ", ".join(str(NUMBERS[name]) for name in calls)
    return subprocess.run(
        [sys.executable, "-c", f"{FILTER}\nforbid({numbers})\n{textwrap.dedent(code)}"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        **options,
    )


needs_numbers = pytest.mark.skipif(not NUMBERS, reason="the numbers of the system calls are known for x86-64 and ARM alone")


@needs_numbers
@pytest.mark.parametrize("calls", [("unshare",), ("unshare", "setresuid")])
def test_what_is_missing_is_said(tmp_path, calls):
    (tmp_path / "student.py").write_text("def f(x): return x.clip(0, 6)\n")
    done = without(
        calls,
        f"""
        from convlab.checker.isolation import check_file
        report = check_file({str(tmp_path / "student.py")!r}, "f", op="relu6")
        print(report.passed, repr(report.exposed))
        print(report)
        """,
    )
    verdict, text = done.stdout.split("\n", 1)
    protected = calls == ("unshare",) and os.geteuid() == 0
    assert verdict.startswith("True")
    assert ("unshare: Operation not permitted" in verdict) == (not protected)
    assert ("Not kept from signalling the grader: unshare" in text) == (not protected)
    assert done.stderr == ""


SIGNALS = [name for name in HARM if ("parents" in name or "again" in name) and "SIGSTOP" not in name]


@needs_numbers
@pytest.mark.parametrize("calls", [("unshare",), ("unshare", "setresuid")])
@pytest.mark.parametrize("name", SIGNALS if LONG else ["SIGINT again and again", "a daemon that kills its parents"])
def test_harm_without_namespaces(tmp_path, calls, name):
    """Nothing passes; and where the submission is another user, nothing happens to the grader. A daemon does not outlive it.

    A grader that is stopped (SIGSTOP) gives no verdict either, but nobody can wait for that.
    """
    out = tmp_path / "report.json"
    (tmp_path / "student.py").write_text(program([], [name]), encoding="utf-8", errors="surrogatepass")
    done = without(
        calls,
        f"""
        import json
        from convlab.checker.isolation import Limits, check_file
        report = check_file({str(tmp_path / "student.py")!r}, "f", op="relu6", limits=Limits(12, 3))
        open({str(out)!r}, "w").write(json.dumps(report.to_dict()))
        """,
        start_new_session=True,
    )
    if out.exists():
        assert json.loads(out.read_text())["passed"] is False
    else:
        assert done.returncode != 0
        assert "setresuid" in calls or os.geteuid() != 0, done.stderr
    if out.exists():  # else there is nobody left to look for what the keeper left
        end = time.monotonic() + 10
        while found := leftovers():
            assert time.monotonic() < end, found
            time.sleep(0.05)


# A folder of them


def lay_out(folder: Path) -> None:
    """Make submissions that are no programs, or have names like no other."""
    right = "def f(x): return x.clip(0, 6)\n"
    folder.mkdir()
    os.mkfifo(folder / "pipe.py")
    (folder / "zero.py").symlink_to("/dev/zero")
    (folder / "nowhere.py").symlink_to("nosuch")
    with open(folder / "sparse.py", "wb") as file:
        file.truncate(20 * 2**30)
    for name in ("n" * 240, "\u6f22" * 80, "\x1b[31mred\x07", "two\nlines", os.fsdecode(b"\xff\xfe"), "=1+1", "100%"):
        (folder / f"{name}.py").write_text(right)
    (folder / "unreadable.py").write_text(right)
    (folder / "ann.py").write_text(right)


def test_no_file_ends_the_check_of_the_others(tmp_path, monkeypatch):
    lay_out(tmp_path / "submissions")
    options = batch.Settings("f", op="relu6", limits=LIMITS)
    rows = batch.check_folder(tmp_path / "submissions", options, tmp_path / "out", jobs=2)
    told = {row["file"]: row["message"] for row in rows if not row["passed"]}
    assert len(rows) == 13
    assert {name: told[name] for name in ("pipe.py", "zero.py", "nowhere.py", "sparse.py")} == {
        "pipe.py": "pipe.py does not load: it is no regular file",
        "zero.py": "zero.py does not load: it is no regular file",
        "nowhere.py": "nowhere.py does not load: No such file or directory",
        "sparse.py": "sparse.py does not load: it has 21,474,836,480 bytes, a program may have 4,194,304",
    }
    assert len(told) == 4
    table = (tmp_path / "out" / "table.csv").read_text()
    assert [text for text in [table, *leaves(rows)] if not text.replace("\n", "").replace("\r", "").isprintable()] == []
    monkeypatch.setattr(batch, "_checked", lambda root, names, *rest: pytest.fail(f"checked again: {names}") if names else iter(()))
    assert batch.check_folder(tmp_path / "submissions", options, tmp_path / "out") == rows


def test_what_lies_beside_a_program_does_not_hold_up_its_key(tmp_path):
    path = tmp_path / "ann" / "conv.py"
    path.parent.mkdir()
    path.write_text("def f(x): return x.clip(0, 6)\n")
    os.mkfifo(path.with_name("helper.py"))
    path.with_name("data.py").symlink_to("/dev/zero")
    path.with_name("loop").symlink_to(".")
    with open(path.with_name("large.py"), "wb") as file:
        file.truncate(20 * 2**30)
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        for _ in range(3000):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(here)
    started = time.monotonic()
    first = batch._key(b"", path, siblings=True)
    assert time.monotonic() - started < 5
    path.with_name("other.py").write_text("")
    assert batch._key(b"", path, siblings=True) != first
    remove(str(path.parent))  # pytest cannot
    assert not path.parent.exists()


def test_a_damaged_report_is_checked_again(tmp_path):
    (tmp_path / "a.py").write_text("def f(x): return x\n")
    options = batch.Settings("f", op="relu6", limits=LIMITS)
    batch.check_folder(tmp_path, options, tmp_path / "out")
    path = tmp_path / "out" / "reports" / "a.py.json"
    good = path.read_bytes()
    key = json.loads(good)["key"]
    whole = batch._kept(path, key).to_dict()
    changes = range(len(good)) if LONG else range(0, len(good), max(1, len(good) // 100))
    kept = 0
    for i in changes:
        for damaged in (good[:i] + bytes([good[i] ^ 1]) + good[i + 1 :], good[:i] + good[i + 1 :], good[:i]):
            path.write_bytes(damaged)
            report = batch._kept(path, key)
            kept += report is not None
            assert report is None or report.to_dict() == whole, i  # spaces may differ
    assert kept < len(changes)


@pytest.mark.parametrize("file", ["geometry.py", "cost.py", "kernels/im2col.py", "checker/report.py"])
def test_reports_are_outdated_by_any_change_of_the_package(tmp_path, monkeypatch, file):
    import shutil

    copy = tmp_path / "convlab"
    shutil.copytree(batch.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "*.npz"))
    monkeypatch.setattr(batch, "PACKAGE", copy)
    options = batch.Settings("f", op="relu6")
    before = batch._common_key(options)
    assert batch._common_key(options) == before
    (copy / file).write_text((copy / file).read_text() + "# changed\n")
    assert batch._common_key(options) != before


# No code of submissions in the grader's own processes

MODULES = {*sys.stdlib_module_names, "rich", "numpy", "numba", "hypothesis", "PIL", "llvmlite", "sortedcontainers", "attr"}


@pytest.fixture(scope="module")
def loaded_early(tmp_path_factory):
    """Return the modules that Python itself imports before the first line of what is started with ``-m``: no package can help that."""
    folder = tmp_path_factory.mktemp("early")
    (folder / "first.py").write_text("import sys; print(*sys.modules)")
    done = subprocess.run([sys.executable, "-m", "first"], cwd=folder, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize(
    ("start", "target"),
    [
        ("convlab", "."),
        ("python -m convlab", "student.py:f"),
        *([("convlab", "student.py:f"), ("python -m convlab", "."), ("python -P -m convlab", ".")] if LONG else ()),
    ],
)
def test_no_file_beside_the_submissions_runs_in_the_grader(tmp_path, loaded_early, start, target):
    folder = tmp_path / "submissions"
    folder.mkdir()
    for name in MODULES - (loaded_early if start == "python -m convlab" else set()):
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r} + ' ')\nraise SystemExit(9)\n")
    (folder / "student.py").write_text("def f(x): return x.clip(0, 6)\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "convlab").write_text("import sys\nfrom convlab.__main__ import main\nsys.exit(main())\n")
    arguments = [str(tmp_path / "bin" / "convlab")] if start == "convlab" else start.split()[1:]
    command = [sys.executable, *arguments, "check", target, "--op", "relu6"]
    if target == ".":
        command += ["--function", "f", "--out", str(tmp_path / "out"), "--pattern", "student.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert not (tmp_path / "ran").exists(), (tmp_path / "ran").read_text()
    assert (done.returncode, done.stderr) == (0, "")
    assert "passed" in done.stdout


def test_more_folders_than_can_be_removed_are_said(tmp_path):
    for path in ("a/b/c", "d"):
        (tmp_path / "full" / path).mkdir(parents=True)
    with pytest.raises(OSError, match="more folders than can be removed in 0 s"):
        remove(str(tmp_path / "full"), seconds=0)
    remove(str(tmp_path / "full"))
    assert not (tmp_path / "full").exists()
