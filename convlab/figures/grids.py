"""Where the window lies and what it reads: pictures of a `ConvGeometry`, number by number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike

from ..conv import conv2d
from ..conv import im2col as columns_of
from ..cost import sizes
from ..geometry import ConvGeometry, ConvSpec, IntOrPair, Padding
from .canvas import BLUE, LIGHT, ORANGE, SKY, SMALL, TEXT, Board, Picture, checked, checked_index, number, tint

WINDOW, FILTER, ZERO = tint(ORANGE, 0.55), tint(SKY), tint("#808080", 0.35)
ZERO_READ = tint("#8A6A1F", 0.7)  # padding inside the window: its orange, darkened


class Options(TypedDict, total=False):
    """What `conv2d` takes beside x and w."""

    stride: IntOrPair
    padding: Padding
    dilation: IntOrPair
    groups: int


class _Sum(NamedTuple):
    """One output of a convolution with all that it is made of."""

    padded: np.ndarray  # (PH, PW, C), zeros of the padding included
    w: np.ndarray
    y: np.ndarray
    geometry: ConvGeometry
    at: tuple[int, int]
    filter: int

    @property
    def channels(self) -> range:
        """The input channels that the filter reads: its group's."""
        reads = self.w.shape[2]
        first = self.filter // (self.w.shape[3] // self.geometry.spec.groups) * reads
        return range(first, first + reads)

    @property
    def taps(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the padded input that the window reads."""
        return _taps(self.geometry, *self.at)

    @property
    def products(self) -> np.ndarray:
        """(KH, KW, C / groups): every product of the sum."""
        rows, columns = self.taps
        return self.padded[np.ix_(rows, columns, np.array(self.channels))] * self.w[..., self.filter]

    @property
    def title(self) -> str:
        return f"{describe(self.geometry)}\noutput ({self.at[0]}, {self.at[1]}) of filter {self.filter}"

    def fill(self, channel: int) -> np.ndarray:
        """Return the colours of one input channel's cells: padding, window, the rest."""
        return _ground(self.geometry, *self.taps) if channel in self.channels else _ground(self.geometry)


def _one_sum(x: ArrayLike, w: ArrayLike, at: tuple[int, int], filter: int, options: Options) -> _Sum:
    image, filters = np.asarray(x), np.asarray(w)
    if image.ndim != 3:
        raise ValueError(f"x must be one image (H, W, C): x.shape={image.shape}")
    y = conv2d(image, filters, kernel="im2col", **options)
    geometry = ConvSpec(image.shape[2], filters.shape[3], filters.shape[:2], **options).geometry(*image.shape[:2])
    if len(at) != 2:
        raise ValueError(f"at must be (row, column) of an output: at={at}")
    place = checked_index("at row", at[0], geometry.out_height), checked_index("at column", at[1], geometry.out_width)
    return _Sum(np.pad(image, (*geometry.padding, (0, 0))), filters, y, geometry, place, checked_index("filter", filter, filters.shape[3]))


def describe(geometry: ConvGeometry) -> str:
    """Write a convolution with its sizes.

    Examples
    --------
    >>> describe(ConvSpec(3, 5, kernel=3, stride=2, padding="same").geometry(6, 6))
    'standard 6x6x3 -> 3x3x5, window 3x3, stride 2, same padding'
    """
    spec = geometry.spec
    parts = [f"{spec.kind} {sizes(geometry.in_shape)} -> {sizes(geometry.out_shape)}, window {sizes(spec.kernel)}"]
    parts += [f"{name} {_step(pair)}" for name, pair in (("stride", spec.stride), ("dilation", spec.dilation)) if pair != (1, 1)]
    if spec.kind == "grouped":
        parts.append(f"{spec.groups} groups")
    if geometry.padding != ((0, 0), (0, 0)):
        parts.append(_padding(geometry))
    return ", ".join(parts)


def _step(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else sizes(pair)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _padding(geometry: ConvGeometry) -> str:
    if geometry.padding == ((0, 0), (0, 0)):
        return "no padding"
    if isinstance(geometry.spec.padding, str):
        return f"{geometry.spec.padding} padding"
    if len({*geometry.padding[0], *geometry.padding[1]}) == 1:
        return f"padding {geometry.padding[0][0]} on every side"
    (top, bottom), (left, right) = geometry.padding
    return f"padding ({top}, {bottom}), ({left}, {right})"


def _taps(geometry: ConvGeometry, i: int, j: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and columns of the padded input that output (i, j) reads."""
    height, width = geometry.height, geometry.width
    return np.array(height.taps(i)) + height.before, np.array(width.taps(j)) + width.before


def _ground(geometry: ConvGeometry, rows: Sequence[int] | np.ndarray = (), columns: Sequence[int] | np.ndarray = ()) -> np.ndarray:
    """Return the colours (PH, PW, 3) of a padded input: white, grey for the padding, orange for the window's rows and columns."""
    height, width = geometry.height, geometry.width
    inside = np.zeros((height.padded, width.padded, 1), bool)
    inside[height.before : height.before + height.input, width.before : width.before + width.input] = True
    read = np.zeros_like(inside)
    for i in rows:
        read[i, list(columns)] = True
    return np.where(read, np.where(inside, WINDOW, ZERO_READ), np.where(inside, 1.0, ZERO))


def window(
    x: ArrayLike, w: ArrayLike, at: tuple[int, int] = (0, 0), filter: int = 0, *, channels: int = 3, **options: Unpack[Options]
) -> Picture:
    """Draw one output: the window on the input, the filter, their products and the sum.

    Parameters
    ----------
    x : array_like, (H, W, C)
        One image; small integers read best.
    w : array_like, (KH, KW, C / groups, O)
    at : (int, int)
        Row and column of the output.
    filter : int
        Output channel.
    channels : int
        How many input channels are drawn; what the others add is written below them.
    stride, padding, dilation, groups
        As in `conv2d`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError, TypeError
        As `conv2d`; if there is no such output; if the input has too many pixels to write each of them out.

    Examples
    --------
    >>> x, w = np.arange(75).reshape(5, 5, 3) % 7, np.ones((3, 3, 3, 2), int)
    >>> print(window(x, w, at=(1, 2)).get_suptitle())
    standard 5x5x3 -> 3x3x2, window 3x3
    output (1, 2) of filter 0
    """
    if channels < 1:
        raise ValueError(f"channels must be at least 1: channels={channels}")
    one = _one_sum(x, w, at, filter, options)
    at, filter = one.at, one.filter
    shown, hidden = one.channels[:channels], len(one.channels[channels:])
    (height, width), (kh, kw), (oh, ow) = one.padded.shape[:2], one.w.shape[:2], one.y.shape[:2]
    row = max(height, kh, 2) + 1.3
    top = max(1.0, (row * len(shown) + 0.7 - oh) / 2)
    many = len(one.channels) > 1
    rows = max(row * len(shown), top + oh + 0.3) + (1.1 if many else 0.0)
    at_filter = max(width, 2.5) + 1.4
    at_products = at_filter + max(kw, 2.0) + 1.4
    at_sums = at_products + max(kw, 2.5) + 1.2
    at_output = at_sums + 2.6
    board = Board(one.title, at_output + max(ow, 3.6), rows)

    products = one.products
    for k, channel in enumerate(shown):
        middle = 1 + k * row + (row - 1.3) / 2
        above = middle - height / 2
        board.label(width / 2, above - 0.45, f"input, channel {channel}")
        board.cells(0, above, one.padded[..., channel], one.fill(channel), f"input {channel}")
        start = [axis.start(i) + axis.before for axis, i in zip((one.geometry.height, one.geometry.width), at, strict=True)]
        extent = one.geometry.height.extent, one.geometry.width.extent
        board.frame(start[1], above + start[0], extent[1], extent[0], ORANGE)
        board.label((at_filter + width) / 2, middle, "\N{MULTIPLICATION SIGN}", size=13)
        board.label(at_filter + kw / 2, middle - kh / 2 - 0.45, "filter")
        board.cells(at_filter, middle - kh / 2, one.w[:, :, k, filter], FILTER, f"filter {channel}")
        board.label((at_filter + kw + at_products) / 2, middle, "=", size=13)
        board.label(at_products + kw / 2, middle - kh / 2 - 0.45, "products")
        board.cells(at_products, middle - kh / 2, products[:, :, k], "white", f"products {channel}")
        board.label(at_products + kw + 0.5, middle, f"sum = {number(products[:, :, k].sum())}", f"sum {channel}", ha="left")
    board.label(at_output + ow / 2, top - 0.45, f"output, channel {filter}")
    colours = np.ones((oh, ow, 3))
    colours[at] = WINDOW
    board.cells(at_output, top, one.y[..., filter], colours, "output")
    board.frame(at_output + at[1], top + at[0], 1, 1, ORANGE)
    if many:
        terms = [products[:, :, k].sum() for k in range(len(shown))] + ([products[:, :, len(shown) :].sum()] if hidden else [])
        first, *others = (number(term) for term in terms)
        signed = (f" \N{MINUS SIGN} {term[1:]}" if term.startswith("\N{MINUS SIGN}") else f" + {term}" for term in others)
        said = f"all {len(one.channels)} channels: {first}{''.join(signed)} = {number(one.y[(*at, filter)])}"
        if hidden:
            said += f"   (the last term is of {hidden} not drawn)"
        board.label((at_output + max(ow, 3.6)) / 2, rows - 0.4, said, "total", size=TEXT + 1)
    return board.figure


def windows(geometry: ConvGeometry) -> Picture:
    """Draw every window of a small case, each on a copy of the padded input, laid out like the output.

    Parameters
    ----------
    geometry : ConvGeometry
        What to draw; its channels do not matter.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError, TypeError
        If there are too many windows to draw each; if it is no geometry.

    Examples
    --------
    >>> windows(ConvSpec(1, 1, kernel=3, stride=2, padding="same").geometry(5, 7)).get_suptitle().splitlines()[1]
    '3 x 4 = 12 outputs, each reads its orange cells; padding is grey, darker where read'
    """
    checked("geometry", geometry, ConvGeometry, "spec.geometry(height, width)")
    height, width = geometry.height, geometry.width
    across, down = width.padded + 1.2, height.padded + 2.2
    said = f"{height.output} x {width.output} = {geometry.positions} outputs, each reads its orange cells"
    if geometry.padding != ((0, 0), (0, 0)):
        said += "; padding is grey, darker where read"
    board = Board(f"{describe(geometry)}\n{said}", max(width.output * across, 8), height.output * down, most=90)
    left = max(0, 8 - width.output * across) / 2 + 0.6
    for i in range(height.output):
        for j in range(width.output):
            colours = _ground(geometry, *_taps(geometry, i, j))
            x, y = left + j * across, i * down + 1.4
            board.cells(x, y, np.zeros(colours.shape[:2]), colours, f"window {i},{j}", write=False)
            board.label(x + width.padded / 2, y - 0.15, f"({i}, {j})", size=SMALL, va="bottom")
    return board.figure


def im2col(x: ArrayLike, w: ArrayLike, at: tuple[int, int] = (0, 0), filter: int = 0, **options: Unpack[Options]) -> Picture:
    """Draw the matrix of columns, with one window, its row of the matrix and its output in one colour.

    Parameters
    ----------
    x, w, at, filter, stride, padding, dilation, groups
        As in `window`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError, TypeError
        As `window`.

    Examples
    --------
    >>> figure = im2col(np.arange(9).reshape(3, 3, 1), np.ones((2, 2, 1, 1), int), at=(1, 0))
    >>> figure.get_suptitle().splitlines()[-1]
    'row 2 of the 4 x 4 matrix, times filter 0, is output (1, 0): 20'
    """
    one = _one_sum(x, w, at, filter, options)
    at, filter = one.at, one.filter
    spec, (height, width, channels), (oh, ow) = one.geometry.spec, one.padded.shape, one.y.shape[:2]
    matrix = columns_of(np.asarray(x), spec)
    rows, columns = matrix.shape
    row = at[0] * ow + at[1]
    reads = np.tile(np.isin(np.arange(channels), one.channels), len(matrix[0]) // channels)  # a group's columns; all if there is one

    above = max(height, oh) + 1.6
    across = max(columns + 2.6, channels * (width + 1.2) + max(ow, 2) + 2.5)
    title = (
        f"row {row} of the {rows} x {columns} matrix, times filter {filter}, is output ({at[0]}, {at[1]}): {number(one.y[(*at, filter)])}"
    )
    board = Board(f"{describe(one.geometry)}\n{title}", across, above + rows + 4.2)

    used = channels * (width + 1.2) + ow + 2.5
    left = (across - used) / 2
    for channel in range(channels):
        board.label(left + width / 2, 0.55, f"channel {channel}" if channels > 1 else "input")
        board.cells(left, 1 + (above - 1.6 - height) / 2, one.padded[..., channel], one.fill(channel), f"input {channel}")
        left += width + 1.2
    colours = np.ones((oh, ow, 3))
    colours[at] = WINDOW
    left += 1.6
    top = 1 + (above - 1.6 - oh) / 2
    board.label(left + ow / 2, top - 0.45, f"output, channel {filter}")
    board.cells(left, top, one.y[..., filter], colours, "output")

    left, top = (across - columns) / 2 + 1.0, above + 0.8
    board.label(left - 0.3, top + 0.5, "filter", ha="right")
    weights = np.zeros(columns, one.w.dtype)
    weights[reads] = one.w[..., filter].ravel()
    fill = np.where(reads[None, :, None], FILTER, np.ones(3))
    board.cells(left, top, weights[None], fill, "filter")
    top += 2.0
    colours = np.ones((rows, columns, 3))
    colours[row, reads] = WINDOW
    board.cells(left, top, matrix, colours, "matrix")
    board.frame(left, top + row, columns, 1, ORANGE)
    for r in range(rows):
        board.label(left - 0.3, top + r + 0.5, f"{r}", size=min(TEXT, 36 * board.cell), ha="right")
    if channels > 1:  # a row holds a pixel's channels side by side
        for tap in range(columns // channels):
            board.frame(left + tap * channels, top, channels, rows, LIGHT if channels == 1 else "#404040", width=1.0)
    kw = spec.kernel[1]
    for tap in range(columns // channels):
        board.label(left + (tap + 0.5) * channels, top - 0.45, f"{tap // kw},{tap % kw}", size=min(TEXT, 30 * board.cell))
    board.label(
        left + columns / 2,
        top + rows + 0.6,
        "columns: the taps (row, column) of the window" + (", each with its channels" * (channels > 1)),
    )
    return board.figure


def paddings(*geometries: ConvGeometry) -> Picture:
    """Draw where the windows of several convolutions lie, side by side: their centres, and the first and the last.

    Made for `"same"` against one zero on every side, which at stride 2 give one shape but look at other pixels.

    Parameters
    ----------
    *geometries : ConvGeometry
        At least one.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError, TypeError
        If there is none, or they are too large to draw each cell; if one is no geometry.

    Examples
    --------
    >>> same, symmetric = (ConvSpec(1, 1, 3, stride=2, padding=p).geometry(6, 6) for p in ("same", 1))
    >>> len(paddings(same, symmetric).axes)
    1
    """
    if not geometries:
        raise ValueError("paddings needs at least one geometry: got none")
    for geometry in geometries:
        checked("each geometry", geometry, ConvGeometry, "spec.geometry(height, width)")
    across = max(max(g.width.padded for g in geometries) + 2.5, 8)
    highest = max(g.height.before for g in geometries)
    down = highest + max(g.height.padded - g.height.before for g in geometries)  # the inputs begin at one height
    first = geometries[0]
    title = (
        f"input {sizes(first.in_shape[:2])}, window {sizes(first.spec.kernel)}, stride {_step(first.spec.stride)}: where the windows lie"
    )
    board = Board(title, across * len(geometries), down + 5.2)
    for k, g in enumerate(geometries):
        left = k * across + (across - g.width.padded) / 2
        top = 2.0 + highest - g.height.before
        (above, below), (before, after) = g.padding
        board.label(k * across + across / 2, 0.4, _padding(g), size=TEXT + 1, weight="bold")
        board.label(k * across + across / 2, 1.2, f"{sizes(g.in_shape[:2])} -> {sizes(g.out_shape[:2])}", f"sizes {k}")
        colours = _ground(g)
        board.cells(left, top, np.zeros(colours.shape[:2]), colours, f"padded {k}", write=False)
        for i in range(g.out_height):
            for j in range(g.out_width):
                y, x = (axis.start(n) + axis.before + axis.extent / 2 for axis, n in ((g.height, i), (g.width, j)))
                board.axes.plot(left + x, top + y, "o", color=BLUE, markersize=22 * board.cell, gid=f"centre {k} {i},{j}")
        for i, j, colour in ((g.out_height - 1, g.out_width - 1, BLUE), (0, 0, ORANGE)):
            y, x = g.height.start(i) + above, g.width.start(j) + before
            board.frame(left + x, top + y, g.width.extent, g.height.extent, colour, f"frame {k} {i},{j}", width=3)
        for n in range(g.height.input):
            board.label(left - 0.25, top + above + n + 0.5, f"{n}", size=SMALL, ha="right")
        zeros = f"zeros: top {above}, bottom {below}, left {before}, right {after}"
        board.label(k * across + across / 2, 2.7 + down, zeros, f"zeros {k}")
        unread = f"unread: {_counted(g.height.unread, 'row')}, {_counted(g.width.unread, 'column')}"
        board.label(k * across + across / 2, 3.5 + down, unread, f"unread {k}")
    board.label(
        across * len(geometries) / 2, 4.7 + down, "dots: centres of the windows; frames: the first window (orange) and the last (blue)"
    )
    return board.figure
