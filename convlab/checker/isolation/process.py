"""The grader's end of the other process: the pipes to it, its time, its end."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from . import wire
from .folder import remove
from .keeper import KILL

START = Path(__file__).with_name("start.py")

KEPT_OUTPUT = 4000
LARGEST_OUTPUT = 10 * 2**20
END_SECONDS = 2.0
"""For the process to end once there are no more calls."""
KILL_SECONDS = 8.0

PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "NUMBA_DISABLE_JIT")
"""The variables that a file under test gets: no tokens, no passwords."""

Message = tuple[bytes, bytes]
"""The header and the bytes of a message."""


class Stopped(Exception):
    """There will be no answer; `why` is "time", "output", "line" or, with the child's status, "died"."""

    def __init__(self, why: str, status: int = 0) -> None:
        self.why, self.status = why, status


class Process:
    """The other process, the pipes to it, and a folder of its own that goes when it goes."""

    def __init__(self, memory: int) -> None:
        self.output = bytearray()
        self.printed = 0
        self.ending: dict[str, int] | None = None  # the keeper's last word
        self.unremovable = ""
        self._said = bytearray()
        self._keeper_gone = False
        self._folder = tempfile.mkdtemp(prefix="convlab-check-")
        self._control, control = socket.socketpair()
        (requests, self._requests), (self._replies, replies), (self._prints, prints) = os.pipe(), os.pipe(), os.pipe()
        theirs = (requests, replies, control.fileno())
        variables = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        variables |= dict.fromkeys(("HOME", "TMPDIR", "NUMBA_CACHE_DIR"), self._folder)
        variables["MALLOC_PERTURB_"] = "77"  # glibc: what np.empty gives out is no zeros by chance
        variables |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # a thread takes address space
        # Isolated (no variable, folder or user's file adds to the path), without bytecode files, unbuffered.
        command = [sys.executable, "-I", "-B", "-u", str(START), *map(str, theirs), str(memory * 2**20), self._folder]
        try:
            self._keeper = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=prints,
                stderr=prints,
                cwd=self._folder,
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
        Stopped
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
                    raise Stopped("died", signal.SIGKILL if self.ending is None else self.ending["status"])
                if self.printed > LARGEST_OUTPUT:
                    raise Stopped("output")
                if time.monotonic() >= deadline:
                    raise Stopped("time" if open_line else "line")

    def _drain(self) -> bool:
        """Read what was printed, keep its beginning, and say whether more may come."""
        data = _read(self._prints)
        if data:
            self.output += data[: max(0, KEPT_OUTPUT - len(self.output))]
            self.printed += len(data)
        return data != b""

    def _ended(self) -> bool:
        """Read the keeper's line, and say whether it is complete, or the keeper gone without it."""
        data = _read(self._control)
        self._said += data or b""
        if self._said.endswith(b"\n"):
            self.ending = json.loads(self._said)  # the keeper runs no foreign code
        self._keeper_gone = data == b"" and self.ending is None
        return self._keeper_gone or self.ending is not None

    def _wait(self, seconds: float) -> bool:
        """Wait for the keeper's last word, draining what is printed, and say whether it came."""
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ)
            selector.register(self._prints, selectors.EVENT_READ)
            while self.ending is None and not self._keeper_gone and (left := deadline - time.monotonic()) > 0:
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
        if self.ending is None:
            _kill_strays(self._folder)
        self._close()
        return by_itself

    def _close(self) -> None:
        for fd in (self._requests, self._replies, self._prints):
            if fd >= 0:
                os.close(fd)
        self._control.close()
        try:
            remove(self._folder)
        except OSError as error:  # no reason to lose a report
            self.unremovable = error.strerror or str(error)


def _kill_strays(folder: str) -> None:
    """Kill the processes that a killed keeper left: those whose home is the folder that was theirs."""
    home, end = f"HOME={folder}".encode(), time.monotonic() + 2
    found = sys.platform == "linux"
    while found and time.monotonic() < end:  # again, since they may start others meanwhile
        found = False
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                with contextlib.suppress(OSError), open(f"/proc/{entry.name}/environ", "rb") as variables:  # another's, or gone
                    if home in variables.read().split(b"\0"):
                        os.kill(int(entry.name), signal.SIGKILL)
                        found = True


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
