"""Kernels side by side on one workload."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, SupportsIndex

import numpy as np
from numpy.typing import DTypeLike

from .. import machine
from ..arguments import integer
from ..conv import KernelLike, runner
from ..cost import cost, sizes
from ..geometry import ConvGeometry, ConvSpec
from ..kernels import KERNELS, Kernel, KernelFunction, resolve
from ..layers import Shape
from ..machine import Machine
from ..tables import Table
from ..units import duration, rate, share
from .peak import Peak

REFERENCES = (KERNELS["naive"], KERNELS["im2col"])
"""Whose results the others are compared with: the equation, and what carries on where it is too slow."""

LAYERS = {
    "standard 3x3": ConvSpec(32, 64, 3, padding="same"),
    "depthwise 3x3": ConvSpec.depthwise(128, 3, padding="same"),
    "pointwise": ConvSpec.pointwise(128, 128),
}
"""One layer of each kind: what the command line and README time, each on a picture of 56x56."""

TURN = 0.1
"""Seconds for which a kernel is called in its turn, if there is that much time: systems spread threads over the cores in less.

It rests half as long before: threads that spin while they wait for their library's next call, as OpenBLAS's do, have gone to sleep then.
"""


@dataclass(frozen=True)
class Timing:
    """How long one kernel took.

    Attributes
    ----------
    name : str
        The kernel's.
    runner : str
        Whose function ran: the fastest rung's where the kernel lacks this kind of convolution.
    shape : (int, int, int, int)
        (N, H, W, C) of the input it was timed on.
    macs : int
        What one call computes.
    intensity : float
        FLOPs per byte that one call must at least move.
    first_call : float
        Seconds of the very first call, on the smallest crop; nearly all of it is loading and compiling, if the kernel is compiled.
    seconds : tuple of float
        The last call of each turn.
    """

    name: str
    runner: str
    shape: Shape
    macs: int
    intensity: float
    first_call: float
    seconds: tuple[float, ...]

    @property
    def minimum(self) -> float:
        """Seconds of the fastest call."""
        return min(self.seconds)

    @property
    def median(self) -> float:
        """Seconds of the middle call."""
        return statistics.median(self.seconds)

    @property
    def mac_rate(self) -> float:
        """MACs per second in the fastest call."""
        return self.macs / self.minimum


@dataclass(frozen=True)
class Benchmark:
    """Kernels timed on one workload; prints as a table.

    Attributes
    ----------
    spec : ConvSpec
    shape : (int, int, int, int)
        (N, H, W, C) of the whole workload.
    dtype : str
    timings : tuple of Timing
        In the order in which the kernels were given.
    peak : float or None
        FLOP/s that all cores reach in registers alone, measured in the same run; None for integers, or without the JIT.
    machine : Machine
        What it ran on.
    """

    spec: ConvSpec
    shape: Shape
    dtype: str
    timings: tuple[Timing, ...]
    peak: float | None
    machine: Machine

    @property
    def slowest(self) -> Timing:
        """The kernel with the fewest MACs per second."""
        return min(self.timings, key=lambda timing: timing.mac_rate)

    @property
    def table(self) -> Table:
        """One row a kernel: input, MACs, first call, minimum, median, MACs per second, speed-up over the slowest."""

        def row(timing: Timing) -> tuple[str, ...]:
            speedup = timing.mac_rate / self.slowest.mac_rate
            return (
                timing.name if timing.runner == timing.name else f"{timing.name} (run by {timing.runner})",
                sizes(timing.shape if timing.shape[0] > 1 else timing.shape[1:]),
                f"{timing.macs:,}",
                duration(timing.first_call),
                duration(timing.minimum),
                duration(timing.median),
                rate(timing.mac_rate),
                f"{speedup:,.0f} x" if speedup >= 100 else f"{speedup:.1f} x",
                share(2 * timing.mac_rate, self.peak),
            )

        batch, height, width, _ = self.shape
        output = self.spec.geometry(height, width).out_shape
        pictures = f"{batch} x " if batch > 1 else ""
        title = (
            f"{self.spec.kind} {pictures}{sizes(self.shape[1:])} -> {sizes(output)}, window {sizes(self.spec.kernel)}, {self.dtype}:"
            " verified equal, then timed"
        )
        head = ("kernel", "input", "MACs", "first call", "minimum", "median", "MAC/s", f"vs {self.slowest.name}", "of peak")
        return Table(title, head, [row(timing) for timing in self.timings])

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain dicts, lists, numbers and strings, ready for JSON."""
        timings = [{**asdict(timing), "minimum": timing.minimum, "median": timing.median} for timing in self.timings]
        return {**asdict(self), "timings": timings}

    def __str__(self) -> str:
        return str(self.table)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.table._repr_html_()


