"""A network as a block diagram, drawn from its description."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from matplotlib.artist import Artist
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch

from ..cost import kind_of, sizes
from ..layers import Branch, Conv, Dense, Network, Pool, Residual, Shape, Visit, walk
from .canvas import BLACK, GREY, KINDS, SMALL, TEXT, VERMILLION, WIDTH, Picture, checked, page, tint

ROW = 0.44
"""Inches from block to block."""


@dataclass(frozen=True)
class _Block:
    """Layers with one name in front of the dot, run one after the other; `repeats` blocks of one form are one."""

    names: tuple[str, ...]
    visits: tuple[Visit, ...]

    @property
    def form(self) -> object:
        """What must agree for two blocks to be drawn as one."""
        return self.visits[0].input, self.output, tuple(_said(visit) for visit in self.convolutions), self.shortcut

    @property
    def convolutions(self) -> tuple[Visit, ...]:
        return tuple(visit for visit in self.visits if not isinstance(visit.layer, (Residual, Branch)))

    @property
    def output(self) -> Shape:
        return self.convolutions[-1].output

    @property
    def shortcut(self) -> bool:
        return any(isinstance(visit.layer, Residual) for visit in self.visits)

    @property
    def title(self) -> str:
        first, last = self.names[0], self.names[-1]
        if len(self.names) == 1:
            return first
        return f"{first} \N{EN DASH} {last.removeprefix('block')}"


def _blocks(network: Network) -> list[_Block]:
    """Group a network's layers into blocks, and blocks of one form that follow each other into one."""
    named: dict[str, list[Visit]] = {}
    for visit in walk(network):
        named.setdefault(visit.layer.name.partition(".")[0], []).append(visit)
    blocks: list[_Block] = []
    for name, visits in named.items():
        block = _Block((name,), tuple(visits))
        if blocks and blocks[-1].form == block.form:
            first = blocks.pop()
            block = _Block((*first.names, name), first.visits)
        blocks.append(block)
    return blocks


def _said(visit: Visit) -> str:
    """Write what a box holds: the window, the stride, the width."""
    match visit.layer:
        case Conv(_, spec, activation):
            stride = (
                "" if spec.stride == (1, 1) else f" /{spec.stride[0]}" if spec.stride[0] == spec.stride[1] else f" /{sizes(spec.stride)}"
            )
            return f"{sizes(spec.kernel)}{stride}, {spec.out_channels}" + ("" if activation else ", linear")
        case Pool():
            return "mean of all pixels"
        case Dense(_, _, out_features):
            return f"{out_features} classes"
        case Residual():
            return "+"
        case Branch():
            return "output"
        case _:
            assert_never(visit.layer)


def blocks(network: Network) -> Picture:
    """Draw a network as a block diagram: one line a block, one box a layer, shortcuts as arcs.

    Blocks of one form that follow each other share a line. A box says window, stride (after a slash) and channels written;
    its colour is its kind, and an empty box is linear.

    Parameters
    ----------
    network : Network
        Such as `mobilenet_v1` and `mobilenet_v2` build from their tables.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError
        If it is no Network.

    Examples
    --------
    >>> from convlab import mobilenet_v2
    >>> figure = blocks(mobilenet_v2())
    >>> [text.get_text() for text in figure.axes[0].texts if (text.get_gid() or "").startswith("box block2.")]
    ['1x1, 96', '3x3 /2, 96', '1x1, 24, linear']
    """
    checked("network", network, Network, "mobilenet_v1()")
    lines = _blocks(network)
    most = max(len(line.convolutions) for line in lines)
    height = ROW * (len(lines) + 1) + 1.0
    figure = page(height, f"{network.name}, block by block")
    axes = figure.add_subplot()
    axes.axis("off")
    left, right, gap = 2.3, WIDTH - 1.35, 0.16
    width = (right - left - (most - 1) * gap - 0.3) / most
    axes.set(xlim=(0, WIDTH - 0.2), ylim=(len(lines) - 0.4, -1.2))
    for x, text, ha in ((0.0, "block", "left"), (left - 0.25, "input", "right"), (right + 0.1, "output", "left")):
        axes.text(x, -0.85, text, fontsize=TEXT, weight="bold", ha=ha, va="center")
    for y, line in enumerate(lines):
        name = line.names[0]
        axes.text(0, y, line.title, fontsize=TEXT, va="center", gid=f"name {name}")
        axes.text(left - 0.25, y, sizes(line.visits[0].input), fontsize=SMALL, ha="right", va="center", gid=f"input {name}")
        axes.text(right + 0.1, y, sizes(line.output), fontsize=SMALL, va="center", gid=f"output {name}")
        end = left
        for k, visit in enumerate(line.convolutions):
            x = left + k * (width + gap)
            colour = KINDS[kind_of(visit)]
            linear = isinstance(visit.layer, Conv) and visit.layer.activation is None
            axes.add_patch(
                FancyBboxPatch(
                    (x, y - 0.27),
                    width,
                    0.54,
                    boxstyle="round,pad=0,rounding_size=0.06",
                    facecolor="white" if linear else tint(colour),
                    edgecolor=colour,
                    linewidth=1.4,
                    linestyle="--" if linear else "-",
                )
            )
            axes.text(x + width / 2, y + 0.01, _said(visit), fontsize=SMALL, ha="center", va="center", gid=f"box {visit.layer.name}")
            if k:
                axes.add_patch(FancyArrowPatch((x - gap, y), (x, y), arrowstyle="-|>", mutation_scale=6, color=GREY, shrinkA=0, shrinkB=0))
            end = x + width
        if line.shortcut:
            start, plus = left - 0.14, end + 0.17
            axes.plot([left - 0.2, left], [y, y], color=VERMILLION, linewidth=1.2, zorder=0)
            axes.plot([start, start, plus, plus], [y, y - 0.4, y - 0.4, y], color=VERMILLION, linewidth=1.2, gid=f"shortcut {name}")
            axes.plot([end, right + 0.05], [y, y], color=VERMILLION, linewidth=1.2, zorder=0)
            axes.plot([plus], [y], "o", color="white", markeredgecolor=VERMILLION, markersize=9)
            axes.text(plus, y, "+", fontsize=TEXT, ha="center", va="center_baseline", color=BLACK)
    filled = KINDS.keys() - {"shortcut"}
    drawn = dict.fromkeys(kind_of(visit) for line in lines for visit in line.visits)
    handles: list[Artist] = [Patch(facecolor=tint(KINDS[kind]), edgecolor=KINDS[kind], label=kind) for kind in drawn if kind in filled]
    if any(isinstance(visit.layer, Conv) and visit.layer.activation is None for line in lines for visit in line.visits):
        handles.append(Patch(facecolor="white", edgecolor=GREY, linestyle="--", label="linear"))
    if "shortcut" in drawn:
        handles.append(Line2D([], [], color=VERMILLION, label="shortcut"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=SMALL, frameon=False)
    return figure
