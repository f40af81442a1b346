"""A step: what is done to one convolution, or to three in a row, in up to three stages.

::

    fill      bring some rows of the input, with their padding, into a small ring of lines;
              through a pointwise convolution, if there is one before the window (V2's expansion)
    lay       lay the window on the ring's rows, into `middle`, or into the output
    project   multiply the pixels in `middle` with the pointwise weights behind the window (V1's and V2's second half)

**Why a ring.** A window of three rows needs three rows of input, not the picture. Row p of the padded input lies in line
``p % lines``; the next rows overwrite those that no window needs any more. Camera chips call this a line
buffer. Padding is part of the lines, so no tile asks whether it stands at a border. Without padding, and where whole
vectors may be read, windows are laid on the input itself (`direct`).

**Why no matrix of columns.** In NHWC the numbers under one row of a window lie side by side: KW * C of them. A standard convolution is a
matrix product whose matrix row is KH such runs. The tile walks from run to run by an indirection buffer of addresses; im2col's copy,
nine times the input for a 3x3 window, is never made (as in the indirect convolution of Dukhan 2019).

A step is a record, and what stands in it was decided beforehand (`schedule.decide`): the functions here only follow.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...machinecode.cache import njit
from ...machinecode.memory import fields, move, zero
from ...machinecode.vectors import padded
from .depthwise import call_lay
from .matmul import call_multiply, panels

NOTHING, DEPTHWISE, DENSE = range(3)
"""What a step's window does: there is none; each channel apart; a sum over channels."""

ARENA, INPUT, OUTPUT, NOWHERE = range(4)
"""What a place is counted from: the arena; the caller's input or output; there is no such place."""

_SIZES = (
    *("height", "width", "channels"),  # of the input,
    *("expanded", "out_height", "out_width", "outputs"),  # channels that the window takes, and the output
    *("expands", "window", "projects"),  # which stages there are
    *("kernel_height", "kernel_width", "stride_height", "stride_width", "dilation_height", "dilation_width", "top", "left", "groups"),
)
_WINDOW = (  # the window as its micro-kernel sees it:
    *("taps_across", "run"),  # places in one of its rows where numbers begin, and how many lie side by side there
    *("slide", "rows_at_once"),  # for `depthwise.lay`
    *("group_outputs", "group_panels", "group_bytes"),  # of each group's weights
)
_CUTS = (
    "phases",  # 2 where all windows come first, then all of the projection
    *("block", "slice", "slices"),  # rows at a time; channels at a time, and how often
    *("panels", "pixels_at_once"),  # of the projection
)
_STRIDES = (  # what windows are laid on, a ring or the input itself: bytes from pixel to pixel and line to line, and lines
    *("direct", "whole_lines", "pixel_stride", "line_stride", "lines", "slice_stride"),
    *("ring_bytes", "middle_bytes"),  # of one thread; a `middle` that all share has 0
    *("project_stride", "out_stride"),  # bytes from pixel to pixel of what is projected, and of the output
)
PLACES = ("source_base", "source", "target_base", "target", "shortcut_base", "shortcut", "ring", "middle")
"""Where data lies, in bytes from each one's base; `ring` and `middle` are in the arena."""
WEIGHTS = ("expand_weights", "window_weights", "project_weights", "expand_clamp", "window_clamp", "project_clamp")
"""Where weights and the bounds of the values lie, in bytes from the beginning of the packed weights."""

STEP = fields(*_SIZES, *_WINDOW, *_CUTS, *_STRIDES, *PLACES, *WEIGHTS)

SHARE = fields("row", "row_end", "slice", "slice_end", "pixel", "pixel_end", "panel", "panel_end")
"""A thread's part of a step: windows on some rows and slices; or the product of some pixels with some panels."""


class Frame(NamedTuple):
    """What all steps of a run share: the bytes of a number, addresses, and buffers of addresses, of taps and of outputs."""

    size: int
    weights: int
    arena: int
    taps: np.ndarray
    outputs: np.ndarray
    multiply: int
    lay: int


compiled = njit(nogil=True, error_model="numpy")


@compiled
def _fill(f, s, source, ring, row, end, part):
    """Bring slice `part` of the padded input rows row .. end-1 into the ring, through the expanding convolution if there is one."""
    size, stride = f.size, s.pixel_stride
    channel = part * s.slice
    width = min(s.slice, s.expanded - channel)
    pixel = s.channels * size
    before, image = s.left * stride, s.width * stride
    strips = 0
    for p in range(row, end):
        here = ring + p % s.lines * s.line_stride
        inside = p - s.top
        if inside < 0 or inside >= s.height:
            zero(here, s.line_stride)
            continue
        zero(here, before)
        zero(here + before + image, s.line_stride - before - image)
        there = source + inside * s.width * pixel
        if s.expands:
            f.taps[strips] = there
            f.outputs[strips] = here + before
            strips += 1
        elif s.whole_lines:
            move(1, image, there, 0, here + before, 0)
        else:
            move(s.width, width * size, there + channel * size, pixel, here + before, stride)
    if strips:
        # Whole vectors: the depthwise tile reads them, and a store without a mask is the quicker one.
        columns = padded(width, size) // size
        weights = f.weights + s.expand_weights + channel * size * (1 + s.channels)
        call_multiply(
            f.multiply, size, f.taps.ctypes.data, f.outputs.ctypes.data, 1, s.channels, strips, s.width, 0, pixel, weights, columns, 0,
            panels(columns, size), stride, 0, 0, 0, f.weights + s.expand_clamp,
        )  # fmt: skip