class _Workload(NamedTuple):
    x: np.ndarray
    w: np.ndarray
    geometry: ConvGeometry
    macs: int


def _workloads(spec: ConvSpec, shape: tuple[int, int, int], dtype: np.dtype) -> list[_Workload]:
    """Return crops of the workload (batch, height, width), smallest first, the whole last."""
    batch, height, width = shape
    spec.geometry(height, width)  # a workload without output is refused before anything is allocated
    rng = np.random.default_rng(0)
    # At most 3 * 2 a product: exact in float32 below 2^24 / 6, which is 2.7 million taps a filter.
    x = rng.integers(-3, 4, (batch, height, width, spec.in_channels), np.int8).astype(dtype)
    w = rng.integers(-2, 3, spec.weight_shape, np.int8).astype(dtype)
    w.flags.writeable = False
    crops: list[_Workload] = []
    while True:
        crop = x if not crops else np.ascontiguousarray(x[:1, :height, :width])
        crop.flags.writeable = False
        macs = cost(spec, height, width, batch=len(crop)).macs
        crops.insert(0, _Workload(crop, w, spec.geometry(height, width), macs))
        if (height, width) == (1, 1):
            return crops
        height, width = -(-height // 2), -(-width // 2)
        try:
            spec.geometry(height, width)
        except ValueError:  # the window no longer fits
            return crops


def _call(function: KernelFunction, workload: _Workload) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    y = function(workload.x, workload.w, workload.geometry)
    return time.perf_counter() - start, y


def _timed(function: KernelFunction, workload: _Workload, turn: float) -> float:
    """Rest, then call for `turn` seconds; return how long the last call took."""
    time.sleep(turn / 2)
    until = time.perf_counter() + turn
    while True:
        seconds, _ = _call(function, workload)
        if time.perf_counter() >= until:
            return seconds


def _compare(name: str, y: np.ndarray, reference: np.ndarray, workload: _Workload) -> None:
    """Raise unless a kernel's result is the reference."""
    if not isinstance(y, np.ndarray) or y.shape != reference.shape or y.dtype != reference.dtype:
        got = f"{y.dtype} {y.shape}" if isinstance(y, np.ndarray) else type(y).__name__
        raise ValueError(f"kernel {name!r} must return {reference.dtype} {reference.shape}: it returned {got}")
    wrong = np.argwhere(y != reference)
    if len(wrong):
        first = tuple(int(i) for i in wrong[0])
        raise ValueError(
            f"kernel {name!r} must be right before it is timed: on x {workload.x.shape} {len(wrong):,} of {y.size:,} outputs differ"
            f" from the reference, the first at (n, i, j, o) = {first}: {y[first]:g}, must be {reference[first]:g}"
        )


def _climb(
    kernel: Kernel, function: KernelFunction, workloads: Sequence[_Workload], references: list[np.ndarray], budget: float
) -> tuple[float, _Workload]:
    """Compare a kernel on ever larger workloads; return the seconds of its first call and the largest within the budget.

    A kernel of `REFERENCES` adds its own results to `references` where there are none yet; any other stops there.
    """
    first_call, _ = _call(function, workloads[0])
    seconds, reached = 0.0, workloads[0]
    for i, workload in enumerate(workloads):
        # A call that is all overhead grows less than its MACs, so the next size is tried unless it is far out of reach.
        estimate = seconds * workload.macs / workloads[i - 1].macs
        if seconds > budget or estimate > 10 * budget or (i == len(references) and kernel not in REFERENCES):
            break
        seconds, y = _call(function, workload)
        if i == len(references):
            references.append(y)
        _compare(kernel.name, y, references[i], workload)
        if seconds <= budget:
            reached = workload
    return first_call, reached


def bench(
    *kernels: KernelLike,
    spec: ConvSpec | None = None,
    height: SupportsIndex = 56,
    width: SupportsIndex = 56,
    batch: SupportsIndex = 1,
    dtype: DTypeLike = "float32",
    rounds: SupportsIndex = 5,
    max_seconds: float = 1.0,
) -> Benchmark:
    """Verify kernels against each other, then time them in turns.

    Parameters
    ----------
    *kernels : str, Kernel or callable
        Rungs of `KERNELS` and your own; without any, every rung that takes the dtype.
    spec : ConvSpec, optional
        The convolution; standard, 3x3, 32 -> 64 channels, "same" if left out.
    height, width, batch : int
        The workload: `batch` pictures of height x width.
    dtype : dtype
        float32, float64, int32 or int64.
    rounds : int
        Turns of each kernel.
    max_seconds : float
        About how long the turns of one kernel may take together. A kernel too slow for the whole workload is
        timed on a crop of it; its row says so.

    Returns
    -------
    Benchmark

    Raises
    ------
    ValueError
        If a kernel's result differs from the reference (nothing is timed then), two kernels have one name, or
        `rounds` or `max_seconds` is not positive.
    TypeError
        If a kernel does not take the dtype.

    Examples
    --------
    >>> import convlab as cl
    >>> def mine(x, w, g):                           # right for standard convolutions without stride and padding
    ...     y = np.zeros((len(x), *g.out_shape), x.dtype)
    ...     for u in range(w.shape[0]):
    ...         for v in range(w.shape[1]):
    ...             y += x[:, u : u + g.out_height, v : v + g.out_width] @ w[u, v]
    ...     return y
    >>> result = cl.bench("im2col", mine, spec=cl.ConvSpec(3, 5, kernel=3), height=6, width=6, max_seconds=0.1)
    >>> [(timing.name, timing.macs) for timing in result.timings]
    [('im2col', 2160), ('mine', 2160)]

    `cl.bench(*cl.KERNELS, mine)` times it beside the whole ladder.
    """
    spec = ConvSpec(32, 64, 3, padding="same") if spec is None else spec
    shape = integer("batch", batch, 1), integer("height", height, 1), integer("width", width, 1)
    rounds = integer("rounds", rounds, 1)
    if not 0 < max_seconds < math.inf:
        raise ValueError(f"max_seconds must be positive and finite: max_seconds={max_seconds}")
    number = np.dtype(dtype)
    ladder = [kernel for kernel in KERNELS.values() if number.name in kernel.dtypes]
    chosen = [resolve(kernel, number) for kernel in (kernels or ladder or KERNELS)]
    names = [kernel.name for kernel in chosen]
    if len(set(names)) < len(names):
        raise ValueError(f"kernels must have different names, such as Kernel('mine', standard=f) gives: {', '.join(names)}")

    workloads = _workloads(spec, shape, number)
    references: list[np.ndarray] = []
    ran = {kernel: runner(kernel, spec, number) for kernel in (*REFERENCES, *chosen)}
    reached = {kernel: _climb(kernel, function, workloads, references, max_seconds / rounds) for kernel, (function, _) in ran.items()}
    seconds: dict[Kernel, list[float]] = {kernel: [] for kernel in chosen}
    peak = Peak(number, machine.cores())
    for _ in range(rounds):
        peak.take_turn()
        for kernel in chosen:
            seconds[kernel].append(_timed(ran[kernel][0], reached[kernel][1], min(TURN, max_seconds / rounds)))

    def timing(kernel: Kernel) -> Timing:
        first_call, workload = reached[kernel]
        pictures, high, wide, _ = workload.x.shape
        intensity = cost(spec, high, wide, batch=pictures, dtype=number).intensity
        return Timing(kernel.name, ran[kernel][1], workload.x.shape, workload.macs, intensity, first_call, tuple(seconds[kernel]))

    return Benchmark(spec, workloads[-1].x.shape, number.name, tuple(map(timing, chosen)), peak.flops, machine.describe())
