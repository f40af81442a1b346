"""The bank of mistakes: each is caught in every operation and style it applies to, shown on a small case and called by its name.

By default each mistake is tried in one of its operations and styles; with the variable CI in all of them.
"""

import os
from dataclasses import dataclass

import numpy as np
import pytest

from convlab.checker import MISTAKES, OPS, SIGNATURES, STYLES, Mistake, Report, check, mistakes_of
from convlab.checker.domain import read
from convlab.checker.operations import WITHOUT_LAYOUT

MOST_NUMBERS = 40
LEAST_NAMED = 0.9

PAIRS = {mistake.name: [pair for pair in SIGNATURES if mistake.applies(*pair)] for mistake in MISTAKES}


@dataclass(frozen=True)
class Trial:
    mistake: Mistake
    op: str
    style: str
    report: Report

    @property
    def called(self):
        diagnosis = self.report.failure.diagnosis
        return diagnosis.name or " or ".join(diagnosis.candidates) or "no name"

    def __str__(self):
        return f"{self.op}, {self.style}: {self.mistake.name!r}"


@pytest.fixture(scope="module")
def trials():
    """Check each mistake: in all of its operations and styles, or in one: the first for the first, the second for the second, ..."""
    done = []
    for number, mistake in enumerate(MISTAKES):
        pairs = PAIRS[mistake.name]
        for op, style in pairs if os.environ.get("CI") else [pairs[number % len(pairs)]]:
            done.append(Trial(mistake, op, style, check(mistake.function(op, style), op=op, style=style, strict=True)))
    return done


def test_every_mistake_is_caught(trials):
    assert [str(trial) for trial in trials if trial.report.passed] == []
    assert {trial.mistake.name for trial in trials} == {mistake.name for mistake in MISTAKES}


def test_mistakes_that_one_image_shows_are_shown_on_a_small_one(trials):
    large = {str(trial): trial.report.failure.numbers for trial in trials if trial.mistake.one_image}
    assert {name: numbers for name, numbers in large.items() if numbers > MOST_NUMBERS} == {}


def test_mistakes_are_called_by_their_names(trials, capsys):
    """By their own, in 90 of 100 cases at least; and never by another one's."""
    confused = [trial for trial in trials if trial.called != trial.mistake.name]
    with capsys.disabled():
        print(f"\n{len(trials) - len(confused)} of {len(trials)} mistakes are called by their names")
        for trial in confused:
            print(f"  {trial} is called {trial.called!r}")
    assert len(confused) <= (1 - LEAST_NAMED) * len(trials)
    assert [str(trial) for trial in confused if trial.report.failure.diagnosis.name] == []


def test_a_wrong_function_is_judged_and_diagnosed_in_time(trials):
    slow = {str(trial): trial.report.seconds for trial in trials if trial.report.seconds > 10}
    assert slow == {}


def test_there_are_enough_mistakes_for_a_convolution():
    for style in STYLES:
        assert len(mistakes_of("conv2d", style)) >= 30


def test_names_are_unique_and_texts_are_there():
    assert len({mistake.name for mistake in MISTAKES}) == len(MISTAKES)
    for mistake in MISTAKES:
        assert mistake.explanation.endswith((".", "?")), mistake.name
        assert mistake.hint.endswith(("?", ".")), mistake.name
        assert not mistake.seen_in.endswith("."), mistake.name  # the report ends the sentence
        assert mistake.name not in mistake.hint, f"the hint gives away: {mistake.name}"
        assert mistake.ops, mistake.name
        assert set(mistake.ops) <= set(OPS), mistake.name
        assert set(mistake.styles) <= set(STYLES), mistake.name


@pytest.mark.parametrize(("op", "style"), SIGNATURES)
def test_every_operation_and_style_has_mistakes(op, style):
    found = mistakes_of(op, style)
    assert len(found) >= 8
    for mistake in found:
        contract = read(mistake.function(op, style), op, style)
        assert (contract.op, contract.style) == (op, style)


def test_mistakes_without_a_layout_are_the_same_in_every_style():
    for op in WITHOUT_LAYOUT:
        assert mistakes_of(op, "torch") == mistakes_of(op, "convlab") == mistakes_of(op, "cs231n")


def test_a_stateful_mistake_is_fresh_each_time_it_is_dressed():
    adds = next(mistake for mistake in MISTAKES if mistake.name == "adds to the last call")
    x, w = np.ones((1, 1, 1, 1)), np.ones((1, 1, 1, 1))
    first, second = adds.function("conv2d", "convlab"), adds.function("conv2d", "convlab")
    assert [first(x, w).item(), first(x, w).item(), second(x, w).item()] == [1, 2, 1]
