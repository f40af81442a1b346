"""All that is decided before a step runs: which convolutions it takes, how it is cut up, how threads share it, and the room it needs.

**Why blocks of rows, and slices of channels.** What one stage writes the next reads, and between
them it should stay in the cache. A large picture goes by *blocks* of rows. A small one with many channels goes by *slices*: one
panel of the expansion's outputs at a time, for all rows, so that every weight is fetched once. (A depthwise window needs no channel but
its own, so slices do not wait for each other.)

**How threads share a step.** By rows of the output; or by slices, and then, in a second *phase*, by pixels or panels of the projection; or
by panels of weights, where there are few pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from ...geometry import ConvGeometry
from ...machinecode.vectors import VECTOR, VECTORS, padded
from .depthwise import LINES
from .matmul import panels
from .step import DENSE, DEPTHWISE, NOTHING, SHARE

CACHE = 512 * 1024
"""Bytes that a block of rows may occupy between stages: half of the second-level cache of a current server core."""

WORTH_A_THREAD = 5_000_000
"""MACs of a call: below this, waking a thread is not worth its help. A core does more in that time here than on rung 3."""


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
    project: ConvGeometry | None = None
    adds: bool = False

    def __post_init__(self) -> None:
        assert all(multiplies(product) for product in (self.expand, self.project) if product), "only products go round a window"
        assert self.window is None or not multiplies(self.window), "a product is no window"
        assert self.members, "a step runs something"
        if self.expand is not None or (self.window is not None and self.project is not None):
            assert self.laid == DEPTHWISE, "products go round a window only if it is laid on each channel apart"
        for before, after in pairwise(self.members):
            assert before.out_shape == after.in_shape, "each stage takes what the one before gives"

    @property
    def members(self) -> tuple[ConvGeometry, ...]:
        return tuple(stage for stage in (self.expand, self.window, self.project) if stage is not None)

    @property
    def laid(self) -> int:
        """What the window does: `NOTHING`, `DEPTHWISE` or `DENSE`. The depthwise tile adds no shortcut, so one that must is dense."""
        if self.window is None:
            return NOTHING
        return DEPTHWISE if lies_apart(self.window) and (self.project is not None or not self.adds) else DENSE


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
        return Stages(project=chain[0], adds=adds and last == 0)
    end = window + 1 if apart[window] and window < last and product[window + 1] else window
    return Stages(
        chain[0] if expands else None,
        chain[window],
        chain[end] if end > window else None,
        adds=adds and end == last,
    )


class Needs(NamedTuple):
    """Room that a step wants: bytes of the arena for its output, its rings and its middle; addresses in its two indirection buffers."""

    output: int
    ring: int = 0
    middle: int = 0
    taps: int = 1
    outputs: int = 1


def decide(stages: Stages, size: int, threads: int = 1, cache: int | None = None) -> tuple[dict[str, int], Needs]:
    """Return the fields of a step, all but places and weights, and the room it needs.

    Parameters
    ----------
    stages : Stages
        The convolutions that it runs.
    size : int
        Bytes of a number.
    threads : int
        How many share the step.
    cache : int, optional
        Bytes that a block may occupy; `CACHE` if left out.
    """
    cache = CACHE if cache is None else cache
    first, last = stages.members[0], stages.members[-1]
    channels, outputs = first.spec.in_channels, last.spec.out_channels
    common = {
        "channels": channels,
        "outputs": outputs,
        "expands": int(stages.expand is not None),
        "window": stages.laid,
        "projects": int(stages.project is not None),
        "panels": panels(outputs, size),
        "out_stride": outputs * size,
    }
    room = last.positions * outputs * size
    if stages.window is None:  # the picture is a single column of pixels
        return {
            **common,
            "expanded": channels,
            "out_height": last.positions,
            "out_width": 1,
            "phases": 1,
            "pixels_at_once": max(cache // (channels * size), 8),
            "project_stride": channels * size,
        }, Needs(room)

    spec, rows, columns = stages.window.spec, stages.window.height, stages.window.width
    expanded, apart = spec.in_channels, stages.laid == DEPTHWISE
    across, run = spec.kernel[1], expanded // spec.groups
    if not apart and spec.groups == 1 and spec.dilation[1] == 1:
        run, across = run * across, 1  # neighbouring taps of a row are neighbours in memory: one longer run of numbers
    slides = spec.kernel == (3, 3) and apart and spec.dilation[1] == 1 and spec.stride[1] <= 2
    slide = spec.stride[1] if slides else 0

    whole = padded(expanded, size)
    pixel = whole if apart else expanded * size
    direct = not any(map(any, stages.window.padding)) and stages.expand is None and pixel == expanded * size
    block, wide = rows.output, expanded
    if not direct and rows.output * columns.output * pixel > cache:
        line = (columns.padded + columns.output) * pixel
        block = min(max(cache // 2 // line - rows.extent + rows.stride, 1), rows.output)
    by_slices = (
        stages.project is not None and block == rows.output and threads > 1 and (stages.expand is not None or rows.output % threads != 0)
    )
    if apart and not direct:
        wide = _slice(pixel // VECTOR, threads if by_slices else 1) * VECTOR // size
        pixel = wide * size
    slices = -(-expanded // wide)
    lines = rows.input if direct else (block - 1) * rows.stride + rows.extent
    line = pixel * (columns.input if direct else columns.padded)
    # A ring for one slice at a time, or, where rows stay for the next block, for every slice.
    several = not direct and block < rows.output
    ring = 0 if direct else padded((slices if several else 1) * lines * line, 1)
    middle = block * columns.output * whole if stages.project is not None else 0  # whole vectors, as the tile of the window writes them
    group = spec.out_channels // spec.groups
    fields = {
        **common,
        "height": rows.input,
        "width": columns.input,
        "expanded": expanded,
        "out_height": rows.output,
        "out_width": columns.output,
        "kernel_height": spec.kernel[0],
        "kernel_width": spec.kernel[1],
        "stride_height": spec.stride[0],
        "stride_width": spec.stride[1],
        "dilation_height": spec.dilation[0],
        "dilation_width": spec.dilation[1],
        "top": rows.before,
        "left": columns.before,
        "groups": spec.groups,
        "taps_across": across,
        "run": run,
        "slide": slide,
        "rows_at_once": LINES if slide == spec.stride[0] and spec.dilation[0] == 1 else 1,
        "group_outputs": group,
        "group_panels": panels(group, size),
        "group_bytes": padded(group, size) * (1 + spec.kernel[0] * across * run),
        "phases": 2 if by_slices else 1,
        "block": block,
        "slice": wide,
        "slices": slices,
        "pixels_at_once": last.positions,
        "direct": int(direct),
        "whole_lines": int(stages.expand is None and pixel == channels * size),
        "pixel_stride": pixel,
        "line_stride": line,
        "lines": lines,
        "slice_stride": lines * line if several else 0,
        "ring_bytes": ring,
        "middle_bytes": 0 if by_slices else middle,
        "project_stride": whole,
    }
    reach = (block - 1) * rows.stride + rows.extent
    needs = Needs(
        room, ring * threads, middle * (1 if by_slices else threads), max(reach, block * spec.kernel[0] * across), max(reach, block)
    )
    for holds, rule in _rules(SimpleNamespace(**fields), needs, size, columns.padded):
        assert holds, f"{rule}: {fields}"
    return fields, needs


def _rules(s: Any, needs: Needs, size: int, width: int) -> Iterator[tuple[bool, str]]:
    """Yield what must hold so that what the stages of a step write, and read in whole vectors, fits what they are given."""
    reach = (s.block - 1) * s.stride_height + s.dilation_height * (s.kernel_height - 1) + 1
    across = (s.out_width - 1) * s.stride_width + s.dilation_width * (s.kernel_width - 1) + 1
    if s.window == DEPTHWISE:
        yield s.groups == s.expanded, "a window on each channel apart has a filter for each"
        yield s.projects or s.outputs == s.expanded, "and gives as many channels as it takes"
        yield s.pixel_stride >= padded(min(s.slice, s.expanded), size), "its tile reads whole vectors of a pixel"
        yield s.slices == 1 or s.slice * size % VECTOR == 0, "slices are cut between vectors"
    else:
        yield not (s.expands or s.projects), "a dense window stands alone"
        yield s.channels == s.expanded == s.slice and s.pixel_stride == s.expanded * size, "its taps in a row are one run of numbers"
    if s.direct:
        yield s.top == s.left == 0 and width == s.width, "an input that windows are laid on has no padding"
        yield not s.expands and s.pixel_stride == s.channels * size, "and the input's pixels"
        yield s.line_stride == s.width * s.pixel_stride and s.lines == s.height, "and the input's lines"
    else:
        yield s.lines >= reach, "a ring holds the rows that a block's windows cover"
        yield s.line_stride >= max(across, s.left + s.width) * s.pixel_stride, "a line holds the input and what windows cover"
        yield s.block == s.out_height or s.slice_stride >= s.lines * s.line_stride, "rings of slices that stay do not overlap"
        yield s.ring_bytes >= (s.slices - 1) * s.slice_stride + s.lines * s.line_stride, "a thread's rings have room"
        yield needs.ring >= s.ring_bytes, "and all threads'"
        yield needs.outputs >= (s.lines if s.expands else 0), "a strip for each line"
    if s.projects:
        yield (s.middle_bytes or needs.middle) >= s.block * s.out_width * padded(s.expanded, size), "what the window writes has room"
    yield needs.taps >= s.block * s.kernel_height * s.taps_across, "the indirection buffer has room"


def _slice(vectors: int, threads: int) -> int:
    """Return the vectors in a slice of channels: at most a panel, and so many that the threads have equal shares."""

    def busiest(width: int) -> tuple[int, int, int]:
        slices = -(-vectors // width)
        first = [slices * thread // threads * width for thread in range(threads + 1)]
        return max(min(end, vectors) - begin for begin, end in pairwise(first)), slices, width

    return min(range(1, VECTORS + 1), key=busiest)


def shares(steps: np.ndarray, threads: int) -> np.ndarray:
    """Return what each of `threads` threads does in both phases of each step, as records of shape (steps, 2, threads)."""
    return np.array([_shares(step, threads) for step in steps], np.int64).view(SHARE).reshape(len(steps), 2, threads)


def _shares(step: Any, threads: int) -> np.ndarray:
    height, slices, panel_count = int(step["out_height"]), int(step["slices"]), int(step["panels"])
    pixels = height * int(step["out_width"])
    if step["window"] == NOTHING:
        cuts = ["panel" if pixels < 8 * threads else "pixel"]
    elif step["phases"] == 1:
        cuts = ["row"]
    else:  # few pixels do not divide into equal tiles
        by_panels = pixels < 8 * threads or (pixels < 32 * threads and panel_count % threads == 0)
        cuts = ["slice", "panel" if by_panels else "pixel"]
    whole = {"row": height, "slice": slices, "pixel": pixels, "panel": panel_count}
    table = np.zeros((2, threads, 2 * len(whole)), np.int64)
    for phase, cut in enumerate(cuts):
        for part in range(threads):
            ends = ((n * part // threads, n * (part + 1) // threads) if what == cut else (0, n) for what, n in whole.items())
            table[phase, part] = [end for pair in ends for end in pair]
    return table
