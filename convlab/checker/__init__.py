"""The checker: is this function a convolution? And if not, where, on what smallest input, and by which mistake.

The walk: `domain` reads from the signature what the function can be told, and tries what a signature does not tell; its operation (a file
in `operations`) lists what is asked of it; `exam` asks, with cases that `strategies` draws and `search` makes smaller; `outcome` says what
a call did; `diagnosis` finds in the bank (`mistakes`) the mistake that gives the same numbers; `report` says all that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from ..conv import conv2d, depthwise_conv2d, pointwise_conv2d
from ..kernels import Kernel
from .diagnosis import Diagnosis
from .domain import read, tried
from .exam import Exam
from .mistakes import MISTAKES, Mistake, mistakes_of
from .operations import OPS, SIGNATURES
from .outcome import Crash
from .properties import Property, properties_of
from .report import Failure, PropertyResult, Report, explain
from .strategies import Case, cases
from .styles import STYLES

__all__ = [
    "MISTAKES",
    "OPS",
    "SIGNATURES",
    "STYLES",
    "Case",
    "Crash",
    "Diagnosis",
    "Failure",
    "Mistake",
    "Property",
    "PropertyResult",
    "Report",
    "cases",
    "check",
    "mistakes_of",
    "properties_of",
]


def check(
    fn: Callable[..., Any] | Kernel,
    *,
    op: str = "conv2d",
    style: str = "convlab",
    seed: int = 0,
    max_seconds: float = 20.0,
    weights: Mapping[str, float] | None = None,
    name: str | None = None,
    strict: bool = False,
) -> Report:
    """Check a function that should be a convolution (or belong to one), and say what is wrong with it.

    What the function takes is read from its signature: without a parameter for the dilation it is asked no dilated convolutions, and the
    report says so. An error that it raises is part of the report; an endless loop is not stopped here, see the command ``convlab check``.

    Parameters
    ----------
    fn : callable or Kernel
        `convlab.checker.operations.SIGNATURES` has what it must take in each operation and style.
    op : {"conv2d", "depthwise", "pointwise", "im2col", "output_size", "cost", "relu6", "fold_batch_norm"}
    style : {"convlab", "cs231n", "torch"}
        Layouts and parameters: of convlab (NHWC), of the course's assignments (NCHW) and of torch (NCHW).
    seed : int
        The same seed draws the same cases.
    max_seconds : float
        What the function does not get through in this time counts as wrong.
    weights : mapping, optional
        Name of a property -> its share in the score.
    name : str, optional
        What the report calls the function.

    strict : bool
        Whether advice and refused memory layouts count: float64 for float32, an empty batch, arrays that are not contiguous.

    Returns
    -------
    Report
        `report.passed`, `report.limits`, `report.advice`, `report.score`, `report.failure`; it prints as text and shows in a notebook.

    Raises
    ------
    TypeError
        If `fn` cannot be called.
    ValueError
        If there is no such operation, style or property, or max_seconds or a weight is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> def conv(x, w):
    ...     n, h, width, c = x.shape
    ...     kh, kw, _, o = w.shape
    ...     y = np.zeros((n, h - kh + 1, width - kw + 1, o), x.dtype)
    ...     for i in range(kh):
    ...         for j in range(kw):
    ...             y += x[:, i : i + y.shape[1], j : j + y.shape[2]] @ w[-1 - i, -1 - j]
    ...     return y
    >>> report = check(conv)
    >>> report.passed, report.failure.diagnosis.name
    (False, 'flipped kernel')
    """
    if not isinstance(max_seconds, (int, float)) or not max_seconds > 0:
        raise ValueError(f"max_seconds must be positive: max_seconds={max_seconds!r}")
    fn, called = _function(fn, op)
    if not callable(fn):
        raise TypeError(f"fn must be a function or a Kernel: fn={fn!r}")
    started = time.monotonic()
    exam = Exam(fn, tried(read(fn, op, style), fn), seed, started + max_seconds, strict)
    asked = properties_of(exam.contract)
    shares = _shares(asked, weights or {})
    results = exam.results([replace(property, weight=shares[property.name]) for property in asked])
    failure = exam.smallest()
    label = name or called
    explained = None if failure is None else explain(exam.contract, label, failure, exam.diagnosis(failure))
    taken = [option for option in exam.contract.operation.options(exam.contract.style) if exam.contract.takes(option)]
    reasons: dict[str, list[str]] = {}
    for result in results:
        if result.passed is None and result.kind == "verdict":
            reasons.setdefault(result.message, []).append(result.title)
    left_out = tuple(f"{'; '.join(titles)}: {reason}" for reason, titles in reasons.items())
    seconds = time.monotonic() - started
    return Report(label, op, style, seed, results, explained, tuple(taken), left_out, seconds, exam.contract.channels_first)


def _function(fn: Any, op: str) -> tuple[Any, str]:
    """Return the function to check and its name; a `Kernel` goes through the front door."""
    if isinstance(fn, Kernel):
        front = {"conv2d": conv2d, "depthwise": depthwise_conv2d, "pointwise": pointwise_conv2d}
        if op not in front:
            raise ValueError(f"a Kernel runs {', '.join(map(repr, front))}: op={op!r}")
        return partial(front[op], kernel=fn), fn.name
    return fn, str(getattr(fn, "__name__", type(fn).__name__))


def _shares(asked: list[Property], weights: Mapping[str, float]) -> dict[str, float]:
    """Return each property's weight, those that the course sets replaced."""
    shares = {property.name: property.weight for property in asked}
    for name, weight in weights.items():
        if name not in shares:
            raise ValueError(f"weights must name properties, which are {', '.join(map(repr, shares))}: {name!r}")
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < float("inf"):
            raise ValueError(f"a weight must be a number of at least 0: {name!r} has {weight!r}")
    return {**shares, **{name: float(weight) for name, weight in weights.items()}}
