"""What a check found, as values: a `Report` holds arrays and texts, no function, and goes through JSON and back without loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np

from . import html, text
from .contracts import Contract
from .diagnosis import Diagnosis, Observation
from .properties import wrong_cells

MOST_NUMBERS = 10_000
"""The largest wrong result that a report keeps."""


@dataclass(frozen=True)
class PropertyResult:
    """How one property fared.

    Attributes
    ----------
    name, title : str
    passed : bool or None
        None if it was not asked; the message says why.
    weight : float
        Share in the score, relative to the others that were asked.
    cases : int
        How many were run.
    message : str
        What was wrong, or why it was not asked; "" if it passed.
    kind : {"verdict", "limit", "advice"}
        Whether it counts; a limit is what the function does not take, and advice is about its form: neither is passed or failed.
    """

    name: str
    title: str
    passed: bool | None
    weight: float
    cases: int
    message: str = ""
    kind: Literal["verdict", "limit", "advice"] = "verdict"


@dataclass(frozen=True, eq=False)  # arrays have no single answer to ==
class Failure:
    """The smallest failing case.

    Attributes
    ----------
    title, message : str
        Of the property that fails, and what is wrong.
    call : str
        The call, as it would be typed.
    arrays : mapping of str to ndarray
        The arguments that are arrays, as they were given.
    layout : str
        How they lay in memory.
    expected : ndarray
    got : ndarray or None
        None if the function raised an error; then `message` has it.
    cell : tuple of int or None
        Index of the first wrong number, in `expected`.
    taps : mapping of str to list of tuple of int
        Which numbers of each array the cell's window reads.
    arithmetic : tuple of str
        How the cell's right value comes about, line by line.
    diagnosis : Diagnosis
    """

    title: str
    message: str
    call: str
    arrays: Mapping[str, np.ndarray]
    layout: str
    expected: np.ndarray
    got: np.ndarray | None
    cell: tuple[int, ...] | None
    taps: Mapping[str, list[tuple[int, ...]]]
    arithmetic: tuple[str, ...]
    diagnosis: Diagnosis

    @property
    def same_shape(self) -> bool:
        """Whether what came back has the right shape."""
        return self.got is not None and self.got.shape == self.expected.shape

    @property
    def numbers(self) -> int:
        """How many numbers the arguments hold together."""
        return sum(array.size for name, array in self.arrays.items() if name in ("x", "w"))


@dataclass(frozen=True, repr=False)
class Report:
    """What a check found; prints as text, shows as HTML in a notebook, the same ones in each run.

    Attributes
    ----------
    name, op, style : str
    seed : int
    properties : tuple of PropertyResult
    failure : Failure or None
    exercised, not_exercised : tuple of str
        Notes on what the function's parameters allowed to ask.
    seconds : float
        How long it took: for programs, since it differs from run to run.
    channels_first : bool
        Whether the arrays are NCHW.
    """

    name: str
    op: str
    style: str
    seed: int
    properties: tuple[PropertyResult, ...]
    failure: Failure | None = None
    exercised: tuple[str, ...] = ()
    not_exercised: tuple[str, ...] = ()
    seconds: float = 0.0
    channels_first: bool = False

    @property
    def passed(self) -> bool:
        """Whether it is a convolution on all that it takes: all properties that were asked hold, and any was."""
        asked = [result.passed for result in self.properties if result.passed is not None]
        return bool(asked) and all(asked)

    @property
    def limits(self) -> tuple[str, ...]:
        """What the function does not take, as found by trying, a line each."""
        return tuple(f"{result.title}: {result.message}" for result in self.properties if result.kind == "limit")

    @property
    def advice(self) -> tuple[str, ...]:
        """What is bad form without being wrong, a line each."""
        return tuple(f"{result.title}: {result.message}" for result in self.properties if result.kind == "advice")

    @property
    def score(self) -> float:
        """Weight of the properties that hold over that of those that were asked, 0 to 1."""
        asked = [result for result in self.properties if result.passed is not None]
        total = sum(result.weight for result in asked)
        return sum(result.weight for result in asked if result.passed) / total if total else float(self.passed)

    def raise_for_failure(self) -> None:
        """Raise an AssertionError with the report's text unless the function passed: for use in tests."""
        if not self.passed:
            raise AssertionError(str(self))

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values that JSON can hold; `from_dict` reads it back."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("properties", "failure")}
        plain["exercised"], plain["not_exercised"] = list(self.exercised), list(self.not_exercised)
        plain |= {"passed": self.passed, "score": self.score, "limits": list(self.limits), "advice": list(self.advice)}
        plain |= {"properties": [asdict(result) for result in self.properties]}
        return plain | {"failure": None if self.failure is None else _failure_to_dict(self.failure)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Report:
        """Return the report that `to_dict` wrote."""
        values = {f.name: plain[f.name] for f in fields(cls)}
        values["properties"] = tuple(PropertyResult(**result) for result in plain["properties"])
        values["exercised"], values["not_exercised"] = tuple(plain["exercised"]), tuple(plain["not_exercised"])
        values["failure"] = None if plain["failure"] is None else _failure_from_dict(plain["failure"])
        return cls(**values)

    def __str__(self) -> str:
        return text.page(self)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return html.page(self)


# JSON


def _array_to_dict(array: np.ndarray | None) -> dict[str, Any] | None:
    """Return dtype, shape and numbers; what JSON's floats cannot hold (infinity, NaN, most of longdouble's) is written as text."""
    if array is None:
        return None
    with np.errstate(over="ignore"):
        plain = array.astype(np.float64) if array.dtype.kind == "f" else array
    fits = np.isfinite(plain) & (plain == array)
    numbers = [n if fit else str(own) for n, fit, own in zip(plain.ravel().tolist(), fits.flat, array.flat, strict=True)]
    return {"dtype": array.dtype.name, "shape": list(array.shape), "numbers": numbers}


def _array_from_dict(plain: Mapping[str, Any] | None) -> np.ndarray | None:
    if plain is None:
        return None
    dtype = np.dtype(plain["dtype"])
    return np.array([dtype.type(n) for n in plain["numbers"]], dtype).reshape(plain["shape"])


def _failure_to_dict(failure: Failure) -> dict[str, Any]:
    plain = {name: getattr(failure, name) for name in ("title", "message", "call", "layout")}
    return plain | {
        "arrays": {name: _array_to_dict(array) for name, array in failure.arrays.items()},
        "expected": _array_to_dict(failure.expected),
        "got": _array_to_dict(failure.got),
        "cell": None if failure.cell is None else list(failure.cell),
        "taps": {name: [list(index) for index in indices] for name, indices in failure.taps.items()},
        "arithmetic": list(failure.arithmetic),
        "diagnosis": {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(failure.diagnosis).items()},
    }


def _failure_from_dict(plain: Mapping[str, Any]) -> Failure:
    diagnosis: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in plain["diagnosis"].items()}
    expected = _array_from_dict(plain["expected"])
    assert expected is not None, "a failure has an expected array"
    return Failure(
        **{name: plain[name] for name in ("title", "message", "call", "layout")},
        arrays={name: array for name, value in plain["arrays"].items() if (array := _array_from_dict(value)) is not None},
        expected=expected,
        got=_array_from_dict(plain["got"]),
        cell=None if plain["cell"] is None else tuple(plain["cell"]),
        taps={name: [tuple(index) for index in indices] for name, indices in plain["taps"].items()},
        arithmetic=tuple(plain["arithmetic"]),
        diagnosis=Diagnosis(**diagnosis),
    )


