"""A folder of submissions: which files, one table, and nothing done twice."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from convlab.checker import batch
from convlab.checker.batch import Settings, check_folder, submissions
from convlab.checker.runner import FileReport, Limits, check_file

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
def test_a_submission_that_kills_the_grader_is_one_clear_error(tmp_path):
    (tmp_path / "a.py").write_text(RIGHT)
    (tmp_path / "b.py").write_text(
        "import os, time\ntime.sleep(1)\n"
        "grader = int(open(f'/proc/{os.getppid()}/stat').read().rpartition(') ')[2].split()[1])\nos.kill(grader, 9)\n" + RIGHT
    )
    with pytest.raises(batch.Interrupted, match="a process that checks was killed"):
        check_folder(tmp_path, QUICK, tmp_path / "out")
    assert (tmp_path / "out" / "reports" / "a.py.json").exists()
    (tmp_path / "b.py").unlink()
    assert [row["passed"] for row in check_folder(tmp_path, QUICK, tmp_path / "out")] == [True]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_an_interrupted_run_stops_at_once_and_goes_on_later(tmp_path):
    folder, out = tmp_path / "submissions", tmp_path / "out"
    folder.mkdir()
    (folder / "a.py").write_text(RIGHT)
    (folder / "b.py").write_text(f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(300)\n")
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pathlib import Path; from convlab.checker.batch import *\n"
        f"if __name__ == '__main__': check_folder({str(folder)!r}, Settings('f', op='relu6', limits=Limits(100, 100)), {str(out)!r})"
    )
    (tmp_path / "main.py").write_text(code)
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
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
    while True:
        try:
            os.kill(int((tmp_path / "pid").read_text()), 0)
        except ProcessLookupError:
            break
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
