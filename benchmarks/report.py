"""Say what the benchmarks found: tables, targets, and `benchmarks/README.md`, all from the JSON files.

python -m benchmarks.report                     writes benchmarks/README.md from benchmarks/results
python -m benchmarks.report --from runs/quick   prints the same of a trial instead
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

from . import results

OURS = "convlab"
"""The compiled plan, as the tables call it."""

RIVALS = ("onnxruntime", "openvino", "openvino streams")
"""The production runtimes: what the targets of whole networks compare with is the best of them."""

LARGE = 20_000_000
"""MACs from which on a pointwise layer must come close to the peak."""

Record = dict[str, Any]


class Target(NamedTuple):
    """A goal and what came out.

    `value` is None where nothing was measured. `unit` is "x" for a share of another's time, "%" for a share of a peak (shown in
    percent), "s" or "MB".
    """

    what: str
    goal: float
    value: float | None
    unit: str
    at_most: bool = True

    @property
    def met(self) -> bool:
        """Whether the goal was reached; what was not measured was not."""
        return self.value is not None and (self.value <= self.goal if self.at_most else self.value >= self.goal)

    @property
    def verdict(self) -> str:
        """`met` or `missed`, and by what share of the goal."""
        if self.value is None:
            return "not measured"
        by = abs(self.value - self.goal) / abs(self.goal) if self.goal else 0.0
        return f"{'met' if self.met else 'MISSED'} by {by:.1%}"

    def row(self) -> tuple[str, ...]:
        """Return the target as a row of a table."""
        value = "" if self.value is None else self._show(self.value)
        return self.what, f"{'at most' if self.at_most else 'at least'} {self._show(self.goal)}", value, self.verdict

    def _show(self, value: float) -> str:
        return {"x": f"{value:.2f} x", "%": f"{value:.0%}", "s": f"{value:.2f} s", "MB": f"{value / 1e6:.2f} MB"}[self.unit]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is words, the others numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def text(targets: Sequence[Target]) -> str:
    """Return targets as a table."""
    return table(("target", "goal", "measured", ""), [target.row() for target in targets])


def milliseconds(seconds: float) -> str:
    """Write seconds as milliseconds, three digits."""
    value = seconds * 1e3
    return f"{value:.0f}" if value >= 100 else f"{value:.{1 if value >= 10 else 2 if value >= 1 else 3}f}"


# Whole networks


def best_rival(match: Record) -> str | None:
    """Return the production runtime with the smallest median, or None if none took part."""
    present = [name for name in RIVALS if name in match["engines"]]
    return min(present, key=lambda name: match["engines"][name]["median"], default=None)


def ratio(match: Record) -> float | None:
    """Return our median as a share of the best runtime's."""
    rival = best_rival(match)
    if rival is None or OURS not in match["engines"]:
        return None
    return float(match["engines"][OURS]["median"] / match["engines"][rival]["median"])


def spread(match: Record, engine: str) -> str:
    """Return the quartiles, over the rounds, of an engine's time as a share of the best runtime's in the same round."""
    rival = best_rival(match)
    if rival is None:
        return ""
    pairs = zip(match["engines"][engine]["round_medians"], match["engines"][rival]["round_medians"], strict=True)
    shares = [mine / theirs for mine, theirs in pairs]
    if len(shares) < 2:
        return ""
    low, _, high = quantiles(shares, n=4)
    return f"{low:.2f} - {high:.2f}"


def share(match: Record, engine: str) -> float:
    """Return which share of the machine's FMA peak, measured in the same rounds, an engine's median reaches."""
    return float(2 * match["batch"] * match["macs"] / match["engines"][engine]["median"] / match["fma_peak"])


