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

import numpy as np

from ...geometry import ConvGeometry
from ...machinecode.memory import records
from ...machinecode.threads import available, cores
from .job import Job, Space
from .pack import pack_window
from .schedule import WORTH_A_THREAD, decide, fuse
from .step import INPUT, NOWHERE, OUTPUT, STEP


def convolve(x: np.ndarray, w: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
    """Convolve x (N, H, W, C) with w (KH, KW, C/groups, O) into (N, OH, OW, O): a plan of one step, on all cores where that is worth it."""
    size = x.itemsize
    y = np.empty((len(x), *geometry.out_shape), x.dtype)  # first: a size beyond reason fails here, as on the other rungs
    threads = cores() if len(x) * geometry.positions * w.size >= WORTH_A_THREAD else 1
    stages = fuse([geometry])
    fields, needs = decide(stages, size, threads)
    weights, bounds = pack_window(w, geometry.spec.groups, stages.laid), np.array([-np.inf, np.inf], x.dtype)
    clamp = bounds.ctypes.data - weights.ctypes.data  # in another array: a copy of the weights into one would take longer
    places = {"source_base": INPUT, "target_base": OUTPUT, "shortcut_base": NOWHERE, "window_clamp": clamp, "project_clamp": clamp}
    workers = available(threads - 1)
    spaces = [Space(needs.ring, needs.taps, needs.outputs) for _ in range(threads + 1 if workers else 1)]
    job = Job(records(STEP, fields | places), weights, spaces, size, len(x), math.prod(geometry.in_shape), math.prod(geometry.out_shape))
    job.run(x, y, workers)
    return y
