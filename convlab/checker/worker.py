"""The other process: it loads the file under test and calls its function, and never sees an expected answer.

Started by `runner.py` as a script in Python's isolated mode. It splits in two:

* the *keeper* runs no foreign code. It waits until the child ends or the grader says so, kills everything that the child
  has started (it is the subreaper of its descendants, so that a double-forked daemon comes back to it), and says how the child ended;
* the *child* limits its memory, loads the file and answers calls.

A fence around honest and careless programs, not a wall against hostile ones: the child runs with the rights of its user.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import inspect
import json
import os
import resource
import select
import shutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

KILL = b"k"
LINE_LOST = 111
"""The child's exit code where the line to the grader is closed."""

LARGEST_FILE = 2**30
GRACE = 0.3
"""Seconds that helpers which end with their process, as multiprocessing's, are given."""

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":  # elsewhere daemons that left the process group are not found
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


# The keeper


def _descendants(pid: int) -> set[int]:
    """Return all living processes below one, from /proc; where there is none, nothing is found."""
    parents: dict[int, int] = {}
    for entry in os.scandir("/proc") if os.path.isdir("/proc/self") else ():
        if entry.name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry.name}/stat", "rb") as file:  # it may have ended by now
                state, parent = file.read().rpartition(b") ")[2].split()[:2]  # the name before may hold anything
                if state not in (b"Z", b"X"):
                    parents[int(entry.name)] = int(parent)
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def _reap(child: int) -> int | None:
    """Collect what has ended, and return the child's status if it is among them."""
    status = None
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child:
                status = ended[1]
    return status


def keep(child: int, control: socket.socket, folder: str) -> None:
    """Wait for the child's end or the grader's word, kill what is left, report."""
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # a signal without a handler wakes nobody
    status = _reap(child)
    while status is None:
        ready, _, _ = select.select([woken, control.fileno()], [], [])
        if control.fileno() in ready:  # the word to kill, or the grader is gone
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        else:
            os.read(woken, 4096)
            status = _reap(child)

    end = time.monotonic() + GRACE
    while _descendants(os.getpid()) and time.monotonic() < end:
        time.sleep(0.01)
        _reap(child)
    left = len(_descendants(os.getpid()))
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    end = time.monotonic() + 5
    while (alive := _descendants(os.getpid())) and time.monotonic() < end:  # again, since they may start others meanwhile
        for pid in alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        _reap(child)
    try:
        control.sendall(json.dumps({"status": status, "left": left}).encode() + b"\n")
    except OSError:  # the grader is gone, and cannot remove the folder
        shutil.rmtree(folder, ignore_errors=True)


# The child


class Fence(MetaPathFinder):
    """Refuse the import of some modules, however it is asked for."""

    def __init__(self, forbidden: Sequence[str]) -> None:
        self.forbidden = tuple(forbidden)

    def refuses(self, name: str) -> bool:
        return any(name == other or name.startswith(f"{other}.") for other in self.forbidden)

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if self.refuses(fullname):
            # An ImportError, as where the module is not installed: what uses it if it is there goes on without.
            raise ImportError(f"{fullname} is forbidden here: the kernel must be your own", name=fullname)

    def raise_it(self) -> None:
        for name in [name for name in sys.modules if self.refuses(name)]:
            del sys.modules[name]
        sys.meta_path.insert(0, self)


def _module(name: str, path: Path) -> ModuleType:
    """Load one file of the package by its path: importing the package would load all of it."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _compiled(path: str) -> CodeType:
    with open(path, "rb") as file:
        return compile(file.read(), path, "exec", dont_inherit=True)


def load(path: str, function: str) -> Callable[..., Any]:
    """Run the file and return its function.

    Raises
    ------
    LookupError, TypeError
        If there is no such function; and whatever the file raises.
    """
    module = ModuleType("submission")
    module.__file__ = path
    sys.modules["submission"] = module
    exec(_compiled(path), vars(module))
    try:
        found = getattr(module, function)
    except AttributeError:
        others = [name for name, value in vars(module).items() if inspect.isfunction(value) and value.__module__ == "submission"]
        defines = f"it defines {', '.join(sorted(others)[:10])}" if others else "it defines no function"
        raise LookupError(f"the file has no {function!r}: {defines}") from None
    if not callable(found):
        raise TypeError(f"{function!r} must be a function: it is {type(found).__name__}")
    return found


def parameters(function: Callable[..., Any]) -> list[dict[str, Any]] | None:
    """Return a function's parameters (name, kind, perhaps default); None where it does not tell."""
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):
        return None
    return [
        {"name": parameter.name, "kind": parameter.kind.name}
        | ({} if parameter.default is parameter.empty else {"default": parameter.default})
        for parameter in signature.parameters.values()
    ]


def fault(error: BaseException, path: str) -> dict[str, Any]:
    """Describe an exception: its type, what it says, the last line of the file on the way."""
    try:
        said = error.args[0] if isinstance(error, KeyError) and len(error.args) == 1 else error
        message = str(said)
    except Exception as other:
        message = f"(its message raises {type(other).__name__})"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    where = f"{os.path.basename(path)}, line {frames[-1].lineno}: {frames[-1].line}" if frames else None
    if isinstance(error, SyntaxError) and error.filename == path:
        message, where = str(error.msg), f"{os.path.basename(path)}, line {error.lineno}: {(error.text or '').strip()}"
    kinds = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins"]
    return {"type": type(error).__name__[:200], "kinds": kinds, "message": message[:2000], "where": where and where[:300]}