def network_table(match: Record) -> str:
    """Return one match as a table: minimum, median, per picture, against the best runtime, share of the peak, difference."""
    rival = best_rival(match)

    def row(name: str, engine: Record) -> tuple[str, ...]:
        against = engine["median"] / match["engines"][rival]["median"] if rival else None
        return (
            f"**{name}**" if name == OURS else name,
            milliseconds(engine["minimum"]),
            milliseconds(engine["median"]),
            milliseconds(engine["median"] / match["batch"]),
            f"{against:.2f}" if against else "",
            spread(match, name),
            f"{share(match, name):.0%}",
            f"{match['differences'][name]:.0e}",
        )

    head = (
        f"{match['network']}, batch {match['batch']}, {match['threads']} thread{'s' if match['threads'] > 1 else ''}",
        "min ms",
        "median ms",
        "ms a picture",
        "x best runtime",
        "quartiles of the rounds",
        "of FMA peak",
        "difference",
    )
    return table(head, [row(name, engine) for name, engine in match["engines"].items()])


def network_targets(record: Record) -> list[Target]:
    """Return the targets of whole networks."""
    found = {(m["network"], m["batch"], m["threads"]): m for m in record["matches"]}

    def against(network: str, batch: int, threads: int, goal: float) -> Target:
        match = found.get((network, batch, threads))
        what = f"{network}, batch {batch}, {threads} thread{'s' if threads > 1 else ''}: time against the better runtime"
        return Target(what, goal, ratio(match) if match else None, "x")

    def of_peak(network: str, goal: float) -> Target:
        match = found.get((network, 1, 1))
        value = share(match, OURS) if match and OURS in match["engines"] else None
        return Target(f"{network}, batch 1, 1 thread: share of the FMA peak", goal, value, "%", at_most=False)

    return [
        against("V2", 1, 1, 0.90),
        against("V1", 1, 1, 0.97),
        against("V2", 1, 2, 0.90),
        against("V1", 1, 2, 0.93),
        *(against(network, 8, threads, 0.95) for network in ("V2", "V1") for threads in (1, 2)),
        of_peak("V1", 0.88),
        of_peak("V2", 0.80),
    ]


def against_onnxruntime(match: Record) -> float:
    """Return our median as a share of ONNX Runtime's."""
    return float(match["engines"][OURS]["median"] / match["engines"]["onnxruntime"]["median"])


def detector_tables(record: Record) -> str:
    """Return the detectors' networks against ONNX Runtime, each match, a large photo's parts, and the wheel's size."""
    matches = [
        (
            m["network"],
            *(milliseconds(m["engines"][name]["median"]) for name in (OURS, "onnxruntime")),
            f"{against_onnxruntime(m):.2f}",
        )
        for m in record["matches"]
    ]
    parts = ("reading", "scaling", "network")
    calls = [
        (
            call["model"],
            milliseconds(call["seconds"]["whole"]),
            *(f"{call['seconds'][part] / call['seconds']['whole']:.0%}" for part in parts),
        )
        for call in record["calls"]
    ]
    width, height = record["photo"]
    return "\n\n".join(
        (
            table(("batch 1, 1 thread, median", f"{OURS} ms", "ONNX Runtime ms", "x ONNX Runtime"), matches),
            *(network_table(match) for match in record["matches"]),
            table((f"second call on a JPEG of {width}x{height}, {record['cores']} cores", "ms", *parts), calls),
            *([f"The wheel: {megabytes(record['wheel'])} MB."] if "wheel" in record else []),
        )
    )


# Single layers


def rate(layer: Record, engine: str) -> float:
    """Return FLOP/s of an engine's median on a layer, or on the crop it ran."""
    return float(2 * layer["engines"][engine]["macs"] / layer["engines"][engine]["median"])


def top_rung(record: Record) -> str:
    """Return the ladder's last rung, as the engines are named."""
    return f"rung {record['ladder'][-1]}"


