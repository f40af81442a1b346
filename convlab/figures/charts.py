"""Costs, times and speeds: what a network's layers cost, and what machines make of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullFormatter

from ..bench import Benchmark, NetworkBenchmark, duration, rate
from ..cost import Cost, NetworkCost, cost, sizes
from ..units import percent
from .canvas import BLACK, BLUE, GREEN, GREY, KINDS, ORANGE, PURPLE, SKY, SMALL, TEXT, VERMILLION, Picture, checked, page, plain

MEASURES: dict[str, Callable[[Cost], int]] = {
    "parameters": lambda c: c.params,
    "MACs": lambda c: c.macs,
    "bytes moved": lambda c: c.bytes_read + c.bytes_written,
}
RUNGS = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, BLACK)
MARKERS = "osD^vP*X"


def costs(counted: NetworkCost) -> Picture:
    """Draw the parameters, MACs and bytes of every layer as bars, and the share of each kind of layer.

    Parameters
    ----------
    counted : NetworkCost
        What `convlab.cost` says of a network.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError
        If it is no NetworkCost.

    Examples
    --------
    >>> from convlab import cost, mobilenet_v1
    >>> figure = costs(cost(mobilenet_v1()))
    >>> [axes.get_title() for axes in figure.axes[::2]]
    ['parameters: 4,231,976', 'MACs: 568,740,352', 'bytes moved: 57,971,264']
    """
    checked("counted", counted, NetworkCost, "convlab.cost(network)")
    layers, kinds = counted.layers, counted.by_kind()
    figure = page(7.6, f"{counted.network.name}: what it costs by layer ({len(layers)}) and by kind")
    grid = figure.add_gridspec(3, 2, width_ratios=(3.6, 1))
    starts = _blocks([layer.name for layer in layers])
    for row, (measure, of) in enumerate(MEASURES.items()):
        values, total = [of(layer.cost) for layer in layers], of(counted.total)
        bars = figure.add_subplot(grid[row, 0])
        bars.bar(range(len(layers)), values, width=0.85, color=[KINDS[layer.kind] for layer in layers])
        bars.set_title(f"{measure}: {total:,}", fontsize=TEXT + 1)
        bars.set_xticks([i for i, _ in starts], [name for _, name in starts] if row == 2 else [], rotation=90, fontsize=SMALL)
        bars.set_xlim(-0.8, len(layers) - 0.2)
        bars.yaxis.set_major_formatter(lambda value, _: _short(value))
        plain(bars, grid="y")
        shares = figure.add_subplot(grid[row, 1])
        parts = {kind: of(c) / total if total else 0.0 for kind, c in kinds.items() if of(c)}
        heights = list(range(len(parts)))[::-1]
        shares.barh(heights, list(parts.values()), color=[KINDS[kind] for kind in parts], height=0.42)
        for y, (kind, share) in zip(heights, parts.items(), strict=True):
            shares.text(0, y + 0.24, f"{kind} {100 * share:.1f} %", fontsize=SMALL, va="bottom", gid=f"share {measure} {kind}")
        shares.set(xlim=(0, 1), ylim=(-0.5, max(len(parts), 4) - 0.2), xticks=[], yticks=[])
        shares.spines[:].set_visible(False)
    legend = [Patch(color=KINDS[kind], label=kind) for kind in kinds]
    figure.legend(handles=legend, loc="outside lower center", ncols=len(legend), fontsize=SMALL, frameon=False)
    return figure


def _blocks(names: list[str]) -> list[tuple[int, str]]:
    """Return the first layer of each block, its number and the block's name; of those too close to write, the later one."""
    heads = [name.partition(".")[0] for name in names]
    starts = [(i, head) for i, head in enumerate(heads) if head not in heads[:i]]
    apart = 0.15 * len(names) / 6  # letters are 0.15 inches high, the axis about 6 inches long
    return [start for start, following in zip(starts, [*starts[1:], (len(names) + 9, "")], strict=True) if following[0] - start[0] >= apart]


