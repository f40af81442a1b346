"""A folder of submissions: which files, one table, and nothing done twice."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from convlab.checker import batch, graders
from convlab.checker.batch import Settings, check_folder, submissions
from convlab.checker.isolation import FileReport, Limits, check_file

RIGHT = "import numpy as np\ndef f(x): return np.clip(x, 0, 6)\n"
WRONG = "import numpy as np\ndef f(x): return np.maximum(x, 0)\n"
EXITS = "import os\ndef f(x): os._exit(3)\n"
QUICK = Settings("f", op="relu6", limits=Limits(seconds=30, call_seconds=10))


@pytest.fixture
def folder(tmp_path):
    """Return a folder with submissions: right, wrong, broken and missing."""
    path = tmp_path / "submissions"
    path.mkdir()
    for name, code in {"ann": RIGHT, "ben": WRONG, "cem": EXITS, "dan": "def f(x) return", "=eve": RIGHT}.items():
        (path / f"{name}.py").write_text(code)
    (path / "notes.txt").write_text("no submission")
    (path / ".hidden.py").write_text(RIGHT)
    return path


def seen_by(calls):
    return lambda name, report: calls.append((name, report.passed))


def test_a_folder_becomes_one_table(folder, tmp_path):
    calls: list = []
    rows = check_folder(folder, QUICK, tmp_path / "out", jobs=2, done=seen_by(calls))
    names = ["=eve.py", "ann.py", "ben.py", "cem.py", "dan.py"]
    assert [row["file"] for row in rows] == names
    assert [row["passed"] for row in rows] == [True, True, False, False, False]
    assert [row["score"] for row in rows[:2]] == [1.0, 1.0]
    assert 0 < rows[2]["score"] < 1
    assert "exit code 3" in rows[3]["message"]
    assert "SyntaxError" in rows[4]["message"]
    assert sorted(calls) == [(row["file"], row["passed"]) for row in rows]
    assert json.loads((tmp_path / "out" / "table.json").read_text()) == rows
    with open(tmp_path / "out" / "table.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["file"] for row in table] == ["'=eve.py", *names[1:]]
    assert [row["passed"] for row in table] == [str(row["passed"]) for row in rows]
    stored = json.loads((tmp_path / "out" / "reports" / "ben.py.json").read_text())
    report = FileReport.from_dict(stored["report"])
    assert batch.row("ben.py", report) == rows[2]
    assert not list(tmp_path.rglob("*.part"))


def test_only_what_changed_is_checked_again(folder, tmp_path, monkeypatch):
    out = tmp_path / "out"
    (folder / "cem.py").unlink()
    first = check_folder(folder, QUICK, out)
    checked: list = []
    real = batch._checked
    monkeypatch.setattr(batch, "_checked", lambda root, names, *rest: checked.extend(names) or real(root, names, *rest))

    assert check_folder(folder, QUICK, out) == first
    assert checked == []

    (folder / "ben.py").write_text(RIGHT)  # changed
    (folder / "new.py").write_text(RIGHT)  # new
    (out / "reports" / "ann.py.json").write_text('{"key": ')  # damaged
    (folder / "dan.py").unlink()  # gone
    rows = check_folder(folder, QUICK, out)
    assert checked == ["ann.py", "ben.py", "new.py"]
    assert [row["file"] for row in rows] == ["=eve.py", "ann.py", "ben.py", "new.py"]
    assert all(row["passed"] for row in rows)

    checked.clear()
    check_folder(folder, Settings("f", op="relu6", seed=1), out)
    assert checked == ["=eve.py", "ann.py", "ben.py", "new.py"]


def test_a_folder_per_student(tmp_path):
    for name, helper in (("ann", "x.clip(0, 6)"), ("ben", "x")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "conv.py").write_text("from helper import g\ndef f(x): return g(x)\n")
        (tmp_path / name / "helper.py").write_text(f"def g(x): return {helper}\n")
    rows = check_folder(tmp_path, QUICK, tmp_path / "out", pattern="*/conv.py")
    assert [(row["file"], row["passed"]) for row in rows] == [("ann/conv.py", True), ("ben/conv.py", False)]
    (tmp_path / "ben" / "helper.py").write_text("def g(x): return x.clip(0, 6)\n")  # what is beside it counts
    assert all(row["passed"] for row in check_folder(tmp_path, QUICK, tmp_path / "out", pattern="*/conv.py"))


def test_files_of_one_folder_cannot_import_one_another(folder, tmp_path):
    (folder / "cheat.py").write_text("from ann import f\n")
    (row,) = (row for row in check_folder(folder, QUICK, tmp_path / "out", pattern="cheat.py"))
    assert "No module named 'ann'" in row["message"]


def test_which_files(folder, tmp_path):
    assert submissions(folder) == ["=eve.py", "ann.py", "ben.py", "cem.py", "dan.py"]
    assert submissions(folder, "a*.py") == ["ann.py"]
    with pytest.raises(NotADirectoryError, match="no such folder"):
        submissions(tmp_path / "nosuch")
    with pytest.raises(ValueError, match=r"no file of the folder fits the pattern: folder=.*pattern='\*.c'"):
        submissions(folder, "*.c")
    with pytest.raises(ValueError, match="jobs must be at least 1: jobs=0"):
        check_folder(folder, QUICK, tmp_path / "out", jobs=0)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_file_whose_grader_dies_is_not_judged_and_all_others_are(tmp_path, monkeypatch, number):
    """What a submission cannot do where it is kept apart, the system can: for want of memory, say."""
    folder, out = tmp_path / "submissions", tmp_path / "out"
    folder.mkdir()
    for name in ("a.py", "b.py", "c.py"):
        (folder / name).write_text(RIGHT)
    real = graders.Grader.check

    def check(self, name, *rest):
        if name == "b.py":
            self._process.send_signal(number)
        real(self, name, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(graders.Grader, "check", check)
        rows = check_folder(folder, QUICK, out)
    assert [(row["file"], row["passed"], row["score"]) for row in rows] == [("a.py", True, 1), ("b.py", None, None), ("c.py", True, 1)]
    assert rows[1]["message"] == f"the process that checks was ended by {number.name}: by the submission, or for want of memory"
    assert "b.py,,,,," in (out / "table.csv").read_text()
    assert sorted(path.name for path in (out / "reports").iterdir()) == ["a.py.json", "c.py.json"]
    checked: list = []
    real_checked = batch._checked
    monkeypatch.setattr(batch, "_checked", lambda root, names, *rest: checked.extend(names) or real_checked(root, names, *rest))
    assert [row["passed"] for row in check_folder(folder, QUICK, out)] == [True, True, True]
    assert checked == ["b.py"]


def test_a_grader_that_does_not_end_is_ended(tmp_path, monkeypatch):
    (tmp_path / "a.py").write_text(RIGHT)
    (tmp_path / "b.py").write_text("import time\ntime.sleep(300)\n")
    monkeypatch.setattr(graders, "SPARE_SECONDS", -20.0)  # of 30
    rows = check_folder(tmp_path, QUICK, tmp_path / "out")
    assert [(row["passed"], row["message"]) for row in rows] == [(True, ""), (None, "the process that checks did not end in time")]


def test_a_bug_in_a_grader_is_no_verdict(tmp_path, monkeypatch):
    (tmp_path / "a.py").write_text(RIGHT)
    script = tmp_path / "grader.txt"
    script.write_text("import sys\nsys.stdin.readline()\nprint('first', file=sys.stderr)\n1 / 0\n")
    monkeypatch.setattr(graders, "SCRIPT", script)
    (row,) = check_folder(tmp_path, QUICK, tmp_path / "out")
    assert row["passed"] is None
    assert row["message"] == "the process that checks ended with exit code 1: ZeroDivisionError: division by zero"


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_a_batch_that_is_killed_leaves_nothing(tmp_path, number):
    folder = tmp_path / "submissions"
    folder.mkdir()
    for name in ("a.py", "b.py"):
        (folder / name).write_text(f"import time\nopen({str(tmp_path / 'started-')!r} + {name!r}, 'w').close()\ntime.sleep(300)\n")
    argv = ["check", str(folder), "--function", "f", "--op", "relu6", "--jobs", "2", "--out", str(tmp_path / "out")]
    code = "import sys; from convlab.cli import run; sys.exit(run(sys.argv[1:]))"
    # Whoever still runs holds standard output, and the marker in its environment.
    command = [sys.executable, "-c", code, *argv, "--timeout", "200", "--call-timeout", "200"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "LANG": str(tmp_path)})
    try:
        end = time.monotonic() + 60
        while len(list(tmp_path.glob("started-*"))) < 2:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        assert len(processes_of(tmp_path)) >= 5
        process.send_signal(number)
        process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -number
    end = time.monotonic() + 10
    while processes_of(tmp_path):
        assert time.monotonic() < end, "processes are left"
        time.sleep(0.05)


def processes_of(marker):
    """Return the processes with a marker in their environment; LANG is passed on."""
    found = []
    for variables in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # it may have ended by now
            if f"LANG={marker}".encode() in variables.read_bytes().split(b"\0"):
                found.append(variables.parent.name)
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_an_interrupted_run_stops_at_once_and_goes_on_later(tmp_path):
    folder, out = tmp_path / "submissions", tmp_path / "out"
    folder.mkdir()
    (folder / "a.py").write_text(RIGHT)
    (folder / "b.py").write_text(f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(os.getcwd())\ntime.sleep(300)\n")
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from convlab.checker.batch import check_folder, Settings; from convlab.checker.isolation import Limits\n"
        f"check_folder({str(folder)!r}, Settings('f', op='relu6', limits=Limits(100, 100)), {str(out)!r})"
    )
    (tmp_path / "main.py").write_text(code)
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    process = subprocess.Popen([sys.executable, str(tmp_path / "main.py")], stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root})
    try:
        end = time.monotonic() + 60
        while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text() and (out / "reports" / "a.py.json").exists()):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode not in (0, None)
    assert err.rstrip().endswith(b"KeyboardInterrupt")
    assert not (out / "table.csv").exists()
    end = time.monotonic() + 10
    while os.path.exists((tmp_path / "pid").read_text()):
        assert time.monotonic() < end, "the file under test outlived the grader"
        time.sleep(0.05)

    (folder / "b.py").write_text(RIGHT)
    before = (out / "reports" / "a.py.json").stat().st_mtime_ns
    rows = check_folder(folder, Settings("f", op="relu6", limits=Limits(100, 100)), out)
    assert [row["passed"] for row in rows] == [True, True]
    assert (out / "reports" / "a.py.json").stat().st_mtime_ns == before


# One file


def test_a_file_is_judged_like_a_function_in_process(tmp_path):
    from convlab.checker import check

    (tmp_path / "f.py").write_text(WRONG)
    names: dict = {}
    exec(WRONG, names)
    here, there = check(names["f"], op="relu6"), check_file(tmp_path / "f.py", "f", op="relu6")
    assert there.name == "f.py:f"
    assert there.properties == here.properties
    assert there.failure.call == here.failure.call
    assert there.failure.diagnosis == here.failure.diagnosis


MEMORY = ["input overwritten", "memory never cleared", "assumes C order", "negative strides ignored", "one buffer for all calls"]


@pytest.mark.parametrize("name", MEMORY)
def test_mistakes_of_memory_are_seen_across_processes(tmp_path, name):
    """The other process has other memory: its layouts, aliases and leftovers must show here all the same."""
    find = f"from convlab.checker import MISTAKES\n(m,) = (m for m in MISTAKES if m.name == {name!r})\n"
    (tmp_path / "f.py").write_text(f"{find}f = m.function('conv2d', 'convlab')\n")
    report = check_file(tmp_path / "f.py", "f")
    assert not report.passed
    assert report.failure.diagnosis.name == name


def test_what_was_printed_stands_in_the_report(tmp_path):
    (tmp_path / "f.py").write_text("def f(x):\n  print('shape', x.shape)\n  return x\n")
    report = check_file(tmp_path / "f.py", "f", op="relu6")
    text = str(report)
    assert "It printed:\n  shape (" in text
    assert text.endswith("more lines")
    assert FileReport.from_dict(json.loads(json.dumps(report.to_dict()))).output == report.output


def test_leaving_a_process_fails_a_right_function(tmp_path):
    (tmp_path / "f.py").write_text("import numpy as np, subprocess\nsubprocess.Popen(['sleep', '300'])\n" + RIGHT)
    report = check_file(tmp_path / "f.py", "f", op="relu6", weights={"ends": 0.5})
    assert not report.passed
    assert [(result.name, result.weight) for result in report.properties if result.passed is False] == [("ends", 0.5)]
    assert "1 process left running" in str(report)
    assert 0 < report.score < 1
