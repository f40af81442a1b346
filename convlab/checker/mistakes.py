"""The bank: wrong convolutions, each in a line or a few, with the explanation that a teacher would give.

The bank has two uses. It proves the checker: each of these must be caught. And it is the diagnosis: a mistake that
returns, number for number, what a student's function returned is very likely the student's mistake.

A mistake is written once, against a `Call`: NHWC images, HWIO filters, pairs. `Mistake.function` dresses it as a student's
function of any operation and style that it applies to. To add one, add an entry to `MISTAKES`; the tests find it there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .calls import Call, dressed
from .contracts import CONVOLUTIONS, OPS, WITHOUT_LAYOUT


@dataclass(frozen=True)
class Mistake:
    """A wrong way to do it.

    Attributes
    ----------
    name : str
    explanation, hint : str
        What goes wrong and why; where to look, without giving away the code.
    wrong : callable
        ``wrong(call) -> result``; of a stateful mistake, a function that returns a fresh such function.
    ops, styles : tuple of str
        What it applies to.
    seen_in : str
        Where it was met, "" if only in classrooms.
    one_image : bool
        Whether one small image shows it; what needs several calls, layouts or an empty batch does not.
    stateful, unstable : bool
        Whether it keeps something between calls; whether its result is not the same each time.

    What needs no comparison of numbers is recognised by itself: `NO_RESULT`, `ONLY_ZEROS`, `ONE_NUMBER`.
    """

    name: str
    explanation: str
    hint: str
    wrong: Callable[..., Any]
    ops: tuple[str, ...]
    styles: tuple[str, ...] = ("convlab", "cs231n", "torch")
    seen_in: str = ""
    one_image: bool = True
    stateful: bool = False
    unstable: bool = False

    def applies(self, op: str, style: str) -> bool:
        """Return whether the mistake can be made there."""
        return op in self.ops and (op in WITHOUT_LAYOUT or style in self.styles)

    def function(self, op: str, style: str) -> Callable[..., Any]:
        """Return the mistake as a student's function.

        Examples
        --------
        >>> flipped = next(mistake for mistake in MISTAKES if mistake.name == "flipped kernel")
        >>> f = flipped.function("conv2d", "convlab")
        >>> f(np.array([1.0, 10.0]).reshape(1, 1, 2, 1), np.array([1.0, 2.0]).reshape(1, 2, 1, 1)).item()    # 1*2 + 10*1
        12.0
        """
        wrong = self.wrong() if self.stateful else self.wrong
        return dressed(wrong, op, "convlab" if op in WITHOUT_LAYOUT else style)


# The longer ones


def _filled(number: int) -> Callable[..., Any]:
    """Return a function of any operation whose result holds this number only."""

    def wrong(c: Any, *others: Any, **_: Any) -> Any:
        right = c.right() if isinstance(c, Call) else (c, others[0]) if others else c  # relu6's x; the filters and biases to be folded
        if isinstance(right, tuple):
            return tuple(np.full_like(part, number) if isinstance(part, np.ndarray) else number for part in right)
        return np.full_like(right, number) if isinstance(right, np.ndarray) else number

    return wrong


def _stride_then_crop(c: Call) -> Any:
    return c.finish(c.but(stride=(1, 1)).windows()[:, : c.out[0], : c.out[1]])


def _rows_side_by_side(c: Call) -> Any:
    return c.finish(c.but(stride=(1, c.stride[1]), padding=c.sides).windows()[:, : c.out[0]])


def _columns_side_by_side(c: Call) -> Any:
    return c.finish(c.but(stride=(c.stride[0], 1), padding=c.sides).windows()[:, :, : c.out[1]])


def _rounded_up(c: Call) -> Any:
    extra = [
        -(size + sum(side) - extent) % step for size, side, extent, step in zip(c.x.shape[1:3], c.sides, c.extent, c.stride, strict=True)
    ]
    return c.but(padding=tuple((before, after + more) for (before, after), more in zip(c.sides, extra, strict=True))).right()


def _size_without_padding(c: Call) -> Any:
    height, width = c.but(padding=0).out
    return c.finish(c.windows()[:, :height, :width])


def _padded_channels(c: Call) -> Any:
    amount = c.sides[0][0]
    shifted = np.pad(c.x, ((0, 0), (0, 0), (0, 0), (amount, amount)))[..., : c.x.shape[3]]
    return c.but(x=shifted).right()


def _same_as_symmetric(c: Call) -> Any:
    return c.but(padding=tuple(extent // 2 for extent in c.extent)).right() if c.padding == "same" else c.right()


def _same_odd_zero_first(c: Call) -> Any:
    if c.padding != "same":
        return c.right()
    return c.but(padding=tuple((after, before) for before, after in c.sides)).right()


def _one_based(c: Call) -> Any:
    return c.but(x=np.pad(c.x, ((0, 0), (0, 1), (0, 1), (0, 0)))[:, 1:, 1:], padding=c.sides).right()


def _last_tap_missing(c: Call) -> Any:
    windows = c.windows().copy()
    windows[:, :, :, -1:], windows[:, :, :, :, -1:] = 0, 0
    return c.finish(windows)


def _dilation_then_crop(c: Call) -> Any:
    return c.finish(c.but(dilation=(1, 1), padding=c.sides).windows()[:, : c.out[0], : c.out[1]])


def _first_pixels(c: Call) -> Any:
    if c.kernel != (1, 1):
        return c.right()
    pixels = c.but(stride=(1, 1), padding=c.sides).windows()
    n, height, width, *taps = pixels.shape
    return c.finish(pixels.reshape(n, height * width, *taps)[:, : math.prod(c.out)].reshape(n, *c.out, *taps))


def _same_rounded_down(c: Call) -> Any:
    if c.padding != "same":
        return c.right()
    return c.finish(c.windows()[:, : c.x.shape[1] // c.stride[0], : c.x.shape[2] // c.stride[1]])


def _square_output(c: Call) -> Any:
    windows = c.windows()
    side = c.out[0]
    return c.finish(np.pad(windows, ((0, 0), (0, 0), (0, max(0, side - c.out[1])), (0, 0), (0, 0), (0, 0)))[:, :, :side])


def _square_kernel(c: Call) -> Any:
    side = c.kernel[0]
    w = c.w[:, :side]
    return c.but(w=np.pad(w, ((0, 0), (0, side - w.shape[1]), (0, 0), (0, 0)))).right()


def _shortcut(c: Call, **ignored: Any) -> Any:
    return c.but(**ignored).right() if c.kernel == (1, 1) else c.right()


def _reshaped_image(c: Call) -> Any:
    n, h, w, channels = c.x.shape
    if c.style == "convlab":
        return c.but(x=c.x.reshape(n, channels, h, w).transpose(0, 2, 3, 1)).right()
    return c.but(x=c.x.transpose(0, 3, 1, 2).reshape(n, h, w, channels)).right()


def _reshaped_filters(c: Call) -> Any:
    if c.style == "convlab":
        return c.but(w=c.w.reshape(c.w.shape[3], *c.w.shape[:3]).transpose(1, 2, 3, 0)).right()
    return c.but(w=c.w.transpose(3, 2, 0, 1).reshape(c.w.shape)).right()


def _bias_along_width(c: Call) -> Any:
    return c.products() if c.bias is None else c.products() + c.bias[:, None]


def _bias_along_height(c: Call) -> Any:
    return c.products() if c.bias is None else c.products() + c.bias[:, None, None]


def _first_image_only(c: Call) -> Any:
    y = c.right()
    if c.op == "im2col" and c.style != "torch":
        rows = (
            y.reshape(len(c.x), math.prod(c.out), y.shape[1])
            if c.style == "convlab"
            else y.reshape(len(y), math.prod(c.out), len(c.x)).transpose(2, 0, 1)
        )
        rows[1:] = 0
        return y
    y[1:] = 0
    return y


def _scratch_input(c: Call) -> Any:
    y = c.right()
    c.x[...] = 0
    return y


def _filters_turned_in_place(c: Call) -> Any:
    y = c.right()
    c.w[...] = c.w[::-1, ::-1].copy()
    return y


def _into_the_input(c: Call) -> Any:
    y = c.right()
    _, height, width, channels = y.shape
    room = c.x[:, :height, :width, :channels]
    if room.shape != y.shape:
        return y
    room[...] = y
    return room


def _never_cleared(c: Call) -> Any:
    y = c.right()
    total = np.empty(y.shape if c.style == "convlab" else y.transpose(0, 3, 1, 2).shape, y.dtype)
    total += y if c.style == "convlab" else y.transpose(0, 3, 1, 2)
    return total if c.style == "convlab" else total.transpose(0, 2, 3, 1)


def _in_memory_order(c: Call) -> Any:
    native = c.x if c.style == "convlab" else c.x.transpose(0, 3, 1, 2)
    read = native.ravel(order="K").reshape(native.shape)
    return c.but(x=read if c.style == "convlab" else read.transpose(0, 2, 3, 1)).right()


def _strides_without_sign(c: Call) -> Any:
    return c.but(x=np.flip(c.x, tuple(axis for axis, step in enumerate(c.x.strides) if step < 0))).right()


def _adds_to_the_last() -> Callable[[Call], Any]:
    totals: dict[tuple[Any, ...], np.ndarray] = {}

    def run(c: Call) -> Any:
        y = c.right()
        total = totals.setdefault((y.shape, y.dtype), np.zeros_like(y))
        total += y
        return total.copy()

    return run


def _one_buffer() -> Callable[[Call], Any]:
    buffers: dict[tuple[Any, ...], np.ndarray] = {}

    def run(c: Call) -> Any:
        y = c.right()
        buffer = buffers.setdefault((y.shape, y.dtype), np.empty_like(y))
        buffer[...] = y
        return buffer

    return run


def _first_filters_kept() -> Callable[[Call], Any]:
    filters: dict[tuple[Any, ...], np.ndarray] = {}
    return lambda c: c.but(w=filters.setdefault((c.x.shape, c.w.shape, c.w.dtype), c.w.copy())).right()


def _no_empty_batch(c: Call) -> Any:
    np.concatenate([image[None] for image in c.x])  # raises where there is nothing to join
    return c.right()


def _half(c: Call) -> Any:
    with np.errstate(all="ignore"):
        y = c.but(x=c.x.astype(np.float16), w=c.w.astype(np.float16), bias=None).right()
    return c.plus_bias(y.astype(c.x.dtype))


def _interleaved_inputs(c: Call) -> Any:
    order = np.arange(c.x.shape[3]).reshape(-1, c.groups).T.ravel()  # group g reads channels g, g + groups, ...
    return c.but(x=c.x[..., order]).right()


def _interleaved_outputs(c: Call) -> Any:
    y = c.products()
    order = np.arange(y.shape[3]).reshape(c.groups, -1).T.ravel()  # one output of each group in turn
    return c.plus_bias(y[..., order])


def _one_group(c: Call) -> Any:
    return c.but(x=c.x[..., : c.w.shape[2]], groups=1).right()


def _circular(c: Call) -> Any:
    return c.finish(c.windows("wrap"))


def _negative_indices(c: Call) -> Any:
    (top, bottom), (left, right) = c.sides
    wrapped = np.pad(c.x, ((0, 0), (top, 0), (left, 0), (0, 0)), mode="wrap")
    return c.but(x=np.pad(wrapped, ((0, 0), (0, bottom), (0, right), (0, 0))), padding=0).right()


def _channels_tiled(c: Call) -> Any:
    outputs = c.w.shape[3]
    return c.but(x=c.x[..., np.arange(outputs) % c.x.shape[3]], groups=outputs).right()


def _output_transposed(c: Call) -> Any:
    return c.right().transpose(0, 2, 1, 3)


def _channels_added(c: Call) -> Any:
    y = c.products()
    return c.plus_bias(np.broadcast_to(y.sum(axis=3, keepdims=True), y.shape))


def _channels_last_in_rows(c: Call) -> Any:
    """(C, KH, KW) within a window where (KH, KW, C) is asked for, or the other way round."""
    windows = c.windows().copy()
    n, oh, ow = windows.shape[:3]
    if c.style == "convlab":
        return windows.transpose(0, 1, 2, 5, 3, 4).reshape(n * oh * ow, math.prod(windows.shape[3:]))
    if c.style == "torch":
        return windows.transpose(0, 3, 4, 5, 1, 2).reshape(n, math.prod(windows.shape[3:]), oh * ow)
    return windows.transpose(3, 4, 5, 1, 2, 0).reshape(math.prod(windows.shape[3:]), oh * ow * n)


def _columns_for_rows(c: Call) -> Any:
    return np.swapaxes(c.right(), -1, -2)


def _batch_order(c: Call) -> Any:
    windows = c.windows().copy()
    n, oh, ow, *taps = windows.shape
    if c.style == "convlab":
        return windows.transpose(1, 2, 0, 3, 4, 5).reshape(n * oh * ow, math.prod(taps))
    return windows.transpose(5, 3, 4, 0, 1, 2).reshape(math.prod(taps), n * oh * ow)


def _view_of_the_input(c: Call) -> Any:
    return c.matrix(c.windows())


def _window_by_columns(c: Call) -> Any:
    return c.finish(c.windows().transpose(0, 1, 2, 4, 3, 5))


def _positions_by_columns(c: Call) -> Any:
    return c.finish(c.windows().transpose(0, 2, 1, 3, 4, 5))


# Counts


def _counts(params: int, macs: int) -> tuple[int, int]:
    return params, macs


def _area(c: Call) -> int:
    return c.kernel[0] * c.kernel[1]


def _positions(c: Call) -> int:
    return c.out[0] * c.out[1]


# Batch norm into filters: w (KH, KW, C, O)


def _fold(gamma_used: bool = True, root: bool = True, mean_used: bool = True, beta_used: bool = True, **other: Any) -> Callable[..., Any]:
    """Return the folding with a part of it left out."""

    def fold(w, bias, gamma, beta, mean, variance, eps):  # type: ignore[no-untyped-def]
        spread = variance + (eps if other.get("eps_used", True) else 0)
        deviation = np.sqrt(spread) if root else spread
        if other.get("eps_outside"):
            deviation = np.sqrt(variance) + eps
        scale = (gamma if gamma_used else np.ones_like(gamma)) / deviation
        old = bias if other.get("bias_used", True) else 0 * bias
        shift = (old - (mean if mean_used else 0)) * scale
        if other.get("bias_unscaled"):
            shift = old - mean * scale
        if other.get("mean_unscaled"):
            shift = old * scale - mean
        if other.get("inputs_scaled"):
            return w * scale[: w.shape[2], None], shift + beta
        return w * (scale if other.get("w_scaled", True) else 1), shift + (beta if beta_used else 0)

    return fold


def _fold_in_place(w, bias, gamma, beta, mean, variance, eps):  # type: ignore[no-untyped-def]
    scale = gamma / np.sqrt(variance + eps)
    w *= scale
    return w, beta + (bias - mean) * scale


def _in_place_relu6(x):  # type: ignore[no-untyped-def]
    return np.clip(x, 0, 6, out=x)


def _view_relu6(x):  # type: ignore[no-untyped-def]
    y = np.clip(x, 0, 6)
    return x if np.array_equal(x, y) else y


C, D, P = CONVOLUTIONS
SPATIAL = (C, D)
SUMS = (C, P)
LOOKS = (C, D, "im2col")  # where a window has an extent
EVERYWHERE = (C, D, P, "im2col")
SIZES = (C, D, "im2col", "output_size", "cost")
STEPS = (C, D, P, "im2col", "output_size", "cost")
OPEN = ("convlab", "torch")  # the styles with pairs, dilation, groups, remainders and optional biases

_CROSS = "scipy.signal.convolve2d flips its kernel, as mathematics does; correlate2d and every deep-learning framework do not"
_SQUARE = "teaching code that is tried on square pictures only"
_TF = "at stride 2 TensorFlow's \"SAME\" pads (0, 1) where PyTorch's padding=1 pads (1, 1): the same shape, other numbers"

NO_RESULT = Mistake(
    "no result returned",
    "The function ends without handing its result back: where no return is reached, Python returns None.",
    "Which line of your function gives the result to the caller, and is it always reached?",
    lambda *_, **__: None,
    OPS,
)
ONLY_ZEROS = Mistake(
    "only zeros",
    "Whatever the arguments, the result is zero: it is what it began as, and no sum ever gets into it.",
    "Which line writes into your result, and is it ever reached? Print what it writes.",
    _filled(0),
    OPS,
)
ONE_NUMBER = Mistake(
    "one number everywhere",
    "Every number of the result is the same one, whatever the arguments.",
    "Which line of your function reads the arguments, and does what it reads get into the result?",
    _filled(7),
    OPS,
)

MISTAKES: tuple[Mistake, ...] = (
    # The kernel
    Mistake(
        "flipped kernel",
        "The kernel is turned by 180 degrees before it is laid on the picture. That is the convolution of mathematics; what networks call "
        "convolution is cross-correlation: the kernel lies on the picture as it is written.",
        "Which tap of the kernel meets the top left number of the window?",
        lambda c: c.but(w=c.w[::-1, ::-1]).right(),
        SPATIAL,
        seen_in=_CROSS,
    ),
    Mistake(
        "kernel upside down",
        "The kernel's rows are read from the bottom to the top; its columns are right.",
        "Follow the row index of the kernel: where does it begin, and which way does it run?",
        lambda c: c.but(w=c.w[::-1]).right(),
        SPATIAL,
    ),
    Mistake(
        "kernel mirrored",
        "The kernel's columns are read from the right to the left; its rows are right.",
        "Follow the column index of the kernel: where does it begin, and which way does it run?",
        lambda c: c.but(w=c.w[:, ::-1]).right(),
        SPATIAL,
    ),
    Mistake(
        "kernel transposed",
        "The kernel's rows and columns are swapped: the tap that belongs to the right neighbour is used for the lower one.",
        "Does the first index of the kernel run along the height of the picture, as it should?",
        lambda c: c.but(w=c.w.transpose(1, 0, 2, 3)).right(),
        SPATIAL,
    ),
    Mistake(
        "last tap left out",
        "The last row and the last column of the kernel are never read: the loops over the taps end one too early.",
        "How many taps does your loop visit for a kernel of size 3? And of size 1?",
        _last_tap_missing,
        LOOKS,
    ),
    Mistake(
        "counted from one",
        "Each window begins one row and one column too late, so the first row and column of the picture are never "
        "read: formulas that count "
        "from 1 were turned into code that counts from 0.",
        "Which numbers of the picture does the very first window read?",
        _one_based,
        EVERYWHERE,
        seen_in="a course text that sums x(h' + m, ...) over m = 1, ..., M: with one counting base for both, row 1 is never read",
    ),
    Mistake(
        "mean instead of sum",
        "The products are averaged, not added up: every result is too small by the number of taps.",
        "What is done with the products of one window?",
        lambda c: c.plus_bias(c.products() / math.prod(c.w.shape[:3])),
        (C, D, P),
    ),
    Mistake(
        "negative sums cut off",
        "Negative sums come out as zero: an activation (ReLU) is applied that belongs to the next layer.",
        "Can your function return a negative number?",
        lambda c: np.maximum(c.right(), 0),
        (C, D, P),
    ),
    Mistake(
        "absolute value",
        "The sign of the sums is lost.",
        "Can your function return a negative number?",
        lambda c: np.abs(c.right()),
        (C, D, P),
    ),
    # Stride
    Mistake(
        "stride ignored",
        "The window moves by one, whatever the stride: the result is larger than it should be.",
        "Where does the stride come into your output size, and where into the position of the window?",
        lambda c: c.but(stride=(1, 1), padding=c.sides).right(),
        STEPS,
    ),
    Mistake(
        "stride only in the output size",
        "The result has the right size, but the windows lie side by side: the stride is missing where the window's position is computed.",
        "For output (1, 1) at stride 2: in which row and column does the window begin?",
        _stride_then_crop,
        EVERYWHERE,
        seen_in="teaching code whose examples all have stride 1",
    ),
    Mistake(
        "stride along the height only",
        "The window moves by the stride from row to row, but by one from column to column.",
        "Does the stride appear in both positions, the row's and the column's?",
        lambda c: c.but(stride=(c.stride[0], 1), padding=c.sides).right(),
        (C, D, P, "im2col", "cost"),
    ),
    Mistake(
        "stride along the width only",
        "The window moves by the stride from column to column, but by one from row to row.",
        "Does the stride appear in both positions, the row's and the column's?",
        lambda c: c.but(stride=(1, c.stride[1]), padding=c.sides).right(),
        (C, D, P, "im2col", "cost"),
    ),
    Mistake(
        "row position without the stride",
        "The result has the right size and its columns are right, but each window lies just one row below the one above it: "
        "the stride is missing where a window's row is computed.",
        "For output (1, 1) at stride 2: in which row does the window begin, and in which column?",
        _rows_side_by_side,
        EVERYWHERE,
    ),
    Mistake(
        "column position without the stride",
        "The result has the right size and its rows are right, but each window lies just one column beside the one before: "
        "the stride is missing where a window's column is computed.",
        "For output (1, 1) at stride 2: in which row does the window begin, and in which column?",
        _columns_side_by_side,
        EVERYWHERE,
    ),
    Mistake(
        "stride of height and width swapped",
        "A stride (height, width) is read as (width, height).",
        "Which of the stride's two numbers moves the window down?",
        lambda c: c.but(stride=c.stride[::-1], padding=c.sides).right(),
        EVERYWHERE,
        OPEN,
    ),
    Mistake(
        "stride of the height used for the width",
        "Of a stride (height, width) only the first number is used.",
        "Where is the second number of the stride used?",
        lambda c: c.but(stride=(c.stride[0], c.stride[0]), padding=c.sides).right(),
        EVERYWHERE,
        OPEN,
    ),
    Mistake(
        "1x1 shortcut ignores the stride",
        "A 1x1 kernel takes a shortcut (one matrix product for all pixels) that forgets the stride; larger kernels are right.",
        "What does your function do differently for 1x1 kernels?",
        lambda c: _shortcut(c, stride=(1, 1)),
        (C,),
        seen_in="a fast path for 1x1 kernels in published teaching code",
    ),
    Mistake(
        "1x1 shortcut takes the first pixels",
        "A 1x1 kernel takes a shortcut (one matrix product for a list of pixels), and the list is cut to the number of outputs: the result "
        "has the right size, but holds the first pixels, row by row, in place of those that the stride steps to.",
        "With a 1x1 kernel and stride 2, which pixel makes the second number of the result?",
        _first_pixels,
        (C, P),
    ),
    Mistake(
        "1x1 shortcut ignores the padding",
        "A 1x1 kernel takes a shortcut (one matrix product for all pixels) that forgets the padding; larger kernels are right.",
        "What does your function do differently for 1x1 kernels?",
        lambda c: _shortcut(c, padding=0),
        (C,),
    ),
    # Output size
    Mistake(
        "output size without + 1",
        "The last row and the last column of the result are missing: n - k steps make n - k + 1 positions, because the window "
        "also stands somewhere before its first step.",
        "In how many places does a window of 3 fit into a row of 3? And of 4?",
        lambda c: c.finish(c.windows()[:, :-1, :-1]),
        STEPS,
    ),
    Mistake(
        "output size rounded up",
        "Where the stride leaves a remainder, the result has a row or column more than it should: a window that only half fits is counted. "
        "The size is rounded down, and what is left over is not read.",
        "Does the last window of your result lie on the picture with all its taps?",
        _rounded_up,
        (C, D, "im2col", "output_size", "cost"),
        OPEN,
        seen_in="Caffe's pooling layers round up where its convolutions round down; PyTorch's pooling has ceil_mode",
    ),
    Mistake(
        '"same" rounded down',
        'With "same" there is an output for every stride-th row, and one for the rows that are left over: the size is rounded up.',
        'At stride 2, where do the windows begin in a row of 5 with "same"?',
        _same_rounded_down,
        ("output_size", "cost"),
    ),
    Mistake(
        "output size forgets the padding",
        "The padding is added to the picture but not to the formula of the output size: rows and columns are missing.",
        "How large is the picture that the window really moves on?",
        _size_without_padding,
        LOOKS,  # of a size or a count it is the same as no padding at all
        seen_in="a course text that gives the output size as (n - f) / s + 1",
    ),
    Mistake(
        "width taken from the height",
        "The result is as wide as it is high: the output's height is used for its width.",
        "Try a picture that is wider than it is high.",
        _square_output,
        (C, D, P, "im2col", "cost"),
        seen_in=_SQUARE,
    ),
    Mistake(
        "kernel width taken from its height",
        "The kernel is treated as square: its height is used for its width.",
        "Try a kernel of 1 row and 3 columns.",
        _square_kernel,
        (C, D, "im2col", "cost"),
        seen_in=_SQUARE,
    ),
    Mistake(
        "rows and columns of the output swapped",
        "The result is transposed: its rows are where its columns should be.",
        "In which order do your two loops over positions fill the result?",
        _output_transposed,
        (C, D, P),
    ),
    # Padding
    Mistake(
        "padding ignored",
        "No zeros are added: the result is too small, and the picture's border is never in a window's middle.",
        "Where does your function use its padding?",
        lambda c: c.but(padding=0).right(),
        SIZES,
    ),
    Mistake(
        "padding on top and left only",
        "Zeros are added above and to the left but not below and to the right: rows and columns are missing at the end.",
        "How many rows does the padded picture have: the picture's plus how many?",
        lambda c: c.but(padding=tuple((before, 0) for before, _ in c.sides)).right(),
        SIZES,
    ),
    Mistake(
        "all padding at the bottom right",
        "The result has the right size, but all the zeros lie below and to the right: the picture is not moved into "
        "the middle of the padded one.",
        "At which position of the padded picture does the picture begin?",
        lambda c: c.but(padding=tuple((0, before + after) for before, after in c.sides)).right(),
        LOOKS,
    ),
    Mistake(
        "all padding at the top left",
        "The result has the right size, but all the zeros lie above and to the left of the picture.",
        "How many rows of zeros lie below the picture?",
        lambda c: c.but(padding=tuple((before + after, 0) for before, after in c.sides)).right(),
        LOOKS,
    ),
    Mistake(
        "padding along the height only",
        "Rows of zeros are added, columns are not.",
        "How many columns does the padded picture have?",
        lambda c: c.but(padding=(c.sides[0], (0, 0))).right(),
        (C, D, "im2col", "cost"),
    ),
    Mistake(
        "padding along the width only",
        "Columns of zeros are added, rows are not.",
        "How many rows does the padded picture have?",
        lambda c: c.but(padding=((0, 0), c.sides[1])).right(),
        (C, D, "im2col", "cost"),
    ),
    Mistake(
        "padding of height and width swapped",
        "A padding (height, width) is read as (width, height).",
        "Which of the padding's two numbers adds rows?",
        lambda c: c.but(padding=c.sides[::-1]).right(),
        LOOKS,
        OPEN,
    ),
    Mistake(
        "padding with the border's values",
        "The border's numbers are repeated outwards instead of zeros: right in the interior, wrong at the border.",
        "What does a tap that lies outside of the picture multiply?",
        lambda c: c.finish(c.windows("edge")),
        LOOKS,
    ),
    Mistake(
        "padding wraps around",
        "What leaves the picture on one side comes in again on the other: the picture is treated as periodic.",
        "What does a tap that lies outside of the picture multiply? Negative indices of NumPy count from the end.",
        _circular,
        LOOKS,
        seen_in="products of discrete Fourier transforms without zero padding are circular convolutions",
    ),
    Mistake(
        "negative indices above and to the left",
        "Below and to the right zeros are read, but above and to the left the index of a row or a column is negative, and Python counts "
        "that from the end: x[-1] is the last row. Nothing is raised, and the opposite border comes in.",
        "For output (0, 0) with padding 1: which row does the first tap ask for, and what does Python make of that number?",
        _negative_indices,
        LOOKS,
        seen_in="loops that test only whether an index is too large",
    ),
    Mistake(
        "padding with ones",
        "Taps outside of the picture multiply ones instead of zeros: right in the interior, wrong at the border.",
        "What does a tap that lies outside of the picture multiply?",
        lambda c: c.but(x=np.pad(c.x, ((0, 0), *c.sides, (0, 0)), constant_values=1), padding=0).right(),
        LOOKS,
    ),
    Mistake(
        "padding on the channel axis",
        "Zeros are added along the channels instead of around the picture.",
        "Which axes does your padding widen? Print the shape of the padded picture.",
        _padded_channels,
        LOOKS,
    ),
    Mistake(
        '"same" taken as symmetric',
        '"same" pads both sides by half the window. That is TensorFlow\'s rule only at stride 1: with a stride fewer '
        "zeros are needed, and an odd "
        "one goes to the bottom and right alone.",
        'How many zeros does "same" need so that the output has ceil(input / stride) rows?',
        _same_as_symmetric,
        LOOKS,
        ("convlab",),
        seen_in=_TF,
    ),
    Mistake(
        '"same" puts the odd zero first',
        'Where "same" needs an odd number of zeros, the additional one goes to the bottom and right; here it lies at the top and left.',
        "With a 2x2 kernel and stride 1, on which side is the one row of zeros?",
        _same_odd_zero_first,
        LOOKS,
        ("convlab",),
    ),
    # Channels
    Mistake(
        "only the first channel read",
        "The sum runs over one channel only: a filter has as many layers as the picture has channels, and all their products are added up.",
        "How many products make up one number of the result, for a 1x1 kernel and 3 channels?",
        lambda c: c.but(x=c.x * (np.arange(c.x.shape[3]) % c.w.shape[2] == 0).astype(c.x.dtype)).right(),
        SUMS,
    ),
    Mistake(
        "only the last channel kept",
        "Each channel's sum overwrites the one before it, so that only the last channel is left; they should be added up.",
        "Inside your loop over the channels: = or +=?",
        lambda c: c.but(x=c.x * (np.arange(c.x.shape[3]) % c.w.shape[2] == c.w.shape[2] - 1).astype(c.x.dtype)).right(),
        SUMS,
    ),
    Mistake(
        "channels in reverse order",
        "The picture's last channel meets the filter's first layer: the order of the channels is turned round, as between RGB and BGR.",
        "Which channel of the picture meets layer 0 of the filter?",
        lambda c: c.but(x=c.x[..., ::-1]).right(),
        EVERYWHERE,
        seen_in="OpenCV reads pictures as BGR",
    ),
    Mistake(
        "input and output channels swapped",
        "The filter's axes for input and output channels are swapped.",
        "Which axis of w is as long as the picture has channels?",
        lambda c: c.but(w=c.w.transpose(0, 1, 3, 2)).right(),
        SUMS,
    ),
    Mistake(
        "filters reshaped, not transposed",
        "The filters were brought into another axis order by reshape. That keeps the numbers' order in memory and only "
        "cuts it up differently; changing the order of axes takes a transpose.",
        "Follow one number of w through your reshape: is it still in the filter that it came from?",
        _reshaped_filters,
        (C,),
    ),
    Mistake(
        "picture reshaped, not transposed",
        "The picture was brought into another axis order by reshape. That keeps the numbers' order in memory and only cuts it up "
        "differently; changing the order of axes takes a transpose.",
        "Follow one pixel through your reshape: are its channels still together?",
        _reshaped_image,
        EVERYWHERE,
    ),
    # Bias
    Mistake(
        "bias dropped",
        "The bias is not added.",
        "Where does your function use the bias?",
        lambda c: c.products(),
        (C, D, P),
    ),
    Mistake(
        "bias added once per tap",
        "The bias is added inside the loop over the taps, so it counts as many times as there are products; it "
        "belongs to the finished sum.",
        "How often does the line that adds the bias run for one number of the result?",
        lambda c: c.products() if c.bias is None else c.products() + c.bias * math.prod(c.w.shape[:3]),
        (C, D, P),
    ),
    Mistake(
        "bias along the width",
        "The bias is added along the width: it must be added per output channel.",
        "How long is the bias, and which axis of the result is as long?",
        _bias_along_width,
        (C, D, P),
        seen_in="NumPy broadcasts from the last axis, which is the width in NCHW",
    ),
    Mistake(
        "bias along the height",
        "The bias is added along the height: it must be added per output channel.",
        "How long is the bias, and which axis of the result is as long?",
        _bias_along_height,
        (C, D, P),
    ),
    Mistake(
        "first bias for all channels",
        "Every output channel gets the first channel's bias.",
        "Which number of the bias belongs to output channel 1?",
        lambda c: c.products() if c.bias is None else c.products() + c.bias[0],
        (C, D, P),
    ),
    Mistake(
        "bias subtracted",
        "The bias is taken off instead of added.",
        "What is the result where all products are zero?",
        lambda c: c.products() if c.bias is None else c.products() - c.bias,
        (C, D, P),
    ),
    # Batch
    Mistake(
        "only the first image",
        "Only the first image of the batch is worked on; the others' results are zero.",
        "Over how many images does your function go?",
        _first_image_only,
        EVERYWHERE,
        one_image=False,
    ),
    Mistake(
        "first image for all",
        "Every image of the batch gets the first image's result.",
        "Is the image's index used where the picture is read?",
        lambda c: c.but(x=np.broadcast_to(c.x[:1], c.x.shape)).right() if len(c.x) else c.right(),
        EVERYWHERE,
        one_image=False,
    ),
    Mistake(
        "batch added up",
        "The results of all images are added together.",
        "Is your accumulator cleared for each image?",
        lambda c: c.but(x=np.cumsum(c.x, axis=0, dtype=c.x.dtype)).right(),
        EVERYWHERE,
        one_image=False,
    ),
    Mistake(
        "empty batch crashes",
        "A batch of no images raises an error; its result is an empty batch. Data loaders meet it at the end of a filtered data set.",
        "What does your function do with x of shape (0, ...)?",
        _no_empty_batch,
        EVERYWHERE,
        one_image=False,
    ),
    # Dilation
    Mistake(
        "dilation ignored",
        "The taps lie side by side, whatever the dilation.",
        "How far apart are two neighbouring taps at dilation 2?",
        lambda c: c.but(dilation=(1, 1), padding=c.sides).right(),
        SIZES,
        OPEN,
    ),
    Mistake(
        "dilation only in the output size",
        "The result has the right size, but the taps lie side by side: the dilation is missing where a tap's position is computed.",
        "At dilation 2, which column of its window does tap (0, 1) read?",
        _dilation_then_crop,
        LOOKS,
        OPEN,
    ),
    Mistake(
        "dilation read as gaps",
        "Dilation d means steps of d between taps, thus d - 1 numbers skipped; here d are skipped.",
        "At dilation 1, are neighbouring taps neighbours in the picture?",
        lambda c: c.but(dilation=(c.dilation[0] + 1, c.dilation[1] + 1), padding=c.sides).right(),
        SIZES,
        OPEN,
    ),
    Mistake(
        "dilation doubled",
        "The dilation is applied twice: taps are twice as far apart as they should be, from dilation 2 on.",
        "Is the kernel, or the window, spread out in two places?",
        lambda c: c.but(dilation=tuple(2 * d if d > 1 else 1 for d in c.dilation), padding=c.sides).right(),
        SIZES,
        OPEN,
    ),
    Mistake(
        "dilation along the height only",
        "The taps are spread out along the height but not along the width.",
        "Does the dilation appear in both positions of a tap, its row and its column?",
        lambda c: c.but(dilation=(c.dilation[0], 1), padding=c.sides).right(),
        (*LOOKS, "cost"),
        OPEN,
    ),
    Mistake(
        "dilation along the width only",
        "The taps are spread out along the width but not along the height.",
        "Does the dilation appear in both positions of a tap, its row and its column?",
        lambda c: c.but(dilation=(1, c.dilation[1]), padding=c.sides).right(),
        (*LOOKS, "cost"),
        OPEN,
    ),
    Mistake(
        "dilation of height and width swapped",
        "A dilation (height, width) is read as (width, height).",
        "Which of the dilation's two numbers spreads the rows?",
        lambda c: c.but(dilation=c.dilation[::-1], padding=c.sides).right(),
        LOOKS,
        OPEN,
    ),
    Mistake(
        "extent without - 1",
        "A window of k taps at dilation d spans d * (k - 1) + 1 numbers; here it is taken as d * k, so results are missing.",
        "How many numbers does a window of 1 tap span at dilation 2?",
        lambda c: c.finish(c.windows()[:, : max(0, (c.x.shape[1] + sum(c.sides[0]) - c.dilation[0] * c.kernel[0]) // c.stride[0] + 1)]),
        SIZES,
        OPEN,
    ),
    # Groups and depthwise
    Mistake(
        "groups ignored",
        "Every output channel reads the first group's channels: the group's offset is missing where the picture is read.",
        "Which input channels belong to the last output channel?",
        _one_group,
        (C,),
        OPEN,
    ),
    Mistake(
        "input groups interleaved",
        "The groups take the input channels in turn (0, 2, 4 and 1, 3, 5); a group is a block of neighbouring "
        "channels (0, 1, 2 and 3, 4, 5).",
        "With 4 channels and 2 groups, which channels does the first group read?",
        _interleaved_inputs,
        (C,),
        OPEN,
    ),
    Mistake(
        "output groups interleaved",
        "The groups' results are dealt out in turn; each group's output channels stay together.",
        "With 4 output channels and 2 groups, which ones come from the first group?",
        _interleaved_outputs,
        (C,),
        OPEN,
    ),
    Mistake(
        "multiplier before channel",
        "The filters of a channel lie together in the result: channel c, filter m is output c * M + m. Here they are "
        "in the order m * C + c.",
        "With 2 channels and 3 filters each, from which channel is output 1?",
        _interleaved_outputs,
        (D,),
        OPEN,
    ),
    Mistake(
        "channels dealt out in turn",
        "With M filters per channel, output o reads channel o // M: each channel is repeated M times before the next one comes. Here "
        "output o reads channel o % C: the channels come one after the other, and then all of them again.",
        "With 2 channels and 3 filters each, from which channel is output 1?",
        _channels_tiled,
        (D,),
        OPEN,
        seen_in="np.tile where np.repeat is meant",
    ),
    Mistake(
        "channels added up",
        "The channels' results are added together, as in a standard convolution; a depthwise convolution keeps them apart.",
        "From how many input channels is one output channel of a depthwise convolution made?",
        _channels_added,
        (D,),
        OPEN,
    ),
    Mistake(
        "first channel's filter for all",
        "Each channel has a filter of its own; here the first one is used for all.",
        "Which axis of w belongs to the channels?",
        lambda c: c.but(w=np.broadcast_to(c.w[..., :1], c.w.shape)).right(),
        (D,),
        OPEN,
    ),
    Mistake(
        "first channel for all filters",
        "Every filter reads the first channel of the picture.",
        "Which channel of the picture belongs to output channel 1?",
        lambda c: c.but(x=np.broadcast_to(c.x[..., :1], c.x.shape)).right(),
        (D,),
        OPEN,
    ),
    # Memory
    Mistake(
        "input overwritten",
        "The result is right, but x holds other numbers afterwards: whoever uses the picture again (the next branch "
        "of the network, say) gets nonsense.",
        "Does your function write into x, or into a view of it?",
        _scratch_input,
        EVERYWHERE,
        one_image=False,
    ),
    Mistake(
        "filters overwritten",
        "The result is right, but w holds other numbers afterwards: the next call works with other filters.",
        "Does your function write into w, or into a view of it?",
        _filters_turned_in_place,
        SPATIAL,
        one_image=False,
    ),
    Mistake(
        "result written into the input",
        "Where it fits, the result is written into the memory of x: the picture is lost, and whoever changes one changes the other.",
        "Where does the memory of your result come from?",
        _into_the_input,
        (C, D, P),
        one_image=False,
    ),
    Mistake(
        "memory never cleared",
        "The sums are added to memory that np.empty did not clear: the result depends on what lay there before, and "
        "may even be right by luck.",
        "What does a fresh array hold before you add to it?",
        _never_cleared,
        (C, D, P),
        unstable=True,
    ),
    Mistake(
        "assumes C order",
        "The numbers are read in the order in which they lie in memory. An array in Fortran order (a transposed one, "
        "say) is read in a wrong order.",
        "Does your function use raw memory, ravel or strides? Does it hold for x.transpose()?",
        _in_memory_order,
        EVERYWHERE,
        seen_in="fast paths that are silently wrong for Fortran-ordered input",
        one_image=False,
    ),
    Mistake(
        "negative strides ignored",
        "An array that is a reversed view (x[::-1]) is read as if it ran forwards.",
        "Does your function use raw memory or strides? Does it hold for x[:, ::-1]?",
        _strides_without_sign,
        EVERYWHERE,
        one_image=False,
    ),
    Mistake(
        "adds to the last call",
        "The sums of the previous call are still there when the next one begins: right once, wrong from then on.",
        "Is your accumulator made anew in every call? Default arguments and globals are not.",
        _adds_to_the_last,
        EVERYWHERE,
        one_image=False,
        stateful=True,
    ),
    Mistake(
        "one buffer for all calls",
        "Every call returns the same array, so an earlier result changes when the function is called again.",
        "Call it twice with different pictures: is the first result still what it was?",
        _one_buffer,
        EVERYWHERE,
        one_image=False,
        stateful=True,
    ),
    Mistake(
        "first filters kept",
        "Filters are remembered by their shape: when w holds other numbers in the next call, the old ones are used.",
        "By what does your cache recognise a filter?",
        _first_filters_kept,
        (C, D, P),
        one_image=False,
        stateful=True,
    ),
    # Numbers
    Mistake(
        "result cut to integers",
        "The result is stored as integers: everything after the decimal point is cut off.",
        "Which dtype has the array that you put your sums into?",
        lambda c: c.right().astype(np.int64),
        EVERYWHERE,
    ),
    Mistake(
        "result overflows 8 bits",
        "The result is stored in 8 bits, as pictures are: sums below 0 or above 255 wrap around.",
        "Which dtype has the array that you put your sums into? How large can a sum be?",
        lambda c: c.right().astype(np.int64).astype(np.uint8),
        (C, D, P),
    ),
    Mistake(
        "float32 becomes float64",
        "float32 goes in and float64 comes out: twice the memory, and the next layer is slower for it.",
        "Which dtype does np.zeros make if none is given?",
        lambda c: c.right().astype(np.float64),
        EVERYWHERE,
        seen_in="im2col functions in published teaching code; np.zeros makes float64",
        one_image=False,
    ),
    Mistake(
        "float64 becomes float32",
        "Whatever goes in, float32 comes out: half of the digits of float64 are lost.",
        "Which dtype does your result have, for a float64 picture?",
        lambda c: c.right().astype(np.float32),
        EVERYWHERE,
        one_image=False,
    ),
    Mistake(
        "summed in float16",
        "The sums are made in half precision, with 11 bits: whole numbers above 2048 and most fractions are rounded.",
        "Which dtype have your products?",
        _half,
        (C, D, P),
    ),
    # The matrix of columns
    Mistake(
        "order within a window",
        "Within a window, channels and taps are in the wrong order: the numbers are all there, but do not meet the filter's.",
        "In which order does w.reshape put its taps and channels?",
        _channels_last_in_rows,
        ("im2col",),
    ),
    Mistake(
        "windows read column by column",
        "Each window is written down column by column; it should be row by row.",
        "Which index runs fastest in your window?",
        _window_by_columns,
        ("im2col",),
    ),
    Mistake(
        "positions taken column by column",
        "The windows are taken down each column of positions; they should go along each row.",
        "Which is the second window: the one to the right, or the one below?",
        _positions_by_columns,
        ("im2col",),
    ),
    Mistake(
        "matrix transposed",
        "Rows and columns of the matrix are swapped.",
        "Is a window a row or a column?",
        _columns_for_rows,
        ("im2col",),
    ),
    Mistake(
        "images interleaved",
        "The order of images and positions is swapped: the matrix deals with position 0 of every image first where it "
        "should take image after image, "
        "or the other way round.",
        "Which windows lie next to each other: those of one image, or those of one position?",
        _batch_order,
        ("im2col",),
        ("convlab", "cs231n"),
        one_image=False,
    ),
    Mistake(
        "view of the input",
        "Where no windows overlap (a 1x1 kernel, say), reshape gives a view: the matrix lies in the memory of the picture, and whoever "
        "changes the one changes the other.",
        "Does reshape copy?",
        _view_of_the_input,
        ("im2col",),
        one_image=False,
    ),
    # The size along one axis
    Mistake(
        "size as a float",
        "The size is divided with /, which gives a float; a size is a whole number.",
        "What is 7 / 2, and what is 7 // 2?",
        lambda c: (c.x.shape[1] + sum(c.sides[0]) - c.extent[0]) / c.stride[0] + 1,
        ("output_size",),
    ),
    Mistake(
        "padding counted once",
        "The padding is added once; it lies on both sides.",
        "How many zeros does padding 1 add to a row?",
        lambda c: (c.x.shape[1] + c.sides[0][0] - c.extent[0]) // c.stride[0] + 1,
        ("output_size",),
    ),
    Mistake(
        "size rounded to the nearest",
        "The quotient is rounded to the nearest whole number; a window that does not fit is not there, so it is rounded down.",
        "How many windows of 2 fit into a row of 5 at stride 2?",
        lambda c: int((c.x.shape[1] + sum(c.sides[0]) - c.extent[0]) / c.stride[0] + 0.5) + 1,
        ("output_size",),
    ),
    # Counts
    Mistake(
        "FLOPs for MACs",
        "Additions and multiplications are counted apart, which gives twice the number of multiply-accumulates.",
        "Is a multiplication with its addition one operation in your count, or two?",
        lambda c: _counts(c.w.size, 2 * c.right()[1]),
        ("cost",),
        seen_in="counts that do not match a paper's are often FLOPs for MACs",
    ),
    Mistake(
        "bias counted as parameters",
        "The biases are among the parameters; they are asked for without.",
        "How many numbers are in w alone?",
        lambda c: _counts(c.w.size + c.w.shape[3], c.right()[1]),
        ("cost",),
    ),
    Mistake(
        "input positions counted",
        "The MACs are counted per input pixel; the kernel is applied once per output position.",
        "How often is the window laid down?",
        lambda c: _counts(c.w.size, c.w.size * c.x.shape[1] * c.x.shape[2]),
        ("cost",),
        seen_in='formulas with one D_F for the input and the output, which holds at stride 1 with "same" padding only',
    ),
    Mistake(
        "groups ignored in the count",
        "Every filter is counted with all input channels; in a grouped convolution it reads its group's only.",
        "How many channels does one filter read?",
        lambda c: _counts(c.w.size * c.groups, c.right()[1] * c.groups),
        ("cost",),
        seen_in="a course text that counts 27 x 48 multiplications for a depthwise layer of 9 x 48",
    ),
    Mistake(
        "groups divided twice",
        "The groups reduce the count twice: in the filters' depth and in their number. There are as many filters as output channels.",
        "How many filters are there, in all groups together?",
        lambda c: _counts(c.w.size // c.groups, c.right()[1] // c.groups),
        ("cost",),
    ),
    Mistake(
        "input channels forgotten",
        "A filter is counted as flat; it has a layer for each channel that it reads.",
        "How many numbers does one 3x3 filter have, for 3 channels?",
        lambda c: _counts(_area(c) * c.w.shape[3], _area(c) * c.w.shape[3] * _positions(c)),
        ("cost",),
    ),
    Mistake(
        "output channels forgotten",
        "One filter is counted; there is one for each output channel.",
        "How many filters are there?",
        lambda c: _counts(_area(c) * c.w.shape[2], _area(c) * c.w.shape[2] * _positions(c)),
        ("cost",),
    ),
    Mistake(
        "params and MACs swapped",
        "Both counts are right but come in the wrong order.",
        "Which comes first?",
        lambda c: c.right()[::-1],
        ("cost",),
    ),
    # relu6
    Mistake(
        "no upper limit", "Numbers above 6 are let through: that is ReLU.", "What is relu6(8)?", lambda x: np.maximum(x, 0), ("relu6",)
    ),
    Mistake("no lower limit", "Negative numbers are let through.", "What is relu6(-1)?", lambda x: np.minimum(x, 6), ("relu6",)),
    Mistake(
        "limits -6 and 6",
        "Negative numbers are let through down to -6.",
        "What is relu6(-1)?",
        lambda x: np.clip(x, -6, 6),
        ("relu6",),
    ),
    Mistake(
        "large numbers become zero",
        "Numbers above 6 become 0; they become 6.",
        "What is relu6(8)?",
        lambda x: np.where((x > 0) & (x < 6), x, 0).astype(x.dtype),
        ("relu6",),
    ),
    Mistake(
        "absolute value before the limit",
        "Negative numbers lose their sign; they become 0.",
        "What is relu6(-1)?",
        lambda x: np.minimum(np.abs(x), 6),
        ("relu6",),
    ),
    Mistake(
        "leaky",
        "Negative numbers are made small; they become 0.",
        "What is relu6(-1)?",
        lambda x: np.minimum(np.where(x < 0, x * x.dtype.type(0.1), x), 6),
        ("relu6",),
    ),
    Mistake("limited to 1", "The result is divided by 6.", "What is relu6(3)?", lambda x: np.clip(x, 0, 6) / 6, ("relu6",)),
    Mistake(
        "relu6 in place",
        "The result is right, but x holds it as well: the picture is lost for whoever else reads it.",
        "Does your function write into x?",
        _in_place_relu6,
        ("relu6",),
        seen_in="np.clip(x, 0, 6, out=x); PyTorch's ReLU6(inplace=True)",
        one_image=False,
    ),
    Mistake(
        "relu6 returns x itself",
        "Where nothing has to be cut off, x itself comes back: whoever changes the result changes the picture.",
        "Is the result always an array of its own?",
        _view_relu6,
        ("relu6",),
        one_image=False,
    ),
    Mistake(
        "relu6 in integers",
        "Everything after the decimal point is cut off.",
        "What is relu6(2.5)?",
        lambda x: np.clip(x.astype(np.int64), 0, 6),
        ("relu6",),
    ),
    # Folding
    *(
        Mistake(name, explanation, hint, fold, ("fold_batch_norm",), OPEN)
        for name, explanation, hint, fold in (
            ("epsilon left out", "The variance is used without epsilon.", "What is under the root?", _fold(eps_used=False)),
            (
                "epsilon outside of the root",
                "Epsilon is added to the standard deviation; it belongs to the variance.",
                "What is under the root?",
                _fold(eps_outside=True),
            ),
            (
                "no root",
                "The filters are divided by the variance; it takes its root, the standard deviation.",
                "In which unit is a variance?",
                _fold(root=False),
            ),
            ("gamma left out", "gamma is not multiplied in.", "Which of the four statistics do you use?", _fold(gamma_used=False)),
            ("beta left out", "beta is not added.", "Which of the four statistics do you use?", _fold(beta_used=False)),
            ("mean left out", "The mean is not taken off.", "Which of the four statistics do you use?", _fold(mean_used=False)),
            (
                "mean not scaled",
                "The mean is taken off without being divided by the deviation and multiplied by gamma.",
                "What is done to a number after the mean is taken off?",
                _fold(mean_unscaled=True),
            ),
            ("old bias left out", "The convolution's own bias is lost.", "What if the convolution has a bias?", _fold(bias_used=False)),
            (
                "old bias not scaled",
                "The convolution's own bias goes through batch norm too: it must be scaled like the filters.",
                "What does batch norm do to the bias that is already in its input?",
                _fold(bias_unscaled=True),
            ),
            (
                "filters not scaled",
                "Only the bias is changed; the filters must be scaled too.",
                "Which of w's numbers change?",
                _fold(w_scaled=False),
            ),
            (
                "input channels scaled",
                "The scale lies along the input channels; batch norm comes after the convolution, so it belongs to the output channels.",
                "How many numbers has gamma: as many as input, or as output channels?",
                _fold(inputs_scaled=True),
            ),
        )
    ),
    Mistake(
        "filters scaled in place",
        "The result is right, but the w that came in is changed: folding twice scales twice.",
        "Does your function write into w?",
        _fold_in_place,
        ("fold_batch_norm",),
        OPEN,
        one_image=False,
    ),
    # No numbers to compare
    NO_RESULT,
    ONLY_ZEROS,
    ONE_NUMBER,
)
"""All of them."""


def mistakes_of(op: str, style: str) -> list[Mistake]:
    """Return those that can be made in an operation and style."""
    return [mistake for mistake in MISTAKES if mistake.applies(op, style)]
