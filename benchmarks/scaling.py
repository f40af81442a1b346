"""Measure how time and memory of V1 and V2 grow with resolution, alpha, batch and threads, and fit the exponents.

python -m benchmarks.scaling            about ten minutes on a quiet machine
python -m benchmarks.scaling --quick    a trial

One of the four is varied at a time, the others stay at 224, 1.0, 1 and 1. A power law ``time = a * size ^ p`` is a straight
line in logarithms; its slope p is fitted by least squares. Work proportional to the pixels has p = 2 in the resolution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from convlab import cost, machine, mobilenet_v1, mobilenet_v2

from . import memory, peers, plots, report, results, rounds

BASE = {"resolution": 224, "alpha": 1.0, "batch": 1, "threads": 1}

NETWORKS = {"V1": mobilenet_v1, "V2": mobilenet_v2}


def ranges(quick: bool) -> dict[str, Sequence[float]]:
    """Return what is varied -> its values."""
    cores = machine.cores()
    threads = [*(2**i for i in range(cores.bit_length()) if 2**i < cores), cores]
    if quick:
        return {"resolution": (64, 96, 128), "alpha": (0.25, 0.5), "batch": (1, 2), "threads": threads[:2]}
    return {"resolution": (96, 128, 160, 192, 224), "alpha": (0.25, 0.5, 0.75, 1.0), "batch": (1, 2, 4, 8), "threads": threads}


def exponent(sizes: Sequence[float], values: Sequence[float]) -> tuple[float, float, float]:
    """Return the exponent p of ``value = a * size ^ p``, its standard error (NaN for two points) and a."""
    x, y = np.log(sizes), np.log(values)
    slope, intercept = np.polyfit(x, y, 1)
    rest = y - slope * x - intercept
    error = math.sqrt(float(rest @ rest) / (len(x) - 2) / float(((x - x.mean()) ** 2).sum())) if len(x) > 2 else math.nan
    return float(slope), error, math.exp(intercept)


def main() -> None:
    """Measure all points, write scaling.json, print the exponents."""
    chosen = results.options(
        __doc__,
        engines={"nargs": "+", "choices": list(peers.ENGINES), "default": ("convlab", "forward im2col"), "help": "only these"},
    )
    peers.require_peers()
    base = {**BASE, "resolution": 96, "alpha": 0.5} if chosen.quick else BASE
    count, turn_seconds = (2, 0.01) if chosen.quick else (10, 0.1)
    record: dict[str, Any] = {**results.header(chosen.quick), "base": base, "points": [], "fits": []}
    for name, build in NETWORKS.items():
        for vary, values in ranges(chosen.quick).items():
            for value in values:
                at = {**base, vary: value}
                network = build(alpha=at["alpha"], resolution=int(at["resolution"]), padding="symmetric")
                batch, threads = int(at["batch"]), int(at["threads"])
                with rounds.Arena(chosen.engines, threads) as arena:
                    match = arena.match(network, batch, count, turn_seconds)
                for engine, turns in match.turns.items():
                    rounds.step(f"{network.name} batch {batch}: memory of {engine}")
                    used = memory.probe("network", engine, network, batch, threads, threads=threads)
                    point = {"network": name, "vary": vary, "value": value, "engine": engine, "macs": cost(network, batch=batch).macs}
                    record["points"].append({**point, "minimum": turns.minimum, "median": turns.median, "memory": used["peak"]})
            for engine in chosen.engines:
                points = [p for p in record["points"] if (p["network"], p["vary"], p["engine"]) == (name, vary, engine)]
                if len(points) < 2:
                    continue  # one core: threads cannot be varied
                sizes = [point["value"] for point in points]
                for quantity, unit in (("minimum", "time"), ("macs", "MACs"), ("memory", "memory")):
                    measured = [point[quantity] for point in points]
                    if min(measured) <= 0:
                        continue  # less than the measurement's grain: no logarithm, and no row in the table
                    slope, error, factor = exponent(sizes, measured)
                    fit = {"network": name, "vary": vary, "engine": engine, "quantity": unit, "exponent": slope, "factor": factor}
                    record["fits"].append({**fit, "error": None if math.isnan(error) else error})
            path = results.save(chosen.out, "scaling", record)
    rounds.step("")
    plots.scaling(record, chosen.out)
    print(report.scaling_table(record))
    print(f"\nwritten: {path}")


if __name__ == "__main__":
    main()
