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

What remains at run time is a table of numbers, one row a step, and one compiled function that reads it (`kernels.tiled.Job`):
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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, SupportsIndex, assert_never

import numpy as np
from numpy.typing import ArrayLike

from . import machine
from .cost import sizes
from .geometry import ConvGeometry, ConvSpec, integer
from .kernels import simd, tiled
from .kernels.crew import available
from .layers import Branch, Conv, Dense, Layer, Network, Pool, Residual
from .tables import Table

SIZE = 4
"""Bytes of a number: plans are float32, as models are."""


@dataclass(frozen=True)
class _Folded:
    """A convolution as a plan sees it: weights (KH, KW, C/groups, O) and bias (O,) with batch norm in them, and bounds."""

    name: str
    kind: str
    geometry: ConvGeometry
    weight: np.ndarray
    bias: np.ndarray
    bounds: tuple[float, float] = (-math.inf, math.inf)

    @property
    def macs(self) -> int:
        return math.prod(self.geometry.spec.weight_shape) * self.geometry.positions


_BOUNDS: Mapping[str | None, tuple[float, float]] = {"relu6": (0.0, 6.0), "relu": (0.0, math.inf), None: (-math.inf, math.inf)}


def _folded(layer: Conv | Pool | Dense, shape: tuple[int, int, int], params: Mapping[str, np.ndarray]) -> _Folded:
    """Return a layer that meets `shape` as one convolution."""
    match layer:
        case Conv(name, spec, activation, eps):
            weight = params[f"{name}.weight"]
            bounds = _BOUNDS[activation]
            if eps is None:
                return _Folded(name, spec.kind, spec.geometry(*shape[:2]), weight, params[f"{name}.bias"], bounds)
            gamma, beta, mean, variance = (params[f"{name}.{part}"].astype(np.float64) for part in ("gamma", "beta", "mean", "variance"))
            scale = gamma / np.sqrt(variance + eps)
            folded = (weight * scale).astype(np.float32), (beta - mean * scale).astype(np.float32)
            return _Folded(name, spec.kind, spec.geometry(*shape[:2]), *folded, bounds)
        case Pool(name):
            height, width, channels = shape
            geometry = ConvSpec.depthwise(channels, (height, width)).geometry(height, width)
            weight = np.full(geometry.spec.weight_shape, 1 / (height * width), np.float32)
            return _Folded(name, "pool", geometry, weight, np.zeros(channels, np.float32))
        case Dense(name, inputs, outputs, activation):
            geometry = ConvSpec.pointwise(inputs, outputs).geometry(1, 1)
            weight = params[f"{name}.weight"].reshape(1, 1, inputs, outputs)
            return _Folded(name, "dense", geometry, weight, params[f"{name}.bias"], _BOUNDS[activation])
        case _:
            assert_never(layer)


@dataclass(frozen=True)
class _Group:
    """Convolutions that run as one step, how it runs them, and whether a shortcut begins at it."""

    members: tuple[_Folded, ...]
    stages: tiled.Stages
    begins: bool = False

    def part(self, stage: ConvGeometry | None) -> _Folded | None:
        """Return the member that is a stage of the step."""
        return next((member for member in self.members if member.geometry is stage), None)


def _groups(network: Network, params: Mapping[str, np.ndarray]) -> Iterator[_Group]:
    """Yield the network's steps: as many convolutions in each as fit."""
    shape: tuple[int, int, int] = network.input
    plain: list[_Folded] = []

    def fold(layer: Layer) -> _Folded:
        nonlocal shape
        if isinstance(layer, Branch):
            raise ValueError(f"a plan has one output: {network.name!r} has {', '.join(network.outputs)}")
        assert not isinstance(layer, Residual)
        folded = _folded(layer, shape, params)
        shape = folded.geometry.out_shape
        return folded

    for layer in network.layers:
        if isinstance(layer, Residual):
            yield from _fused(plain)
            plain = []
            yield from _fused([fold(member) for member in layer.body], around=True)
        else:
            plain.append(fold(layer))
    yield from _fused(plain)


