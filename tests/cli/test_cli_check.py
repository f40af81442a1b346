"""`convlab check` as a user meets it: what it prints and writes, what it refuses, its exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET

import pytest
from rich.cells import cell_len

from convlab.checker import OPS, STYLES, graders
from convlab.checker.grading import VISIBILITIES
from convlab.checker.isolation import EXAMPLES, FileReport

RIGHT = "import numpy as np\ndef f(x): return np.clip(x, 0, 6)\n"
WRONG = "import numpy as np\ndef f(x): return np.maximum(x, 0)\n"
RELU = ("--op", "relu6")


@pytest.fixture
def student(tmp_path):
    """Return a function that writes a program and gives its path."""

    def write(code, name="student.py"):
        path = tmp_path / name
        path.write_text(code, encoding="utf-8")
        return path

    return write


def assert_one_line(err, start):
    assert err.startswith(start), err
    assert err.count("\n") == 1
    assert err[:-1].isprintable()


# One file


def test_a_right_function_passes(convlab, student):
    code, out, err = convlab("check", f"{student(RIGHT)}:f", *RELU)
    assert (code, err) == (0, "")
    assert out.startswith("student.py:f: relu6, style convlab: passed")


def test_a_wrong_function_fails_with_its_case(convlab, student):
    code, out, err = convlab("check", student(WRONG), "--function", "f", *RELU)
    assert (code, err) == (1, "")
    assert "FAILED" in out
    assert "The smallest failing case" in out


FAULTS = {  # one of each kind; `test_isolation.py` has the rest
    "import nosuch": "No module named 'nosuch'",
    "import os\ndef f(x): os._exit(0)": "exit code 0",
    "def f(x):\n  while True: pass": "one call took longer than 2 s",
    "import numpy as np\ndef f(x): return np.empty(40 * 10**9)": "more than 1024 MiB of memory needed",
    "def f(x):\n  while True: print('x' * 10**6)": "printed more than 10 MB",
    "import subprocess\ndef f(x): subprocess.Popen(['sleep', '300']); return x.clip(0, 6)": "left running",
    "def f(x): import scipy.signal": "scipy is forbidden",
}


@pytest.mark.parametrize("program", FAULTS)
def test_every_fault_is_a_clear_line_and_code_1(convlab, student, program):
    limits = ("--call-timeout", 2, "--timeout", 20, "--memory", 1024, "--forbid", "torch,scipy")
    started = time.monotonic()
    code, out, err = convlab("check", f"{student(program)}:f", *RELU, *limits)
    assert (code, err) == (1, "")
    assert FAULTS[program] in out
    assert time.monotonic() - started < 25


def test_its_files(convlab, student, tmp_path):
    files = [tmp_path / name for name in ("report.json", "results.json", "junit.xml")]
    options = [str(part) for pair in zip(("--json", "--gradescope", "--junit"), files, strict=True) for part in pair]
    code, out, _ = convlab("check", f"{student(WRONG)}:f", *RELU, *options, "--points", 20, "--visibility", "hidden")
    assert code == 1
    report = FileReport.from_dict(json.loads(files[0].read_text()))
    assert str(report) == out[:-1]
    results = json.loads(files[1].read_text())
    assert results["score"] == pytest.approx(20 * report.score, abs=1e-3)
    assert {results["visibility"], *(test["visibility"] for test in results["tests"])} == {"hidden"}
    (suite,) = ET.parse(files[2]).getroot()
    assert suite.attrib["name"] == "student.py:f"


def test_a_file_that_does_not_load_has_its_files_too(convlab, student, tmp_path):
    code, *_ = convlab("check", f"{student('1 / 0')}:f", "--gradescope", tmp_path / "results.json")
    assert code == 1
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["score"] == 0
    assert "ZeroDivisionError" in results["tests"][0]["output"]


def test_weights_change_the_score(convlab, student, tmp_path):
    scores = []
    for weights in ({}, {"values": 1000}):
        (tmp_path / "weights.json").write_text(json.dumps(weights))
        code, *_ = convlab(
            "check", f"{student(WRONG)}:f", *RELU, "--weights", tmp_path / "weights.json", "--json", tmp_path / "report.json"
        )
        assert code == 1
        scores.append(json.loads((tmp_path / "report.json").read_text())["score"])
    assert scores[0] > 0.05
    assert scores[1] < 0.01


def test_the_seed_is_passed_on(convlab, student, tmp_path):
    _, out, _ = convlab("check", f"{student(WRONG)}:f", *RELU, "--seed", 3, "--json", tmp_path / "report.json")
    assert "seed 3" in out
    assert json.loads((tmp_path / "report.json").read_text())["seed"] == 3


def test_what_a_function_says_cannot_colour_the_terminal(convlab, student):
    code, out, err = convlab(
        "check", f"{student(chr(10).join(['def f(x):', '  print(chr(27) + chr(7))', '  raise ValueError(chr(27) + chr(55296))']))}:f"
    )
    assert code == 1
    assert out.replace("\n", "").isprintable() or "�" in out
    assert not {"\x1b", "\x07"} & set(out + err)


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_the_shipped_examples(convlab, example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = convlab("check", f"examples/{example}:conv2d")
    assert (code, err) == (0 if example == "right.py" else 1, "")
    assert ("Diagnosis: " in out) == (code == 1)


def test_a_file_of_its_own_comes_before_the_shipped_example(convlab, student, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").mkdir()
    student("conv2d = 3", "examples/flipped.py")
    code, out, _ = convlab("check", "examples/flipped.py:conv2d")
    assert code == 1
    assert "'conv2d' must be a function: it is int" in out


# A folder


def test_a_folder(convlab, student, tmp_path):
    (tmp_path / "submissions").mkdir()
    for name, program in {"ann.py": RIGHT, "ben.py": WRONG, "cem.py": "1 / 0"}.items():
        student(program, f"submissions/{name}")
    argv = ("check", tmp_path / "submissions", "--function", "f", *RELU, "--out", tmp_path / "deep" / "out", "--jobs", 2)
    code, out, err = convlab(*argv)
    assert (code, err) == (1, "")
    assert re.search(r"^ann\.py +passed +100 %$", out, re.MULTILINE)
    assert re.search(r"^cem\.py +cem\.py does not load:", out, re.MULTILINE)
    assert "1 of 3 passed" in out
    assert len(json.loads((tmp_path / "deep" / "out" / "table.json").read_text())) == 3
    started = time.monotonic()
    assert convlab(*argv) == (code, out, err)
    assert time.monotonic() - started < 2  # nothing is checked again
    assert convlab(*argv, "--pattern", "a*.py")[0] == 0


def test_a_long_name_leaves_the_terminal_its_lines(convlab, student, tmp_path):
    (tmp_path / "submissions").mkdir()
    for name in ("n" * 200, "\u6f22" * 60):
        student(RIGHT, f"submissions/{name}.py")
    code, out, err = convlab("check", tmp_path / "submissions", "--function", "f", *RELU, "--out", tmp_path / "out", "--jobs", 2)
    assert (code, err) == (0, "")
    table = out.split("\n\n")[0].split("\n")
    assert max(map(cell_len, table)) <= 80
    assert [line.split()[1:] for line in table[2:]] == [["passed", "100", "%"]] * 2
    assert "n" * 200 in (tmp_path / "out" / "table.csv").read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_is_quiet(tmp_path):
    (tmp_path / "f.py").write_text(f"import time\nopen({str(tmp_path / 'started')!r}, 'w').close()\ntime.sleep(300)\n")
    start = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    start += "from convlab.cli import run; sys.exit(run(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", start, "check", f"{tmp_path / 'f.py'}:f", "--call-timeout", "200", "--timeout", "200"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        end = time.monotonic() + 60
        while not (tmp_path / "started").exists():
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20) == (b"", b"")
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130


# The machine fails: code 3, and one line


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is always full")
@pytest.mark.parametrize("option", ["--json", "--gradescope", "--junit"])
def test_a_full_disk_is_no_verdict(convlab, student, option):
    code, out, err = convlab("check", f"{student(RIGHT)}:f", *RELU, option, "/dev/full")
    assert code == 3
    assert "passed" in out  # the report is not lost
    assert_one_line(err, "convlab check: No space left on device: /dev/full")


def started(code, *argv, **options):
    """Run the command line in a process of its own, after some code."""
    start = f"import sys\n{code}\nfrom convlab.cli import run\nsys.exit(run(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", start, *map(str, argv)], stderr=subprocess.PIPE, text=True, check=False, timeout=100, **options
    )


SMALL = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit for files")
def test_a_disk_that_gets_full_in_a_folders_check_is_no_verdict(student, tmp_path):
    (tmp_path / "submissions").mkdir()
    student(RIGHT, "submissions/ann.py")
    argv = ("check", tmp_path / "submissions", "--function", "f", *RELU, "--out", tmp_path / "out")
    done = started(SMALL, *argv, stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (3, "")
    assert_one_line(done.stderr, "convlab check: File too large: ")
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["reports"]  # nothing half-written


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is always full")
def test_standard_output_on_a_full_disk_is_no_verdict(student):
    with open("/dev/full", "w") as full:
        done = started("", "check", f"{student(RIGHT)}:f", *RELU, stdout=full)
    assert done.returncode == 3
    assert_one_line(done.stderr, "convlab check: standard output cannot be written: No space left on device")


def test_no_room_for_the_file_under_test_is_no_verdict(convlab, student, monkeypatch):
    def full(**_):
        raise OSError(28, "No space left on device", "/tmp/x")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    code, out, err = convlab("check", f"{student(RIGHT)}:f", *RELU)
    assert (code, out) == (3, "")
    assert_one_line(err, "convlab check: the check failed: [Errno 28] No space left on device: '/tmp/x'")


def test_a_folder_of_which_a_part_is_not_judged(convlab, student, tmp_path, monkeypatch):
    (tmp_path / "submissions").mkdir()
    for name in ("ann.py", "ben.py"):
        student(RIGHT, f"submissions/{name}")
    real = graders.Grader.check
    monkeypatch.setattr(
        graders.Grader, "check", lambda self, name, *rest: (name == "ben.py" and self._process.kill(), real(self, name, *rest))
    )
    code, out, err = convlab("check", tmp_path / "submissions", "--function", "f", *RELU, "--out", tmp_path / "out")
    assert code == 3
    assert "1 of 2 passed" in out
    assert_one_line(
        err, "convlab check: 1 of 2 could not be judged, run again to go on from here: the process that checks was ended by SIG"
    )


@pytest.mark.parametrize("lack", ["sys.modules['resource'] = None", "import os; del os.fork"])
@pytest.mark.parametrize("target", ["{file}:f", "{folder}"])
def test_a_system_that_cannot_check_files_says_so(student, tmp_path, lack, target):
    target = target.format(file=student(RIGHT), folder=tmp_path)
    more = ("--function", "f", "--out", tmp_path / "out") if target == str(tmp_path) else ()
    done = started(lack, "check", target, *RELU, *more, stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (3, "")
    assert_one_line(done.stderr, "convlab check: a file is checked in a process of its own, which needs fork and limits of resources")
    assert not (tmp_path / "out").exists()


# Wrong usage


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        ([], "convlab check: the following arguments are required: FILE:FUNCTION"),
        (["{file}"], "convlab check: say which function to check, as FILE:FUNCTION, or --function NAME: "),
        (["{folder}"], "convlab check: say which function to check, as --function NAME: "),
        (["{folder}", "--function", "f"], "convlab check: say where the table and the reports go: --out DIR"),
        (
            ["{folder}", "--function", "f", "--out", "{folder}/out", "--pattern", "*.c"],
            "convlab check: no file of the folder fits the pattern",
        ),
        (["{folder}", "--function", "f", "--out", "{file}"], "convlab check: File exists"),
        (["{folder}", "--function", "f", "--out", "{folder}/blocked"], "convlab check: File exists"),
        (["{folder}", "--function", "f", "--out", "{file}/deeper"], "convlab check: Not a directory"),
        (["{folder}", "--function", "f", "--out", "/proc/nosuch"], "convlab check: No such file or directory"),
        (["{file}:f", "--json", "{folder}"], "convlab check: Is a directory"),
        (["{folder}", "--function", "f", "--json", "x", "--junit", "x"], "convlab check: --json, --junit only with one file: "),
        (["{file}:f", "--jobs", "2", "--out", "x"], "convlab check: --out, --jobs only with a folder: "),
        (["{file}:f", "--jobs", "0"], "convlab check: argument --jobs: must be at least 1: '0'"),
        (["{folder}/nosuch.py:f"], "convlab check: no such file: "),
        (["examples/nosuch.py:f"], "convlab check: no such file: examples/nosuch.py"),
        (["{file}:f", "--op", "conv3d"], "convlab check: op must be one of 'conv2d', "),
        (["{file}:f", "--style", "keras"], "convlab check: style must be one of 'convlab', 'cs231n', 'torch': style='keras'"),
        (["{file}:f", "--timeout", "0"], "convlab check: seconds must be above 0: seconds=0.0"),
        (["{file}:f", "--call-timeout", "soon"], "convlab check: argument --call-timeout: invalid float value: 'soon'"),
        (["{file}:f", "--memory", "1"], "convlab check: memory must be at least 512 MiB, or NumPy does not load: memory=1"),
        (["{file}:f", "--forbid", "numpy"], "convlab check: numpy cannot be forbidden, the arguments are its arrays: forbid=numpy"),
        (["{file}:f", "--points", "-1"], "convlab check: points must be above 0: points=-1.0"),
        (["{file}:f", "--visibility", "secret"], "convlab check: visibility must be one of visible, hidden, "),
        (["{file}:f", "--json", "{folder}/nosuch/x.json"], "convlab check: no such folder: "),
        (["{file}:f", "--weights", "{file}"], "convlab check: --weights {file} is not JSON: "),
        (["{file}:f", "--weights", "{folder}/list.json"], "convlab check: --weights {folder}/list.json must be a JSON object: it is list"),
        (["{file}:f", "--weights", "{folder}/word.json"], "convlab check: weights must be a JSON object of numbers, by property: "),
        (["{file}:f", "--weights", "{folder}/deep.json"], "convlab check: --weights {folder}/deep.json is nested too deeply"),
        (["{file}:f", "--weights", "{folder}/names.json"], "convlab check: weights must name properties, which are 'values', "),
        (["{file}:f", "--weights", "{folder}/nosuch.json"], "convlab check: No such file or directory: "),
        (["{file}:f", "--colour"], "convlab: unrecognized arguments: --colour"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(convlab, student, tmp_path, argv, line):
    path = student(RIGHT)
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "word.json").write_text('{"values": "much"}')
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked" / "reports").write_text("a file where reports must go")
    (tmp_path / "names.json").write_text('{"nosuch": 1}')
    code, out, err = convlab("check", *(part.format(file=path, folder=tmp_path) for part in argv))
    assert (code, out) == (2, "")
    assert_one_line(err, line.replace("{file}", str(path)).replace("{folder}", str(tmp_path)))


def test_help_names_every_choice(convlab):
    code, out, err = convlab("check", "--help")
    assert (code, err) == (0, "")
    words = set(re.findall(r"\w+", out))
    assert {*OPS, *STYLES, *VISIBILITIES} <= words
    for promise in (
        "docker run",
        "--network none",
        "not against a hostile program",
        "Exit code: 0 passed, 1 failed, 2 wrong usage, 3 convlab or the machine failed",
        "python -P -m convlab",
        "examples/flipped.py",
    ):
        assert promise in " ".join(out.split())


def test_without_hypothesis_the_remedy_is_named(tmp_path):
    code = "import sys; sys.modules['hypothesis'] = None; from convlab.cli import run; sys.exit(run(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, "check", "x.py:f"], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_line(done.stderr, 'convlab check: checking needs hypothesis: pip install "convlab-engine[lab]"')


def test_nothing_of_the_checker_loads_for_the_other_commands():
    code = "import sys; from convlab.cli import run; run('cost 6x6x3 --filters 5 --kernel 3'.split()); print('hypothesis' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.endswith("False\n")
