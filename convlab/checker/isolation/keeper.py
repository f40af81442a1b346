"""The keeper: between the grader and the child, it runs no foreign code, and leaves nothing running.

Started by `start.py` in Python's isolated mode. It waits until the child ends or the grader says so, kills everything that the child has
started, and says how the child ended.

Where the system permits, keeper and child are in a PID namespace of their own, the keeper as its first process: no submission can
signal it, all orphans come to it, and with it all the others end. Elsewhere it finds the child's descendants by their parents in /proc;
as their subreaper it is the parent of those whose own is gone. A submission of the same user can kill it then, which the grader notices.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from typing import NamedTuple

from . import walls
from .folder import remove

KILL = b"k"

GRACE = 0.3
"""Seconds that helpers which end with their process, as multiprocessing's, are given."""
KILLING = 5.0
"""Seconds for killed processes to be gone: a disk that does not answer can hold them."""


class Reaped(NamedTuple):
    """What has ended: the child's status if it is among it, and how many of the others were killed; and whether any are left."""

    status: int | None
    killed: int
    left: bool


def reap(child: int) -> Reaped:
    """Collect what has ended."""
    status, killed = None, 0
    with contextlib.suppress(ChildProcessError):
        while True:
            ended, how = os.waitpid(-1, os.WNOHANG)
            if ended == 0:
                return Reaped(status, killed, True)
            if ended == child:
                status = how
            else:
                killed += os.WIFSIGNALED(how) and os.WTERMSIG(how) == signal.SIGKILL
    return Reaped(status, killed, False)


def wait(child: int, control: socket.socket) -> int:
    """Wait for the child's end, or the grader's word to end it, and return its status."""
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # a signal without a handler wakes nobody
    status = reap(child).status
    while status is None:
        ready, _, _ = select.select([woken, control.fileno()], [], [])
        if control.fileno() in ready:  # the word to kill, or the grader is gone
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        else:
            os.read(woken, 4096)
            status = reap(child).status
    return status


def end_namespace(child: int) -> int:
    """Kill all other processes of this namespace, and return how many would have gone on."""
    end = time.monotonic() + GRACE
    while (found := reap(child)).left and time.monotonic() < end:
        time.sleep(0.01)
    if not found.left:
        return 0
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    killed, end = 0, time.monotonic() + KILLING
    while time.monotonic() < end:
        found = reap(child)
        killed += found.killed
        if not found.left:
            break
        time.sleep(0.01)
    return killed


def descendants(pid: int) -> set[int]:
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


def end_descendants(child: int) -> int:
    """Kill all that the child has left, and return how many would have gone on."""
    own = os.getpid()
    end = time.monotonic() + GRACE
    while descendants(own) and time.monotonic() < end:
        time.sleep(0.01)
        reap(child)
    left = len(descendants(own))
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    end = time.monotonic() + KILLING
    while (alive := descendants(own)) and time.monotonic() < end:  # again, since they may start others meanwhile
        for pid in alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        reap(child)
    return left


def main() -> None:
    *numbers, folder = sys.argv[1:]
    requests, replies, fd, memory = map(int, numbers)
    control = socket.socket(fileno=fd)
    refused = walls.namespace_refused(folder)
    if not refused:
        walls.leave()
        first = os.fork()
        if first:
            for open_fd in (requests, replies, control.detach()):
                os.close(open_fd)
            os.waitpid(first, 0)
            os._exit(0)
        walls.die_with_parent()
        walls.enter(folder)
        os.chdir(folder)  # into what covers it
    walls.adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the first process of a namespace gets no signal that it does not ask for
    child = os.fork()
    if child:
        os.close(requests)
        os.close(replies)
        status = wait(child, control)
        left = end_descendants(child) if refused else end_namespace(child)
        try:
            control.sendall(json.dumps({"status": status, "left": left}).encode() + b"\n")
        except OSError:  # the grader is gone, and cannot remove the folder
            with contextlib.suppress(OSError):
                if not refused:
                    os.chdir("/")
                    walls.uncover(folder)
                remove(folder)
        os._exit(0)
    control.close()
    os.setsid()  # a group of its own: what the function does to its group does not reach the keeper
    same_user = walls.become_nobody(folder)
    walls.die_with_parent()
    walls.limit(memory)
    sys.argv = [""]

    from .child import serve  # not before now: NumPy loads in the child alone

    serve(requests, replies, f"{refused}; {same_user}" if refused and same_user else "")