@compiled
def _lay(f, s, ring, row, end, part, out, out_stride, shift):
    """Lay the window on output rows row .. end-1 of slice `part`; `out` is where row `row` goes."""
    size = f.size
    channel = part * s.slice
    width = min(s.slice, s.expanded - channel)
    taps = s.kernel_height * s.taps_across
    stride, line = s.stride_width * s.pixel_stride, s.out_width * out_stride
    weights, clamp = f.weights + s.window_weights, f.weights + s.window_clamp
    k = 0
    for i in range(row, end):
        for u in range(s.kernel_height):
            first = ring + (i * s.stride_height + u * s.dilation_height) % s.lines * s.line_stride
            for v in range(s.taps_across):
                f.taps[k] = first + v * s.dilation_width * s.pixel_stride
                k += 1
        if s.window == DENSE:
            f.outputs[i - row] = out + (i - row) * line
    if s.window == DEPTHWISE:
        w = weights + channel * size * (1 + taps)
        for i in range(row, end, s.rows_at_once):
            here = out + (i - row) * line + channel * size
            call_lay(
                f.lay, size, min(s.rows_at_once, end - i), s.out_width, s.slide, width, f.taps[(i - row) * taps :].ctypes.data, taps,
                stride, w, here, out_stride, line, clamp,
            )  # fmt: skip
    if s.window == DENSE:
        for g in range(s.groups):
            call_multiply(
                f.multiply, size, f.taps.ctypes.data, f.outputs.ctypes.data, taps, s.run, end - row, s.out_width, g * s.run * size,
                stride, weights + g * s.group_bytes, s.group_outputs, 0, s.group_panels, out_stride, shift, 0, 0, clamp,
            )  # fmt: skip
            for i in range(end - row):
                f.outputs[i] += s.group_outputs * size


@compiled
def _project(f, s, source, target, shift, pixels, panel, panel_end, coming, length):
    """Multiply pixels with the panels panel .. panel_end-1 of the pointwise weights."""
    f.taps[0] = source
    f.outputs[0] = target
    call_multiply(
        f.multiply, f.size, f.taps.ctypes.data, f.outputs.ctypes.data, 1, s.expanded, 1, pixels, 0, s.project_stride,
        f.weights + s.project_weights, s.outputs, panel, panel_end, s.out_stride, shift, coming, length, f.weights + s.project_clamp,
    )  # fmt: skip


@compiled
def _windows(f, s, share, source, target, shift, ring, middle):
    """Lay windows on a share's rows: for each block of rows, for each slice, fill the ring and lay; then project all channels."""
    stride = s.stride_height
    extent = s.dilation_height * (s.kernel_height - 1) + 1
    filled = share.row * stride  # the padded input rows before this one are in the ring
    for i in range(share.row, share.row_end, s.block):
        end = min(i + s.block, share.row_end)
        need = (end - 1) * stride + extent
        here = target + i * s.out_width * s.out_stride
        for part in range(share.slice, share.slice_end):
            mine = ring
            if s.direct:
                mine = source + part * s.slice * f.size
            else:
                mine += (part - share.slice) * s.slice_stride
                _fill(f, s, source, mine, max(filled, i * stride), need, part)
            if s.projects:
                _lay(f, s, mine, i, end, part, middle, s.project_stride, 0)
            else:
                _lay(f, s, mine, i, end, part, here, s.out_stride, shift)
        filled = need
        if s.projects and s.phases == 1:
            coming, length = 0, 0
            if end < share.row_end:  # the input rows of the next block
                line = s.width * s.channels * f.size
                begin, until = min(max(need - s.top, 0), s.height), min(need + s.block * stride - s.top, s.height)
                coming, length = source + begin * line, max(until - begin, 0) * line
            _project(f, s, middle, here, shift, (end - i) * s.out_width, 0, s.panels, coming, length)


@compiled
def _product(f, s, share, source, target, shift):
    """Project a share's pixels, some at a time."""
    for i in range(share.pixel, share.pixel_end, s.pixels_at_once):
        here, there = source + i * s.project_stride, target + i * s.out_stride
        _project(f, s, here, there, shift, min(s.pixels_at_once, share.pixel_end - i), share.panel, share.panel_end, 0, 0)


@compiled
def _place(f, base, offset, x, y):
    """Return the address of a place."""
    if base == INPUT:
        return x + offset
    if base == OUTPUT:
        return y + offset
    return f.arena + offset


@compiled
def run_share(f, s, share, part, phase, x, y):
    """Run one thread's share of a phase of a step, on the picture at address `x` into `y`."""
    source = _place(f, s.source_base, s.source, x, y)
    target = _place(f, s.target_base, s.target, x, y)
    shift = 0
    if s.shortcut_base != NOWHERE:
        shift = _place(f, s.shortcut_base, s.shortcut, x, y) - target
    ring, middle = f.arena + s.ring + part * s.ring_bytes, f.arena + s.middle + part * s.middle_bytes
    if s.window == NOTHING:
        _product(f, s, share, source, target, shift)
    elif phase == 0:
        _windows(f, s, share, source, target, shift, ring, middle)
    else:
        _product(f, s, share, middle, target, shift)
