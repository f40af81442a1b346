"""The pictures of the benchmarks, each from one JSON record.

Colours are Okabe and Ito's (2008), which colour-blind people can tell apart; shapes and labels say the same again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import report

Record = dict[str, Any]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
KINDS = ("standard", "depthwise", "pointwise")


@contextmanager
def _figure(path: Path, rows: int, columns: int, width: float, height: float) -> Iterator[Any]:
    """Give the axes of a new figure, row by row, and write it as a PNG."""
    # Here, not above: workers import the scripts, and need no pictures.
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(rows, columns, figsize=(width, height), squeeze=False, layout="constrained")
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(True, which="major", color="#dddddd", linewidth=0.6)
        ax.set_axisbelow(True)
    yield axes
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _plain_ticks(axis: Any) -> None:
    """Label a logarithmic axis at 1, 2, 5, 10, 20, ... in plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _names(record: Record) -> list[str]:
    """Return the engines of a record of layers: the ladder first."""
    return sorted({engine for layer in record["layers"] for engine in layer["engines"]}, key=report.engine_order(record))


def _label(engine: str) -> str:
    return "plan of one layer" if engine == report.OURS else engine.removeprefix("rung ")


def networks(record: Record, folder: Path) -> None:
    """Draw the median of every engine in every match, as time a picture."""
    matches = record["matches"]
    columns = max(1, len(matches) // 2)
    with _figure(folder / "networks.png", -(-len(matches) // columns), columns, 4.2 * columns, 5.6) as axes:
        for ax, match in zip(axes.T.flat, sorted(matches, key=lambda m: (m["batch"], m["threads"], m["network"])), strict=False):
            engines = list(match["engines"])
            values = [1e3 * match["engines"][name]["median"] / match["batch"] for name in engines]
            ax.barh(engines, values, color=[COLOURS[1] if name == report.OURS else COLOURS[0] for name in engines])
            for i, value in enumerate(values):
                ax.text(value, i, f" {value:.2f}", va="center", fontsize=8)
            limit = 2e3 * match["macs"] / match["fma_peak"]
            ax.axvline(limit, color="black", linestyle="--", linewidth=1)
            ax.invert_yaxis()
            ax.set_xlim(0, 1.18 * max(values))
            threads = f"{match['threads']} thread{'s' if match['threads'] > 1 else ''}"
            ax.set_title(f"{match['network']}, batch {match['batch']}, {threads}", fontsize=10)
            ax.set_xlabel("ms a picture, median")
        axes[0, 0].figure.suptitle("dashed: the least that the FMA peak allows", fontsize=9)


def roofline(record: Record, folder: Path) -> None:
    """Draw FLOP/s against arithmetic intensity: every layer on every rung, under the machine's two roofs."""
    peak = max(layer["fma_peak"] for layer in record["layers"])
    with _figure(folder / "roofline.png", 1, 1, 9, 6) as axes:
        ax = axes[0, 0]
        low = min(layer["intensity"] for layer in record["layers"]) / 2
        high = max(layer["intensity"] for layer in record["layers"]) * 2
        ridge = min(max(peak / record["bandwidth"], low), high)
        ax.plot([low, ridge, high], [record["bandwidth"] * low / 1e9, peak / 1e9, peak / 1e9], color="black", linewidth=1.5)
        ax.text(high, peak / 1e9 * 1.1, f"FMA peak {peak / 1e9:.0f} GFLOP/s", ha="right")
        ax.text(low, record["bandwidth"] * low / 1e9 * 1.15, f"  memory {record['bandwidth'] / 1e9:.0f} GB/s", rotation=28, va="bottom")
        for i, engine in enumerate(_names(record)):
            layers = [layer for layer in record["layers"] if engine in layer["engines"]]
            x, y = [layer["intensity"] for layer in layers], [report.rate(layer, engine) / 1e9 for layer in layers]
            style = {"facecolors": "none", "edgecolors": COLOURS[i]} if not engine.startswith("rung ") else {"color": COLOURS[i]}
            ax.scatter(x, y, s=26, marker=MARKERS[i], alpha=0.8, label=_label(engine), **style)
        ax.set(xscale="log", yscale="log", xlabel="FLOP per byte that must be moved", ylabel="GFLOP/s, median")
        ax.set_title("Layers of MobileNet V1 and V2 on one core (one that fits the caches may lie above the memory's roof)", fontsize=10)
        ax.legend(loc="center right", fontsize=8)


def ladder(record: Record, folder: Path) -> None:
    """Draw each engine's median rate by kind of layer."""
    names = _names(record)
    with _figure(folder / "ladder.png", 1, len(KINDS), 12, 3.8) as axes:
        for ax, kind in zip(axes.flat, KINDS, strict=True):
            rates = {
                name: sorted(
                    report.rate(layer, name) / 1e9 for layer in record["layers"] if layer["kind"] == kind and name in layer["engines"]
                )
                for name in names
            }
            shown = [name for name in names if rates[name]]
            middles = [rates[name][len(rates[name]) // 2] for name in shown]
            ax.barh([_label(name) for name in shown], middles, color=[COLOURS[0] if n.startswith("rung ") else COLOURS[7] for n in shown])
            for i, (name, value) in enumerate(zip(shown, middles, strict=True)):
                ax.plot([rates[name][0], rates[name][-1]], [i, i], color="black", linewidth=1)
                ax.text(rates[name][-1] * 1.15, i, f"{value:.3g}", va="center", fontsize=8)
            ax.set(xscale="log", xlabel="GFLOP/s: median layer and range")
            ax.set_xlim(right=8 * max((max(r) for r in rates.values() if r), default=1))
            ax.invert_yaxis()
            count = sum(layer["kind"] == kind for layer in record["layers"])
            ax.set_title(f"{kind} ({count} layer{'s' if count != 1 else ''})", fontsize=10)


def layers(record: Record, folder: Path) -> None:
    """Draw the time of each layer against its MACs: a count is not a time."""
    engines = [name for name in (report.OURS, report.top_rung(record)) if any(name in layer["engines"] for layer in record["layers"])]
    if not engines:
        return  # neither was asked for
    with _figure(folder / "layers.png", 1, len(engines), 6.5 * len(engines), 5) as axes:
        for ax, engine in zip(axes.flat, engines, strict=True):
            for i, kind in enumerate(KINDS):
                chosen = [layer for layer in record["layers"] if layer["kind"] == kind and engine in layer["engines"]]
                x, y = [layer["macs"] / 1e6 for layer in chosen], [1e3 * layer["engines"][engine]["median"] for layer in chosen]
                ax.scatter(x, y, s=30, marker=MARKERS[i], color=COLOURS[i], label=kind, alpha=0.85)
            everything = [layer["macs"] for layer in record["layers"]]
            peak = max(layer["fma_peak"] for layer in record["layers"])
            ends = [min(everything), max(everything)]
            ax.plot([m / 1e6 for m in ends], [2e3 * m / peak for m in ends], color="black", linewidth=1, label="the FMA peak")
            ax.set(xscale="log", yscale="log", xlabel="million MACs of a layer", ylabel="ms, median")
            _plain_ticks(ax.xaxis)
            _plain_ticks(ax.yaxis)
            ax.set_title(_label(engine), fontsize=10)
            ax.legend(fontsize=8)
        low, high = (limit(ax.get_ylim()[i] for ax in axes.flat) for i, limit in enumerate((min, max)))
        for ax in axes.flat:
            ax.set_ylim(low, high)


def scaling(record: Record, folder: Path) -> None:
    """Draw time and memory against what was varied, with the fitted power laws."""
    varied = list(dict.fromkeys(point["vary"] for point in record["points"]))
    groups = list(dict.fromkeys((point["network"], point["engine"]) for point in record["points"]))
    fits = {(f["network"], f["engine"], f["vary"], f["quantity"]): f for f in record["fits"]}
    with _figure(folder / "scaling.png", 2, len(varied), 4 * len(varied), 7) as axes:
        for row, (quantity, unit, scale, label) in enumerate((("minimum", "time", 1e3, "ms, minimum"), ("memory", "memory", 1e-6, "MB"))):
            for ax, vary in zip(axes[row], varied, strict=True):
                ticks: list[float] = []
                for i, (network, engine) in enumerate(groups):
                    points = [p for p in record["points"] if (p["network"], p["engine"], p["vary"]) == (network, engine, vary)]
                    x, y = [p["value"] for p in points], [p[quantity] * scale for p in points]
                    ticks = x or ticks
                    fit = fits.get((network, engine, vary, unit))
                    name = f"{network} {'plan' if engine == report.OURS else engine.removeprefix('forward ')}"
                    ax.scatter(x, y, marker=MARKERS[i], color=COLOURS[i], s=28, label=f"{name}: p = {fit['exponent']:.2f}" if fit else name)
                    if fit:
                        ax.plot(x, [scale * fit["factor"] * value ** fit["exponent"] for value in x], color=COLOURS[i], linewidth=1)
                ax.set(xscale="log", yscale="log", xlabel=vary, ylabel=label)
                ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
                ax.minorticks_off()
                _plain_ticks(ax.yaxis)
                ax.legend(fontsize=7)


def memory(record: Record, folder: Path) -> None:
    """Draw the bytes that each rung needs beside input, weights and output."""
    with _figure(folder / "memory.png", 1, len(KINDS), 12, 3.8) as axes:
        for ax, kind in zip(axes.flat, KINDS, strict=True):
            rows = [row for row in record["rungs"] if row["kind"] == kind]
            for i, kernel in enumerate(dict.fromkeys(row["kernel"] for row in rows)):
                points = [row for row in rows if row["kernel"] == kernel]
                x, y = [row["side"] for row in points], [max(row["above"], 0) / 1e6 for row in points]
                ax.plot(x, y, marker=MARKERS[i], color=COLOURS[i], label=kernel)
            ax.set_yscale("symlog", linthresh=0.1)
            ax.set(xlabel="side of the picture", ylabel="MB", title=kind)
            ax.set_xticks(sorted({row["side"] for row in rows}))
            ax.set_ylim(bottom=-0.02)
            ax.legend(fontsize=8)