def _fused(chain: list[_Folded], around: bool = False) -> Iterator[_Group]:
    """Cut a chain of convolutions into groups; a shortcut may go around all of it."""
    begin = 0
    while begin < len(chain):
        stages = tiled.fuse([folded.geometry for folded in chain[begin:]], adds=around)
        end = begin + len(stages.members)
        yield _Group(tuple(chain[begin:end]), stages, begins=around and begin == 0)
        begin = end


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
        groups = list(_groups(network, params))
        self._notes = [_Note.of(group) for group in groups]
        self._steps, self._weights = _packed(groups, self.threads)
        self.arena_bytes, self.least = _lay_out(self._steps)
        self._lengths = tuple(max(lengths) for lengths in zip(*map(tiled.tables, self._steps), strict=True))
        self._output = network.output
        self._spare: tuple[list[tiled.Job], list[tiled.Job]] = [], []  # that no call uses: for one thread, for all

    def __repr__(self) -> str:
        return f"Plan({self.network.name}, batch={self.batch}, threads={self.threads}, {len(self._steps)} steps)"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_spare": ([], []), "_weights": self._weights.tobytes(), "_vector": simd.VECTOR}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["_vector"] != simd.VECTOR:
            raise ValueError(
                f"a plan fits machines with the vectors it was compiled for: {state['_vector']} bytes, here {simd.VECTOR}; compile it anew"
            )
        self.__dict__.update(state)
        packed = np.frombuffer(state["_weights"], np.uint8)
        self._weights = simd.empty(packed.size)  # a pickle keeps no alignment
        self._weights[:] = packed

    def __call__(self, x: ArrayLike) -> np.ndarray:
        """Return the logits (N, classes) of preprocessed images x (N, H, W, 3), or of one image (H, W, 3) if the batch is 1.

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
        output = np.empty((self.batch, *self._output), np.float32)
        workers = available(self.threads - 1)
        spare = self._spare[workers > 0]
        try:
            job = spare.pop()  # asking first whether there is one would leave room for another thread to take it
        except IndexError:
            job = self._job(self._spaces(self.threads if workers else 1), self.batch)
        job.run(images, output, workers)
        spare.append(job)
        return output[0] if single else output

    def _spaces(self, threads: int) -> list[tiled.Space]:
        """Return memory for each thread's own pictures and, where there are several threads, for the pictures that they share."""
        apart, together = divmod(self.batch, threads)
        wanted = [apart] * threads + [together] * (threads > 1)
        return [tiled.Space(self.arena_bytes if pictures else 0, self._lengths) for pictures in wanted]

    def _job(self, spaces: Sequence[tiled.Space], pictures: int, steps: slice = slice(None)) -> tiled.Job:
        sizes = math.prod(self.network.input), math.prod(self._output)
        return tiled.Job(self._steps[steps], self._weights, spaces, SIZE, pictures, *sizes)

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
        peak = machine.fma_peak() if simd.JIT else math.inf  # plain Python does not come near enough to measure it
        space = tiled.Space(self.arena_bytes, self._lengths)
        x, y = np.zeros((1, *self.network.input), np.float32), np.empty((1, *self._output), np.float32)
        jobs = [self._job([space], 1, slice(i, i + 1)) for i in range(len(self._steps))]
        seconds: list[list[float]] = [[] for _ in jobs]
        for _ in range(rounds):
            for job, times in zip(jobs, seconds, strict=True):
                start = time.perf_counter()
                job.run(x, y)
                times.append(time.perf_counter() - start)
        medians = [float(np.median(times)) for times in seconds]

        def row(name: str, fused: str, output: str, macs: int, moved: int, took: float) -> tuple[str, ...]:
            return name, fused, output, f"{macs:,}", f"{moved:,}", f"{took * 1e3:.3f}", f"{2 * macs / took / peak:.0%}".replace("%", " %")

        rows = [row(*note, took) for note, took in zip(self._notes, medians, strict=True)]
        rows.append(row("total", "", "", sum(n.macs for n in self._notes), sum(n.bytes for n in self._notes), sum(medians)))
        title = (
            f"{self.network.name}: {len(self._notes)} steps, one picture, one thread; peak {peak / 1e9:.0f} GFLOP/s;"
            f" arena {self.arena_bytes:,} bytes (least possible {self.least:,}), weights {self._weights.nbytes:,}"
        )
        return Table(title, ("step", "fused", "output", "MACs", "bytes", "ms", "of peak"), rows)


class _Note(NamedTuple):
    """What `explain` says of a step."""

    name: str
    fused: str
    output: str
    macs: int
    bytes: int

    @classmethod
    def of(cls, group: _Group) -> _Note:
        first, last = group.members[0], group.members[-1]
        kinds = [member.kind for member in group.members] + ["shortcut"] * group.stages.adds
        numbers = math.prod(first.geometry.in_shape) + math.prod(last.geometry.out_shape) * (1 + group.stages.adds)
        numbers += sum(member.weight.size + member.bias.size for member in group.members)
        blocks = {member.name.rpartition(".")[0] for member in group.members}
        name = blocks.pop() if len(blocks) == 1 else ""
        named = name or " + ".join(member.name for member in group.members)
        macs = sum(member.macs for member in group.members)
        return cls(named, ", ".join(kinds), sizes(last.geometry.out_shape), macs, numbers * SIZE)


