"""Graders: processes that check files, each one file after another, so that no submission can end the check of the others.

A grader lives as long as its standard input is open: however the process that started it ends, it ends too, and with it what it had
started. Lines of JSON go both ways.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import selectors
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from .isolation import STANDARD, FileReport, Limits, check_file

SCRIPT = Path(__file__).with_name("grader.py")

SPARE_SECONDS = 120.0
"""Beyond a file's own limit, for starts, ends and the report on however busy a machine."""
LARGEST_LINE = 64 * 2**20
KEPT_ERRORS = 2000


@dataclass(frozen=True)
class Settings:
    """How to check: what `check_file` takes beside the file.

    Examples
    --------
    >>> Settings("my_conv", op="depthwise").style
    'convlab'
    """

    function: str
    op: str = "conv2d"
    style: str = "convlab"
    seed: int = 0
    weights: Mapping[str, float] | None = None
    limits: Limits = STANDARD
    strict: bool = False

    def check(self, path: Path, siblings: bool = True) -> FileReport:
        """Check one file."""
        options = {each.name: getattr(self, each.name) for each in fields(self)}
        return check_file(path, siblings=siblings, **options)


# In the grader


def serve() -> None:
    """Check what is asked for, until standard input ends."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever is printed here is no reply
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that the user sees
    tasks: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def receive() -> None:
        for line in sys.stdin.buffer:
            tasks.put(json.loads(line))
        os._exit(0)  # nobody is there to hear of a check that is under way

    threading.Thread(target=receive, daemon=True).start()
    while True:
        replies.write(json.dumps(_answer(**tasks.get())).encode() + b"\n")
        replies.flush()


def _answer(path: str, siblings: bool, settings: dict[str, Any]) -> dict[str, Any]:
    settings["limits"] = Limits(**{**settings["limits"], "forbid": tuple(settings["limits"]["forbid"])})
    try:
        return {"report": Settings(**settings).check(Path(path), siblings).to_dict()}
    except Exception as error:
        if isinstance(error, ValueError) and settings["weights"] is not None:  # they name properties that there are not
            return {"refused": str(error)}
        traceback.print_exc()
        return {"failed": " ".join(f"{type(error).__name__}: {error}".split())}


# In the process that the user sees


class Grader:
    """A grader, seen from outside; `name` is the file's that it checks."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.name = ""
        self.until = 0.0
        self._answer = bytearray()
        self._errors = bytearray()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-B", str(SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._tasks, self.replies, self.errors = self._process.stdin, self._process.stdout, self._process.stderr
        os.set_blocking(self.replies.fileno(), False)
        os.set_blocking(self.errors.fileno(), False)
        self._send(neutral_path())

    def _send(self, value: Any) -> None:
        with contextlib.suppress(BrokenPipeError):  # it ended: its replies end too, and say so
            self._tasks.write(json.dumps(value).encode() + b"\n")
            self._tasks.flush()

    def check(self, name: str, path: Path, siblings: bool) -> None:
        """Ask for a file's check."""
        self.name = name
        self.until = time.monotonic() + self.settings.limits.seconds + SPARE_SECONDS
        self._send({"path": str(path), "siblings": siblings, "settings": asdict(self.settings)})

    def read(self) -> tuple[FileReport | str | None, bool]:
        """Read what has come, and return the report, or why there is none, if it is complete; and whether the grader is still there.

        Raises
        ------
        ValueError
            If the settings are wrong.
        """
        self._errors = (self._errors + (_available(self.errors) or b""))[-KEPT_ERRORS:]
        data = _available(self.replies)
        self._answer += data or b""
        if data == b"" or len(self._answer) > LARGEST_LINE:
            return self._gone(), False
        if not self._answer.endswith(b"\n"):
            return None, True
        answer = json.loads(self._answer)
        self._answer.clear()
        if "refused" in answer:
            raise ValueError(answer["refused"])
        if "failed" in answer:
            return f"the check failed: {answer['failed']}", True
        report = FileReport.from_dict(answer["report"])
        assert isinstance(report, FileReport)
        return report, True

    def _gone(self) -> str:
        status = self._ended()
        if status < 0:
            return f"the process that checks was ended by {signal.Signals(-status).name}: by the submission, or for want of memory"
        said = self._errors.decode(errors="replace").strip().split("\n")[-1]
        return f"the process that checks ended with exit code {status}: {said}"

    def end(self) -> None:
        """End it, with all that it had started."""
        for line in (self._tasks, self.replies, self.errors):
            with contextlib.suppress(BrokenPipeError):  # what was asked last it never read
                line.close()
        self._ended()

    def _ended(self) -> int:
        try:
            return self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()  # what it had started sees that it is gone
            return self._process.wait()


def neutral_path() -> list[str]:
    """Return where this process finds modules, but for the working directory."""
    here = os.path.realpath(os.curdir)
    return [entry for entry in sys.path if entry and os.path.realpath(entry) != here]


def _available(line: Any) -> bytes | None:
    """Return what there is to read, b"" at the end, None where there is nothing now."""
    try:
        return os.read(line.fileno(), 2**20)
    except BlockingIOError:
        return None


def checked(files: Sequence[tuple[str, Path, bool]], settings: Settings, jobs: int) -> Iterator[tuple[str, FileReport | str]]:
    """Check files by several graders, and yield names with reports as they become known; where there is none, why.

    Parameters
    ----------
    files : sequence of (name, path, siblings)
        `siblings` says whether the file may import those beside it.

    Raises
    ------
    ValueError, OSError
        If the settings are wrong, or no process can be started.
    """
    waiting = list(reversed(files))
    graders: list[Grader] = []
    try:
        with selectors.DefaultSelector() as selector:

            def start() -> None:
                grader = Grader(settings)
                graders.append(grader)
                selector.register(grader.replies, selectors.EVENT_READ, grader)
                selector.register(grader.errors, selectors.EVENT_READ, grader)
                grader.check(*waiting.pop())

            def forget(grader: Grader) -> None:
                graders.remove(grader)
                selector.unregister(grader.replies)
                selector.unregister(grader.errors)

            while waiting or graders:
                while waiting and len(graders) < jobs:
                    start()
                first = min(grader.until for grader in graders)
                ready = {key.data for key, _ in selector.select(max(0.0, first - time.monotonic()))}
                for grader in list(graders):
                    name = grader.name
                    found: FileReport | str | None = None
                    if time.monotonic() > grader.until:
                        found, there = "the process that checks did not end in time", False
                    elif grader in ready:
                        found, there = grader.read()
                    else:
                        continue
                    if not there or (found is not None and not waiting):
                        forget(grader)
                        grader.end()
                    elif found is not None:
                        grader.check(*waiting.pop())
                    if found is not None:
                        yield name, found
    finally:
        for grader in graders:
            grader.end()
