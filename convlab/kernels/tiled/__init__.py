"""Rung 4: pack, tile, fuse.

The micro-kernels of `matmul` and `depthwise` run at a core's peak as long as their numbers are near. The rest of this folder keeps them so:
weights are packed in the order in which they are read (`pack`); what is done to a convolution, or to three in a row, is a *step* (`step`),
cut into blocks and slices that stay in the cache (`schedule`); and a *job* is steps on pictures, with the threads that share them (`job`).

The walk of a call: `convolve` here, or `convlab.plan` -> `Job.run` -> `run_share` -> `multiply` or `lay` -> a tile.

**Where the time goes.** With many channels nearly all of it in the tile. With few, a tile's start and end weigh more: a
reduction over 16 channels is over before they are paid for. Depthwise stages do nine multiply-accumulates for each number they
read, where pointwise ones do hundreds, so they wait for the caches. `Plan.explain` shows each step's time and share of the peak.

A step is a record, and one compiled function reads a table of them. A single convolution is a table of one; `convlab.plan`
writes longer ones. So it is translated once, whatever the network.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ...geometry import ConvGeometry
from ...machinecode.memory import records
from ...machinecode.threads import available, cores
from . import schedule
from .job import Job, Space
from .pack import pack_window
from .schedule import WORTH_A_THREAD, Needs, decide, fuse, shares
from .step import INPUT, NOWHERE, OUTPUT, STEP


class _Alone(NamedTuple):
    """A step that is a plan of its own: its record, all but the place of its bounds, its shares and what it needs."""

    laid: int
    step: np.ndarray
    shares: tuple[np.ndarray, np.ndarray]
    needs: Needs


@lru_cache(maxsize=256)
def _alone(geometry: ConvGeometry, size: int, threads: int, cache: int) -> _Alone:
    """Decide how a convolution runs: the same each time, so it is remembered."""
    stages = fuse([geometry])
    fields, needs = decide(stages, size, threads, cache)
    step = records(STEP, {**fields, "source_base": INPUT, "target_base": OUTPUT, "shortcut_base": NOWHERE})
    return _Alone(stages.laid, step, (shares(step, 1), shares(step, threads)), needs)


def convolve(x: np.ndarray, w: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
    """Convolve x (N, H, W, C) with w (KH, KW, C/groups, O) into (N, OH, OW, O): a plan of one step, on all cores where that is worth it."""
    size = x.itemsize
    y = np.empty((len(x), *geometry.out_shape), x.dtype)  # first: a size beyond reason fails here, as on the other rungs
    threads = cores() if len(x) * geometry.positions * w.size >= WORTH_A_THREAD else 1
    laid, step, both, needs = _alone(geometry, size, threads, schedule.CACHE)
    step = step.view(np.int64).copy().view(STEP)  # `copy` goes field by field, and takes longer than all the rest
    weights, bounds = pack_window(w, geometry.spec.groups, laid), np.array([-np.inf, np.inf], x.dtype)
    clamp = bounds.ctypes.data - weights.ctypes.data  # in another array: a copy of the weights into one would take longer
    step["window_clamp"] = step["project_clamp"] = clamp
    workers = available(threads - 1)
    spaces = [Space(needs.ring, needs.taps, needs.outputs) for _ in range(threads + 1 if workers else 1)]
    Job(step, weights, both, spaces, size, len(x), math.prod(geometry.in_shape), math.prod(geometry.out_shape)).run(x, y, workers)
    return y
