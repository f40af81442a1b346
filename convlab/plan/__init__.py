"""A network made ready to run fast: folded, fused, packed, with its memory laid out.

`Model` runs one layer after another, each in whole arrays, each step visible. `compile` gives up the visibility. What it
does beforehand, and why:

* **Fold.** Batch norm multiplies and shifts every channel by constants, and so does the convolution before it:
  ``w' = w * gamma / sqrt(variance + eps)``, ``b' = beta - mean * gamma / sqrt(variance + eps)``.
* **Fuse.** `pointwise -> depthwise -> pointwise` becomes one step that works on a few rows, or a few channels, at a time. What
  lies between is six times wider than both ends in MobileNet V2, and now never leaves the cache. Activation and shortcut
  happen as sums leave the registers. Global pooling is a depthwise convolution with a window as large as the picture and weights of
  1 / (H * W), and the classifier is pointwise: the network's end is a step like any other.
* **Pack.** Weights are stored once in the order in which the tiles read them, biases in front.
* **Lay out.** Every value lives from the step that makes it to the last that reads it. Values that never live at the same time may
  share memory, so all of them, with the steps' scratch, share one *arena*. No layout can be smaller than the bytes that live
  during the most crowded step; `Plan.least` is that bound.

What remains at run time is a table of records, one a step, and one compiled function that reads it (`kernels.tiled.job`):
Python is entered once a picture.

With several threads, each step is divided among them: large pictures by rows (a thread computes the rows its windows need
beyond its border itself), small ones by channels, so that nothing is computed twice. Whoever is free takes the next part,
and all wait until a step's parts are done, looking at a counter: to fall asleep and be woken takes longer than a step does. Of a batch,
each thread takes whole pictures while there are enough, and nobody waits. One call at a time has the pool's workers; a caller that finds
them busy runs alone, on its own core.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from .. import machine
from ..arguments import integer
from ..cost import sizes
from ..kernels.tiled.job import Job, Space
from ..kernels.tiled.pack import join, pack, pack_slices, pack_window
from ..kernels.tiled.schedule import decide, shares
from ..kernels.tiled.step import ARENA, INPUT, NOWHERE, OUTPUT, STEP
from ..layers import Network
from ..machinecode.inline import JIT
from ..machinecode.memory import empty, records
from ..machinecode.threads import available
from ..machinecode.vectors import VECTOR
from ..tables import Table
from ..units import percent
from .arena import Arena, Wants, lay_out
from .fuse import Group, groups

SIZE = 4
"""Bytes of a number: plans are float32, as models are."""


class Plan:
    """A network that is ready to run: what `Model.compile` returns.

    A plan is a value: it can be pickled, and called from many threads at once, also after a fork.

    Attributes
    ----------
    network : Network
    batch : int
        Pictures in a call.
    threads : int
        How many share a call: as many as were asked for, but no more than `machine.cores()`.
    arena_bytes, least : int
        Memory for the values between steps and the steps' scratch; and the least that any layout of them needs.

    Examples
    --------
    >>> import convlab as cl
    >>> model = cl.Model.random(cl.mobilenet_v1(alpha=0.25, resolution=32, classes=10), seed=0)
    >>> plan = model.compile(batch=2, threads=1)
    >>> x = np.zeros((2, 32, 32, 3), np.float32)
    >>> bool(np.allclose(plan(x), model(x, kernel="im2col"), rtol=1e-4, atol=1e-4))
    True
    """

    def __init__(self, network: Network, params: Mapping[str, np.ndarray], batch: SupportsIndex = 1, threads: SupportsIndex | None = None):
        self.network = network
        self.batch = integer("batch", batch, 0)
        self.threads = min(machine.cores() if threads is None else integer("threads", threads, 1), machine.cores())
        fused = groups(network, params)
        self._notes = [_Note.of(group) for group in fused]
        self._outputs = network.outputs
        self._steps, self._weights, arena, self._lengths = _steps(fused, _begins(self._outputs), self.threads)
        self._shares = shares(self._steps, 1), shares(self._steps, self.threads)
        self.arena_bytes, self.least = arena.size, arena.least
        self._spare: tuple[list[Job], list[Job]] = [], []  # that no call uses: for one thread, for all

    def __repr__(self) -> str:
        return f"Plan({self.network.name}, batch={self.batch}, threads={self.threads}, {len(self._steps)} steps)"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_spare": ([], []), "_weights": self._weights.tobytes(), "_vector": VECTOR}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["_vector"] != VECTOR:
            raise ValueError(
                f"a plan fits machines with the vectors it was compiled for: {state['_vector']} bytes, here {VECTOR}; compile it anew"
            )
        self.__dict__.update(state)
        packed = np.frombuffer(state["_weights"], np.uint8)
        self._weights = empty(packed.size)  # a pickle keeps no alignment
        self._weights[:] = packed

    def __call__(self, x: ArrayLike) -> np.ndarray:
        """Return the logits (N, classes) of preprocessed images x (N, H, W, 3), or of one image (H, W, 3) if the batch is 1.

        Raises
        ------
        ValueError, TypeError
            If the network has several outputs; if x has another shape than the plan was made for, or is not of floats.
        """
        if len(self._outputs) > 1:
            raise ValueError(f"{self.network.name!r} has {len(self._outputs)} outputs: Plan.outputs returns them all")
        (result,) = self.outputs(x).values()
        return result

    def outputs(self, x: ArrayLike) -> dict[str, np.ndarray]:
        """Return everything that the network gives, by the names of `Network.outputs`; x as in `__call__`.

        Raises
        ------
        ValueError, TypeError
            If x has another shape than the plan was made for, or is not of floats.
        """
        array = np.asarray(x)
        if array.dtype.kind != "f" or array.itemsize not in (4, 8):
            raise TypeError(f"x must be float32 or float64, as preprocess() returns: x.dtype={array.dtype}")
        wanted = (self.batch, *self.network.input)
        single = self.batch == 1 and array.shape == wanted[1:]
        if array.shape != wanted and not single:
            raise ValueError(f"x must have the shape that the plan was compiled for, {wanted}: x.shape={array.shape}")
        images = np.ascontiguousarray(array, np.float32).reshape(wanted)
        output = np.empty((self.batch, self._numbers), np.float32)
        workers = available(self.threads - 1)
        spare = self._spare[workers > 0]
        try:
            job = spare.pop()  # asking first whether there is one would leave room for another thread to take it
        except IndexError:
            job = self._job(self._spaces(self.threads if workers else 1), self.batch)
        job.run(images, output, workers)
        spare.append(job)
        ends = (*_begins(self._outputs).values(), self._numbers)
        given = {
            name: output[:, begin:end].reshape(self.batch, *shape)
            for (name, shape), (begin, end) in zip(self._outputs.items(), pairwise(ends), strict=True)
        }
        return {name: y[0] for name, y in given.items()} if single else given

    @property
    def _numbers(self) -> int:
        """How many numbers the network gives for a picture."""
        return sum(map(math.prod, self._outputs.values()))

    def _spaces(self, threads: int) -> list[Space]:
        """Return memory for each thread's own pictures and, where there are several threads, for the pictures that they share."""
        apart, together = divmod(self.batch, threads)
        wanted = [apart] * threads + [together] * (threads > 1)
        return [Space(self.arena_bytes if pictures else 0, *self._lengths) for pictures in wanted]

    def _job(self, spaces: Sequence[Space], pictures: int, steps: slice = slice(None)) -> Job:
        sizes = math.prod(self.network.input), self._numbers
        alone, together = self._shares
        return Job(self._steps[steps], self._weights, (alone[steps], together[steps]), spaces, SIZE, pictures, *sizes)

    def explain(self, rounds: SupportsIndex = 20) -> Table:
        """Return a table of the steps: what was fused, MACs, bytes moved, time on one thread, share of the machine's FMA peak.

        Parameters
        ----------
        rounds : int
            How often each step is timed; the median counts.

        Examples
        --------
        >>> import convlab as cl
        >>> model = cl.Model.random(cl.mobilenet_v1(alpha=0.25, resolution=32, classes=10), seed=0)
        >>> table = model.compile(threads=1).explain(rounds=1)
        >>> [row[:2] for row in table][:2]
        [('stem', 'standard'), ('block1', 'depthwise, pointwise')]
        """
        rounds = integer("rounds", rounds, 1)
        peak = machine.fma_peak() if JIT else math.inf  # plain Python does not come near enough to measure it
        space = Space(self.arena_bytes, *self._lengths)
        x, y = np.zeros((1, *self.network.input), np.float32), np.empty((1, self._numbers), np.float32)
        jobs = [self._job([space], 1, slice(i, i + 1)) for i in range(len(self._steps))]
        seconds: list[list[float]] = [[] for _ in jobs]
        for _ in range(rounds):
            for job, times in zip(jobs, seconds, strict=True):
                start = time.perf_counter()
                job.run(x, y)
                times.append(time.perf_counter() - start)
        medians = [float(np.median(times)) for times in seconds]

        def row(name: str, fused: str, output: str, macs: int, moved: int, took: float) -> tuple[str, ...]:
            return name, fused, output, f"{macs:,}", f"{moved:,}", f"{took * 1e3:.3f}", percent(2 * macs / took / peak, 0)

        rows = [row(*note, took) for note, took in zip(self._notes, medians, strict=True)]
        rows.append(row("total", "", "", sum(n.macs for n in self._notes), sum(n.bytes for n in self._notes), sum(medians)))
        title = (
            f"{self.network.name}: {len(self._notes)} steps, one picture, one thread; peak {peak / 1e9:.0f} GFLOP/s;"
            f" arena {self.arena_bytes:,} bytes (least possible {self.least:,}), weights {self._weights.nbytes:,}"
        )
        return Table(title, ("step", "fused", "output", "MACs", "bytes", "ms", "of peak"), rows, words=2)


