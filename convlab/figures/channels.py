"""Which channels feed which: standard, grouped, depthwise and pointwise convolutions as wiring."""

from __future__ import annotations

import math

from matplotlib.collections import LineCollection

from ..cost import sizes
from ..geometry import ConvSpec
from .canvas import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, SMALL, TEXT, VERMILLION, Picture, checked, page

GROUPS = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, BLACK)
MOST = 64


def wiring(*specs: ConvSpec) -> Picture:
    """Draw convolutions as wires from input channels to output channels, one panel each.

    A wire is one KH x KW slice of a filter: input channel c reaches output channel o where they are of one group.
    Thick wires carry a window, thin ones (1x1) a single weight.

    Parameters
    ----------
    *specs : ConvSpec
        At least one, of at most 64 channels.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError, TypeError
        If there is none, one has too many channels to draw, or is no ConvSpec.

    Examples
    --------
    >>> figure = wiring(ConvSpec(6, 6, 3), ConvSpec(6, 6, 3, groups=2), ConvSpec.depthwise(6, 3), ConvSpec.pointwise(6, 6))
    >>> [axes.get_title().splitlines()[0] for axes in figure.axes]
    ['standard', 'grouped, 2 groups', 'depthwise', 'pointwise']
    """
    if not specs:
        raise ValueError("wiring needs at least one convolution: got none")
    for spec in specs:
        checked("each convolution", spec, ConvSpec, "ConvSpec(...)")
        if max(spec.in_channels, spec.out_channels) > MOST:
            raise ValueError(f"wiring draws up to {MOST} channels: in_channels={spec.in_channels}, out_channels={spec.out_channels}")
    across = min(len(specs), 4)
    down = -(-len(specs) // across)
    figure = page(down * 3.6 + 0.4, "Which input channels (left) feed which output channels (right)")
    for k, spec in enumerate(specs):
        axes = figure.add_subplot(down, across, k + 1)
        axes.axis("off")
        left, right = _heights(spec.in_channels), _heights(spec.out_channels)
        reads, writes = spec.in_channels // spec.groups, spec.out_channels // spec.groups
        wires, colours = [], []
        for o in range(spec.out_channels):
            group = o // writes
            for c in range(group * reads, (group + 1) * reads):
                wires.append([(0.0, left[c]), (1.0, right[o])])
                colours.append(GROUPS[group % len(GROUPS)])
        window = math.prod(spec.kernel)
        axes.add_collection(LineCollection(wires, colors=colours, linewidths=0.8 if window == 1 else 1.8, alpha=0.8, zorder=1, gid="wires"))
        dots = min(60.0, 900 / max(spec.in_channels, spec.out_channels))
        for name, x, heights in (("inputs", 0.0, left), ("outputs", 1.0, right)):
            axes.scatter([x] * len(heights), heights, s=dots, color="white", edgecolor=BLACK, linewidth=1.0, zorder=2, gid=name)
        if max(spec.in_channels, spec.out_channels) <= 16:
            for x, heights, ha in ((-0.12, left, "right"), (1.12, right, "left")):
                for c, y in enumerate(heights):
                    axes.text(x, y, str(c), fontsize=SMALL, ha=ha, va="center", color=GREY)
        axes.set(xlim=(-0.35, 1.35), ylim=(-0.06, 1.06))
        kind = f"{spec.kind}, {spec.groups} groups" if spec.kind == "grouped" else spec.kind
        counted = f"wires: {len(wires):,} of {sizes(spec.kernel)}\nweights: {math.prod(spec.weight_shape):,}"
        axes.set_title(f"{kind}\n{spec.in_channels} -> {spec.out_channels} channels\n{counted}", fontsize=TEXT, gid=f"title {k}")
    return figure


def _heights(channels: int) -> list[float]:
    """Return where the channels stand, from the top down."""
    return [1 - (c + 0.5) / channels for c in range(channels)]
