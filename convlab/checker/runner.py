"""Run a file's function in a process of its own, so that nothing it does can hang or end the grader.

The grader draws the cases and holds the expected answers; the other process (`worker.py`) sees arguments alone.
`Submission` is the proxy: called like the function, it sends the arguments, waits no longer than its limits,
and raises `Crash` where there will be no answer.

It is no sandbox. The file runs with the rights of whoever grades it: it can read files, open connections and write wherever
they may. Against a hostile program put a container or a virtual machine around the whole grader.
"""

from __future__ import annotations

import builtins
import contextlib
import inspect
import json
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..geometry import ConvSpec
from . import check, wire
from .outcome import Crash
from .report import PropertyResult, Report
from .worker import KILL, LINE_LOST

WORKER = Path(__file__).with_name("worker.py")
EXAMPLES = Path(__file__).with_name("examples")
"""Files to check: one that is right, others with a mistake each."""

KEPT_OUTPUT = 4000
SHOWN_LINES = 12
LARGEST_OUTPUT = 10 * 2**20
START_SECONDS = 30.0
"""For Python and NumPy to load, on however busy a machine."""
END_SECONDS = 2.0
"""For the process to end once there are no more calls."""
KILL_SECONDS = 6.0

PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "NUMBA_DISABLE_JIT")
"""The variables that a file under test gets: no tokens, no passwords."""

Message = tuple[bytes, bytes]
"""The header and the bytes of a message."""