class Child:
    """Answers the grader's requests, one after another."""

    def __init__(self, requests: int, replies: int) -> None:
        here = Path(__file__).parent
        self.wire = _module("convlab_wire", here / "wire.py")
        self.geometry_file = here.parent / "geometry.py"
        self.requests, self.replies = requests, replies
        self.pid = os.getpid()
        self.id = 0
        self.path = ""
        self.function: Callable[..., Any] = repr  # until the file is loaded
        self.earlier: list[Any] = []  # the memory of the last results
        self.earlier_bytes: list[bytes] = []

    def serve(self) -> None:
        while (request := self.receive()) is not None:
            text, body = request
            try:
                reply = self.answer(text, body)
            except BaseException as error:  # SystemExit and KeyboardInterrupt too: they end the function, not the check
                reply, _ = self.wire.pack(None, fault=fault(error, self.path), id=self.id)
            if os.getpid() != self.pid:
                os._exit(0)  # a fork of the function came home: it must not answer a second time
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):  # the function may have closed or replaced them
                    stream.flush()
            self.send(reply)

    def receive(self) -> tuple[bytes, bytes] | None:
        head = self.read(self.wire.HEAD.size)
        if not head:
            return None  # the grader has no more calls
        header, body = self.wire.lengths(head)
        return self.read(header), self.read(body)

    def read(self, size: int) -> bytes:
        data = bytearray()
        try:
            while len(data) < size:
                chunk = os.read(self.requests, min(size - len(data), 2**20))
                if not chunk:
                    break
                data += chunk
        except OSError:
            os._exit(LINE_LOST)
        return bytes(data)

    def send(self, message: bytes) -> None:
        view = memoryview(message)
        try:
            while view:
                view = view[os.write(self.replies, view) :]
        except OSError:
            os._exit(LINE_LOST)

    def spec(self, **fields: Any) -> Any:
        """Build a ConvSpec; `geometry.py` needs the standard library alone, so the package stays unloaded."""
        module = sys.modules.get("convlab.geometry") or sys.modules.get("convlab_geometry")
        return (module or _module("convlab_geometry", self.geometry_file)).ConvSpec(**fields)

    def answer(self, text: bytes, body: bytes) -> bytes:
        value, header, memories = self.wire.unpack(text, body, spec=self.spec)
        self.id = header["id"]
        reply: bytes
        if header["do"] == "hello":
            reply, _ = self.wire.pack(None, id=self.id)
            return reply
        if header["do"] == "load":
            self.load(**value)
            reply, _ = self.wire.pack(parameters(self.function), id=self.id)
            return reply
        args, kwargs = value
        before = [memory.read() for memory in memories]
        self.soil()
        result = self.function(*args, **kwargs)
        changes: dict[str, Any] = {}
        # A result of the call before may change too, where a function gives out the same buffer again.
        for name, known, old in (("input", memories, before), ("earlier", self.earlier, self.earlier_bytes)):
            for i, (memory, data) in enumerate(zip(known, old, strict=True)):
                if (after := memory.read()) != data:
                    changes[f"{name} {i}"] = after
                    old[i] = after  # what the grader knows from now on
        reply, own = self.wire.pack(result, [*memories, *self.earlier], id=self.id, **changes)
        if own:
            self.earlier, self.earlier_bytes = own, [memory.read() for memory in own]
        return reply

    def soil(self) -> None:
        """Fill the small blocks that NumPy keeps for reuse with odd bytes: what `np.empty` gives out must not be right by chance.

        For larger blocks the variable MALLOC_PERTURB_ does the same.
        """
        empty, byte = self.wire.np.empty, self.wire.np.uint8
        for block in [empty(size, byte) for size in range(4, 1024, 4) for _ in range(3)]:
            block.fill(77 if self.id % 2 else 178)  # not the same in the next call: that uncleared memory changes gives it away

    def load(self, path: str, function: str, forbidden: list[str], siblings: bool) -> None:
        self.path = path
        Fence(forbidden).raise_it()
        root = str(Path(__file__).parents[2])
        if root not in sys.path:
            sys.path.insert(0, root)  # where convlab is run from its checkout, the isolated mode does not see it
        if siblings:
            sys.path.insert(0, os.path.dirname(path))
        self.function = load(path, function)


def main() -> None:
    *numbers, folder = sys.argv[1:]
    requests, replies, control, memory = map(int, numbers)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    child = os.fork()
    if child:
        os.close(requests)
        os.close(replies)
        keep(child, socket.socket(fileno=control), folder)
        os._exit(0)
    os.close(control)
    os.setsid()  # a group of its own: what the function does to its group does not reach the keeper
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    limits = {"RLIMIT_FSIZE": LARGEST_FILE, "RLIMIT_CORE": 0}
    if sys.platform == "linux":  # elsewhere the system refuses or ignores it
        limits["RLIMIT_AS"] = memory
    for limit, value in limits.items():
        kind = getattr(resource, limit)
        _, hard = resource.getrlimit(kind)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
    sys.argv = [""]
    Child(requests, replies).serve()


if __name__ == "__main__":
    main()
