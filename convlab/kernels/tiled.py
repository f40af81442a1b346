"""Rung 4: pack, tile, fuse.

The tile of `simd` runs at a core's peak as long as its numbers are near. This file keeps them near. What it does to a convolution,
or to three in a row, is called a *step*, and has up to three stages::

    fill   bring some rows of the input, with their padding, into a small ring of lines;
           through a pointwise convolution, if there is one before the window (V2's expansion)
    lay    lay the window on the ring's rows, into `middle`, or into the output
    mix    multiply the pixels in `middle` with the pointwise weights behind the window (V1's and V2's second half)

**Why a ring.** A window of three rows needs three rows of input, not the picture. Row p of the padded input lies in line
``p % capacity``; the next rows overwrite those that no window needs any more. Camera chips call this a line
buffer. Padding is part of the lines, so no tile asks whether it stands at a border. Without padding, and where whole
vectors may be read, windows are laid on the input itself (`DIRECT`).

**Why blocks of rows, and slices of channels.** What one stage writes the next reads, and between
them it should stay in the cache. A large picture goes by *blocks* of rows. A small one with many channels goes by *slices*: one
panel of the expansion's outputs at a time, for all rows, so that every weight is fetched once. (A depthwise window needs no channel but
its own, so slices do not wait for each other.)

**Why no matrix of columns.** In NHWC the numbers under one row of a window lie side by side: KW * C of them. A standard convolution is a
matrix product whose matrix row is KH such runs. The tile walks from run to run by a table of addresses; im2col's copy,
nine times the input for a 3x3 window, is never made (as in the indirect convolution of Dukhan 2019).

**Where the time goes.** With many channels nearly all of it in the tile. With few, a tile's start and end weigh more: a
reduction over 16 channels is over before they are paid for. Depthwise stages do nine multiply-accumulates for each number they
read, where pointwise ones do hundreds, so they wait for the caches. `Plan.explain` shows each step's time and share of the peak.

A step is a row of integers, and `run` interprets a table of them. A single convolution is a table of one row; `convlab.plan`
writes longer ones. So there is one compiled function whatever the network, and it is translated once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numba import carray  # type: ignore[attr-defined]
from numba.extending import register_jitable

from ..geometry import ConvGeometry
from . import simd
from .cached import njit
from .crew import available, cores, together

NOTHING, DEPTHWISE, DENSE = range(3)
"""What a step's window does: there is none; each channel apart; a sum over channels."""

BY_ROWS, BY_SLICES, BY_PANELS = range(3)
"""How threads divide a step: rows of the output; slices of channels, then pixels; panels of weights."""

OUTSIDE, ABSENT = -1, -2
"""Places that are not in the arena: the caller's input or output; none at all."""

WORTH_A_THREAD = 5_000_000
"""MACs of a picture: below this, waking a thread is not worth its help. A core does more in that time here than on rung 3."""

FIELDS = 39
# A step is a row of int64, and these are its columns. First the sizes;
HEIGHT, WIDTH, CHANNELS, WIDE, OUT_HEIGHT, OUT_WIDTH, OUTPUTS = range(7)
# the window;
WINDOW, KERNEL_HEIGHT, KERNEL_WIDTH, STRIDE_HEIGHT, STRIDE_WIDTH, DILATION_HEIGHT, DILATION_WIDTH = range(7, 14)
TOP, LEFT, PADDED_WIDTH, GROUPS = range(14, 18)
# whether pointwise convolutions go before and after it, and how the step is cut up;
EXPAND, MIX, PANELS, BLOCK, SLICE, SPLIT, DIRECT = range(18, 25)
# where data lies, in bytes from the arena's beginning;
SOURCE, TARGET, SHORTCUT, RING, RING_STEP, MIDDLE, MIDDLE_STEP = range(25, 32)
# where weights and bounds lie, in bytes from the beginning of the packed weights;
EXPAND_WEIGHTS, WINDOW_WEIGHTS, MIX_WEIGHTS, LIMITS = range(32, 36)
# and what windows are laid on, a ring or the input itself: bytes from pixel to pixel and from line to line, and lines.
PITCH, LINE, CAPACITY = range(36, 39)


# A job is one more row of int64: what threads that share a call need to know. What a thread raised, as `simd.call` keeps it;
FAILURE = 0
# the pictures, how many of them are run by one thread each,
PICTURES, APART, SOURCE_PICTURE, TARGET_PICTURE, SOURCE_STEP, TARGET_STEP = range(1, 7)
# the steps; how many threads there are, the next picture that nobody has begun, and the counters of those that are run together;
STEPS, STEP_COUNT, THREADS, NEXT, COUNTERS, COMMON_ARENA = range(7, 13)
# and frames: what they share, then each thread's own.
FRAME, OWN, OWN_FIELDS = 13, 17, 3