def kernel_table(record: Record) -> str:
    """Return one row a layer: shapes, MACs, intensity, and each engine's share of the FMA peak."""
    engines = sorted({engine for layer in record["layers"] for engine in layer["engines"]}, key=engine_order(record))

    def row(layer: Record) -> tuple[str, ...]:
        more = f" (+{len(layer['places']) - 1})" if len(layer["places"]) > 1 else ""
        shares = (rate(layer, engine) / layer["fma_peak"] for engine in engines)
        shapes = "x".join(map(str, layer["input"])), "x".join(map(str, layer["output"]))
        return (
            f"{layer['places'][0]}{more}",
            f"{layer['kind']} {' -> '.join(shapes)}",
            f"{layer['macs'] / 1e6:.1f}",
            f"{layer['intensity']:.1f}",
            *(f"{value:.0%}" if value >= 0.1 else f"{100 * value:.2g}%" for value in shares),
        )

    head = ("layer", "shape", "M MACs", "FLOP/byte", *(f"{name.removeprefix('rung ')}, of peak" for name in engines))
    return table(head, map(row, record["layers"]))


def engine_order(record: Record) -> Any:
    """Return a sorting key: the ladder first, slowest first, then the others by name."""
    ladder = [f"rung {name}" for name in record["ladder"]]
    return lambda name: (ladder.index(name) if name in ladder else len(ladder), name)


def kernel_targets(record: Record) -> list[Target]:
    """Return the targets of single layers."""
    large = [layer for layer in record["layers"] if layer["kind"] == "pointwise" and layer["macs"] >= LARGE]
    rung = top_rung(record)

    def worst(engine: str) -> float | None:
        shares = [rate(layer, engine) / layer["fma_peak"] for layer in large if engine in layer["engines"]]
        return min(shares, default=None)

    def against_torch(engine: str) -> float | None:
        shares = [
            layer["engines"][engine]["median"] / layer["engines"]["torch"]["median"]
            for layer in record["layers"]
            if engine in layer["engines"] and "torch" in layer["engines"]
        ]
        return median(shares) if shares else None

    size = f"pointwise layers of {LARGE / 1e6:.0f} MMACs and more ({len(large)}), the worst"
    return [
        Target(f"{size}, weights packed beforehand (a plan of one layer): share of the FMA peak", 0.85, worst(OURS), "%", at_most=False),
        Target(f"{size}, packing in every call ({rung}): share of the FMA peak", 0.85, worst(rung), "%", at_most=False),
        Target(f"{rung} against torch's single ops, median over the layers", 0.8, against_torch(rung), "x"),
        Target("a plan of one layer against torch's single ops, median over the layers", 0.8, against_torch(OURS), "x"),
    ]


# Memory, scaling, start


def megabytes(count: float) -> str:
    """Write bytes as megabytes (10^6)."""
    return f"{count / 1e6:.2f}"


def memory_table(record: Record) -> str:
    """Return two tables: what the rungs need, and what the engines need on V2."""
    kernels = list(dict.fromkeys(row["kernel"] for row in record["rungs"]))
    cells = {(row["kind"], row["side"], row["kernel"]): row["above"] for row in record["rungs"]}
    layers = list(dict.fromkeys((row["kind"], row["side"]) for row in record["rungs"]))
    rungs = [
        (f"{kind} {side}x{side}", *(megabytes(cells[kind, side, name]) if (kind, side, name) in cells else "" for name in kernels))
        for kind, side in layers
    ]
    networks = [(f"{row['engine']}, batch {row['batch']}", megabytes(row["peak"]), megabytes(row["resting"])) for row in record["networks"]]
    return "\n\n".join(
        (
            table(("MB beside input, weights, output", *kernels), rungs),
            table(("V2, MB above weights and code", "peak", "at rest"), networks),
        )
    )


def memory_targets(record: Record) -> list[Target]:
    """Return the target of V2's plan."""
    peaks = {row["engine"]: row["peak"] for row in record["networks"] if row["batch"] == 1}
    what = "V2's plan, batch 1: peak memory above weights and code, against ONNX Runtime's"
    both = {"onnxruntime", OURS} <= set(peaks)
    return [Target(what, peaks["onnxruntime"], peaks[OURS], "MB") if both else Target(what, 0.0, None, "MB")]