class _Note(NamedTuple):
    """What `explain` says of a step."""

    name: str
    fused: str
    output: str
    macs: int
    bytes: int

    @classmethod
    def of(cls, group: Group) -> _Note:
        first, last = group.members[0], group.members[-1]
        kinds = [member.kind for member in group.members] + ["shortcut"] * group.stages.adds
        numbers = math.prod(first.geometry.in_shape) + math.prod(last.geometry.out_shape) * (1 + group.stages.adds)
        numbers += sum(member.weight.size + member.bias.size for member in group.members)
        blocks = {member.name.rpartition(".")[0] for member in group.members}
        name = blocks.pop() if len(blocks) == 1 else ""
        named = name or " + ".join(member.name for member in group.members)
        macs = sum(member.macs for member in group.members)
        return cls(named, ", ".join(kinds), sizes(last.geometry.out_shape), macs, numbers * SIZE)


def _begins(outputs: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Return where each output begins among the numbers that a network gives for a picture."""
    sizes = [math.prod(shape) for shape in outputs.values()]
    return dict(zip(outputs, accumulate(sizes, initial=0), strict=False))


def _steps(fused: Sequence[Group], begins: Mapping[str, int], threads: int) -> tuple[np.ndarray, np.ndarray, Arena, tuple[int, int]]:
    """Return the table of steps, the packed weights, the arena, and how long the two indirection buffers must be."""
    scheduled = [decide(group.stages, SIZE, threads) for group in fused]
    packed = [_packed(group, fields) for group, (fields, _) in zip(fused, scheduled, strict=True)]
    weights, starts = join([array for arrays in packed for array in arrays.values()])
    begun = iter(starts)
    reads = [{"source": group.source, **({"shortcut": group.shortcut} if group.stages.adds else {})} for group in fused]
    arena = lay_out([
        Wants(0 if group.gives else needs.output, needs.ring, needs.middle, tuple(value for value in read.values() if value is not None))
        for group, (_, needs), read in zip(fused, scheduled, reads, strict=True)
    ])  # fmt: skip
    rows = []
    for group, (fields, _), arrays, read, own in zip(fused, scheduled, packed, reads, arena.places, strict=True):
        places = {"ring": own.ring, "middle": own.middle, "target_base": ARENA, "target": own.output, "shortcut_base": NOWHERE}
        if group.gives:
            places |= {"target_base": OUTPUT, "target": begins[group.gives] * SIZE}
        for name, value in read.items():
            base, place = (INPUT, 0) if value is None else (ARENA, arena.places[value].output)
            places |= {f"{name}_base": base, name: place}
        rows.append({**fields, **places, **{name: next(begun) for name in arrays}})
    return records(STEP, *rows), weights, arena, (max(needs.taps for _, needs in scheduled), max(needs.outputs for _, needs in scheduled))


def _packed(group: Group, fields: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Return a step's weights and bounds, by the fields that say where they lie."""
    arrays = {}
    if expand := group.part(group.stages.expand):
        arrays["expand_weights"] = pack_slices(expand.weight[0, 0], fields["slice"], expand.bias)
        arrays["expand_clamp"] = np.array(expand.bounds, np.float32)
    if window := group.part(group.stages.window):
        arrays["window_weights"] = pack_window(window.weight, window.geometry.spec.groups, group.stages.laid, window.bias)
        arrays["window_clamp"] = np.array(window.bounds, np.float32)
    if project := group.part(group.stages.project):
        arrays["project_weights"] = pack(project.weight[0, 0], project.bias)
        arrays["project_clamp"] = np.array(project.bounds, np.float32)
    return arrays