# From an observation to a failure


def explain(contract: Contract, name: str, seen: Observation, diagnosis: Diagnosis) -> Failure:
    """Return a failing case with its call, its first wrong number and how that comes about."""
    case, got = seen.case, seen.outcome.value
    positional, keywords = contract.arguments(case)
    named = contract.argument_names(positional, keywords)
    arrays = {key: np.array(value) for key, value in named.items() if isinstance(value, np.ndarray)}
    words = [key if isinstance(value, np.ndarray) else _written(value) for key, value in named.items() if key not in keywords]
    words += [f"{key}={key if isinstance(value, np.ndarray) else _written(value)}" for key, value in keywords.items()]
    expected = contract.expected(case)
    cell = None
    if got is None or got.shape != expected.shape:
        cell = (0,) * expected.ndim if expected.size and not seen.outcome.error else None
    else:
        wrong = np.argwhere(wrong_cells(contract, case, got))
        cell = tuple(map(int, wrong[0])) if len(wrong) else None
    taps, lines = contract.operation.explanation(contract, case, cell) if cell is not None else ({}, ())
    call = f"{name}({', '.join(words)})"
    message = seen.property.complaint(contract, case, seen.outcome)
    if got is not None and got.size > MOST_NUMBERS:
        got = None  # far too large to be looked at; the message has its shape
    return Failure(seen.property.title, message, call, arrays, case.layout, expected, got, cell, taps, lines, diagnosis)


def _written(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{type(value).__name__}(...)"
