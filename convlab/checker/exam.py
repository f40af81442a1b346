"""One function on its way through the properties."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Literal

from .contracts import Contract
from .diagnosis import Diagnosis, Observation, diagnose
from .properties import Judged, Property
from .report import PropertyResult
from .search import search
from .strategies import Case

KEPT = 4
"""How many cases of each property are kept for the diagnosis."""

ALWAYS: tuple[Judged, ...] = ("changed", "aliases", "dtype")
"""What is looked at in every case, whatever its property looks at."""

SHRINKING, DIAGNOSING = 4.0, 3.0
"""Most seconds for making the failing case smaller, and for naming the mistake."""


@dataclass
class Exam:
    """One function on its way through the properties."""

    function: Callable[..., Any]
    contract: Contract
    seed: int
    until: float
    strict: bool = False
    kept: list[Observation] = field(default_factory=list)
    failures: dict[str, Observation] = field(default_factory=dict)
    passed: set[str] = field(default_factory=set)
    noted: dict[str, Observation] = field(default_factory=dict)
    advised: dict[str, Observation] = field(default_factory=dict)
    crash: str = ""

    def results(self, asked: list[Property]) -> tuple[PropertyResult, ...]:
        """Ask all properties. What must hold in every case (see `ALWAYS`) is looked at in those of the others, too."""
        found = {property.name: self.ask(property.after(self.contract, self.passed)) for property in asked}
        for property in asked:
            seen = self.noted.get(property.judged)
            if seen is not None and found[property.name].passed:
                found[property.name] = self.ask(property.on_the_cases_of(seen.property), seen)
            seen = self.advised.get(property.judged)
            if seen is not None and found[property.name].passed:
                found[property.name] = self.advice(replace(seen, property=property), found[property.name].cases)
        self.failures = {property.name: self.failures[property.name] for property in asked if property.name in self.failures}
        return tuple(found.values())

    def ask(self, property: Property, noted: Observation | None = None) -> PropertyResult:
        """Run a property's cases until one fails; only the first property that fails has its case made smaller.

        With a case of another property that was noted for this one, the other's cases are drawn once more: one of them fails.
        """

        def result(passed: bool | None, cases: int, message: str = "") -> PropertyResult:
            return PropertyResult(property.name, property.title, passed, property.weight, cases, message)

        missing = property.missing(self.contract)
        if missing:
            return result(None, 0, missing)
        if self.crash and noted is None:
            return result(False, 0, f"not reached: {self.crash}")
        if time.monotonic() > self.until and noted is None:
            return result(False, 0, "not reached: the time is up")
        seen: list[Observation] = []
        failed: list[Observation] = [] if noted is None else [replace(noted, property=property, failed=True)]
        advised: list[Observation] = []
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
            for judged in ALWAYS if not outcome.error else ():
                as_judged = replace(property, judged=judged)
                if as_judged.complaint(self.contract, case, outcome):
                    kept = self.noted if self.strict or not as_judged.advised(case, outcome) else self.advised
                    kept.setdefault(judged, observation)
            if wrong and not self.strict and property.advised(case, outcome) and not (property.refused(outcome) and self.raises(case)):
                advised.append(observation)
                return False
            if wrong and not failed:
                until = min(until, time.monotonic() + SHRINKING)
            if wrong:
                failed.append(observation)
            if outcome.crashed:
                self.crash = outcome.error
            return wrong

        random = Random(f"{self.seed} {property.name if noted is None else noted.property.name}")
        search(property.strategy(self.contract), fails, random=random, examples=property.examples, shrink=not self.failures)
        smallest = min(reversed(failed), key=lambda observation: observation.case.numbers, default=None)
        self.kept += [*seen[:KEPT], *(observation for observation in failed[:1] if observation not in seen[:KEPT])]
        if smallest is not None:
            self.failures[property.name] = smallest
            return result(False, len(seen), smallest.property.complaint(self.contract, smallest.case, smallest.outcome))
        if unfinished or not seen:
            return result(False, len(seen), f"not reached: {unfinished or 'no case was answered'}")
        if advised:
            return self.advice(advised[0], len(seen))
        self.passed.add(property.name)
        return result(True, len(seen))

    def raises(self, case: Case) -> bool:
        """Return whether the function raises on a case however its arguments lie in memory."""
        return bool(self.contract.observe(self.function, replace(case, layout="C")).error)

    def advice(self, seen: Observation, cases: int) -> PropertyResult:
        """Return a property that holds on all that the function takes, but for what it does not take, or for its form."""
        property = seen.property
        said = property.complaint(self.contract, seen.case, seen.outcome)
        kind: Literal["limit", "advice"] = "limit" if property.refused(seen.outcome) else "advice"
        return PropertyResult(property.name, property.title, None, property.weight, cases, said, kind)

    def smallest(self) -> Observation | None:
        """Return the case to show: of the first property that fails."""
        return next(iter(self.failures.values()), None)

    def diagnosis(self, failure: Observation) -> Diagnosis:
        """Name the mistake."""
        others = [observation for observation in (*self.failures.values(), *self.kept) if observation is not failure]
        random = Random(f"{self.seed} diagnosis")
        return diagnose(self.function, self.contract, failure, others, time.monotonic() + DIAGNOSING, random)
