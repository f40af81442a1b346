"""The proxy of a file's function: called like it, it lets another process do the work, and waits no longer than the limits.

The grader draws the cases and holds the expected answers; the other process (`child.py`) sees arguments alone. Where there will be no
answer, the proxy raises `Crash`.
"""

from __future__ import annotations

import builtins
import inspect
import os
import re
import signal
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...files import printable
from ...geometry import ConvSpec
from ..outcome import CallArguments, Crash, Outcome, Watched
from . import wire
from .child import LINE_LOST
from .limits import STANDARD, Limits
from .process import END_SECONDS, KEPT_OUTPUT, LARGEST_OUTPUT, Process, Stopped

LARGEST_PROGRAM = 4 * 2**20
START_SECONDS = 30.0
"""For Python and NumPy to load, on however busy a machine."""


class Submission(Watched):
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
    exposed : str
        Why the system does not keep it from signalling the grader, "" if it does; known after `load`.

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

    def __init__(self, path: str | os.PathLike[str], function: str, limits: Limits = STANDARD, siblings: bool = True) -> None:
        self.path = Path(path).absolute()
        if not os.path.lexists(self.path) or self.path.is_dir():
            raise FileNotFoundError(f"no such file: {path}")
        require_processes()
        self.function, self.limits, self.siblings = function, limits, siblings
        self.__name__ = function
        self.end = time.monotonic() + self.limits.seconds
        self.left: list[str] = []
        self.exposed = ""
        self._too_slow = 0
        self._output: list[str] = []
        self._process: Process | None = None
        self._calls = 0

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
        refused = _no_program(self.path)
        if refused:
            raise Crash(f"{self.path.name} does not load: {refused}")
        self._process = Process(self.limits.memory)
        _, self.exposed = self._exchange("Python's start", START_SECONDS, "hello", None)
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
        """Call the function in the other process. The arguments here stay as they are.

        Raises
        ------
        Crash
            If the process died, ran out of time or memory, or printed without end.
        Exception
            What the function raised: of the same built-in type, or of a type of the same name.
        """
        return self.watch([(args, kwargs)]).value

    def watch(self, calls: Sequence[CallArguments], size: int = 0, most: int | None = None) -> Outcome:
        """Call the function in the other process, where it is watched: see `outcome.watch`."""
        if self._too_slow >= 2:
            raise Crash(f"calls took longer than {self.limits.call_seconds:g} s twice: it is not called again")
        if self._process is None:
            self.load()
        what = "one call" if len(calls) == 1 else f"{len(calls)} calls"
        task = {"calls": [(list(positional), dict(keywords)) for positional, keywords in calls], "size": size, "most": most}
        header, value = self._exchange(what, self.limits.call_seconds * len(calls), "call", task)
        if "fault" in header:
            raise self._error(header["fault"])
        return Outcome(value, changed=header["changed"], aliases=header["aliases"], overwritten=header["overwritten"])

    def close(self) -> None:
        """Let the process end, kill what is left, and complain about it in `left`."""
        self._stop(gracefully=True)

    def _stop(self, gracefully: bool = False, crashed: bool = False) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        by_itself = process.end(gracefully)
        if process.ending is None:
            self._complain("the process could not be ended in order: did the function stop its parent?")
        elif process.unremovable:
            self._complain(f"files left that cannot be removed: {process.unremovable}")
        elif not by_itself and gracefully:
            self._complain(f"threads left running: the process did not end within {END_SECONDS:g} s of its last call")
        elif process.ending["left"] and (gracefully or crashed):
            count = process.ending["left"]
            self._complain(f"{count} {'process' if count == 1 else 'processes'} left running: each must be ended by the function")
        if process.printed:
            cut = f"\n... cut: {process.printed:,} bytes in all" if process.printed > len(process.output) else ""
            self._output.append(printable(process.output.decode(errors="replace")).rstrip("\n") + cut)

    def _complain(self, text: str) -> None:
        if text not in self.left:
            self.left.append(text)

    def _exchange(self, what: str, seconds: float, do: str, asked: Any) -> tuple[dict[str, Any], Any]:
        """Ask the other process and return the header and value of its answer; every way to have none is a `Crash`."""
        assert self._process is not None
        process = self._process
        remaining = self.end - time.monotonic()
        try:
            if remaining <= 0:
                raise Stopped("time")
            self._calls += 1
            message = wire.pack(asked, layouts=True, do=do, id=self._calls)
            try:
                value, header = wire.unpack(*process.exchange(message, min(seconds, remaining)), ConvSpec)
                if header["id"] != self._calls:
                    raise ValueError("it answers another call")
                if "fault" in header:
                    header["fault"] = _fault(**header["fault"])
                elif do == "call":
                    header = _seen(asked["calls"][-1], **header)
            except wire.REFUSED as error:
                raise Stopped(f"what came back is no answer ({error}): did the function write into the line to the grader?") from error
        except Stopped as stop:
            self._too_slow += stop.why == "time"
            self._stop(crashed=stop.why == "died")
            raise Crash(self._reason(what, seconds, remaining, stop, bytes(process.output))) from None
        except BaseException:  # Ctrl-C, or a bug of ours
            self._stop()
            raise
        return header, value

    def _reason(self, what: str, seconds: float, remaining: float, stop: Stopped, output: bytes) -> str:
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


def require_processes() -> None:
    """Refuse a system on which no file can be checked.

    Raises
    ------
    OSError
        If processes cannot be forked, or their resources not limited.
    """
    try:
        import resource  # noqa: F401
    except ModuleNotFoundError:
        found = False
    else:
        found = hasattr(os, "fork")
    if not found:
        raise OSError("a file is checked in a process of its own, which needs fork and limits of resources (Linux, macOS)")


def _no_program(path: Path) -> str:
    """Return why a file cannot be a program, "" if it can: reading a pipe or a device would never end."""
    try:
        status = path.stat()
    except OSError as error:
        return str(error.strerror)
    if not stat.S_ISREG(status.st_mode):
        return "it is no regular file"
    if status.st_size > LARGEST_PROGRAM:
        return f"it has {status.st_size:,} bytes, a program may have {LARGEST_PROGRAM:,}"
    return ""


def _fault(type: str, kinds: Sequence[str], message: str, where: str | None) -> dict[str, Any]:
    """Return what is told of an exception, as it must be."""
    said = {name: printable(str(text))[:2000] for name, text in (("type", type), ("message", message), ("where", where or ""))}
    return {**said, "kinds": [str(kind) for kind in kinds]}


def _seen(call: CallArguments, id: int, changed: Sequence[Any], aliases: Sequence[int], overwritten: bool) -> dict[str, Any]:
    """Return what is told of a call beside its result, as it must be."""
    positional, keywords = call
    if not all(name in keywords if isinstance(name, str) else name in range(len(positional)) for name in changed):
        raise ValueError("it names arguments that there are not")
    return {"id": id, "changed": tuple(changed), "aliases": tuple(map(int, aliases)), "overwritten": bool(overwritten)}


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
