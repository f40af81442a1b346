"""A job: steps on pictures, and the threads that run them together.

A job is a record, and what a thread has of its own is another. Whoever takes part first takes whole pictures, while there are enough for
all threads; each of the rest is run by all of them, step by step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...machinecode.atomics import add, function_of_jobs, look, wait
from ...machinecode.inline import address
from ...machinecode.memory import empty, fields, integers_at, records, records_at
from ...machinecode.threads import together
from .depthwise import lay
from .matmul import multiply
from .step import SHARE, STEP, Frame, compiled, run_share

JOB = fields(
    "failure",  # what a thread raised, as `atomics.call` keeps it
    "next",  # the next whole picture that nobody has begun
    *("pictures", "whole"),  # all of them; and how many are run by one thread each
    *("source", "target", "source_bytes", "target_bytes"),  # the pictures and the outputs, and the bytes of one
    *("steps", "step_count", "shares_alone", "shares_together"),
    *("threads", "workers", "counters", "arena_together"),
    *("number_bytes", "weights", "multiply", "lay"),
)
"""What all threads that share a job need to know."""

WORKER = fields("arena", "taps", "outputs")
"""What one of them has for itself: memory, and buffers of addresses."""

NEXT: int = JOB.fields["next"][1]  # type: ignore[index]
job_at, worker_at, step_at, share_at = (records_at(dtype) for dtype in (JOB, WORKER, STEP, SHARE))


@compiled
def _run_alone(f, j, x, y):
    """Run all steps on the picture at address `x`."""
    for number in range(j.step_count):
        s = step_at(j.steps, number)
        for phase in range(s.phases):
            run_share(f, s, share_at(j.shares_alone, 2 * number + phase), 0, phase, x, y)


@compiled
def _run_together(f, j, x, y, thread, counters, failure):
    """Run all steps on the picture at address `x`, with the other threads that call this with the same arguments.

    Each step has as many parts as there are threads. A thread first takes its own, which reads what it wrote the step before, then any that
    nobody has begun. So a thread that the system gives no core holds nobody up, unless in the midst of a part: the
    others do its work, and it skips what is done when it comes back.
    `counters` has, for both phases of each step, how often each part was asked for, and how many parts are done; where the number at
    `failure` is not 0, a part will never be done.
    """
    for number in range(j.step_count):
        s = step_at(j.steps, number)
        for phase in range(s.phases):
            both = 2 * number + phase
            asked = counters + both * 8 * (j.threads + 1)
            done = asked + 8 * j.threads
            for turn in range(j.threads):
                part = (thread + turn) % j.threads
                if add(asked + 8 * part) == 0:
                    run_share(f, s, share_at(j.shares_together, both * j.threads + part), part, phase, x, y)
                    add(done)
            wait(done, j.threads, failure)
            if look(failure) != 0:
                return


def _work(job, thread):
    """Do a thread's work on a job: whole pictures while there are enough for all threads, then its share of each that is left."""
    j, own = job_at(job, 0), worker_at(job_at(job, 0).workers, thread)
    taps, outputs = integers_at(own.taps), integers_at(own.outputs)
    f = Frame(j.number_bytes, j.weights, own.arena, taps, outputs, j.multiply, j.lay)
    n = add(job + NEXT)
    while n < j.whole:
        _run_alone(f, j, j.source + n * j.source_bytes, j.target + n * j.target_bytes)
        n = add(job + NEXT)
    f = Frame(j.number_bytes, j.weights, j.arena_together, taps, outputs, j.multiply, j.lay)
    for n in range(j.whole, j.pictures):
        counters = j.counters + (n - j.whole) * j.step_count * 2 * 8 * (j.threads + 1)
        _run_together(f, j, j.source + n * j.source_bytes, j.target + n * j.target_bytes, thread, counters, job)


class Space:
    """A thread's own memory for a job: its arena and its buffers of addresses."""

    def __init__(self, arena: int, taps: int, outputs: int) -> None:
        self.arena, self.taps, self.outputs = empty(arena), np.empty(taps, np.int64), np.empty(outputs, np.int64)

    @property
    def addresses(self) -> tuple[int, int, int]:
        return self.arena.ctypes.data, self.taps.ctypes.data, self.outputs.ctypes.data


class Job:
    """Steps that run on some pictures, and the memory for it.

    Parameters
    ----------
    steps : ndarray
        Records `STEP` with their places and weights.
    weights : ndarray
        From `pack.join`.
    shares : pair of ndarray
        From `schedule.shares`: for one thread, and for as many as there are.
    spaces : sequence of Space
        One for each thread and, where there are several, one for the pictures that they run together.
    size, pictures, source, target : int
        Bytes of a number; how many pictures; numbers of one's input and output.
    """

    def __init__(
        self,
        steps: np.ndarray,
        weights: np.ndarray,
        shares: tuple[np.ndarray, np.ndarray],
        spaces: Sequence[Space],
        size: int,
        pictures: int,
        source: int,
        target: int,
    ) -> None:
        self._threads = threads = max(len(spaces) - 1, 1)
        whole = pictures - pictures % threads
        self._counters = np.zeros((pictures - whole, len(steps), 2, threads + 1), np.int64)
        alone, together = shares
        workers = np.array([space.addresses for space in spaces[:threads]], np.int64)
        self._record = records(
            JOB,
            {
                "pictures": pictures,
                "whole": whole,
                "source_bytes": source * size,
                "target_bytes": target * size,
                "steps": steps.ctypes.data,
                "step_count": len(steps),
                "shares_alone": alone.ctypes.data,
                "shares_together": together.ctypes.data,
                "threads": threads,
                "workers": workers.ctypes.data,
                "counters": self._counters.ctypes.data,
                "arena_together": spaces[-1].addresses[0],
                "number_bytes": size,
                "weights": weights.ctypes.data,
                "multiply": address(multiply, size),
                "lay": address(lay, size),
            },
        )
        self._kept = steps, weights, spaces, alone, together, workers  # the record has only addresses
        self._work, self._address = function_of_jobs(_work), self._record.ctypes.data

    def run(self, x: np.ndarray, y: np.ndarray, workers: int = 0) -> None:
        """Run the steps on pictures x into y, both contiguous, with up to so many of the pool's workers.

        What a thread raises is raised here.
        """
        self._record["source"], self._record["target"] = x.ctypes.data, y.ctypes.data
        self._record["next"] = self._record["failure"] = 0
        self._counters[:] = 0
        together(self._work, self._address, min(workers, self._threads - 1))