def scaling_table(record: Record) -> str:
    """Return the fitted exponents."""

    def cell(fit: Record) -> str:
        return f"{round(fit['exponent'], 2) + 0.0:.2f}" + ("" if fit["error"] is None else f" ± {fit['error']:.2f}")

    cells = {(fit["network"], fit["vary"], fit["engine"], fit["quantity"]): cell(fit) for fit in record["fits"]}
    rows = list(dict.fromkeys(key[:3] for key in cells))
    head = ("exponent p of ... ~ size ^ p", "engine", "MACs", "time", "memory")
    return table(
        head,
        [
            (f"{network}, {vary}", engine, *(cells.get((network, vary, engine, what), "") for what in ("MACs", "time", "memory")))
            for network, vary, engine in rows
        ],
    )


def startup_table(record: Record) -> str:
    """Return the seconds of every stage."""
    rows = [(what, f"{value['minimum']:.3f}", f"{value['median']:.3f}") for what, value in record["seconds"].items()]
    return table(("seconds", "min", "median"), rows)


def startup_targets(record: Record) -> list[Target]:
    """Return the targets of the first call: compiling and running V2's plan, with Numba itself already imported."""

    def ready(state: str) -> float | None:
        parts = [record["seconds"].get(f"V2's plan, {state}: {stage}") for stage in ("compile", "first call")]
        return sum(part["median"] for part in parts if part) if all(parts) else None

    return [
        Target("V2's plan, compiled and called first, nothing cached (Numba imported)", 15.0, ready("cold"), "s"),
        Target("the same with Numba's cache on disk", 0.5, ready("warm"), "s"),
    ]


# The page


def conditions(name: str, record: Record) -> str:
    """Return one line on where and when a file was measured."""
    m = record["machine"]
    load = ", ".join(f"{value:.2f}" for value in record["load_at_start"])
    trial = " **A trial run: its numbers say nothing.**" if record["quick"] else ""
    return f"`{name}.json`: {record['date']}, convlab {record['convlab']}, {m['cpu']}, {m['cores']} cores, load at start {load}.{trial}"


def idle(record: Record) -> str:
    """Return the most that any engine burned in others' turns, as a share of the time it was itself timed."""
    shares = [
        (e["idle_cpu"] / sum(other["calls"] * other["median"] for name, other in match["engines"].items() if name != engine), engine)
        for match in record["matches"]
        for engine, e in match["engines"].items()
        if len(match["engines"]) > 1
    ]
    worst, engine = max(shares)
    return f"While others were timed, the sleeping engines used at most {worst:.2%} of a core ({engine})."


def peaks(record: Record) -> str:
    """Return one line on the FMA peak in each match: the loop's best call and its median."""
    rates = (f"{m['fma_peak'] / 1e9:.0f} ({m['fma_typical'] / 1e9:.0f}) on {m['threads']}" for m in record["matches"])
    return f"FMA peak in GFLOP/s, best call (median) on so many threads, match by match: {', '.join(rates)}."


