"""Which mistake gives exactly these numbers? And if none in the bank does, what can be said.

On the smallest failing case many mistakes look alike: a 1x2 kernel turned by 180 degrees is also a mirrored one. So a
mistake that gives the student's numbers there is held against every other case that was kept, and for those that are still alike Hypothesis
searches for a case that tells them apart, on which the function is asked again.

What is plainer than any of them is said first: nothing came back, or every result is the same number.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from .contracts import Contract
from .domain import read
from .mistakes import NO_RESULT, ONE_NUMBER, ONLY_ZEROS, Mistake, mistakes_of
from .outcome import Outcome
from .properties import Property, wrong_cells
from .search import search
from .strategies import Case

ENOUGH = 3
"""In so many cases a thing is seen before it is believed."""


@dataclass(frozen=True, eq=False)  # arrays have no single answer to ==
class Observation:
    """A case that was run: what was asked, on what, and what the function did."""

    property: Property
    case: Case
    outcome: Outcome
    failed: bool


@dataclass(frozen=True)
class Diagnosis:
    """What is known about a failure.

    Attributes
    ----------
    name : str
        Of the mistake, "" if no single one is named.
    explanation, hint, seen_in : str
    candidates : tuple of str
        Mistakes that could not be told apart; with a name, that name alone.
    notes : tuple of str
        What can be said of the numbers themselves.
    """

    name: str = ""
    explanation: str = ""
    hint: str = ""
    seen_in: str = ""
    candidates: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, mistake: Mistake, notes: tuple[str, ...]) -> Diagnosis:
        """Name a mistake."""
        return cls(mistake.name, mistake.explanation, mistake.hint, mistake.seen_in, (mistake.name,), notes)


def alike(contract: Contract, case: Case, one: Outcome, other: Outcome) -> bool:
    """Return whether two outcomes are the same but for rounding; which error was raised does not matter."""
    if one.error or other.error:
        return bool(one.error and other.error) and one.nothing == other.nothing
    a, b = one.value, other.value
    assert a is not None, "a call without an error has a value"
    assert b is not None, "a call without an error has a value"
    if a.shape != b.shape or a.dtype != b.dtype or bool(one.changed) != bool(other.changed):
        return False
    if bool(one.aliases) != bool(other.aliases) or one.overwritten != other.overwritten:
        return False
    if a.shape == contract.expected(case).shape:
        allowed: Any = contract.tolerance(case)
    else:
        allowed = float(np.max(contract.tolerance(case), initial=0))
    with np.errstate(all="ignore"):
        close = np.abs(a.astype(np.float64) - b.astype(np.float64)) <= allowed
    return bool((close | (np.isnan(a) & np.isnan(b)) | (a == b)).all())


def _right(contract: Contract, case: Case, outcome: Outcome) -> bool:
    """Return whether an outcome has the right numbers, whatever else may be wrong with it."""
    value = outcome.value
    return value is not None and value.shape == contract.expected(case).shape and not wrong_cells(contract, case, value).any()


@dataclass
class _Suspect:
    """A mistake that gives what the function gave on the smallest failing case, and how it fares on others."""

    mistake: Mistake
    contract: Contract
    function: Callable[..., Any]
    agrees: int = 0
    of: int = 0
    found_again: bool = False  # it gives what the function gives in another failing case of the same property, too
    cleared: bool = False  # it is right where the function is wrong, or the other way round

    @classmethod
    def of_bank(cls, mistake: Mistake, contract: Contract) -> _Suspect:
        """Suspect a mistake of the bank, dressed as a function of this operation and style."""
        wrong = mistake.function(contract.op, contract.style)
        return cls(mistake, read(wrong, contract.op, contract.style), wrong)

    def outcome(self, asked: Property, case: Case) -> Outcome:
        """Return what the mistake does on a case."""
        # A fresh function each time: one that keeps state would remember the cases that were tried on it before.
        function = self.mistake.function(self.contract.op, self.contract.style) if self.mistake.stateful else self.function
        return asked.run(self.contract, function, case)

    def hold_against(self, contract: Contract, seen: Observation, asked: Property, again: bool) -> None:
        """Compare the mistake with the function on one more case; `again` if the same property fails there."""
        outcome = self.outcome(seen.property, seen.case)
        same = alike(contract, seen.case, seen.outcome, outcome)
        self.of += 1
        self.agrees += same
        self.found_again |= same and again
        # (A result that is not the same each time is right by luck now and then.)
        right = not seen.failed and _right(contract, seen.case, seen.outcome) and not self.mistake.unstable
        self.cleared |= right and not _right(contract, seen.case, outcome)
        self.cleared |= seen.failed and seen.property.name == asked.name and not seen.property.complaint(contract, seen.case, outcome)


def diagnose(
    function: Callable[..., Any], contract: Contract, failure: Observation, others: list[Observation], until: float, seed: Any = None
) -> Diagnosis:
    """Return the mistake that gives what the function gave, or what else can be said.

    What needs no comparison is said first: nothing came back, something is kept between calls, it is always the same number. Else the
    rule is this. A mistake of the bank is named if

    1. it gives what the function gave on the smallest failing case;
    2. it does so in another case in which the same property fails, where there is one: in the smallest case many numbers are the same;
    3. among the cases that were kept none clears it: it is wrong in none in which the function is right, and has a fault wherever the
       function has this one;
    4. no other such mistake agrees with the function in more of these cases, nor, of those that agree as often, in cases that are drawn
       to tell them apart. Where none tells them apart, all are listed;
    5. where all that the function does is to raise an error, it raises one in every case in which the function does.

    Parameters
    ----------
    function : callable
        Called only where mistakes cannot be told apart by the cases that were run.
    failure : Observation
        The smallest failing case.
    others : list of Observation
        All cases that were kept, right ones too.
    until : float
        `time.monotonic` at which to stop.
    """
    notes = remarks(contract, failure)
    if failure.outcome.crashed:
        return Diagnosis(notes=notes)
    if failure.outcome.nothing:
        return Diagnosis.of(NO_RESULT, notes)
    remembering = _remembering(function, contract, failure)
    if remembering is not None:
        return remembering
    others = [*others, *_more(function, contract, failure, others, until, seed)]
    number = _one_number(contract, [failure, *others])
    if number is not None:
        return Diagnosis.of(ONLY_ZEROS if number == 0 else ONE_NUMBER, (*notes, f"all that it ever returned is {number:.6g}"))

    bank = (_Suspect.of_bank(mistake, contract) for mistake in mistakes_of(contract.op, contract.style))
    asked, case = failure.property, failure.case
    suspects = [suspect for suspect in bank if alike(contract, case, failure.outcome, suspect.outcome(asked, case))]
    if not suspects:
        return _uncleared(function, contract, failure) or Diagnosis(notes=notes)
    again = _failing_again(failure, others)
    for seen in sorted(others, key=lambda seen: seen not in again):  # those first, should the time run out
        for suspect in suspects:
            suspect.hold_against(contract, seen, asked, seen in again)
        if time.monotonic() > until:
            break
    left = [one for one in suspects if not one.cleared and (one.found_again or one.mistake.unstable or not again)]
    if not left:
        names = ", ".join(suspect.mistake.name for suspect in suspects)
        more = "but the function is not wrong in the same cases, or not by the same numbers"
        return Diagnosis(notes=(*notes, f"these numbers are those of: {names}; {more}"))
    best = max(suspect.agrees for suspect in left)
    first, *rest = _told_apart(function, contract, [one for one in left if one.agrees == best], others, until, seed)
    only_raises = failure.outcome.error and not any(seen.failed and not seen.outcome.error for seen in others)
    if only_raises and best < len(others):
        return Diagnosis(notes=notes)
    if rest:
        return Diagnosis(candidates=tuple(suspect.mistake.name for suspect in (first, *rest)), notes=notes)
    if first.agrees < first.of:
        more = f"it gives what the function gives in {first.agrees} of {first.of} other cases: there may be a second mistake"
        notes = (*notes, more)
    return Diagnosis.of(first.mistake, notes)


def _told_apart(
    function: Callable[..., Any], contract: Contract, suspects: list[_Suspect], others: list[Observation], until: float, seed: Any
) -> list[_Suspect]:
    """Search for cases on which two suspects differ, ask the function, and drop whoever disagrees with it."""
    asked = list({seen.property.name: seen.property for seen in others}.values())
    kept = list(suspects)
    for one, other in combinations(suspects, 2):
        for property in asked:
            if one not in kept or other not in kept or time.monotonic() > until:
                break
            differing: list[Case] = []

            def differ(
                case: Case, one: _Suspect = one, other: _Suspect = other, property: Property = property, found: list[Case] = differing
            ) -> bool:
                if time.monotonic() > until or alike(contract, case, one.outcome(property, case), other.outcome(property, case)):
                    return False
                found.append(case)
                return True

            search(property.strategy(contract), differ, random=seed, examples=15, shrink=False)
            if differing:
                case = differing[-1]
                outcome = property.run(contract, function, case)
                agreeing = [suspect for suspect in kept if alike(contract, case, outcome, suspect.outcome(property, case))]
                kept = agreeing or kept
    return kept


def _failing_again(failure: Observation, others: list[Observation]) -> list[Observation]:
    """Return the other failing cases of the property that fails."""
    return [seen for seen in others if seen.failed and seen.property.name == failure.property.name and seen.case != failure.case]


def _more(
    function: Callable[..., Any], contract: Contract, failure: Observation, others: list[Observation], until: float, seed: Any
) -> list[Observation]:
    """Ask the function on more cases of the property that fails: one that fails on the first case drawn has been asked nothing else."""
    seen: list[Observation] = []
    if len(_failing_again(failure, others)) >= ENOUGH:
        return seen

    def ask(case: Case) -> bool:
        if time.monotonic() > until or (seen and seen[-1].outcome.crashed):
            return True
        outcome = failure.property.run(contract, function, case)
        seen.append(Observation(failure.property, case, outcome, bool(failure.property.complaint(contract, case, outcome))))
        return False

    search(failure.property.strategy(contract), ask, random=seed, examples=10, shrink=False)
    return [one for one in seen if not one.outcome.crashed]


def _one_number(contract: Contract, seen: list[Observation]) -> float | None:
    """Return the number that is all that the function ever returned; None if there are several, or too few cases to say so."""
    answered = [
        (one.outcome.value, contract.expected(one.case)) for one in seen if one.outcome.value is not None and one.outcome.value.size
    ]
    if len({float(expected.flat[0]) for _, expected in answered if expected.size}) < ENOUGH:
        return None
    numbers = {float(number) for value, _ in answered for number in (value.min(), value.max())}
    number = numbers.pop()
    return number if not numbers and np.isfinite(number) else None


def _remembering(function: Callable[..., Any], contract: Contract, failure: Observation) -> Diagnosis | None:
    """Recognise a function that keeps something between calls: right in the first call with new shapes, wrong in later ones.

    The shapes must be new ones, so that it and each mistake remember the same.
    """
    case = failure.case
    down, right = case.spec.stride
    fresh = replace(case, height=case.height + 24 * down, width=case.width + 18 * right, batch=max(1, case.batch), layout="C")
    other = replace(fresh, seed=fresh.seed + 1)
    repeated = replace(failure.property, judged="overwritten")

    def outcomes(function: Callable[..., Any], contract: Contract) -> tuple[Outcome, Outcome]:
        return contract.observe(function, fresh), repeated.run(contract, function, other)

    first, later = outcomes(function, contract)
    if repeated.complaint(contract, fresh, first) or not repeated.complaint(contract, other, later):
        return None
    note = "the first call with arrays of these shapes is right, a later one is wrong"
    for mistake in mistakes_of(contract.op, contract.style):
        if mistake.stateful:
            wrong = mistake.function(contract.op, contract.style)
            again = outcomes(wrong, read(wrong, contract.op, contract.style))[1]
            if alike(contract, other, later, again):
                return Diagnosis.of(mistake, (note,))
    return None


@np.errstate(all="ignore")
def _uncleared(function: Callable[..., Any], contract: Contract, failure: Observation) -> Diagnosis | None:
    """Recognise what was never written: it changes from call to call, or is far larger than anything that the arguments could add up to."""
    case, value = failure.case, failure.outcome.value
    fitting = [mistake for mistake in mistakes_of(contract.op, contract.style) if mistake.unstable]
    if value is None or len(fitting) != 1:
        return None
    most = float(np.abs(case.x).sum()) * float(np.abs(case.w).sum()) + (0 if case.bias is None else float(np.abs(case.bias).max()))
    again = [failure.property.run(contract, function, case) for _ in range(2)]
    if not all(alike(contract, case, failure.outcome, outcome) for outcome in again):
        note = "the same call gives different results"
    elif bool((np.isfinite(value) & (np.abs(value.astype(np.float64)) > 1e6 * most)).any()):
        note = "some numbers are far larger than any sum of these products"
    else:
        return None
    (named,) = fitting
    return Diagnosis.of(named, (note,))


@np.errstate(all="ignore")
def remarks(contract: Contract, failure: Observation) -> tuple[str, ...]:
    """Return what the numbers themselves say: shapes off by one, a constant factor, right only inside, ..."""
    case, got = failure.case, failure.outcome.value
    expected = contract.expected(case)
    if got is None:
        return ()
    axes = contract.rules.axes
    if got.shape != expected.shape:
        if got.ndim != expected.ndim:
            return (f"the result has {got.ndim} axes, it must have {expected.ndim}",)
        if not contract.operation.sums:
            return ("the shape is transposed",) if got.shape == expected.shape[::-1] else ()
        off = [
            f"the {axis} is {g}, it must be {e}"
            + (f" ({abs(g - e)} too {'many' if g > e else 'few'})" if axis in ("height", "width") else "")
            for axis, g, e in zip(axes, got.shape, expected.shape, strict=True)
            if g != e
        ]
        if sorted(got.shape) == sorted(expected.shape):
            off.append("the axes are right but in another order")
        return tuple(off)
    wrong = wrong_cells(contract, case, got)
    if not wrong.any() or not contract.operation.sums:
        return ()
    said = []
    g, e = got.astype(np.float64), expected
    largest = np.unravel_index(np.abs(e).argmax(), e.shape)
    factor, offset = float(g[largest] / e[largest]) if e[largest] else 0.0, float(g[largest] - e[largest])
    if not np.isfinite(g).all():
        said.append("some results are infinite or not a number")
    elif (g == 0).all():
        said.append("every number is 0")
    elif g.size > 1 and np.allclose(g, factor * e, rtol=1e-6, atol=1e-9):
        said.append(f"every number is {factor:.6g} times what it should be")
    elif g.size > 1 and np.allclose(g, e + offset, rtol=1e-6, atol=1e-9):
        said.append(f"every number is off by {offset:.6g}")
    for axis, name in enumerate(axes):
        lines = np.atleast_1d(wrong.any(axis=tuple(a for a in range(4) if a != axis)))
        if not lines.all():
            said.append(f"wrong only at {name} {', '.join(map(str, np.flatnonzero(lines)[:8]))} of 0 to {len(lines) - 1}")
    inside = _interior(contract, case)
    if inside.any() and not wrong[inside].any():
        said.append("right wherever the window lies on the picture, wrong where it reaches into the padding")
    return tuple(said)


def _interior(contract: Contract, case: Case) -> np.ndarray:
    """Return which results come from windows without padding, in the shape of the result."""
    g = case.geometry
    rows, columns = (
        np.array([axis.taps(i)[0] >= 0 and axis.taps(i)[-1] < axis.input for i in range(axis.output)]) for axis in (g.height, g.width)
    )
    inside = np.broadcast_to((rows[:, None] & columns)[None, :, :, None], (case.batch, *g.out_shape))
    return contract.image(inside)
