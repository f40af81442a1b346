"""What is inside a model: its first filters, its feature maps, its activations."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from ..cost import sizes
from ..forward import Step
from ..layers import Conv
from .canvas import BLUE, GREY, SKY, SMALL, TEXT, VERMILLION, WIDTH, Picture, checked, checked_index, page, plain

COLUMNS = 8
BINS = 60


def _tiles(count: int, title: str) -> tuple[Picture, list[Axes]]:
    """Return a page of small pictures, `COLUMNS` across."""
    across, down = min(count, COLUMNS), -(-count // COLUMNS)
    side = min(1.7, 0.9 * WIDTH / across)
    figure = page((side + 0.2) * down + 0.5, title, "compressed")
    tiles = [figure.add_subplot(down, across, k + 1) for k in range(count)]
    for axes in tiles:
        axes.set(xticks=[], yticks=[])
    return figure, tiles


def feature_maps(step: Step, count: int = 24, picture: int = 0) -> Picture:
    """Draw the first channels of a traced layer's output, all on one scale of brightness.

    Parameters
    ----------
    step : Step
        What `Model.trace` yields; its output (N, H, W, C).
    count : int
        How many channels at most.
    picture : int
        Which picture of the batch.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError, TypeError
        If the step gave no maps, but vectors; if there is no such picture; if it is no Step.

    Examples
    --------
    >>> import convlab as cl
    >>> model = cl.load("mobilenet_v2_cifar10")
    >>> step = next(model.trace(model.preprocess(cl.zoo.sample_pictures()[0][0]), kernel="im2col"))
    >>> feature_maps(step, count=8).get_suptitle()
    'stem.conv: 8 of 16 channels, 32x32'
    """
    checked("step", step, Step, "model.trace(x)")
    if step.output.ndim != 4:
        raise ValueError(f"feature maps are (N, H, W, C): {step.name} gave {step.output.shape}")
    if count < 1:
        raise ValueError(f"count must be at least 1: count={count}")
    maps = step.output[checked_index("picture", picture, len(step.output))]
    shown = min(count, maps.shape[2])
    figure, tiles = _tiles(shown, f"{step.name}: {shown} of {maps.shape[2]} channels, {sizes(maps.shape[:2])}")
    low, high = float(maps[:, :, :shown].min()), float(maps[:, :, :shown].max())
    for c, axes in enumerate(tiles):
        image = axes.imshow(maps[:, :, c], cmap="cividis", vmin=low, vmax=high, interpolation="nearest", gid=f"map {c}")
        axes.set_title(str(c), fontsize=SMALL, pad=2)
    bar = figure.colorbar(image, ax=tiles, fraction=0.03, pad=0.01)
    bar.ax.tick_params(labelsize=SMALL)
    return figure


def filters(w: ArrayLike, count: int = 64) -> Picture:
    """Draw filters as small pictures: those of a first layer in colour, others one tile for each slice.

    Mid-grey is zero, and one scale holds for all: the largest weight is full black or full brightness.

    Parameters
    ----------
    w : array_like, (KH, KW, C, O)
        Weights, such as ``model.params["stem.weight"]``. With C = 3 each filter is one RGB tile; else tile (o, c)
        is the slice of filter o on its c-th channel.
    count : int
        How many tiles at most.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If w is not (KH, KW, C, O).

    Examples
    --------
    >>> import convlab as cl
    >>> filters(cl.load("mobilenet_v2_cifar10").params["stem.weight"]).get_suptitle()
    '16 of 16 filters, 3x3 on 3 channels, as colours; mid-grey is 0'
    """
    weights = np.asarray(w, np.float64)
    if weights.ndim != 4 or 0 in weights.shape:
        raise ValueError(f"w must be (KH, KW, C, O), none of them 0: w.shape={weights.shape}")
    if count < 1:
        raise ValueError(f"count must be at least 1: count={count}")
    kh, kw, channels, outputs = weights.shape
    grey = 0.5 + 0.5 * weights / (np.abs(weights).max() or 1.0)
    if channels == 3:
        shown = min(count, outputs)
        tiles = [(str(o), grey[..., o]) for o in range(shown)]
        title = f"{shown} of {outputs} filters, {kh}x{kw} on 3 channels, as colours; mid-grey is 0"
    else:
        pairs = [(o, c) for o in range(outputs) for c in range(channels)][:count]
        tiles = [(f"{o}" if channels == 1 else f"{o}, {c}", grey[:, :, c, o]) for o, c in pairs]
        what = "filters" if channels == 1 else "slices (filter, channel)"
        title = f"{len(tiles)} of {outputs * channels} {what}, {kh}x{kw}; mid-grey is 0"
    figure, axes = _tiles(len(tiles), title)
    for k, (name, tile) in enumerate(tiles):
        axes[k].imshow(tile, cmap="gray", vmin=0, vmax=1, interpolation="nearest", gid=f"filter {name}")
        axes[k].set_title(name, fontsize=SMALL, pad=2)
    return figure


def activations(steps: Iterable[Step], block: str) -> Picture:
    """Draw how the numbers of a block are spread before and after each activation.

    What relu6 sets to 0 and to 6 stands as two bars with their shares. A linear layer, as V2's bottleneck is, has no
    activation; below it stands the share that relu would have set to 0.

    Parameters
    ----------
    steps : iterable of Step
        A trace; `Model.trace` gives one.
    block : str
        A block or a layer with convolutions: ``"block3"``, ``"stem"``.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError, TypeError
        If the trace has no such block, or numbers that are not finite; if it holds anything but steps.

    Examples
    --------
    >>> import convlab as cl
    >>> model = cl.load("mobilenet_v2_cifar10")
    >>> trace = model.trace(model.preprocess(cl.zoo.sample_pictures()[0][0]), kernel="im2col")
    >>> figure = activations(trace, "block3")
    >>> [axes.get_title() for axes in figure.axes[::2]]
    ['block3.expand: before relu6', 'block3.depthwise: before relu6', 'block3.project: linear']
    """
    found: dict[str, list[Step]] = {}
    names = []
    for step in steps:
        checked("each step", step, Step, "model.trace(x)")
        names.append(step.layer.name)
        if isinstance(step.layer, Conv) and (step.layer.name == block or step.layer.name.startswith(f"{block}.")):
            found.setdefault(step.layer.name, []).append(step)
    if not found:
        blocks = dict.fromkeys(name.partition(".")[0] for name in names)
        raise ValueError(f"block must have convolutions in the trace: block={block!r}; the trace has {', '.join(blocks)}")
    some = next(iter(found.values()))[0]
    pictures = "1 picture" if len(some.output) == 1 else f"{len(some.output)} pictures"
    figure = page(2.3 * len(found) + 0.5, f"{block}: its numbers before and after the activation, {pictures}")
    for row, (name, parts) in enumerate(found.items()):
        layer, last = parts[-1].layer, parts[-1]
        assert isinstance(layer, Conv)
        before = parts[-1 if layer.activation is None else -2].output
        left = figure.add_subplot(len(found), 2, 2 * row + 1)
        right = figure.add_subplot(len(found), 2, 2 * row + 2)
        edges = _edges(before, name)
        left.set_title(f"{name}: {'linear' if layer.activation is None else f'before {layer.activation}'}", fontsize=TEXT)
        _bars(left, before, edges, SKY if layer.activation else BLUE, f"before {name}")
        negative = float((before < 0).mean())
        left.text(
            0.98,
            0.95,
            f"{sizes(before.shape[1:])}\n{_percent(negative)} below 0",
            transform=left.transAxes,
            fontsize=SMALL,
            ha="right",
            va="top",
            gid=f"negative {name}",
        )
        if layer.activation is None:
            right.axis("off")
            said = f"no activation follows:\nrelu would set {_percent(negative)} of the numbers to 0,\nand what they held would be lost"
            right.text(0.02, 0.5, said, transform=right.transAxes, fontsize=TEXT, va="center", gid=f"linear {name}")
            continue
        after = last.output
        ends = {0.0: float((after == 0).mean())} | ({6.0: float((after == 6).mean())} if layer.activation == "relu6" else {})
        inner = after[(after != 0) & ((after != 6) | (layer.activation != "relu6"))]
        right.set_title(f"after {layer.activation}", fontsize=TEXT)
        _bars(right, inner, edges, SKY, f"after {name}", total=after.size)
        width = edges[1] - edges[0]
        for value, share in ends.items():  # beside the value, so that the bars between 0 and 6 stay visible
            out = -width if value == 0 else width
            (bar,) = right.bar([value], [100 * share], width=out, align="edge", color=VERMILLION)
            bar.set_gid(f"end {name} {value:g}")
            text = f"{_percent(share)} are {value:g}"
            offset, ha = ((4, 1), "left") if value == 0 else ((-2, 12), "right")  # clear of the bars below 6
            at = (value, 100 * share)
            right.annotate(text, at, offset, textcoords="offset points", fontsize=SMALL, ha=ha, va="bottom", gid=f"share {name} {value:g}")
        right.set_ylim(0, 112 * max(*ends.values(), 0.01))
        right.set_xlim(left.get_xlim())
    return figure


def _edges(values: np.ndarray, name: str) -> np.ndarray:
    """Return about `BINS` + 1 equally spaced edges round the values; 0 is one of them, and 6 where bins are narrow enough."""
    if not np.isfinite(values).all():
        raise ValueError(f"activations must be finite: {name} has {np.count_nonzero(~np.isfinite(values)):,} that are not")
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 6.0)
    wanted = (high - low) / BINS
    width = 6 / round(6 / wanted) if wanted < 6 else 6 * round(wanted / 6)
    return np.arange(np.floor(low / width) - 1, np.ceil(high / width) + 2) * width


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _bars(axes: Axes, values: np.ndarray, edges: np.ndarray, colour: str, name: str, total: int | None = None) -> None:
    """Draw a histogram in percent of `total` numbers."""
    counts, _ = np.histogram(values, edges)
    axes.stairs(100 * counts / (total or values.size), edges, fill=True, color=colour, gid=name)
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.set_ylabel("% of numbers")
    plain(axes)