def page(records: dict[str, Record]) -> str:
    """Return the whole page."""
    parts = [
        "# Benchmarks",
        "Written by `benchmarks/report.py` from the JSON files in `results/`: run it again rather than edit.",
        (
            "```sh\n"
            'pip install ".[lab,peers,test]"\n'
            "python -m benchmarks.networks && python -m benchmarks.detectors && python -m benchmarks.kernels\n"
            "python -m benchmarks.scaling && python -m benchmarks.memory && python -m benchmarks.startup && python -m benchmarks.report\n"
            "```"
        ),
        "Each script has `--quick` for a trial. The machine should do nothing else.",
        "## How it is measured",
        (
            "Every engine runs in its own process. They take turns, many rounds of a few calls each, so that whatever the machine does"
            " meets all alike; the others sleep meanwhile. All have the same network, the same weights and the same pictures, each in the"
            " layout it likes best, and each runs at its best settings (`peers.py` says which). What they compute is compared with"
            " convlab's unfused forward pass before anything is timed. The machine's peak, a loop of multiply-adds on registers alone,"
            " takes part in the same rounds; its best call is what shares of the peak refer to. Engines are judged by their medians; the"
            " minimum stands beside them."
        ),
        "\n".join(f"* {conditions(name, record)}" for name, record in records.items()),
    ]
    some = next(iter(records.values()))["machine"]
    versions = ", ".join(f"{package} {version}" for package, version in some["versions"].items())
    parts.append(f"{some['system']}; vectors of {some['vector_bits']} bits; NumPy's BLAS: {some['blas']}. {versions}.")
    parts += ["## Targets", text([target for name, record in records.items() for target in TARGETS.get(name, lambda _: [])(record)])]
    if "networks" in records:
        record = records["networks"]
        parts += ["## Whole networks", picture("networks", "Time a picture, by engine")]
        parts += ["The best runtime is the better of ONNX Runtime and OpenVINO in the same rounds.", idle(record), peaks(record)]
        parts += [network_table(match) for match in record["matches"]]
    if "detectors" in records:
        record = records["detectors"]
        parts += ["## Detectors", idle(record), detector_tables(record)]
    if "kernels" in records:
        record = records["kernels"]
        parts += [
            "## The ladder, layer by layer",
            (
                f"One thread, batch 1, median. Memory bandwidth of one core by the triad: {record['bandwidth'] / 1e9:.1f} GB/s."
                f" `{OURS}` is the plan of a network of one layer: like ONNX Runtime it packs the weights beforehand. The rungs, like"
                " torch, are given plain weights in every call. `naive` runs a crop. (+n): so many layers more have the same shape."
            ),
            picture("roofline", "Roofline with every rung"),
            picture("ladder", "The ladder"),
            picture("layers", "MACs of a layer against its measured time"),
            kernel_table(record),
        ]
    if "scaling" in records:
        parts += [
            "## Scaling",
            "One thing is varied, the others stay at resolution "
            + ", ".join(f"{name} {value}" for name, value in records["scaling"]["base"].items()).removeprefix("resolution ")
            + ". The exponent is fitted to the minima by least squares in logarithms, with its standard error.",
            picture("scaling", "Time and memory against resolution, alpha, batch and threads"),
            scaling_table(records["scaling"]),
        ]
    if "memory" in records:
        parts += [
            "## Memory",
            (
                "Each number is measured in a process of its own, after the code has run on something small. Weights count once, with"
                " batch norm folded, so an engine that keeps a second copy of them pays for it here."
            ),
            picture("memory", "Memory of the rungs"),
            memory_table(records["memory"]),
        ]
    if "startup" in records:
        parts += ["## Start", "Every row is a new process.", startup_table(records["startup"])]
    return "\n\n".join(parts) + "\n"


ORDER = ("networks", "detectors", "kernels", "scaling", "memory", "startup")
"""Of the page: the benchmarks' names."""

TARGETS = {"networks": network_targets, "kernels": kernel_targets, "memory": memory_targets, "startup": startup_targets}


def picture(name: str, caption: str) -> str:
    """Return the Markdown of one picture of the results."""
    return f"![{caption}]({results.RESULTS.name}/{name}.png)"


def main() -> None:
    """Write the page, or print it where the results are a trial's."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--from", dest="folder", type=Path, default=results.RESULTS)
    folder = parser.parse_args().folder
    found = results.read(folder)
    records = {name: found[name] for name in ORDER if name in found}
    if not records:
        raise SystemExit(f"no results in {folder}: run a benchmark first")
    written = page(records)
    if folder.resolve() != results.RESULTS:
        print(written)
        return
    (results.HERE / "README.md").write_text(written, encoding="utf-8")
    print(f"written: {results.HERE / 'README.md'}")


if __name__ == "__main__":
    main()
