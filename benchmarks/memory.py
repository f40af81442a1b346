"""Measure the memory that a convolution and a network need beyond their inputs, weights and outputs.

python -m benchmarks.memory            about two minutes on a quiet machine
python -m benchmarks.memory --quick    a trial

Every measurement has its own process, in which the code has run on something small before: libraries, compiled code and
BLAS's buffers are there already. Then the system's record of the most memory ever resident is cleared, the call made, and the record read.
Linux only: nothing else lets a process clear it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from convlab import KERNELS, Conv, ConvSpec, Network, cost, mobilenet_v2

from . import peers, plots, report, results, rounds

SPECS = {
    "standard": ConvSpec(32, 32, 3, padding="same"),
    "depthwise": ConvSpec.depthwise(128, 3, padding="same"),
    "pointwise": ConvSpec.pointwise(128, 128),
}

SIDES = (14, 28, 56, 112)
"""Of the pictures that the rungs are given."""

MAX_PYTHON_MACS = 10_000_000
"""The naive rung runs no more: about ten seconds."""


def _status(key: str) -> int:
    """Return a line of /proc/self/status, in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) * 1024


def settle() -> int:
    """Give back what is free, forget the peak so far, and return the bytes resident."""
    gc.collect()
    with contextlib.suppress(AttributeError):  # glibc alone keeps freed memory back, and has this to give it up
        ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def rise(call: Callable[[], object], base: int | None = None) -> int:
    """Return how far a call lifts the peak of the resident memory above `base` bytes, or above where it was."""
    before = settle()
    call()
    return _status("VmHWM") - (before if base is None else base)


class Probe:
    """What runs in a process of its own to be measured."""

    def __init__(self) -> None:
        np.ones((512, 512), np.float32) @ np.ones((512, 512), np.float32)  # BLAS makes its buffers

    def rung(self, kernel: str, spec: ConvSpec, side: int) -> int:
        """Return the bytes that one rung needs on a layer beside input, weights and output."""

        def prepared(side: int) -> Callable[[], object]:
            network = Network("lone", (side, side, spec.in_channels), (Conv("layer", spec, None, None),))
            return peers.rung(kernel)(rounds.random_model(network), rounds.pictures(network, 1), 1)

        prepared(4)()
        # The result is kept until the peak is read: it is part of the peak, and taken off.
        kept: list[Any] = []
        call = prepared(side)
        risen = rise(lambda: kept.append(call()))
        return risen - kept[0].nbytes

    def network(self, engine: str, network: Network, batch: int, threads: int) -> dict[str, int]:
        """Return the bytes a network needs while it runs, above its code, weights and pictures: `peak` and `resting`.

        Weights count once, batch norm folded: an engine that keeps a second copy pays for it.
        """

        def build(network: Network, batch: int) -> peers.Run:
            return peers.ENGINES[engine](rounds.random_model(network), rounds.pictures(network, batch), threads)

        run = build(mobilenet_v2(alpha=0.35, resolution=32, classes=10, padding="symmetric"), batch)
        for _ in range(3):
            run()
        del run
        base = settle()
        run = build(network, batch)
        run()
        total = cost(network, batch=batch).total
        # Folding leaves one bias for gamma, beta, mean and variance.
        weights = 4 * (total.weights + total.bias + total.batch_norm // 2)
        known = weights + 4 * batch * int(np.prod(network.input))
        peak = rise(lambda: [run() for _ in range(5)], base) - known
        return {"peak": peak, "resting": settle() - base - known, "weights": weights}


def probe(method: str, *args: Any, threads: int = 1) -> Any:
    """Return what `Probe.method(*args)` says in a fresh process."""
    worker = rounds.Worker(Probe, threads=threads)
    try:
        return worker.call(method, *args)
    finally:
        worker.stop()


def main() -> None:
    """Measure the rungs and V2, write memory.json, print the target."""
    chosen = results.options(
        __doc__,
        engines={
            "nargs": "+",
            "choices": list(peers.ENGINES),
            "default": ("convlab", "onnxruntime", "openvino", "torch", "forward im2col"),
            "help": "engines on V2",
        },
    )
    peers.require_peers()
    if sys.platform != "linux":
        raise SystemExit("memory.py needs Linux: it reads and clears the peak in /proc/self")
    record = {**results.header(chosen.quick), "rungs": [], "networks": []}
    for kind, spec in SPECS.items():
        for side in SIDES[: 1 if chosen.quick else None]:
            macs = cost(spec, side, side).macs
            for kernel in KERNELS:
                if kernel == "naive" and macs > MAX_PYTHON_MACS:
                    continue  # the JSON and its table have no such row
                rounds.step(f"{kind} {side}x{side}: {kernel}")
                record["rungs"].append({"kind": kind, "side": side, "kernel": kernel, "above": probe("rung", kernel, spec, side)})
                results.save(chosen.out, "memory", record)
    network = mobilenet_v2(resolution=64 if chosen.quick else 224, padding="symmetric")
    for engine in chosen.engines:
        for batch in (1,) if chosen.quick else (1, 8):
            rounds.step(f"{network.name}, batch {batch}: {engine}")
            record["networks"].append({"engine": engine, "batch": batch, **probe("network", engine, network, batch, 1)})
            path = results.save(chosen.out, "memory", record)
    rounds.step("")
    plots.memory(record, chosen.out)
    print(report.memory_table(record))
    print()
    print(report.text(report.memory_targets(record)))
    print(f"\nwritten: {path}")


if __name__ == "__main__":
    main()