class Frame(NamedTuple):
    """What all steps of a run share: the bytes of a number, and addresses."""

    size: int
    weights: int
    arena: int
    tables: int
    targets: int
    multiply: int
    depthwise: int


compiled = njit(nogil=True, error_model="numpy")


@register_jitable  # Python calls these two as well, and must not compile them for that
def _vectors(numbers, size):
    return (numbers * size + simd.VECTOR - 1) // simd.VECTOR


@register_jitable
def panels(columns, size):
    """Return how many panels hold the weights of `columns` outputs: as few as can be."""
    return (_vectors(columns, size) + simd.VECTORS - 1) // simd.VECTORS


@compiled
def _pointwise(f, strips, pixels, channels, step, weights, columns, first, last, out, shift, coming, length, limits):
    """Multiply the strips that stand in the tables with the panels first .. last-1 of pointwise weights."""
    simd.multiply(
        f.multiply, f.size, f.tables, f.targets, 1, channels, strips, pixels, 0, step, weights, columns, first, last, out, shift,
        coming, length, limits,
    )  # fmt: skip


@compiled
def _fill(f, s, source, ring, line, pitch, capacity, row, stop, part):
    """Bring slice `part` of the padded input rows row .. stop-1 into the ring, through the expanding convolution if there is one."""
    size = f.size
    channel = part * s[SLICE]
    width = min(s[SLICE], s[WIDE] - channel)
    pixel = s[CHANNELS] * size
    before, image = s[LEFT] * pitch, s[WIDTH] * pitch
    strips = 0
    for p in range(row, stop):
        here = ring + p % capacity * line
        inside = p - s[TOP]
        if inside < 0 or inside >= s[HEIGHT]:
            simd.zero(here, line)
            continue
        simd.zero(here, before)
        simd.zero(here + before + image, line - before - image)
        there = source + inside * s[WIDTH] * pixel
        if s[EXPAND]:
            simd.put(f.tables + 8 * strips, there)
            simd.put(f.targets + 8 * strips, here + before)
            strips += 1
        elif pitch == pixel:
            simd.move(1, image, there, 0, here + before, 0)
        else:
            simd.move(s[WIDTH], width * size, there + channel * size, pixel, here + before, pitch)
    if strips:
        # Whole vectors: the depthwise tile reads them, and a store without a mask is the quicker one.
        columns = _vectors(width, size) * simd.VECTOR // size
        weights = f.weights + s[EXPAND_WEIGHTS] + channel * size * (1 + s[CHANNELS])
        last = panels(columns, size)
        _pointwise(f, strips, s[WIDTH], s[CHANNELS], pixel, weights, columns, 0, last, pitch, 0, 0, 0, f.weights + s[LIMITS])


@compiled
def _mix(f, s, source, pitch, target, shift, pixels, first, last, coming, length):
    """Run the pointwise stage behind the window on `pixels` pixels, `pitch` bytes apart."""
    simd.put(f.tables, source)
    simd.put(f.targets, target)
    weights, limits = f.weights + s[MIX_WEIGHTS], f.weights + s[LIMITS] + 4 * f.size
    _pointwise(f, 1, pixels, s[WIDE], pitch, weights, s[OUTPUTS], first, last, s[OUTPUTS] * f.size, shift, coming, length, limits)


