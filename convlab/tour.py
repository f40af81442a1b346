"""The tour: what convlab does, in under a minute, each part introduced by what there is to see."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from rich.console import Console

from . import zoo
from .bench import bench, duration
from .compare import Comparison, compare
from .conv import KernelLike, conv2d, depthwise_conv2d, separable_conv2d
from .cost import cost, sizes
from .forward import Detector, Model
from .mobilenet import mobilenet_v1, mobilenet_v2
from .terminal import bars, detections, say, show, show_comparison, show_kinds, waiting

T = TypeVar("T")


def tour(out: Console, err: Console, size: int = 56, kernel: KernelLike | None = None) -> int:
    """Show what convlab does, each part introduced by what there is to see.

    Parameters
    ----------
    out, err : Console
        For the tour, and for progress.
    size : int
        Side of the picture on which the ladder is timed.
    kernel : str, Kernel or callable, optional
        What runs the network on the photos; the compiled plan if left out.
    """
    _worked_example(out)
    _ladder(out, err, size)
    _networks(out)
    _photos(out, err, kernel)
    _part(out, "Next")
    say(out, "Count a layer of your own, read a network layer by layer, look at a picture of yours:")
    out.print()
    out.print("  convlab cost 224x224x3 --filters 32 --kernel 3 --stride 2 --padding same")
    out.print("  convlab summary mobilenet_v2 --alpha 0.75 --resolution 192")
    out.print("  convlab classify photo.jpg")
    out.print("  convlab detect photo.jpg --out marked.png")
    return 0


def _part(out: Console, title: str) -> None:
    out.print()
    out.rule(title, align="left", style="dim")
    out.print()


def _worked_example(out: Console) -> None:
    _part(out, "1  What a convolution costs")
    say(
        out,
        "A standard convolution filters space and mixes channels at once. The separable one does it in two steps: a depthwise"
        " filter for each channel, then a pointwise (1x1) mix. A 6x6 picture with 3 channels and 5 filters of 3x3:",
    )
    for i, (side, filters) in enumerate(((6, 5), (5, 16))):
        if i:
            out.print()
            say(out, "The more filters, the more is saved. A 5x5 picture and 16 filters:")
        comparison = compare(side, side, in_channels=3, out_channels=filters, kernel=3)
        out.print()
        show_comparison(out, comparison)
        say(out, _run_worked_example(comparison))


def _run_worked_example(comparison: Comparison) -> str:
    """Run what was counted, on the two rungs that need no compiling, and say what came out."""
    rng = np.random.default_rng(0)
    (_, _, m), n, k = comparison.input, comparison.output[2], comparison.kernel
    x, w, d, p = (rng.integers(-3, 4, shape) for shape in (comparison.input, (*k, m, n), (*k, m), (m, n)))
    results = {}
    for kernel in ("naive", "im2col"):
        results[kernel] = conv2d(x, w, kernel=kernel), depthwise_conv2d(x, d, kernel=kernel), separable_conv2d(x, d, p, kernel=kernel)
    shapes = [y.shape for y in results["naive"]]
    if shapes != [comparison.output, comparison.between, comparison.output]:
        raise AssertionError(f"counted and run differ in shape: {shapes}")
    if not all(map(np.array_equal, results["naive"], results["im2col"])):
        raise AssertionError("naive and im2col differ on the worked example")
    standard, depthwise, separable = map(sizes, shapes)
    return f"Run by naive and im2col, which agree: standard gives {standard}; depthwise {depthwise}, of which pointwise makes {separable}."


def _ladder(out: Console, err: Console, size: int) -> None:
    _part(out, "2  The same sum, ever faster")
    say(
        out,
        "Each rung of the ladder computes the same convolution: naive is the equation as seven Python loops, im2col one matrix product,"
        " jit the loops compiled by Numba, tiled keeps its sums in vector registers. All must agree to the last bit before any is"
        " timed. What is too slow for the whole workload gets a crop of it, as its row says; MAC/s compare. The first call is"
        " apart: there jit and tiled are compiled, once (the result stays on disk).",
    )
    with waiting(err, "compiling, verifying and timing the kernels"):
        result = bench(height=size, width=size)
    out.print()
    out.print(result.table.title, style="bold")
    out.print()
    show(out, result.table)


def _networks(out: Console) -> None:
    _part(out, "3  Networks built of it")
    say(
        out,
        "MobileNet V1 is 13 separable blocks, V2 is 17 inverted residual blocks. The depthwise filters, after the first layer the"
        " only ones that look beyond a single pixel, cost a few percent; nearly all of the work is pointwise.",
    )
    for network in (mobilenet_v1(), mobilenet_v2()):
        out.print()
        out.print(network.name, style="bold")
        out.print()
        show_kinds(out, network)


def _photos(out: Console, err: Console, kernel: KernelLike | None) -> None:
    _part(out, "4  Networks at work")
    photos = zoo.photos()
    with waiting(err, "looking at two photos"):
        model, detector = zoo.load(), zoo.load(zoo.DEFAULT_DETECTOR)
        assert isinstance(model, Model)
        assert isinstance(detector, Detector)
        first, guesses = _timed(lambda: model.classify(photos["chelsea"], 5, kernel))
        again, _ = _timed(lambda: model.classify(photos["chelsea"], 5, kernel))
        coffee = model.classify(photos["coffee"], 5, kernel)
        found = detector.detect(photos["coffee"], kernel=kernel)
    say(
        out,
        f"{zoo.DEFAULT} comes with convlab: MobileNet V2 with real weights, {cost(model.network).macs:,} MACs a picture, and ImageNet's"
        f" {model.network.output[-1]:,} classes. It is shown a photo of Chelsea, who is a cat:",
    )
    out.print()
    out.print(bars(guesses))
    out.print()
    say(out, f"The first time took {duration(first)}, loading and compiling included, the second {duration(again)}. Now a cup of coffee:")
    out.print()
    out.print(bars(coffee))
    out.print()
    say(
        out,
        f"{zoo.DEFAULT_DETECTOR} puts heads on such a network, {cost(detector.network).macs:,} MACs in all, and says what is where. In the"
        " same photo it finds:",
    )
    out.print()
    show(out, detections(found))


def _timed(call: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result
