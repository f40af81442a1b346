"""Pictures of convolutions and networks, drawn from what convlab computes.

Each function returns a matplotlib figure made from real data: a convolution's geometry, a cost, a trace, a benchmark.
A notebook shows it; ``figure.savefig("name.png")`` or ``.svg`` or ``.pdf`` keeps it::

    from convlab import figures
    figures.window(x, w, at=(1, 2))

For a plot of one's own in the same style there are the empty page, the look of axes and the colours::

    figure = figures.page(3.0, "squares")
    axes = figure.subplots()
    axes.plot([0, 1, 4, 9], color=figures.BLUE)
    figures.plain(axes, grid="y")
    figure

`page` takes inches and a title; `plain` sets spines, letters and, if asked, a grid; `tint` thins a colour so that black letters can
be read on it. `TITLE`, `TEXT` and `SMALL` are sizes of letters in points, `WIDTH` is the page's in inches, and `KINDS` has the colour
of each kind of layer.
"""

try:
    import matplotlib  # noqa: F401  # the one place that says what is missing
except ModuleNotFoundError as error:
    if error.name != "matplotlib":
        raise
    raise ModuleNotFoundError('figures need matplotlib: pip install "convlab-engine[lab]"', name="matplotlib") from None

from .canvas import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    KINDS,
    LIGHT,
    ORANGE,
    PURPLE,
    SKY,
    SMALL,
    TEXT,
    TITLE,
    VERMILLION,
    WIDTH,
    YELLOW,
    page,
    plain,
    tint,
)
from .channels import wiring
from .charts import costs, plans, roofline, times
from .detections import detections
from .grids import im2col, paddings, window, windows
from .networks import blocks
from .tensors import activations, feature_maps, filters

__all__ = [
    "BLACK",
    "BLUE",
    "GREEN",
    "GREY",
    "KINDS",
    "LIGHT",
    "ORANGE",
    "PURPLE",
    "SKY",
    "SMALL",
    "TEXT",
    "TITLE",
    "VERMILLION",
    "WIDTH",
    "YELLOW",
    "activations",
    "blocks",
    "costs",
    "detections",
    "feature_maps",
    "filters",
    "im2col",
    "paddings",
    "page",
    "plain",
    "plans",
    "roofline",
    "times",
    "tint",
    "window",
    "windows",
    "wiring",
]