@compiled
def _lay(f, s, ring, line, pitch, capacity, row, stop, part, out, out_step, shift):
    """Lay the window on output rows row .. stop-1 of slice `part`; `out` is where row `row` goes."""
    size = f.size
    channel = part * s[SLICE]
    width = min(s[SLICE], s[WIDE] - channel)
    dilation, across = s[DILATION_WIDTH], s[KERNEL_WIDTH]
    run = s[CHANNELS] // s[GROUPS]
    if s[WINDOW] == DENSE and s[GROUPS] == 1 and dilation == 1:
        # Neighbouring taps of a row are neighbours in memory: one longer run of numbers.
        run, across = run * across, 1
    taps = s[KERNEL_HEIGHT] * across
    step = s[STRIDE_WIDTH] * pitch
    weights, limits = f.weights + s[WINDOW_WEIGHTS], f.weights + s[LIMITS] + 2 * size
    slide = 0
    if s[KERNEL_HEIGHT] == 3 and across == 3 and dilation == 1 and s[STRIDE_WIDTH] <= 2:
        slide = s[STRIDE_WIDTH]
    table = f.tables
    for i in range(row, stop):
        for u in range(s[KERNEL_HEIGHT]):
            first = ring + (i * s[STRIDE_HEIGHT] + u * s[DILATION_HEIGHT]) % capacity * line
            for v in range(across):
                simd.put(table, first + v * dilation * pitch)
                table += 8
        if s[WINDOW] == DENSE:
            simd.put(f.targets + 8 * (i - row), out + (i - row) * s[OUT_WIDTH] * out_step)
    if s[WINDOW] == DEPTHWISE:
        lines = simd.LINES if slide == s[STRIDE_HEIGHT] and s[DILATION_HEIGHT] == 1 else 1
        w = weights + channel * size * (1 + taps)
        for i in range(row, stop, lines):
            here = out + (i - row) * s[OUT_WIDTH] * out_step + channel * size
            simd.depthwise(
                f.depthwise, size, min(lines, stop - i), s[OUT_WIDTH], slide, width, f.tables + (i - row) * taps * 8, taps, step, w,
                here, out_step, s[OUT_WIDTH] * out_step, limits,
            )  # fmt: skip
    if s[WINDOW] == DENSE:
        columns = s[OUTPUTS] // s[GROUPS]
        last = panels(columns, size)
        for g in range(s[GROUPS]):
            w = weights + g * _vectors(columns, size) * simd.VECTOR * (1 + taps * run)
            simd.multiply(
                f.multiply, size, f.tables, f.targets, taps, run, stop - row, s[OUT_WIDTH], g * run * size, step, w, columns, 0, last,
                out_step, shift, 0, 0, limits,
            )  # fmt: skip
            for i in range(stop - row):
                simd.put(f.targets + 8 * i, simd.get(f.targets + 8 * i) + columns * size)


@compiled
def _stages(f, s, source, target, shift, ring, middle, row, stop, first, last):
    """Run a step with a window on output rows row .. stop-1 and slices first .. last-1.

    For each block of rows: for each slice of channels fill the ring and lay the window; then mix all channels.
    """
    size, stride = f.size, s[STRIDE_HEIGHT]
    extent = s[DILATION_HEIGHT] * (s[KERNEL_HEIGHT] - 1) + 1
    wide, out = _vectors(s[WIDE], size) * simd.VECTOR, s[OUTPUTS] * size
    pitch, line, capacity = s[PITCH], s[LINE], s[CAPACITY]
    filled = row * stride  # the padded input rows before this one are in the ring
    for i in range(row, stop, s[BLOCK]):
        end = min(i + s[BLOCK], stop)
        need = (end - 1) * stride + extent
        here = target + i * s[OUT_WIDTH] * out
        for part in range(first, last):
            mine = ring
            if s[DIRECT]:
                mine = source + part * s[SLICE] * size
            else:
                if s[BLOCK] < s[OUT_HEIGHT]:  # rows stay for the next block, so each slice has a ring of its own
                    mine += (part - first) * capacity * line
                _fill(f, s, source, mine, line, pitch, capacity, max(filled, i * stride), need, part)
            if s[MIX]:
                _lay(f, s, mine, line, pitch, capacity, i, end, part, middle, wide, 0)
            else:
                _lay(f, s, mine, line, pitch, capacity, i, end, part, here, out, shift)
        filled = need
        if s[MIX] and s[SPLIT] != BY_SLICES:
            coming, length = 0, 0
            if end < stop:  # the input rows of the next block
                pixel = s[WIDTH] * s[CHANNELS] * size
                begin, until = min(max(need - s[TOP], 0), s[HEIGHT]), min(need + s[BLOCK] * stride - s[TOP], s[HEIGHT])
                coming, length = source + begin * pixel, max(until - begin, 0) * pixel
            _mix(f, s, middle, wide, here, shift, (end - i) * s[OUT_WIDTH], 0, s[PANELS], coming, length)


@compiled
def _places(f, s, x, y):
    """Return the addresses of a step's input and output, and the bytes from its output to what its shortcut carries."""
    source = x if s[SOURCE] == OUTSIDE else f.arena + s[SOURCE]
    target = y if s[TARGET] == OUTSIDE else f.arena + s[TARGET]
    shift = 0
    if s[SHORTCUT] == OUTSIDE:
        shift = x - target
    elif s[SHORTCUT] != ABSENT:
        shift = f.arena + s[SHORTCUT] - target
    return source, target, shift


