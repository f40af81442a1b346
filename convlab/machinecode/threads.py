"""The pool: worker threads that help compiled kernels and plans.

Starting a thread takes longer than waking one that waits, and waking one longer than finding one awake. So workers are kept, and one
that has just helped *watches* for a while, in compiled code and without Python's lock, for the next call; only then it goes to sleep.

A *call* is a job that the caller works on and at which workers may join it. It stands in the pool's own line of memory, and each
worker has a *slot*, a line with its state. All changes of state are atomic::

    ABSENT    -> ASLEEP    the worker, as its thread begins
    ASLEEP    -> WATCHING  the worker, when it was woken
    WATCHING  -> WORKING   the worker, at the sight of a call; it begins only if the call is open still
    WORKING   -> WATCHING  the worker, when it has done what there was to do
    WATCHING  -> ASLEEP    the worker, out of patience; or whoever wants its thread for a function of Python

The caller opens the call, does its part, closes the call and then waits for the slots that say WORKING. A worker says so first and looks
second whether the call is open, the caller closes first and looks second who works: so one of them always sees the other,
and a worker that comes late is never waited for.

**Nothing comes between.** Ctrl-C can strike between any two instructions of Python. Taking the pool, working, waiting and giving it
back are therefore one compiled function (`_together`), and what Python does before it, waking, may be broken off anywhere:
a worker that is woken for nothing goes back to sleep. There is no lock that an interrupt, a fork or a signal handler could
leave locked. A forked child has a pool of its own.

One call at a time has the workers; whoever finds them taken does the whole work on its own thread: calls that all wanted every
core would only get in each other's way.
"""

from __future__ import annotations

import _thread
import atexit
import math
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from numba import config, types

from .atomics import SPINS, call, look, nap, pause, raise_failure, swap_if
from .cache import njit
from .inline import JIT
from .memory import get, put

LINE = 128
"""Bytes of a slot: two lines of a cache, which processors like to fetch in pairs."""

OWNER, CALL, NUMBER, WORK, JOB = range(0, 40, 8)
"""The pool's own line: whether a call has it; the call that is open; how many there were; its function and job."""

STATE, SEEN = range(0, 16, 8)
"""A worker's slot: its state, and the last call it saw."""

ABSENT, ASLEEP, WATCHING, WORKING = range(4)

MOST = 1024
"""More slots than a pool has: a call is its number * MOST + the workers it may have."""

PATIENCE = 40_000
"""How often a worker looks for its next call before it sleeps."""


def cores() -> int:
    """Return how many threads are of use here: as many as this process has processors, or `NUMBA_NUM_THREADS` if that says fewer.

    Processors are those it may run on and, in a container with a share of a machine, as many as the share is worth.
    """
    allowed = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    told: int = config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]  # set as Numba loads: by default one a processor
    return math.ceil(min(allowed, told, quota(), MOST))


_quota: list[float] = []


def quota() -> float:
    """Return how many processors a container lets this process use, infinity where none sets a limit; read once."""
    if not _quota:
        _quota.append(read_quota() if sys.platform == "linux" else math.inf)
    return _quota[0]