@dataclass(frozen=True)
class Limits:
    """What a file under test may use.

    Parameters
    ----------
    seconds : float
        Wall-clock time for all of it.
    call_seconds : float
        Wall-clock time for one call, and for loading the file.
    memory : int
        MiB of address space, what Python and NumPy take (about 300) included.
    forbid : sequence of str
        Modules that it must not import. A fence, not a wall: a program that wants to can climb it.

    Raises
    ------
    ValueError
        If there is no time, too little memory to load NumPy, or NumPy is forbidden.

    Examples
    --------
    >>> Limits(call_seconds=2).seconds
    60.0
    >>> Limits(seconds=0)
    Traceback (most recent call last):
    ValueError: seconds must be above 0: seconds=0
    """

    seconds: float = 60.0
    call_seconds: float = 10.0
    memory: int = 4096
    forbid: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("seconds", "call_seconds"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be above 0: {name}={getattr(self, name)}")
        if self.memory < 512:
            raise ValueError(f"memory must be at least 512 MiB, or NumPy does not load: memory={self.memory}")
        if "numpy" in self.forbid:
            raise ValueError(f"numpy cannot be forbidden, the arguments are its arrays: forbid={','.join(self.forbid)}")


class _Stopped(Exception):
    """There will be no answer; `why` is "time", "output", "line" or, with the child's status, "died"."""

    def __init__(self, why: str, status: int = 0) -> None:
        self.why, self.status = why, status


class _Process:
    """The other process, the pipes to it, and a folder of its own that goes when it goes."""

    def __init__(self, memory: int) -> None:
        self.output = bytearray()
        self.printed = 0
        self.ending: dict[str, int] | None = None  # the keeper's last word
        self._said = bytearray()
        # A file that cannot be removed is no reason to lose a report.
        self._folder = tempfile.TemporaryDirectory(prefix="convlab-check-", ignore_cleanup_errors=True)
        self._control, control = socket.socketpair()
        (requests, self._requests), (self._replies, replies), (self._prints, prints) = os.pipe(), os.pipe(), os.pipe()
        theirs = (requests, replies, control.fileno())
        variables = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        variables |= dict.fromkeys(("HOME", "TMPDIR", "NUMBA_CACHE_DIR"), self._folder.name)
        variables["MALLOC_PERTURB_"] = "77"  # glibc: what np.empty gives out is no zeros by chance
        variables |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # a thread takes address space
        try:
            self._keeper = subprocess.Popen(
                # Isolated, without bytecode files, unbuffered, and with the line of the file where a signal hits.
                [
                    sys.executable,
                    "-I",
                    "-B",
                    "-u",
                    "-X",
                    "faulthandler",
                    str(WORKER),
                    *map(str, theirs),
                    str(memory * 2**20),
                    self._folder.name,
                ],
                stdin=subprocess.DEVNULL,
                stdout=prints,
                stderr=prints,
                cwd=self._folder.name,
                env=variables,
                pass_fds=theirs,
                start_new_session=True,
            )
        except BaseException:
            self._close()
            raise
        finally:
            control.close()
            for fd in (requests, replies, prints):
                os.close(fd)
        for fd in (self._requests, self._replies, self._prints, self._control.fileno()):
            os.set_blocking(fd, False)

    def exchange(self, message: bytes, seconds: float) -> Message:
        """Send a message and return the answer; what is printed meanwhile is drained.

        Raises
        ------
        _Stopped
            If there is no answer in time, or none to come.
        ValueError
            If what comes is no answer.
        """
        deadline = time.monotonic() + seconds
        rest = memoryview(message)
        answer = bytearray()
        open_line = True
        with selectors.DefaultSelector() as selector:
            selector.register(self._requests, selectors.EVENT_WRITE)
            for source in (self._replies, self._prints, self._control):
                selector.register(source, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select(max(0.0, deadline - time.monotonic()))]
                if self._requests in ready:
                    try:
                        rest = rest[os.write(self._requests, rest) :]
                    except BrokenPipeError:  # nobody listens: the other lines will say why
                        rest = rest[:0]
                    if not rest:
                        selector.unregister(self._requests)
                if self._prints in ready and not self._drain():
                    selector.unregister(self._prints)
                if self._replies in ready or self._control in ready:
                    more = _read(self._replies)
                    if more is not None:
                        answer += more
                    complete = _complete(answer)
                    if complete is not None:
                        return complete
                    if more == b"" and open_line:
                        open_line = False
                        selector.unregister(self._replies)
                        deadline = min(deadline, time.monotonic() + 1)  # if it died, the keeper says so at once
                if self._control in ready and not more and self._ended():
                    assert self.ending is not None
                    raise _Stopped("died", self.ending["status"])
                if self.printed > LARGEST_OUTPUT:
                    raise _Stopped("output")
                if time.monotonic() >= deadline:
                    raise _Stopped("time" if open_line else "line")

    def _drain(self) -> bool:
        """Read what was printed, keep its beginning, and say whether more may come."""
        data = _read(self._prints)
        if data:
            self.output += data[: max(0, KEPT_OUTPUT - len(self.output))]
            self.printed += len(data)
        return data != b""

    def _ended(self) -> bool:
        """Read the keeper's line and say whether it is complete; a keeper that died without a word counts as killed."""
        data = _read(self._control)
        self._said += data or b""
        if data == b"" and not self._said.endswith(b"\n"):
            self.ending = {"status": signal.SIGKILL, "left": 0}
        elif self._said.endswith(b"\n"):
            self.ending = json.loads(self._said)  # the keeper runs no foreign code
        return self.ending is not None

    def _wait(self, seconds: float) -> bool:
        """Wait for the keeper's last word, draining what is printed."""
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ)
            selector.register(self._prints, selectors.EVENT_READ)
            while self.ending is None and (left := deadline - time.monotonic()) > 0:
                for key, _ in selector.select(left):
                    if key.fileobj is self._control:
                        self._ended()
                    elif not self._drain():
                        selector.unregister(self._prints)
        return self.ending is not None

    def end(self, gracefully: bool) -> bool:
        """End the process and all that it started; return False where it did not end by itself though asked to."""
        os.close(self._requests)
        self._requests = -1
        by_itself = self._wait(END_SECONDS) if gracefully else self.ending is not None
        if not by_itself:
            with contextlib.suppress(OSError):  # it may be gone by now
                self._control.send(KILL)
            self._wait(KILL_SECONDS)
        self._drain()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._keeper.wait(timeout=1)
        self._keeper.kill()
        self._keeper.wait()
        self._close()
        return by_itself

    def _close(self) -> None:
        for fd in (self._requests, self._replies, self._prints):
            if fd >= 0:
                os.close(fd)
        self._control.close()
        self._folder.cleanup()