@compiled
def _share(f, s, x, y, part, parts, phase):
    """Run one of `parts` equal parts of a step: where slices are dealt out, first of the windows, then of the mixing."""
    source, target, shift = _places(f, s, x, y)
    wide, out = _vectors(s[WIDE], f.size) * simd.VECTOR, s[OUTPUTS] * f.size
    rows, slices = s[OUT_HEIGHT], (s[WIDE] + s[SLICE] - 1) // s[SLICE]
    row, stop = rows * part // parts, rows * (part + 1) // parts
    ring, middle = f.arena + s[RING] + part * s[RING_STEP], f.arena + s[MIDDLE] + part * s[MIDDLE_STEP]
    if s[WINDOW] == NOTHING:
        first, last = 0, s[PANELS]
        if s[SPLIT] == BY_PANELS:
            first, last = last * part // parts, last * (part + 1) // parts
            row, stop = 0, rows
        pitch = s[CHANNELS] * f.size
        for i in range(row, stop, s[BLOCK]):
            _mix(f, s, source + i * pitch, pitch, target + i * out, shift, min(s[BLOCK], stop - i), first, last, 0, 0)
    elif s[SPLIT] != BY_SLICES:
        _stages(f, s, source, target, shift, ring, middle, row, stop, 0, slices)
    elif phase == 0:
        _stages(f, s, source, target, shift, ring, middle, 0, rows, slices * part // parts, slices * (part + 1) // parts)
    else:
        i, end, first, last = 0, rows * s[OUT_WIDTH], 0, s[PANELS]
        if end < 8 * parts or (end < 32 * parts and last % parts == 0):  # few pixels do not divide into equal tiles
            first, last = last * part // parts, last * (part + 1) // parts
        else:
            i, end = end * part // parts, end * (part + 1) // parts
        _mix(f, s, middle + i * wide, wide, target + i * out, shift, end - i, first, last, 0, 0)


@compiled
def _run(f, steps, count, x, y, thread, threads, counters, failure):
    """Run steps on the picture at address `x`, alone or together with other threads that call this with the same arguments.

    Each step has as many parts as there are threads. A thread first takes its own, which reads what it wrote the step before, then any that
    nobody has begun. So a thread that the system gives no core holds nobody up, unless in the midst of a part: the
    others do its work, and it skips what is done when it comes back.
    `counters` has, for both phases of each step, how often each part was asked for, and how many parts are done; where the number at
    `failure` is not 0, a part will never be done.
    """
    for number in range(count):
        s = carray(simd.numbers(steps + number * 8 * FIELDS), FIELDS)
        for phase in range(2 if s[SPLIT] == BY_SLICES else 1):
            if threads == 1:
                _share(f, s, x, y, 0, 1, phase)
                continue
            asked = counters + (2 * number + phase) * 8 * (threads + 1)
            done = asked + 8 * threads
            for turn in range(threads):
                part = (thread + turn) % threads
                if simd.add(asked + 8 * part) == 0:
                    _share(f, s, x, y, part, threads, phase)
                    simd.add(done)
            simd.wait(done, threads, failure)
            if simd.look(failure) != 0:
                return


def _work(job, thread):
    """Do a thread's work on a job: whole pictures while there are enough for all threads, then its share of each that is left."""
    j = carray(simd.numbers(job), OWN)
    own = carray(simd.numbers(job + 8 * (OWN + OWN_FIELDS * thread)), OWN_FIELDS)
    f = Frame(j[FRAME], j[FRAME + 1], own[0], own[1], own[2], j[FRAME + 2], j[FRAME + 3])
    n = simd.add(job + 8 * NEXT)
    while n < j[APART]:
        _run(f, j[STEPS], j[STEP_COUNT], j[SOURCE_PICTURE] + n * j[SOURCE_STEP], j[TARGET_PICTURE] + n * j[TARGET_STEP], 0, 1, 0, job)
        n = simd.add(job + 8 * NEXT)
    f = Frame(j[FRAME], j[FRAME + 1], j[COMMON_ARENA], own[1], own[2], j[FRAME + 2], j[FRAME + 3])
    for n in range(j[APART], j[PICTURES]):
        counters = j[COUNTERS] + (n - j[APART]) * j[STEP_COUNT] * 16 * (j[THREADS] + 1)
        source, target = j[SOURCE_PICTURE] + n * j[SOURCE_STEP], j[TARGET_PICTURE] + n * j[TARGET_STEP]
        _run(f, j[STEPS], j[STEP_COUNT], source, target, thread, j[THREADS], counters, job)


class Space:
    """A thread's own memory for a run: its arena and its tables of addresses."""

    def __init__(self, arena: int, lengths: tuple[int, int]) -> None:
        # Frames have only addresses, so the arrays must live as long.
        self._arrays = simd.empty(arena), *(np.empty(length, np.int64) for length in lengths)
        self.addresses = tuple(array.ctypes.data for array in self._arrays)


class Job:
    """Steps that run on some pictures: all that threads need to know of them, in a row of integers.

    Parameters
    ----------
    steps : ndarray
        As `describe` makes them, with places filled in; (steps, FIELDS).
    weights : ndarray
        From `join`.
    spaces : sequence of Space
        One for each thread and, where there are several, one for the pictures that they run together.
    size, pictures, source, target : int
        Bytes of a number; how many pictures; numbers of one's input and output.
    """

    def __init__(
        self, steps: np.ndarray, weights: np.ndarray, spaces: Sequence[Space], size: int, pictures: int, source: int, target: int
    ) -> None:
        self._kept = steps, weights, spaces  # the row has only addresses
        self._threads = threads = max(len(spaces) - 1, 1)
        apart = pictures - pictures % threads
        self._counters = np.zeros((pictures - apart, len(steps), 2, threads + 1), np.int64)
        run = [steps.ctypes.data, len(steps), threads, 0, self._counters.ctypes.data, spaces[-1].addresses[0]]
        own = [address for space in spaces[:threads] for address in space.addresses]
        sizes = [0, pictures, apart, 0, 0, source * size, target * size]
        self._row = np.array([*sizes, *run, size, weights.ctypes.data, *simd.functions(size), *own])
        self._work, self._address = simd.function_of_jobs(_work), self._row.ctypes.data

    def run(self, x: np.ndarray, y: np.ndarray, workers: int = 0) -> None:
        """Run the steps on pictures x into y, both contiguous, with up to so many of the pool's workers.

        What a thread raises is raised here.
        """
        self._row[SOURCE_PICTURE], self._row[TARGET_PICTURE], self._row[NEXT] = x.ctypes.data, y.ctypes.data, 0
        self._counters[:] = 0
        together(self._work, self._address, min(workers, self._threads - 1))


@njit(cache=True, nogil=True, error_model="numpy")
def _pack(size, rows, columns, source, step, bias, packed):
    """Copy a matrix, rows `step` bytes apart, to panels."""
    vectors, count = _vectors(columns, size), panels(columns, size)
    for panel in range(count):
        begin, end = vectors * panel // count * simd.VECTOR, vectors * (panel + 1) // count * simd.VECTOR
        wide, used = end - begin, min(end, columns * size) - begin
        here = packed + begin * (1 + rows)
        if used < wide or not bias:
            for row in range(1 + rows):
                simd.zero(here + row * wide, wide)
        if bias:
            simd.move(1, used, bias + begin, 0, here, 0)
        simd.move(rows, used, source + begin, step, here + wide, wide)


def pack(w: np.ndarray, bias: np.ndarray | None = None, into: np.ndarray | None = None) -> np.ndarray:
    """Return a matrix of weights (K, N) as panels, flat: for each panel its columns of the bias, then of every row of w."""
    rows, columns = w.shape
    if into is None:
        into = simd.empty((1 + rows) * int(_vectors(columns, w.itemsize)) * simd.VECTOR).view(w.dtype)
    if w.strides[1] != w.itemsize:
        w = np.ascontiguousarray(w)
    if bias is not None:
        bias = np.ascontiguousarray(bias)
    _pack(w.itemsize, rows, columns, w.ctypes.data, w.strides[0], 0 if bias is None else bias.ctypes.data, into.ctypes.data)
    return into


def pack_window(w: np.ndarray, groups: int, window: int, bias: np.ndarray | None = None) -> np.ndarray:
    """Return the filters (KH, KW, C/groups, O) of a window as a step reads them."""
    taps = w.reshape(-1, w.shape[3])
    if window != DEPTHWISE:
        columns = w.shape[3] // groups
        numbers = (1 + len(taps)) * int(_vectors(columns, w.itemsize)) * simd.VECTOR // w.itemsize
        packed = simd.empty(groups * numbers * w.itemsize).view(w.dtype)
        for g in range(groups):
            mine = slice(g * columns, (g + 1) * columns)
            pack(taps[:, mine], None if bias is None else bias[mine], packed[g * numbers : (g + 1) * numbers])
        return packed
    lanes = simd.VECTOR // w.itemsize
    vectors = -(-w.shape[3] // lanes)
    whole = np.zeros((1 + len(taps), vectors * lanes), w.dtype)
    whole[1:, : w.shape[3]] = taps
    if bias is not None:
        whole[0, : w.shape[3]] = bias
    return whole.reshape(len(whole), vectors, lanes).transpose(1, 0, 2).ravel()


def pack_slices(w: np.ndarray, width: int, bias: np.ndarray) -> np.ndarray:
    """Return pointwise weights (K, N) as panels that no boundary between slices of `width` columns runs through."""
    return np.concatenate([pack(w[:, c : c + width], bias[c : c + width]) for c in range(0, w.shape[1], width)])


def join(arrays: list[np.ndarray]) -> tuple[np.ndarray, list[int]]:
    """Return arrays end to end as bytes, each at a multiple of a vector's, and where each begins."""
    sizes = [-(-array.nbytes // simd.VECTOR) * simd.VECTOR for array in arrays]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    joined = simd.empty(sum(sizes))
    for array, start in zip(arrays, starts, strict=True):
        joined[start : start + array.nbytes] = array.view(np.uint8)
    return joined, starts


CACHE = 512 * 1024
"""Bytes that a block of rows may occupy between stages: half of the second-level cache of a current server core."""


def _slice(vectors: int, threads: int) -> int:
    """Return the vectors in a slice of channels: at most a panel, and so many that the threads have equal shares."""

    def busiest(width: int) -> tuple[int, int, int]:
        slices = -(-vectors // width)
        first = [slices * thread // threads * width for thread in range(threads + 1)]
        return max(min(end, vectors) - begin for begin, end in pairwise(first)), slices, width

    return min(range(1, simd.VECTORS + 1), key=busiest)


def multiplies(geometry: ConvGeometry) -> bool:
    """Return whether a convolution is one product of matrices: every output pixel reads the input pixel in its place."""
    return geometry.spec.kind == "pointwise" and geometry.spec.stride == (1, 1) and not any(map(any, geometry.padding))


def lies_apart(geometry: ConvGeometry) -> bool:
    """Return whether a convolution is a window that is laid on each channel apart: one filter a channel."""
    spec = geometry.spec
    return spec.groups == spec.in_channels == spec.out_channels and not multiplies(geometry)


@dataclass(frozen=True)
class Stages:
    """The convolutions that one step runs: a product; or a window, with a product before it, behind it, or both.

    What does not make a step cannot be made: a product goes before or behind a window only if that is laid on each channel apart, and such
    a window adds no shortcut.
    """

    expand: ConvGeometry | None = None
    window: ConvGeometry | None = None
    mix: ConvGeometry | None = None
    adds: bool = False

    def __post_init__(self) -> None:
        assert all(multiplies(product) for product in (self.expand, self.mix) if product), "only products go round a window"
        assert self.window is None or not multiplies(self.window), "a product is no window"
        assert self.members, "a step runs something"
        if self.expand is not None or (self.window is not None and self.mix is not None):
            assert self.laid == DEPTHWISE, "products go round a window only if it is laid on each channel apart"
        for before, after in pairwise(self.members):
            assert before.out_shape == after.in_shape, "each stage takes what the one before gives"

    @property
    def members(self) -> tuple[ConvGeometry, ...]:
        return tuple(stage for stage in (self.expand, self.window, self.mix) if stage is not None)

    @property
    def laid(self) -> int:
        """What the window does: `NOTHING`, `DEPTHWISE` or `DENSE`. The depthwise tile adds no shortcut, so one that must is dense."""
        if self.window is None:
            return NOTHING
        return DEPTHWISE if lies_apart(self.window) and (self.mix is not None or not self.adds) else DENSE


def fuse(chain: Sequence[ConvGeometry], adds: bool = False) -> Stages:
    """Return the first step of a chain of convolutions: as many of them as one step runs.

    Parameters
    ----------
    chain : sequence of ConvGeometry
        At least one; each takes what the one before gives.
    adds : bool
        Whether a shortcut is added to what the last one gives.
    """
    product, apart = [multiplies(one) for one in chain], [lies_apart(one) for one in chain]
    last = len(chain) - 1
    expands = product[0] and last >= 1 and apart[1] and ((last >= 2 and product[2]) or not (last == 1 and adds))
    window = 1 if expands else 0
    if product[window]:
        return Stages(mix=chain[0], adds=adds and last == 0)
    end = window + 1 if apart[window] and window < last and product[window + 1] else window
    return Stages(
        chain[0] if expands else None,
        chain[window],
        chain[end] if end > window else None,
        adds=adds and end == last,
    )


def describe(stages: Stages, size: int, threads: int = 1) -> np.ndarray:
    """Return a step; in RING and MIDDLE, the bytes that it wants there.

    Parameters
    ----------
    stages : Stages
        The convolutions that it runs.
    size : int
        Bytes of a number.
    threads : int
        How many share the step.
    """
    first, last = stages.members[0], stages.members[-1]
    s = np.zeros(FIELDS, np.int64)
    s[CHANNELS], s[OUTPUTS] = first.spec.in_channels, last.spec.out_channels
    s[PANELS] = panels(int(s[OUTPUTS]), size)
    s[EXPAND], s[WINDOW], s[MIX] = stages.expand is not None, stages.laid, stages.mix is not None
    s[SHORTCUT] = ABSENT
    if stages.window is None:
        # The window is one pixel: the picture is a single column of them.
        s[WIDE] = s[SLICE] = wide = first.spec.in_channels
        s[OUT_HEIGHT], s[OUT_WIDTH] = last.positions, 1
        s[BLOCK] = max(CACHE // (wide * size), 8)
        s[SPLIT] = BY_ROWS if last.positions >= 8 * threads else BY_PANELS
        return s

    spec, rows, columns = stages.window.spec, stages.window.height, stages.window.width
    s[WIDE] = s[SLICE] = wide = spec.in_channels
    s[GROUPS] = spec.groups
    s[HEIGHT], s[WIDTH], s[PADDED_WIDTH] = rows.input, columns.input, columns.padded
    s[OUT_HEIGHT], s[OUT_WIDTH] = rows.output, columns.output
    s[KERNEL_HEIGHT], s[KERNEL_WIDTH] = spec.kernel
    s[STRIDE_HEIGHT], s[STRIDE_WIDTH] = spec.stride
    s[DILATION_HEIGHT], s[DILATION_WIDTH] = spec.dilation
    s[TOP], s[LEFT] = rows.before, columns.before
    apart = s[WINDOW] == DEPTHWISE
    whole = _vectors(wide, size) * simd.VECTOR
    pitch = whole if apart else wide * size
    s[DIRECT] = not any(map(any, stages.window.padding)) and stages.expand is None and pitch == wide * size
    s[BLOCK] = rows.output
    if not s[DIRECT] and rows.output * columns.output * pitch > CACHE:
        line = (columns.padded + columns.output) * pitch
        s[BLOCK] = min(max(CACHE // 2 // line - rows.extent + rows.stride, 1), rows.output)
    if s[MIX] and s[BLOCK] == rows.output and (s[EXPAND] or rows.output % threads) and threads > 1:
        s[SPLIT] = BY_SLICES
    if apart and not s[DIRECT]:
        s[SLICE] = _slice(pitch // simd.VECTOR, threads if s[SPLIT] == BY_SLICES else 1) * simd.VECTOR // size
        pitch = s[SLICE] * size
    s[PITCH] = pitch
    s[LINE] = pitch * (columns.input if s[DIRECT] else columns.padded)
    s[CAPACITY] = rows.input if s[DIRECT] else (s[BLOCK] - 1) * rows.stride + rows.extent
    if not s[DIRECT]:
        # A ring for one slice at a time, or, where rows stay for the next block, for every slice.
        rings = -(-wide // s[SLICE]) if s[BLOCK] < rows.output else 1
        s[RING_STEP] = _vectors(rings * s[CAPACITY] * s[LINE], 1) * simd.VECTOR
    middle = s[BLOCK] * columns.output * whole if s[MIX] else 0  # whole vectors, as the tile of the window writes them
    s[MIDDLE_STEP] = 0 if s[SPLIT] == BY_SLICES else middle
    s[RING] = s[RING_STEP] * threads
    s[MIDDLE] = middle if s[SPLIT] == BY_SLICES else middle * threads
    _check(s, size)
    return s


def _check(s: np.ndarray, size: int) -> None:
    """Assert that what the stages of a step write, and read in whole vectors, fits what they are given."""
    for holds, rule in _rules(s, size):
        assert holds, f"{rule}: step {s.tolist()}"


def _rules(s: np.ndarray, size: int) -> Iterator[tuple[bool, str]]:
    extent = s[DILATION_HEIGHT] * (s[KERNEL_HEIGHT] - 1) + 1
    across = (s[OUT_WIDTH] - 1) * s[STRIDE_WIDTH] + s[DILATION_WIDTH] * (s[KERNEL_WIDTH] - 1) + 1
    slices = -(-s[WIDE] // s[SLICE])
    if s[WINDOW] == DEPTHWISE:
        yield s[GROUPS] == s[WIDE], "a window on each channel apart has a filter for each"
        yield s[MIX] or s[OUTPUTS] == s[WIDE], "and gives as many channels as it takes"
        yield s[PITCH] >= _vectors(min(s[SLICE], s[WIDE]), size) * simd.VECTOR, "its tile reads whole vectors of a pixel"
        yield slices == 1 or s[SLICE] * size % simd.VECTOR == 0, "slices are cut between vectors"
    else:
        yield not (s[EXPAND] or s[MIX]), "a dense window stands alone"
        yield s[CHANNELS] == s[WIDE] == s[SLICE] and s[PITCH] == s[WIDE] * size, "its taps beside each other are one run of numbers"
    if s[DIRECT]:
        yield s[TOP] == s[LEFT] == 0 and s[PADDED_WIDTH] == s[WIDTH], "an input that windows are laid on has no padding"
        yield not s[EXPAND] and s[PITCH] == s[CHANNELS] * size, "and the input's pixels"
        yield s[LINE] == s[WIDTH] * s[PITCH] and s[CAPACITY] == s[HEIGHT], "and the input's lines"
    else:
        yield s[CAPACITY] >= (s[BLOCK] - 1) * s[STRIDE_HEIGHT] + extent, "a ring holds the rows that a block's windows cover"
        yield s[LINE] >= max(across, s[LEFT] + s[WIDTH]) * s[PITCH], "a line holds the input and what windows cover"
        yield s[RING_STEP] >= (slices if s[BLOCK] < s[OUT_HEIGHT] else 1) * s[CAPACITY] * s[LINE], "a thread's rings have room"
    if s[MIX]:
        room = s[MIDDLE] if s[SPLIT] == BY_SLICES else s[MIDDLE_STEP]
        yield room >= s[BLOCK] * s[OUT_WIDTH] * _vectors(s[WIDE], size) * simd.VECTOR, "what the window writes has room"


def tables(s: np.ndarray) -> tuple[int, int]:
    """Return how many addresses a step keeps at once: of taps, and of outputs."""
    if s[WINDOW] == NOTHING:
        return 1, 1
    rows = (s[BLOCK] - 1) * s[STRIDE_HEIGHT] + s[DILATION_HEIGHT] * (s[KERNEL_HEIGHT] - 1) + 1
    return int(max(rows, s[BLOCK] * s[KERNEL_HEIGHT] * s[KERNEL_WIDTH])), int(max(rows, s[BLOCK]))


def _alone(x: np.ndarray, w: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
    """Run one convolution as a plan of one step, on all cores where that is worth it."""
    size = x.itemsize
    y = np.empty((len(x), *geometry.out_shape), x.dtype)  # first: a size beyond reason fails here, as on the other rungs
    threads = cores() if geometry.positions * w.size >= WORTH_A_THREAD else 1
    s = describe(fuse([geometry]), size, threads)
    weights, bounds = pack_window(w, geometry.spec.groups, int(s[WINDOW])), np.array([-np.inf, np.inf] * 3, x.dtype)
    s[LIMITS] = bounds.ctypes.data - weights.ctypes.data  # in another array: a copy of the weights into one would take longer
    s[SOURCE] = s[TARGET] = OUTSIDE
    arena, s[RING] = int(s[RING]), 0
    workers = available(threads - 1)
    spaces = [Space(arena, tables(s)) for _ in range(threads + 1 if workers else 1)]
    Job(s[None], weights, spaces, size, len(x), math.prod(geometry.in_shape), math.prod(geometry.out_shape)).run(x, y, workers)
    return y


def standard(x: np.ndarray, w: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
    """Convolve x (N, H, W, C) with w (KH, KW, C, O) into (N, OH, OW, O)."""
    return _alone(x, w, geometry)


def depthwise(x: np.ndarray, w: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
    """Convolve each channel with its own filters, w (KH, KW, 1, C*M)."""
    return _alone(x, w, geometry)


def pointwise(x: np.ndarray, w: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
    """Mix the channels of each pixel, w (1, 1, C, O)."""
    return _alone(x, w, geometry)


def grouped(x: np.ndarray, w: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
    """Convolve each group of channels with its own filters, w (KH, KW, C/groups, O)."""
    return _alone(x, w, geometry)
