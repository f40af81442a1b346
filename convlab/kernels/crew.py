"""The process's helper threads, which compiled kernels and plans share.

Starting a thread takes longer than waking one that waits, and waking one longer than finding one awake. So the threads are kept,
and one that has just helped *watches* for a while, in compiled code and without Python's lock, whether it is called again; only
then it goes to sleep.

Each helper has a *slot*, a line of memory with its state and the job it is called to. All changes of state are atomic::

    ASLEEP    -> CALLED    the caller, who also wakes a thread to serve the slot
    WATCHING  -> CALLED    the caller
    CALLED    -> WORKING   the helper
    WORKING   -> WATCHING  the helper, when the job is done
    CALLED    -> WATCHING  the caller, when the job is done without this helper: one that has not begun is not waited for
    WATCHING  -> ASLEEP    the helper, out of patience; or whoever wants its thread for something else

One call at a time has the helpers; whoever finds them lent does the whole work on its own thread: two pools that both wanted all cores
would only get in each other's way. A forked child begins without threads.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from numba import config

from . import simd
from .cached import njit

WORKING, CALLED, WATCHING, ASLEEP = range(4)
"""States of a slot, in an order that lets the caller wait until a slot is at least WATCHING."""

SLOT = 16
"""Numbers in a slot: two lines of a cache, which processors like to fetch in pairs."""

STATE, WORK, JOB = range(3)
"""What they are: the state, the address of the function to call, and that of the job it is given."""

PATIENCE = 40_000 if simd.JIT else 1
"""How often a helper looks for its next call before it sleeps."""


def most() -> int:
    """Return how many threads a kernel may use: as many as Numba would, by default one a core (`NUMBA_NUM_THREADS` says fewer)."""
    number: int = config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]  # set as Numba loads
    return number


@njit(cache=True, nogil=True)
def _serve(slot, thread):
    """Do the jobs that a slot is called to, until none has come for a while."""
    looks = 0
    while True:
        state = simd.look(slot)
        if state == CALLED:
            if simd.swap_if(slot, CALLED, WORKING) == CALLED:
                simd.call(simd.get(slot + 8 * WORK), simd.get(slot + 8 * JOB), thread)
                simd.swap_if(slot, WORKING, WATCHING)
                looks = 0
        elif state != WATCHING:  # sent to sleep, or served by another thread
            return
        elif looks == PATIENCE:
            simd.swap_if(slot, WATCHING, ASLEEP)
        else:
            looks += 1
            simd.pause()


@njit(cache=True, nogil=True)
def _change(slot, before, after):
    """Change a slot's state if it is `before`, and return whether it was."""
    return simd.swap_if(slot, before, after) == before


@njit(cache=True, nogil=True)
def _gather(slot):
    """Wait for a helper that has begun, call off one that has not, and return the slot's state."""
    if simd.swap_if(slot, CALLED, WATCHING) != CALLED:
        simd.wait(slot, WATCHING)
    return simd.look(slot)


class Helpers:
    """Threads that help one call at a time.

    Attributes
    ----------
    count : int
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool = ThreadPoolExecutor(count, "convlab")
        self._memory = simd.empty(8 * SLOT * count)
        self._slots = self._memory.view(np.int64).reshape(count, SLOT)
        self._slots[:, STATE] = ASLEEP
        self._places = [self._slots[i : i + 1].ctypes.data for i in range(count)]
        self._serving: list[Future[None] | None] = [None] * count

    def submit(self, function: Any, *arguments: Any) -> Future[Any]:
        """Have a helper call a function of Python."""
        for place in self._places:
            _change(place, WATCHING, ASLEEP)
        return self._submit(function, *arguments) or _done(function, *arguments)

    def _submit(self, function: Any, *arguments: Any) -> Future[Any] | None:
        """Wake a thread for a function, or return None where Python ends and its pools take no more work."""
        try:
            return self._pool.submit(function, *arguments)
        except RuntimeError as error:
            if "cannot schedule new futures after" not in str(error):
                raise
            return None

    def call(self, work: int, job: int, count: int) -> None:
        """Have `count` helpers call the compiled function at address `work`, with `job` and their numbers, 1 and up."""
        for i, place in enumerate(self._places[:count]):
            self._slots[i, WORK], self._slots[i, JOB] = work, job
            if not _change(place, WATCHING, CALLED):
                self._slots[i, STATE] = CALLED  # it was asleep, so nobody else changes it
                self._serving[i] = serving = self._submit(self._serve, i)
                if serving is None:
                    self._slots[i, STATE] = ASLEEP  # the caller does it all

    def _serve(self, i: int) -> None:
        try:
            _serve(self._places[i], i + 1)
        except BaseException:
            self._slots[i, STATE] = ASLEEP
            raise

    def gather(self) -> None:
        """Wait for the helpers that have begun, and call off those that have not."""
        for place, serving in zip(self._places, self._serving, strict=True):
            if _gather(place) == ASLEEP and serving is not None:
                serving.result()  # raises here what was raised there

    def shutdown(self) -> None:
        """Let the threads end."""
        self._pool.shutdown()


def _done(function: Any, *arguments: Any) -> Future[Any]:
    """Call a function here and now, and return the outcome as a helper would."""
    future: Future[Any] = Future()
    try:
        future.set_result(function(*arguments))
    except BaseException as error:
        future.set_exception(error)
    return future


class Crew:
    """Helper threads, lent to one call at a time.

    Examples
    --------
    >>> with CREW.helpers(1) as helpers:
    ...     helpers.submit(sum, [1, 2]).result()
    3
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew, without threads."""
        self._busy = threading.Lock()
        self._helpers: Helpers | None = None

    @contextmanager
    def helpers(self, count: int) -> Iterator[Helpers | None]:
        """Lend at least `count` helpers, or None if none are wanted or they are busy."""
        if count < 1 or not self._busy.acquire(blocking=False):
            yield None
            return
        try:
            if self._helpers is None or self._helpers.count < count:
                if self._helpers is not None:
                    self._helpers.shutdown()
                self._helpers = Helpers(count)
            yield self._helpers
        finally:
            self._busy.release()


CREW = Crew()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=CREW.reset)  # threads do not live on in a child, and its lock may have been held
