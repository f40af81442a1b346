"""The checker: is this function a convolution? And if not, where, on what smallest input, and by which mistake.

The walk: `contracts` reads from the signature what the function can be told, `properties` lists what is asked of it, `strategies` draws the
cases, `mistakes` holds the bank of wrong convolutions, `diagnosis` finds the one that gives the same numbers, `report` says all that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Any

from ..conv import conv2d, depthwise_conv2d, pointwise_conv2d
from ..kernels import Kernel
from .contracts import OPS, SIGNATURES, STYLES, Contract, option_names, read, tried
from .diagnosis import Diagnosis, Observation, diagnose, search
from .mistakes import MISTAKES, Mistake, mistakes_of
from .outcome import Crash
from .properties import Judged, Property, properties_of
from .report import Failure, PropertyResult, Report, explain
from .strategies import Case, cases

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

KEPT = 4
"""How many cases of each property are kept for the diagnosis."""

ALWAYS: tuple[Judged, ...] = ("changed", "aliases", "dtype")
"""What is looked at in every case, whatever its property looks at."""

SHRINKING, DIAGNOSING = 4.0, 3.0
"""Most seconds for making the failing case smaller, and for naming the mistake."""


def check(
    fn: Callable[..., Any] | Kernel,
    *,
    op: str = "conv2d",
    style: str = "convlab",
    seed: int = 0,
    max_seconds: float = 20.0,
    weights: Mapping[str, float] | None = None,
    name: str | None = None,
) -> Report:
    """Check a function that should be a convolution (or belong to one), and say what is wrong with it.

    What the function takes is read from its signature: without a parameter for the dilation it is asked no dilated convolutions, and the
    report says so. An error that it raises is part of the report; an endless loop is not stopped here, see the command ``convlab check``.

    Parameters
    ----------
    fn : callable or Kernel
        `convlab.checker.SIGNATURES` has what it must take in each operation and style.
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

    Returns
    -------
    Report
        `report.passed`, `report.score`, `report.failure`; it prints as text and shows in a notebook.

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
    exam = _Exam(fn, tried(read(fn, op, style), fn), seed, started + max_seconds)
    asked = properties_of(exam.contract)
    shares = _shares(asked, weights or {})
    results = exam.results([replace(property, weight=shares[property.name]) for property in asked])
    failure = exam.smallest()
    label = name or called
    explained = None if failure is None else explain(exam.contract, label, failure, exam.diagnosis(failure))
    taken = [option for option in option_names(op, style) if exam.contract.takes(option)]
    reasons: dict[str, list[str]] = {}
    for result in results:
        if result.passed is None:
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


@dataclass
class _Exam:
    """One function on its way through the properties."""

    function: Callable[..., Any]
    contract: Contract
    seed: int
    until: float
    kept: list[Observation] = field(default_factory=list)
    failures: dict[str, Observation] = field(default_factory=dict)
    passed: set[str] = field(default_factory=set)
    noted: dict[str, Observation] = field(default_factory=dict)
    crash: str = ""

    def results(self, asked: list[Property]) -> tuple[PropertyResult, ...]:
        """Ask all properties. What must hold in every case (see `ALWAYS`) has been looked at in those of the others, too."""
        found = {property.name: self.ask(property.after(self.contract, self.passed)) for property in asked}
        for property in asked:
            seen = self.noted.get(property.judged)
            if seen is not None and found[property.name].passed:
                found[property.name] = self.ask(replace(seen.property, judged=property.judged), seen, property)
        self.failures = {property.name: self.failures[property.name] for property in asked if property.name in self.failures}
        return tuple(found.values())

    def ask(self, property: Property, noted: Observation | None = None, of: Property | None = None) -> PropertyResult:
        """Run a property's cases until one fails; only the first property that fails has its case made smaller.

        A case that was noted fails for another property, whose it is: `property` is the one whose cases it was among.
        """
        own = of or property

        def result(passed: bool | None, cases: int, message: str = "") -> PropertyResult:
            return PropertyResult(own.name, own.title, passed, own.weight, cases, message)

        missing = property.missing(self.contract)
        if missing:
            return result(None, 0, missing)
        if self.crash and noted is None:
            return result(False, 0, f"not reached: {self.crash}")
        if time.monotonic() > self.until and noted is None:
            return result(False, 0, "not reached: the time is up")
        seen: list[Observation] = []
        failed: list[Observation] = [] if noted is None else [replace(noted, property=replace(own, draws=property.draws), failed=True)]
        until, unfinished = self.until, ""

        def fails(case: Case) -> bool:
            nonlocal until, unfinished
            if self.crash or time.monotonic() > until:
                unfinished = self.crash or "the time is up"
                return False
            outcome = property.run(self.contract, self.function, case)
            wrong = bool(property.complaint(self.contract, case, outcome))
            observation = Observation(property, case, outcome, wrong)
            seen.append(observation)
            for judged in ALWAYS:
                if not outcome.error and replace(property, judged=judged).complaint(self.contract, case, outcome):
                    self.noted.setdefault(judged, observation)
            if wrong and not failed:
                until = min(until, time.monotonic() + SHRINKING)
            if wrong:
                failed.append(observation)
            if outcome.crashed:
                self.crash = outcome.error
            return wrong

        random = Random(f"{self.seed} {property.name}")
        search(property.strategy(self.contract), fails, random=random, examples=property.examples, shrink=not self.failures)
        smallest = min(reversed(failed), key=lambda observation: observation.case.numbers, default=None)
        self.kept += [*seen[:KEPT], *(observation for observation in failed[:1] if observation not in seen[:KEPT])]
        if smallest is not None:
            self.failures[own.name] = smallest
            return result(False, len(seen), smallest.property.complaint(self.contract, smallest.case, smallest.outcome))
        if unfinished or not seen:
            return result(False, len(seen), f"not reached: {unfinished or 'no case was answered'}")
        self.passed.add(own.name)
        return result(True, len(seen))

    def smallest(self) -> Observation | None:
        """Return the case to show: of the first property that fails."""
        return next(iter(self.failures.values()), None)

    def diagnosis(self, failure: Observation) -> Diagnosis:
        """Name the mistake."""
        others = [observation for observation in (*self.failures.values(), *self.kept) if observation is not failure]
        random = Random(f"{self.seed} diagnosis")
        return diagnose(self.function, self.contract, failure, others, time.monotonic() + DIAGNOSING, random)
