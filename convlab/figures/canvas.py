"""What all figures share: the page, the colours, and boards of cells with numbers in them.

A picture is made with matplotlib's object interface: no pyplot, no current figure, no settings changed. Colours are
Okabe and Ito's (2008), which colour-blind readers tell apart.
What stands for a number of convlab carries its name as `gid`, so tests and SVG files find it.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from ..arguments import integer

WIDTH = 8.0
"""Inches across: a notebook's column, and a printed page with its margins."""

SCREEN = 96
"""Pixels an inch at which notebooks show a picture; it holds twice as many."""

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILLION, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
GREY, LIGHT = "#666666", "#E6E6E6"

KINDS = {
    "standard": BLUE,
    "grouped": PURPLE,
    "depthwise": ORANGE,
    "pointwise": GREEN,
    "dense": SKY,
    "shortcut": VERMILLION,
    "pool": GREY,
}
"""The colour of each kind of layer, in every figure."""

TITLE, TEXT, SMALL = 11.0, 9.0, 8.0
"""Sizes of letters in points; nothing is smaller than `SMALL` but numbers in narrow cells, down to `LEAST`."""
LEAST = 5.5

RGB = tuple[float, float, float]


class Picture(Figure):
    """A matplotlib figure that a notebook shows without pyplot."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=2 * SCREEN)
        # 256 colours are enough for all figures here, and make a stored notebook a third as large.
        few = Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE)
        smaller = io.BytesIO()
        few.save(smaller, "png", optimize=True)
        width, height = self.get_size_inches()
        return smaller.getvalue(), {"width": round(width * SCREEN), "height": round(height * SCREEN)}


def page(height: float, title: str, layout: Literal["constrained", "compressed"] = "constrained") -> Picture:
    """Return an empty page of `height` inches with a title, for axes that lay themselves out; compressed for images."""
    figure = Picture(figsize=(WIDTH, height), layout=layout, facecolor="white")
    figure.suptitle(wrapped(title), fontsize=TITLE)
    return figure


def wrapped(title: str) -> str:
    """Break the lines of a title that are too long for the page."""
    return "\n".join(textwrap.fill(line, 84) for line in title.splitlines())


def plain(axes: Axes, *, grid: str | None = None) -> None:
    """Give axes the house's look: two spines, letters that can be read, lines of a grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=SMALL)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_fontsize(TEXT)
    axes.set_axisbelow(True)
    if grid is not None:
        axes.grid(axis=grid, color=LIGHT, linewidth=0.6)  # type: ignore[arg-type]  # "x", "y" or "both"


def tint(colour: str, strength: float = 0.45) -> RGB:
    """Return a colour thinned with white, light enough for black letters on it."""
    red, green, blue = (1 - strength * (1 - part) for part in to_rgb(colour))
    return red, green, blue


def number(value: float) -> str:
    """Write a number: a whole one in full, another with three digits; the minus is a true one.

    Examples
    --------
    >>> number(12.0), number(0.12345)
    ('12', '0.123')
    """
    text = f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e6 else f"{value:.3g}"
    return text.replace("-", "\N{MINUS SIGN}")


def column(values: np.ndarray, digits: int = 3) -> list[str]:
    """Write numbers that stand together: whole ones as `number`, others to the place of the largest's last digit.

    Examples
    --------
    >>> column(np.array([12, 0, 3])), column(np.array([1.2345, 0.0, 0.0004])), column(np.array([1.2345, 21.5]), digits=2)
    (['12', '0', '3'], ['1.23', '0', '0.00'], ['1', '22'])
    """
    finite = values[np.isfinite(values)].astype(float)
    if (finite == np.rint(finite)).all():
        return [number(value) for value in values.flat]
    places = digits - 1 - math.floor(math.log10(np.abs(finite).max()))
    if places > 4:  # so small that only powers of ten are short
        return [f"{value:.{digits - 1}g}".replace("-", "\N{MINUS SIGN}") for value in values.flat]
    return ["0" if value == 0 else f"{value:.{max(places, 0)}f}".replace("-", "\N{MINUS SIGN}") for value in values.flat]