def _packed(groups: list[_Group], threads: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the table of steps, places in the arena still open, and the packed weights."""
    steps = np.zeros((len(groups), tiled.FIELDS), np.int64)
    arrays: list[np.ndarray] = []
    places: list[tuple[int, int]] = []

    def put(step: int, field: int, array: np.ndarray) -> None:
        places.append((step, field))
        arrays.append(array)

    carried = tiled.OUTSIDE  # the value that a shortcut carries past its body
    for i, group in enumerate(groups):
        stages = group.stages
        s = tiled.describe(stages, SIZE, threads)
        bounds = [(-math.inf, math.inf)] * 3
        if expand := group.part(stages.expand):
            bounds[0] = expand.bounds
            put(i, tiled.EXPAND_WEIGHTS, tiled.pack_slices(expand.weight[0, 0], int(s[tiled.SLICE]), expand.bias))
        if window := group.part(stages.window):
            bounds[1] = window.bounds
            put(i, tiled.WINDOW_WEIGHTS, tiled.pack_window(window.weight, window.geometry.spec.groups, stages.laid, window.bias))
        if mix := group.part(stages.mix):
            bounds[2] = mix.bounds
            put(i, tiled.MIX_WEIGHTS, tiled.pack(mix.weight[0, 0], mix.bias))
        put(i, tiled.LIMITS, np.array(bounds, np.float32).ravel())
        # Values are named by the step that made them until `_lay_out` gives them places.
        s[tiled.SOURCE], s[tiled.TARGET] = i - 1 if i else tiled.OUTSIDE, i
        if group.begins:
            carried = s[tiled.SOURCE]
        if stages.adds:
            s[tiled.SHORTCUT] = carried
        steps[i] = s
    weights, starts = tiled.join(arrays)
    for (step, field), start in zip(places, starts, strict=True):
        steps[step, field] = start
    return steps, weights


class _Block(NamedTuple):
    """Memory that a step wants in the arena, from one step to another: for its output, its ring, or what the window writes."""

    size: int
    first: int
    last: int
    step: int
    field: int


def _lay_out(steps: np.ndarray) -> tuple[int, int]:
    """Give every value and every step's scratch a place in the arena; return the arena's bytes, and the least they can be.

    Blocks are placed one after another, each at the lowest address where it meets none that is wanted at the same time.
    The order decides how well they fit; the best of a few sensible orders is taken.
    """
    last_step = len(steps) - 1
    ends = list(range(len(steps)))  # the last step that reads each value
    for i, s in enumerate(steps):
        for value in (s[tiled.SOURCE], s[tiled.SHORTCUT]):
            if value >= 0:
                ends[value] = i
    blocks = []
    for i, s in enumerate(steps):
        if i < last_step:
            output = int(s[tiled.OUT_HEIGHT] * s[tiled.OUT_WIDTH] * s[tiled.OUTPUTS]) * SIZE
            blocks.append(_Block(_whole(output), i, ends[i], i, tiled.TARGET))
        blocks += [_Block(_whole(int(s[field])), i, i, i, field) for field in (tiled.RING, tiled.MIDDLE)]
    crowds = [sum(block.size for block in blocks if block.first <= i <= block.last) for i in range(len(steps))]
    fullest = [max(crowds[block.first : block.last + 1]) for block in blocks]
    orders = (
        sorted(blocks, key=lambda block: -block.size),
        [block for _, block in sorted(zip(fullest, blocks, strict=True), key=lambda pair: (-pair[0], -pair[1].size))],
        sorted(blocks, key=lambda block: (block.first - block.last, -block.size)),
        blocks,
    )
    size, starts = min((_placed(order) for order in orders), key=lambda result: result[0])
    for i, s in enumerate(steps):
        for field in (tiled.SOURCE, tiled.SHORTCUT):
            if s[field] >= 0:
                s[field] = starts[int(s[field]), tiled.TARGET]
        s[tiled.TARGET] = starts[i, tiled.TARGET] if i < last_step else tiled.OUTSIDE
        s[tiled.RING], s[tiled.MIDDLE] = starts[i, tiled.RING], starts[i, tiled.MIDDLE]
    return size, max(crowds)


def _placed(blocks: Sequence[_Block]) -> tuple[int, dict[tuple[int, int], int]]:
    """Place blocks in this order, each as low as it can be; return the bytes used, and where each (step, field) begins."""
    starts: dict[tuple[int, int], int] = {}
    placed: list[tuple[int, int, int, int]] = []  # begin, end, first step, last step
    for block in blocks:
        begin = 0
        for other, end, first, last in sorted(placed):
            if first <= block.last and block.first <= last and other < begin + block.size:
                begin = max(begin, end)
        placed.append((begin, begin + block.size, block.first, block.last))
        starts[block.step, block.field] = begin
    return max(end for _, end, *_ in placed), starts


def _whole(size: int) -> int:
    """Return bytes rounded up to whole vectors."""
    return -(-size // simd.VECTOR) * simd.VECTOR
