"""A picture with what was found on it."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from .. import images
from ..ssd import Detection
from .canvas import BLUE, GREEN, ORANGE, PURPLE, SKY, TEXT, VERMILLION, WIDTH, YELLOW, Picture, page, tint

COLOURS = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, YELLOW)


def detections(picture: images.Picture, found: Sequence[Detection], title: str = "") -> Picture:
    """Draw a picture and the boxes of what was found on it, one colour a label; a box is drawn as far as the picture reaches.

    Parameters
    ----------
    picture : path or ndarray of uint8
        What was given to `Detector.detect`.
    found : sequence of Detection
        What it returned.
    title : str
        Above the picture; nothing if left out.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import convlab as cl
    >>> figure = detections(cl.zoo.photos()["coffee"], [cl.Detection("cup", 0.96, (174.0, 20.8, 238.4, 221.1))])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['cup 0.96']
    """
    pixels = images.as_rgb(picture)
    height, width = pixels.shape[:2]
    figure = page(min(max(WIDTH * height / width, 1.0), 2 * WIDTH) + (0.4 if title else 0), title, "compressed")
    axes = figure.add_subplot()
    axes.imshow(pixels, interpolation="antialiased")
    axes.set_axis_off()
    labels = list(dict.fromkeys(label for label, _, _ in found))
    for label, score, (x, y, w, h) in reversed(found):  # the likeliest on top
        left, top, right, bottom = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
        colour = COLOURS[labels.index(label) % len(COLOURS)]
        outline = [withStroke(linewidth=4, foreground="white")]  # seen on any ground
        axes.add_patch(
            Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=2, path_effects=outline)
        )
        axes.annotate(
            f"{label} {score:.2f}",
            (left, top),
            xytext=(4, -4),
            textcoords="offset points",
            fontsize=TEXT,
            va="top",
            bbox={"boxstyle": "round,pad=0.2", "facecolor": tint(colour), "edgecolor": "none"},
        )
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    return figure