def _read(source: int | socket.socket) -> bytes | None:
    """Return what there is to read, b"" at the end, None where there is nothing now."""
    try:
        return os.read(source if isinstance(source, int) else source.fileno(), 2**20)
    except BlockingIOError:
        return None
    except ConnectionResetError:
        return b""


def _complete(answer: bytearray) -> Message | None:
    """Return the two parts of a message once all of it is there."""
    size = wire.HEAD.size
    if len(answer) < size:
        return None
    header, body = wire.lengths(bytes(answer[:size]))
    if len(answer) > size + header + body:
        raise ValueError("there is more than one answer")
    if len(answer) < size + header + body:
        return None
    return bytes(answer[size : size + header]), bytes(answer[size + header :])


class Submission:
    r"""A function of a file, called in a process of its own; a context manager.

    After a crash the next call starts a new process, but what was too slow twice is not called a third time.

    Parameters
    ----------
    path : str or path
        The file.
    function : str
        Its function's name.
    limits : Limits
        The time for all of it starts now.
    siblings : bool
        Whether it may import the files beside it.

    Attributes
    ----------
    left : list of str
        Complaints about what it left behind; complete after `close`.

    Raises
    ------
    FileNotFoundError, OSError
        If there is no such file, or the system cannot start processes so.

    Examples
    --------
    >>> import numpy as np, pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "student.py")
    ...     _ = file.write_text("def double(x):\n    return 2 * x\n")
    ...     with Submission(file, "double") as double:
    ...         double(np.arange(3))
    array([0, 2, 4])
    """

    def __init__(self, path: str | os.PathLike[str], function: str, limits: Limits = Limits(), siblings: bool = True) -> None:
        self.path = Path(path).absolute()
        if not self.path.is_file():
            raise FileNotFoundError(f"no such file: {path}")
        if not hasattr(os, "fork"):
            raise OSError("a file is checked in a process of its own, which needs fork (Linux, macOS)")
        self.function, self.limits, self.siblings = function, limits, siblings
        self.__name__ = function
        self.end = time.monotonic() + self.limits.seconds
        self.left: list[str] = []
        self._too_slow = 0
        self._output: list[str] = []
        self._process: _Process | None = None
        self._calls = 0
        self._earlier: list[wire.Memory] = []

    def __enter__(self) -> Submission:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def output(self) -> str:
        """What it printed, cut; complete after `close`."""
        return "\n".join(self._output)[:KEPT_OUTPUT]

    def load(self) -> None:
        """Start the process and load the file, so that the proxy carries the function's signature.

        Raises
        ------
        Crash
            If the file does not load or has no such function.
        """
        self.close()
        self._process = _Process(self.limits.memory)
        self._exchange("Python's start", START_SECONDS, "hello", None)
        task = {"path": str(self.path), "function": self.function, "forbidden": list(self.limits.forbid), "siblings": self.siblings}
        header, parameters = self._exchange(f"loading {self.path.name}", self.limits.call_seconds, "load", task)
        if "fault" in header:
            self._stop()
            fault = header["fault"]
            kind = "" if fault["type"] == "LookupError" else f"{fault['type']}: "
            raise Crash(f"{self.path.name} does not load: {kind}{fault['message']}{_at(fault)}")
        if parameters is not None:
            try:
                self.__signature__ = _signature(parameters)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                self._stop()
                raise Crash(f"{self.path.name} has a signature that none can have: {error}") from error

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function in the other process.

        Arguments that it changed are changed here too, and a result that shares memory with them does so here.

        Raises
        ------
        Crash
            If the process died, ran out of time or memory, or printed without end.
        Exception
            What the function raised: of the same built-in type, or of a type of the same name.
        """
        if self._too_slow >= 2:
            raise Crash(f"calls took longer than {self.limits.call_seconds:g} s twice: it is not called again")
        if self._process is None:
            self.load()
        header, result = self._exchange("one call", self.limits.call_seconds, "call", (args, kwargs))
        if "fault" not in header:
            return result
        raise self._error(header["fault"])

    def close(self) -> None:
        """Let the process end, kill what is left, and complain about it in `left`."""
        self._stop(gracefully=True)

    def _stop(self, gracefully: bool = False, crashed: bool = False) -> None:
        process, self._process, self._earlier = self._process, None, []
        if process is None:
            return
        by_itself = process.end(gracefully)
        if process.ending is None:
            self._complain("the process could not be ended in order: did the function stop its parent?")
        elif not by_itself and gracefully:
            self._complain(f"threads left running: the process did not end within {END_SECONDS:g} s of its last call")
        elif process.ending["left"] and (gracefully or crashed):
            count = process.ending["left"]
            self._complain(f"{count} {'process' if count == 1 else 'processes'} left running: each must be ended by the function")
        if process.printed:
            cut = f"\n... cut: {process.printed:,} bytes in all" if process.printed > len(process.output) else ""
            self._output.append(process.output.decode(errors="replace").rstrip("\n") + cut)

    def _complain(self, text: str) -> None:
        if text not in self.left:
            self.left.append(text)

    def _exchange(self, what: str, seconds: float, do: str, value: Any) -> tuple[dict[str, Any], Any]:
        """Ask the other process and return the header and value of its answer; every way to have none is a `Crash`."""
        assert self._process is not None
        process = self._process
        remaining = self.end - time.monotonic()
        try:
            if remaining <= 0:
                raise _Stopped("time")
            self._calls += 1
            message, memories = wire.pack(value, do=do, id=self._calls)
            try:
                text, body = process.exchange(message, min(seconds, remaining))
                result, header, own = wire.unpack(text, body, [*memories, *self._earlier], ConvSpec)
                if header["id"] != self._calls:
                    raise ValueError("it answers another call")
                for name, known in (("input", memories), ("earlier", self._earlier)):
                    for i, memory in enumerate(known):
                        if f"{name} {i}" in header:
                            memory.write(header[f"{name} {i}"])
                if "fault" in header:
                    header["fault"] = _fault(**header["fault"])
            except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError) as error:
                raise _Stopped(f"what came back is no answer ({error}): did the function write into the line to the grader?") from error
        except _Stopped as stop:
            self._too_slow += stop.why == "time"
            self._stop(crashed=stop.why == "died")
            raise Crash(self._reason(what, seconds, remaining, stop, bytes(process.output))) from None
        except BaseException:  # Ctrl-C, or a bug of ours
            self._stop()
            raise
        if own:
            self._earlier = own
        return header, result

    def _reason(self, what: str, seconds: float, remaining: float, stop: _Stopped, output: bytes) -> str:
        if stop.why == "time":
            if remaining < seconds:
                return f"the {self.limits.seconds:g} s for the whole check are used up"
            return f"{what} took longer than {seconds:g} s: an endless loop, or far too slow"
        if stop.why == "output":
            return f"{what} printed more than {LARGEST_OUTPUT >> 20} MB"
        if stop.why == "line" or (stop.why == "died" and os.waitstatus_to_exitcode(stop.status) == LINE_LOST):
            return "the function closed the file descriptors on which its results travel"
        if stop.why != "died":
            return stop.why
        code = os.waitstatus_to_exitcode(stop.status)
        if code >= 0:
            lines = output.decode(errors="replace").split("\n")
            said = next((f": {line.strip()}" for line in reversed(lines) if line.strip()), "") if what == "Python's start" else ""
            return f"the process ended itself during {what}, with exit code {code}{said}"
        number = -code
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        # faulthandler has written where it happened.
        lines = re.findall(rf'File "{re.escape(str(self.path))}", line (\d+)', output.decode(errors="replace"))
        where = f", at line {lines[0]} of {self.path.name}" if lines else ""
        memory = "; the system may have run out of memory" if number == signal.SIGKILL else ""
        return f"the process died during {what}: {name} ({signal.strsignal(number)}){where}{memory}"

    def _error(self, fault: dict[str, Any]) -> Exception:
        """Return the exception of the other process as one of this; what is no `Exception` there is a `Crash`."""
        name, message, kinds = fault["type"], fault["message"], fault["kinds"]
        if "MemoryError" in kinds:
            return Crash(f"more than {self.limits.memory} MiB of memory needed: {message or name}{_at(fault)}")
        if "SystemExit" in kinds:
            return Crash(f"the function called exit({message}){_at(fault)}")
        if "Exception" not in kinds:
            return Crash(f"the function raised {name}: {message}{_at(fault)}")
        base = getattr(builtins, kinds[0], None)
        if not (isinstance(base, type) and issubclass(base, Exception)):
            base = Exception
        kind = base if base.__name__ == name else type(name, (base,), {})
        try:
            error = kind(f"{message}{_at(fault)}")
        except TypeError:  # a UnicodeDecodeError, say, is made of five values
            error = type(name, (Exception,), {})(f"{message}{_at(fault)}")
        return error


def _fault(type: str, kinds: Sequence[str], message: str, where: str | None) -> dict[str, Any]:
    """Return what is told of an exception, as it must be."""
    return {"type": str(type), "kinds": [str(kind) for kind in kinds], "message": str(message), "where": where and str(where)}


def _at(fault: dict[str, Any]) -> str:
    return f" ({fault['where']})" if fault["where"] else ""


def _signature(parameters: Sequence[dict[str, Any]]) -> inspect.Signature:
    """Rebuild a function's signature from what the other process read."""
    return inspect.Signature(
        [
            inspect.Parameter(p["name"], getattr(inspect.Parameter, p["kind"]), default=p.get("default", inspect.Parameter.empty))
            for p in parameters
        ]
    )