def _ems(text: str) -> float:
    """Return how wide a number is, in sizes of its letters: those of DejaVu Sans, whose minus is a third wider than a digit."""
    return sum({"\N{MINUS SIGN}": 0.84, ".": 0.32}.get(letter, 0.64) for letter in text)


def checked(name: str, value: object, kind: type, made_by: str) -> None:
    """Refuse a value that is of another class, and say how the right one is made."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, as {made_by} returns: got {type(value).__name__}")


def checked_index(name: str, value: object, size: int) -> int:
    """Return an index from 0 to size - 1, or say which rule it breaks."""
    index = integer(name, value, 0)
    if index >= size:
        raise ValueError(f"{name} must be from 0 to {size - 1}: {name}={index}")
    return index


class Board:
    """A drawing whose unit is the cell: x to the right, y down, and every cell of one size.

    Parameters
    ----------
    title : str
    columns, rows : float
        Its size in cells.
    most : int
        The number of columns and rows up to which it can be read.

    Raises
    ------
    ValueError
        If it would be larger.
    """

    def __init__(self, title: str, columns: float, rows: float, most: int = 40) -> None:
        if max(columns, rows) > most:
            raise ValueError(
                f"a figure that shows every cell must be at most {most} cells across and down: this would be {columns:.0f} x {rows:.0f};"
                " draw a smaller input"
            )
        title = wrapped(title)
        self.cell = min(0.42, (WIDTH - 0.3) / columns)
        """Inches across a cell."""
        across, head = WIDTH / self.cell, (0.3 + 0.2 * title.count("\n")) / self.cell
        down = rows + head + 0.4
        self.figure = Picture(figsize=(WIDTH, down * self.cell), facecolor="white")
        self.axes = self.figure.add_axes((0, 0, 1, 1), frame_on=False)
        self.axes.set(xlim=((columns - across) / 2, (columns + across) / 2), ylim=(rows + 0.3, -head - 0.1), xticks=[], yticks=[])
        self.figure.suptitle(title, fontsize=TITLE, y=1 - 0.08 / (down * self.cell), va="top")

    def cells(self, x: float, y: float, values: np.ndarray, fill: np.ndarray | RGB | str, name: str, *, write: bool = True) -> None:
        """Draw a grid of numbers (rows, columns) with its top left corner at x, y; `fill` is one colour or (rows, columns, 3)."""
        rows, columns = values.shape
        colours = np.broadcast_to(to_rgb(fill) if isinstance(fill, str) else fill, (rows, columns, 3))
        self.axes.pcolormesh(
            x + np.arange(columns + 1), y + np.arange(rows + 1), colours, edgecolors=GREY, linewidth=min(0.6, 2 * self.cell), gid=name
        )
        if not write:
            return
        points = 72 * self.cell
        for digits in (3, 2, 1):  # fewer where cells are narrow
            texts = column(values, digits)
            longest = max(texts, key=_ems)
            size = min(10.0, 0.5 * points, 0.84 * points / _ems(longest))
            if size >= LEAST:
                break
        else:
            raise ValueError(f"numbers must be short enough for their cells: {longest!r} is not; draw smaller numbers or a smaller input")
        for k, text in enumerate(texts):
            i, j = divmod(k, columns)
            self.axes.text(x + j + 0.5, y + i + 0.52, text, fontsize=size, ha="center", va="center", gid=f"{name}[{i},{j}]")

    def frame(self, x: float, y: float, columns: float, rows: float, colour: str, name: str | None = None, width: float = 2.0) -> None:
        """Draw a frame."""
        self.axes.add_patch(Rectangle((x, y), columns, rows, fill=False, edgecolor=colour, linewidth=width, gid=name, zorder=4))

    def label(
        self,
        x: float,
        y: float,
        text: str,
        name: str | None = None,
        *,
        size: float = TEXT,
        ha: str = "center",
        va: str = "center",
        weight: str = "normal",
    ) -> None:
        """Write a line."""
        self.axes.text(x, y, text, fontsize=size, ha=ha, va=va, weight=weight, gid=name)

    def arrow(self, start: Sequence[float], end: Sequence[float]) -> None:
        """Draw an arrow."""
        self.axes.annotate("", (end[0], end[1]), (start[0], start[1]), arrowprops={"arrowstyle": "-|>", "color": GREY, "linewidth": 1.2})