def _short(value: float) -> str:
    """Write a count for an axis: 2.5 M."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _workload(result: Benchmark) -> str:
    """Name what was timed, in a line short enough for a legend."""
    shape = result.shape if result.shape[0] > 1 else result.shape[1:]
    return f"{result.spec.kind} {sizes(result.spec.kernel)} on {sizes(shape)}, {result.dtype}"


def times(counted: NetworkCost, seconds: Mapping[str, float]) -> Picture:
    """Draw every layer's MACs against its measured time.

    Both axes are logarithmic; a diagonal joins what runs at one speed. If time followed the MACs, all layers would lie on
    one diagonal.

    Parameters
    ----------
    counted : NetworkCost
        Of the batch that was timed.
    seconds : mapping of str to float
        Time of each layer by name; layers without MACs may be left out.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError, TypeError
        If no layer has MACs, one that has them has no time, a time is not positive, or a name is not the network's;
        if `counted` is no NetworkCost.

    Examples
    --------
    A trace runs step by step, so a clock beside it times the layers:

    >>> import time
    >>> import convlab as cl
    >>> model = cl.Model.random(cl.mobilenet_v1(alpha=0.25, resolution=32, classes=10))
    >>> seconds, clock = {}, time.perf_counter()
    >>> for step in model.trace(np.zeros((32, 32, 3), np.float32), kernel="im2col"):
    ...     now = time.perf_counter()
    ...     seconds[step.layer.name] = seconds.get(step.layer.name, 0.0) + now - clock
    ...     clock = now
    >>> figure = times(cl.cost(model.network), seconds)
    """
    checked("counted", counted, NetworkCost, "convlab.cost(network)")
    layers = [layer for layer in counted.layers if layer.cost.macs]
    if not layers:
        raise ValueError(f"a network must have a layer with MACs: {counted.network.name!r} has none")
    missing = [layer.name for layer in layers if layer.name not in seconds]
    if missing:
        raise ValueError(f"seconds must hold every layer with MACs: missing {', '.join(missing)}")
    foreign = sorted(set(seconds) - {layer.name for layer in counted.layers})
    if foreign:
        raise ValueError(f"seconds must name layers of {counted.network.name!r}: it has no {', '.join(foreign)}")
    for layer in layers:
        if not 0 < seconds[layer.name] < math.inf:
            raise ValueError(f"seconds must be positive and finite: {layer.name}: {seconds[layer.name]}")
    whole, spent = sum(layer.cost.macs for layer in layers), sum(seconds[layer.name] for layer in layers)
    title = f"{counted.network.name}: {whole:,} MACs in {1e3 * spent:.3g} ms, layer by layer"
    figure = page(5.2, title)
    axes = figure.add_subplot()
    kinds = list(dict.fromkeys(layer.kind for layer in layers))
    for kind, marker in zip(kinds, MARKERS, strict=False):
        of = [layer for layer in layers if layer.kind == kind]
        label = f"{kind} ({len(of)})"
        axes.plot(
            [layer.cost.macs for layer in of],
            [1e3 * seconds[layer.name] for layer in of],
            marker,
            color=KINDS[kind],
            markersize=7,
            markeredgecolor="white",
            markeredgewidth=0.6,
            label=label,
            gid=f"times {kind}",
        )
    axes.set(xscale="log", yscale="log", xlabel="MACs of the layer", ylabel="measured time in ms")
    low, high = (float(f(layer.cost.macs for layer in layers)) for f in (min, max))
    speeds = [layer.cost.macs / seconds[layer.name] for layer in layers]
    left, right = low / 1.6, high * 1.6
    bottom, top = (f(1e3 * seconds[layer.name] for layer in layers) for f in (min, max))
    axes.set(xlim=(left, right), ylim=(bottom / 1.8, top * 1.8))
    for power in range(math.floor(math.log10(min(speeds))), math.ceil(math.log10(max(speeds))) + 1):
        speed = 10.0**power
        axes.plot([left, right], [1e3 * left / speed, 1e3 * right / speed], color=GREY, linewidth=0.7, linestyle="--", zorder=0)
        x = min(right, speed * top * 1.8 / 1e3)  # where the diagonal leaves the picture
        y = 1e3 * x / speed
        if x > left and y > bottom / 1.8:
            at_top = x < right
            axes.annotate(
                f"{_short(speed)} MAC/s",
                (x, y),
                (0, 3) if at_top else (3, 0),
                textcoords="offset points",
                fontsize=SMALL,
                color=GREY,
                ha="center" if at_top else "left",
                va="bottom" if at_top else "center",
                annotation_clip=False,
            )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))  # so that even a narrow range has its marks
        axis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(lambda value, _: _short(value))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.legend(fontsize=SMALL, loc="upper left", framealpha=0.9, edgecolor="white")
    plain(axes)
    return figure


def roofline(*results: Benchmark, peak: float, bandwidth: float) -> Picture:
    """Draw the speed of every kernel under the machine's roof: its peak and its memory's bandwidth.

    A kernel cannot exceed ``min(peak, intensity * bandwidth)`` (Williams, Waterman, Patterson 2009). The intensity is
    `Cost.intensity` of what was timed, so kernels that were timed on a smaller crop stand further to the left.

    Parameters
    ----------
    *results : Benchmark
        What `convlab.bench` returned, one or several workloads.
    peak : float
        The machine's peak in FLOP/s, for the dtype and the threads of the benchmark.
    bandwidth : float
        Its memory's bandwidth in bytes/s.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError, TypeError
        If there is no result, or peak or bandwidth is not positive; if a result is no Benchmark.

    Examples
    --------
    >>> import convlab as cl
    >>> result = cl.bench("naive", "im2col", spec=cl.ConvSpec(3, 5, kernel=3), height=6, width=6, max_seconds=0.1)
    >>> len(roofline(result, peak=1e11, bandwidth=2e10).axes[0].get_legend_handles_labels()[1])
    2
    """
    if not results:
        raise ValueError("roofline needs at least one benchmark: got none")
    for result in results:
        checked("each result", result, Benchmark, "convlab.bench(...)")
    for name, value in (("peak", peak), ("bandwidth", bandwidth)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite: {name}={value}")
    said = f"Roofline: peak {rate(peak)}FLOP/s, bandwidth {rate(bandwidth)}B/s, ridge at {peak / bandwidth:.3g} FLOP/byte"
    figure = page(5.4 + 0.2 * len(results), said)
    axes = figure.add_subplot()
    names = list(dict.fromkeys(timing.name for result in results for timing in result.timings))
    points = []
    for k, result in enumerate(results):
        for timing in result.timings:
            batch, height, width, _ = timing.shape
            counted: Cost = cost(result.spec, height, width, batch=batch, dtype=result.dtype)
            point = counted.intensity, 2 * timing.mac_rate
            points.append(point)
            axes.plot(
                *point,
                MARKERS[k % len(MARKERS)],
                color=RUNGS[names.index(timing.name) % len(RUNGS)],
                markersize=9,
                markeredgecolor="white",
                label=f"{timing.name}, {result.spec.kind}",
                gid=f"point {k} {timing.name}",
            )
    ridge = peak / bandwidth
    left, right = min(ridge, *(x for x, _ in points)) / 4, max(ridge, *(x for x, _ in points)) * 4
    roof = np.array([left, ridge, right])
    axes.plot(roof, np.minimum(peak, roof * bandwidth), color=BLACK, linewidth=2, zorder=1, gid="roof")
    axes.set(xscale="log", yscale="log", xlim=(left, right), xlabel="arithmetic intensity in FLOP/byte", ylabel="FLOP/s")
    axes.set_ylim(min(left * bandwidth, *(y for _, y in points)) / 2, 3 * peak)
    axes.yaxis.set_major_formatter(lambda value, _: _short(value))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.annotate("bandwidth", (left, left * bandwidth), (14, 0), textcoords="offset points", fontsize=TEXT, va="center")
    axes.annotate("peak", (right, peak), (-4, 4), textcoords="offset points", fontsize=TEXT, ha="right", va="bottom")
    plain(axes, grid="both")
    kernels = [Line2D([], [], marker="o", linestyle="", color=RUNGS[i % len(RUNGS)], label=name) for i, name in enumerate(names)]
    works = [Line2D([], [], marker=MARKERS[k % len(MARKERS)], linestyle="", color=GREY, label=_workload(r)) for k, r in enumerate(results)]
    figure.legend(handles=kernels + works, loc="outside lower center", ncols=3, fontsize=SMALL, frameon=False)
    return figure


def plans(result: NetworkBenchmark) -> Picture:
    """Draw the median time of every compiled plan as a bar, and the share of the machine's peak that it reached.

    Parameters
    ----------
    result : NetworkBenchmark
        What `convlab.bench.bench_networks` returned.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError
        If `result` is no NetworkBenchmark.

    Examples
    --------
    >>> import convlab as cl
    >>> from convlab.bench import bench_networks
    >>> model = cl.Model.random(cl.mobilenet_v1(alpha=0.25, resolution=32, classes=10))
    >>> result = bench_networks(model, rounds=1)
    >>> len(plans(result).axes[0].patches) == len(result.timings)
    True
    """
    checked("result", result, NetworkBenchmark, "convlab.bench.bench_networks(...)")
    figure = page(
        1.5 + 0.55 * len(result.timings), f"Compiled plans on {result.machine.cpu}: median of {len(result.timings[0].seconds)} calls"
    )
    axes = figure.add_subplot()
    names = list(dict.fromkeys(timing.name for timing in result.timings))
    for i, timing in enumerate(result.timings):
        peak = result.peaks[timing.threads]
        share = "" if peak is None else f", {percent(2 * timing.macs / timing.median / peak, 0)} of peak"
        colour = RUNGS[names.index(timing.name) % len(RUNGS)]
        axes.barh(i, 1e3 * timing.median, color=colour, height=0.7, gid=f"plan {timing.name}, {timing.threads}")
        axes.annotate(
            duration(timing.median) + share, (1e3 * timing.median, i), (4, 0), textcoords="offset points", fontsize=TEXT, va="center"
        )
    labels = [f"{timing.name}\n{timing.batch} x, {timing.threads} thread{'s' if timing.threads > 1 else ''}" for timing in result.timings]
    axes.set_yticks(range(len(labels)), labels, fontsize=TEXT)
    axes.invert_yaxis()
    axes.set(xlabel="time of a call in ms", xlim=(0, 1.35e3 * max(timing.median for timing in result.timings)))
    plain(axes)
    return figure