@dataclass(frozen=True, repr=False)
class FileReport(Report):
    """A report of a function in a file, with what it printed."""

    output: str = ""

    def __str__(self) -> str:
        if not self.output:
            return super().__str__()
        lines = self.output.split("\n")
        more = [f"... {len(lines) - SHOWN_LINES} more lines"] if len(lines) > SHOWN_LINES else []
        return "\n".join([super().__str__(), "", "It printed:", *(f"  {line}" for line in [*lines[:SHOWN_LINES], *more])])


def check_file(
    path: str | os.PathLike[str],
    function: str,
    *,
    op: str = "conv2d",
    style: str = "convlab",
    seed: int = 0,
    weights: Mapping[str, float] | None = None,
    limits: Limits = Limits(),
    siblings: bool = True,
) -> FileReport:
    r"""Check a function of a file, in a process of its own.

    Two properties come to those of `convlab.check` where they fail: that the file loads, and that nothing is left running.

    Parameters
    ----------
    path : str or path
        The file.
    function : str
        Its function's name.
    op, style, seed, weights
        As in `convlab.check`; the properties here are called "loads" and "ends".
    limits : Limits
        What it may use, and for how long.
    siblings : bool
        Whether it may import the files beside it.

    Raises
    ------
    FileNotFoundError, OSError, ValueError
        If there is no such file, the system cannot start processes so, or there is no such operation, style or property.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "student.py")
    ...     _ = file.write_text("def conv(x, w):\n    import sys; sys.exit()\n")
    ...     report = check_file(file, "conv")
    >>> report.passed, report.properties[0].message
    (False, 'the function called exit() (student.py, line 2: import sys; sys.exit())')
    """
    started = time.monotonic()
    weights = dict(weights or {})
    own = {name: weights.pop(name, 1.0) for name in ("loads", "ends")}
    with Submission(path, function, limits, siblings) as submission:
        try:
            submission.load()
        except Crash as crash:
            result = PropertyResult("loads", "the file loads", False, own["loads"], 1, str(crash))
            report = Report(function, op, style, seed, (result,))
        else:
            # A part of the time stays for starting anew after crashes and for the report.
            seconds = max(0.1, 0.8 * (submission.end - time.monotonic()))
            report = check(submission, op=op, style=style, seed=seed, max_seconds=seconds, weights=weights, name=function)
            submission.close()
            if submission.left:  # a property only where it fails: nobody earns points by ending
                ended = PropertyResult("ends", "nothing is left running", False, own["ends"], 1, "; ".join(submission.left))
                report = replace(report, properties=(*report.properties, ended))
    name = f"{submission.path.name}:{function}"
    report = replace(report, name=name, seconds=time.monotonic() - started)
    return FileReport(**{field.name: getattr(report, field.name) for field in fields(report)}, output=submission.output)
