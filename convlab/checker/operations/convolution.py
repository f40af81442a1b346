"""What standard, depthwise and pointwise convolutions have in common: an image of sums of products comes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...kernels import im2col
from ..calls import Call, pair
from ..contracts import Arguments, Contract, Explanation, Form, Operation, fresh, written
from ..properties import Property, bias, larger, memory, real, steps, together, values
from ..strategies import Case
from ..styles import Style

MOST_LINES = 40
"""How many products of a window are written out."""


class Convolution(Operation):
    """An operation whose result is an image of sums of products."""

    sums = True
    sizes = "windows batches channels pictures long all"

    def leading(self, contract: Contract) -> tuple[str, ...]:
        return ("x", "w", "geometry") if contract.form == "geometry" else ("x", "w", "bias", "conv_param")

    def form(self, parameters: Sequence[str], style: str) -> Form:
        return "geometry" if style == "convlab" and parameters[2:3] in (["geometry"], ["g"]) else "options"

    def filters(self, contract: Contract, case: Case) -> np.ndarray:
        """Return the filters as a function of this contract takes them."""
        return np.ascontiguousarray(contract.rules.filters(case.w))

    def tap(self, contract: Contract, case: Case, index: tuple[int, int, int, int]) -> tuple[int, ...]:
        """Return where the tap (u, v, c, o) stands in these filters."""
        u, v, c, o = index
        return (o, c, u, v) if contract.channels_first else index

    def arguments(self, contract: Contract, case: Case) -> Arguments:
        x, w = fresh(contract.image(case.x), case), fresh(self.filters(contract, case), case)
        if contract.form == "geometry":
            return [x, w, case.geometry], {}
        options = contract.options(case)
        if case.bias is not None:
            options[contract.names["bias"]] = fresh(case.bias, case)
        elif "bias" in contract.required:
            options[contract.names["bias"]] = fresh(np.zeros(case.spec.out_channels, case.dtype), case)
        return [x, w], options

    def expected(self, contract: Contract, case: Case) -> np.ndarray:
        # im2col's functions are compared with `naive` by the package's own tests, and are quick enough for hundreds of cases.
        rungs = {"standard": im2col.standard, "pointwise": im2col.pointwise, "depthwise": im2col.depthwise, "grouped": im2col.grouped}
        y = rungs[case.spec.kind](case.x.astype(np.float64), case.w.astype(np.float64), case.geometry)
        return contract.image(y if case.bias is None else y + case.bias.astype(np.float64))

    def tolerance(self, contract: Contract, case: Case) -> np.ndarray | float:
        """Return how far rounding may take a right function from `expected`.

        A sum of n products in any order is off by at most n eps sum|x w| <= n eps |x_window| |w| (Higham 2002, section 3.1, and
        Cauchy-Schwarz). A convolution by FFT is off by a few eps log2(pixels) |x_image| |w| (Higham 2002, section 24.1, once
        each way and for both factors). The bound below holds for both; on the small whole numbers it stays far below 1.
        """
        eps = float(np.finfo(case.dtype).eps)
        x, w = case.x.astype(np.float64), case.w.astype(np.float64)
        terms = int(np.prod(w.shape[:3]))
        pixels = case.geometry.height.padded * case.geometry.width.padded
        image = np.sqrt((x**2).sum(axis=(1, 2, 3)))[:, None, None, None]
        filters = np.sqrt((w**2).sum(axis=(0, 1, 2)))
        size = image * filters + (0 if case.bias is None else np.abs(case.bias.astype(np.float64)))
        return contract.image(eps * (terms + 8 * np.log2(pixels + 1) + 8) * size)

    def explanation(self, contract: Contract, case: Case, cell: tuple[int, ...]) -> Explanation:
        g, first = case.geometry, contract.channels_first
        n, i, j, o = (cell[0], cell[2], cell[3], cell[1]) if first else cell
        kernel_height, kernel_width, depth, outputs = case.w.shape
        start = o // (outputs // case.spec.groups) * depth
        read: list[tuple[int, ...]] = []
        used: list[tuple[int, ...]] = []
        lines, total = [], 0.0
        for u, v, c in np.ndindex(kernel_height, kernel_width, depth):
            p, q, channel = g.height.taps(i)[u], g.width.taps(j)[v], start + c
            inside = 0 <= p < case.height and 0 <= q < case.width
            x = case.x[n, p, q, channel] if inside else 0.0
            w = case.w[u, v, c, o]
            at = (n, channel, p, q) if first else (n, p, q, channel)
            to = self.tap(contract, case, (u, v, c, o))
            if inside:
                read.append(at)
            used.append(to)
            total += float(x) * float(w)
            source = f"x{list(at)}" if inside else "padding"
            lines.append(f"{written(x):>6} * {written(w):>5} = {written(x * w):>7}    {source} * w{list(to)}")
        if len(lines) > MOST_LINES:
            lines = [*lines[:MOST_LINES], f"... and {len(lines) - MOST_LINES} more products"]
        if case.bias is not None:
            total += float(case.bias[o])
            lines.append(f"{'+ bias':>14} = {written(case.bias[o]):>7}    bias[{o}]")
        return {"x": read, "w": used}, (*lines, f"{'sum':>14} = {written(total):>7}")

    def own(self, contract: Contract) -> list[Property]:
        """Return what is asked of this kind of convolution alone."""
        return []

    def properties(self, contract: Contract) -> list[Property]:
        pointwise = self.kind == "pointwise"
        shapes = "pictures that are not square" if pointwise else "pictures and windows that are not square"
        return [
            *values(),
            Property("rectangles", shapes, 2),
            *([] if pointwise else [Property("whole", "a window as large as the picture", 1, {"window": "whole"}, examples=10)]),
            *self.own(contract),
            Property("batch", "several images", 1, {"batches": (2, 3)}),
            bias("bias"),
            *steps(contract),
            together(contract),
            real(),
            *larger(contract, self.sizes),
            *memory(),
        ]

    def dressed(self, run: Callable[..., Any], style: Style) -> Callable[..., Any]:
        def function(x, w, bias=None, stride=1, padding=0, dilation=1, groups=1):  # type: ignore[no-untyped-def]
            return self.called(run, style, x, style.filters_back(w), bias, stride, padding, dilation, groups)

        return function

    def called(
        self, run: Callable[..., Any], style: Style, x: Any, w: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int
    ) -> Any:
        """Run a mistake on images of a style and on filters (KH, KW, C / groups, O)."""
        y = run(Call(self, style.name, style.image_back(x), w, bias, pair(stride), padding, pair(dilation), groups))
        return y if y is None else style.image(y)

    def finish(self, call: Call, windows: np.ndarray) -> Any:
        n, oh, ow, kh, kw, channels = windows.shape
        split = windows.reshape(n, oh, ow, kh, kw, call.groups, channels // call.groups)
        outputs = call.w.shape[3]
        filters = call.w.reshape(*call.w.shape[:3], call.groups, outputs // call.groups)
        y = np.einsum("nijuvgc,uvcgo->nijgo", split, filters, optimize=True).reshape(n, oh, ow, outputs)
        return y if call.bias is None else y + call.bias
