"""The child: it loads the file under test and calls its function, and never sees an expected answer.

It knows neither the package nor Hypothesis: NumPy, the standard library, and the few files that say how values travel.
"""

from __future__ import annotations

import contextlib
import faulthandler
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import numpy as np

from ... import geometry
from ..outcome import watch
from . import wire
from .fence import Fence

LINE_LOST = 111
"""The exit code where the line to the grader is closed."""


def serve(requests: int, replies: int, exposed: str) -> None:
    """Answer requests until there are no more.

    Parameters
    ----------
    requests, replies : int
        File descriptors.
    exposed : str
        Why nothing keeps a submission from signalling the grader, "" if something does.
    """
    faulthandler.enable()  # so that a signal says at which line of the file it hits
    Child(requests, replies, exposed).serve()


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

    def __init__(self, requests: int, replies: int, exposed: str) -> None:
        self.requests, self.replies, self.exposed = requests, replies, exposed
        self.pid = os.getpid()
        self.id = 0
        self.path = ""
        self.function: Callable[..., Any] = repr  # until the file is loaded

    def serve(self) -> None:
        while (request := self.receive()) is not None:
            text, body = request
            try:
                reply = self.answer(text, body)
            except BaseException as error:  # SystemExit and KeyboardInterrupt too: they end the function, not the check
                reply = wire.pack(None, fault=fault(error, self.path), id=self.id)
            if os.getpid() != self.pid:
                os._exit(0)  # a fork of the function came home: it must not answer a second time
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):  # the function may have closed or replaced them
                    stream.flush()
            self.send(reply)

    def receive(self) -> tuple[bytes, bytes] | None:
        head = self.read(wire.HEAD.size)
        if not head:
            return None  # the grader has no more calls
        header, body = wire.lengths(head)
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
        """Build a ConvSpec: the package's, where the submission has loaded it, so that `isinstance` holds."""
        return sys.modules.get("convlab.geometry", geometry).ConvSpec(**fields)

    def answer(self, text: bytes, body: bytes) -> bytes:
        value, header = wire.unpack(text, body, self.spec, layouts=True)
        self.id = header["id"]
        if header["do"] == "hello":
            return wire.pack(self.exposed, id=self.id)
        if header["do"] == "load":
            self.load(**value)
            return wire.pack(parameters(self.function), id=self.id)
        self.soil()
        seen = watch(self.function, **value)
        return wire.pack(seen.value, id=self.id, changed=seen.changed, aliases=seen.aliases, overwritten=seen.overwritten)

    def soil(self) -> None:
        """Fill the small blocks that NumPy keeps for reuse with odd bytes: what `np.empty` gives out must not be right by chance.

        For larger blocks the variable MALLOC_PERTURB_ does the same.
        """
        empty, byte = np.empty, np.uint8
        for block in [empty(size, byte) for size in range(4, 1024, 4) for _ in range(3)]:
            block.fill(77 if self.id % 2 else 178)  # not the same in the next call: that uncleared memory changes gives it away

    def load(self, path: str, function: str, forbidden: list[str], siblings: bool) -> None:
        self.path = path
        root = str(Path(__file__).parents[3])
        if root not in sys.path:
            sys.path.insert(0, root)  # where convlab is run from its checkout, the isolated mode does not see it
        Fence(forbidden).raise_it()
        if siblings:
            sys.path.insert(0, os.path.dirname(path))
        self.function = load(path, function)