def read_quota(groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float:
    """Return the least share that a control group of this process, or one that it is part of, sets.

    Parameters
    ----------
    groups : Path
        Where Linux shows control groups, of version 1 or 2.
    own : Path
        The file that names this process's groups.
    """
    try:
        names = [line.split(":", 2)[1:] for line in own.read_text().splitlines()]
    except OSError:
        return math.inf
    shares = [math.inf]
    for controllers, path in names:
        base = groups if not controllers else groups / controllers
        if controllers and "cpu" not in controllers.split(","):
            continue
        inner = base / path.lstrip("/")
        for folder in {base, inner, *(parent for parent in inner.parents if base in parent.parents)}:
            shares.append(_share(folder))
    return min(shares)


def _share(folder: Path) -> float:
    """Return the share that one control group sets: time it may run in each period."""
    try:
        if (folder / "cpu.max").exists():
            limit, period = (folder / "cpu.max").read_text().split()
        else:
            limit, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return math.inf if limit == "max" or int(limit) <= 0 else int(limit) / int(period)
    except (OSError, ValueError):  # there is none, or it is written in a way that we do not know
        return math.inf


@njit(cache=True, nogil=True)
def _change(slot, before, after):
    """Change a slot's state if it is `before`, and return whether it was."""
    return swap_if(slot + STATE, before, after) == before


@njit(cache=True, nogil=True)
def _serve(pool, worker):
    """Watch for calls and join them, until none has come for a while or the thread is wanted elsewhere."""
    slot = pool + LINE * worker
    if not _change(slot, ASLEEP, WATCHING):
        return
    looks = 0
    while looks < PATIENCE:
        opened = look(pool + CALL)
        if opened % MOST >= worker and opened != get(slot + SEEN):
            if not _change(slot, WATCHING, WORKING):
                return
            put(slot + SEEN, opened)
            if swap_if(pool + CALL, opened, opened) == opened:  # open still: from here on the caller waits
                call(get(pool + WORK), get(pool + JOB), worker)
                looks = 0
            _change(slot, WORKING, WATCHING)
        elif look(slot + STATE) != WATCHING:
            return
        else:
            looks += 1
            pause()
    _change(slot, WATCHING, ASLEEP)


@njit(cache=True, nogil=True)
def _together(pool, work, job, workers):
    """Do the caller's part of a job, while up to `workers` workers do theirs, and return the job's first number."""
    put(job, 0)
    if workers == 0 or swap_if(pool + OWNER, 0, 1) != 0:
        call(work, job, 0)
        return get(job)
    number = get(pool + NUMBER) + 1
    opened = number * MOST + workers
    put(pool + NUMBER, number)
    put(pool + WORK, work)
    put(pool + JOB, job)
    swap_if(pool + CALL, 0, opened)
    call(work, job, 0)
    swap_if(pool + CALL, opened, 0)
    for worker in range(1, workers + 1):
        looks = 0
        while swap_if(pool + LINE * worker + STATE, WORKING, WORKING) == WORKING:
            looks += 1
            if looks <= SPINS:
                pause()
            else:
                nap()  # it may have no core
    swap_if(pool + OWNER, 1, 0)
    return get(job)


class Pool:
    """The workers of a process. Threads start when they are first wanted, and stay."""

    def __init__(self) -> None:
        memory = np.zeros(LINE * (MOST + 1), np.uint8)
        start = -memory.ctypes.data % LINE
        self._words = memory[start : start + LINE * MOST].view(np.int64).reshape(MOST, LINE // 8)
        self.address = self._words.ctypes.data
        self._alarms = [_thread.allocate_lock() for _ in range(MOST)]
        for alarm in self._alarms:
            alarm.acquire()  # a worker sleeps until it can
        self._functions: deque[Callable[[], None]] = deque()

    def states(self) -> list[int]:
        """Return the states of workers 1, 2 and so on, as far as there have been any."""
        states = self._words[1:, STATE // 8].tolist()
        return states[: max((i + 1 for i, state in enumerate(states) if state != ABSENT), default=0)]

    def busy(self) -> bool:
        """Return whether a call has the workers."""
        return bool(self._words[0, OWNER // 8])

    def wake(self, workers: int) -> None:
        """See that workers 1, 2, ... are awake soon."""
        for worker, state in enumerate(self._words[1 : workers + 1, STATE // 8].tolist(), 1):
            if state == ABSENT:
                self._start(worker)
            elif state == ASLEEP:
                self._ring(worker)

    def send(self, function: Callable[[], None], workers: int) -> None:
        """Have workers call a function of Python as soon as they can."""
        for worker in range(1, workers + 1):
            self._functions.append(function)
            _change(self.address + LINE * worker, WATCHING, ASLEEP)
        self.wake(workers)

    def rest(self) -> None:
        """Send to sleep who watches: the process ends, and its machine code goes."""
        for worker in range(1, len(self.states()) + 1):
            _change(self.address + LINE * worker, WATCHING, ASLEEP)

    def _start(self, worker: int) -> None:
        for compiled, arguments in (
            (_change, 3),
            (_serve, 2),
        ):  # not by the thread: a fork while it compiles would leave a child that cannot
            compiled.compile((types.int64,) * arguments)
        try:
            _thread.start_new_thread(self._live, (worker,))
        except RuntimeError:
            return  # the system gives no more threads, or Python ends: the caller works without

    def _ring(self, worker: int) -> None:
        try:
            self._alarms[worker].release()
        except RuntimeError:
            return  # it rings already

    def _live(self, worker: int) -> None:
        """Be a worker: a thread's whole life."""
        if not _change(self.address + LINE * worker, ABSENT, ASLEEP):
            return  # two callers have started it at once
        while True:
            for function in _taken(self._functions):
                function()
            _serve(self.address, worker)
            self._alarms[worker].acquire()


def _taken(items: deque[Any]) -> Iterator[Any]:
    """Take items until there are none; others may do so at the same time."""
    while True:
        try:
            item = items.popleft()
        except IndexError:
            return
        yield item


_pools: dict[int, Pool] = {}


def pool() -> Pool:
    """Return this process's pool."""
    process = os.getpid()
    return _pools.get(process) or _pools.setdefault(process, Pool())


@atexit.register
def _rest() -> None:
    if os.getpid() in _pools:
        pool().rest()


def available(workers: int) -> int:
    """Return how many of so many workers a call would get now: none where another call has them, and none without a core of its own."""
    return 0 if workers < 1 or pool().busy() else min(workers, cores() - 1)


def together(work: int, job: int, workers: int = 0) -> None:
    """Run a compiled function of jobs as thread 0, while workers 1, 2, ... may call it too, with the same job and their numbers.

    Whether they come, and when, is not certain: the function must do what no other thread has begun. All have left it when this returns.

    Parameters
    ----------
    work : int
        From `atomics.function_of_jobs`.
    job : int
        The job's address. Its first number is for what fails.
    workers : int
        How many may join.

    What one of the threads raises is raised here.
    """
    mine = pool()
    if JIT:  # else Python would run one thread at a time anyway
        mine.wake(workers)
    failure = _together(mine.address, work, job, workers)
    if failure:
        raise_failure(failure)


def share(function: Callable[..., object], parts: Sequence[tuple[Any, ...]]) -> None:
    """Call a function once for each tuple of arguments, by as many threads as there are tuples, and raise what one of the calls raised."""
    left, outcomes = deque(parts), SimpleQueue[BaseException | None]()

    def work() -> None:
        for part in _taken(left):
            try:
                function(*part)
            except BaseException as error:
                outcomes.put(error)
            else:
                outcomes.put(None)

    if JIT and len(parts) > 1:
        pool().send(work, len(parts) - 1)
    try:
        others = len(parts)
        for part in _taken(left):
            function(*part)
            others -= 1
        for _ in range(others):
            error = outcomes.get()
            if error is not None:
                raise error
    finally:
        left.clear()  # after an interrupt nobody begins another part
