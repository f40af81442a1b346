"""What a check found, for a terminal, a notebook and other programs.

A `Report` is a value: it holds arrays and texts, no function, and goes through JSON and back without loss.
"""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from .contracts import Contract
from .diagnosis import Diagnosis, Observation
from .properties import wrong_cells
from .strategies import Case

MOST_PLANES = 6
"""How many planes (one channel of one image) of an array a report shows."""

MOST_NUMBERS = 10_000
"""The largest wrong result that a report keeps."""

MOST_LINES = 40
"""How many products of a window are written out."""


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
    """

    name: str
    title: str
    passed: bool | None
    weight: float
    cases: int
    message: str = ""


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
        """Whether all properties that were asked hold, and any was."""
        asked = [result.passed for result in self.properties if result.passed is not None]
        return bool(asked) and all(asked)

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
        plain |= {"passed": self.passed, "score": self.score, "properties": [asdict(result) for result in self.properties]}
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
        return "\n".join(_text(self))

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return _html(self)


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
    taps, lines = _sum(contract, case, cell) if cell is not None else ({}, ())
    call = f"{name}({', '.join(words)})"
    message = seen.property.complaint(contract, case, seen.outcome)
    if got is not None and got.size > MOST_NUMBERS:
        got = None  # far too large to be looked at; the message has its shape
    return Failure(seen.property.title, message, call, arrays, case.layout, expected, got, cell, taps, lines, diagnosis)


def _written(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{type(value).__name__}(...)"


def _sum(contract: Contract, case: Case, cell: tuple[int, ...]) -> tuple[dict[str, list[tuple[int, ...]]], tuple[str, ...]]:
    """Return which numbers make up a cell of the result, and the sum written out."""
    match contract.op:
        case "conv2d" | "depthwise" | "pointwise":
            return _products(contract, case, cell)
        case "im2col":
            return {}, _column(contract, case, cell)
        case "output_size":
            a = case.geometry.height
            return {}, (
                f"the window spans dilation * (kernel - 1) + 1 = {a.dilation} * ({a.kernel} - 1) + 1 = {a.extent}",
                f"the padded row has {a.before} + {a.input} + {a.after} = {a.padded}",
                f"floor(({a.padded} - {a.extent}) / {a.stride}) + 1 = {a.output}",
            )
        case "cost":
            g, (kh, kw, depth, outputs) = case.geometry, case.spec.weight_shape
            return {}, (
                f"params: {kh} * {kw} taps * {depth} channels per filter * {outputs} filters = {kh * kw * depth * outputs}",
                f"positions: {g.out_height} * {g.out_width} = {g.positions}",
                f"MACs: {kh * kw * depth * outputs} * {g.positions} = {kh * kw * depth * outputs * g.positions}",
            )
        case "relu6":
            x = case.activations[cell]
            return {"x": [cell]}, (f"min(max({_n(x)}, 0), 6) = {_n(min(max(x, 0), 6))}",)
        case _:
            o = cell[-1]
            s = {key: array[o] for key, array in case.statistics.items()}
            scale = s["gamma"] / math.sqrt(s["variance"] + case.eps)
            return {}, (
                f"output channel {o}: scale = gamma / sqrt(variance + eps)",
                f"  = {_n(s['gamma'])} / sqrt({_n(s['variance'])} + {case.eps:g}) = {_n(scale)}",
                f"each of its filter's numbers is multiplied by {_n(scale)}",
                f"its bias becomes beta + (bias - mean) * scale = {_n(s['beta'])} + (bias - {_n(s['mean'])}) * {_n(scale)}",
            )


def _products(contract: Contract, case: Case, cell: tuple[int, ...]) -> tuple[dict[str, list[tuple[int, ...]]], tuple[str, ...]]:
    g, first = case.geometry, contract.channels_first
    n, i, j, o = (cell[0], cell[2], cell[3], cell[1]) if first else cell
    kernel_height, kernel_width, depth, outputs = case.w.shape
    start = o // (outputs // case.spec.groups) * depth
    shown = contract.filters(case.w, case)
    read: list[tuple[int, ...]] = []
    used: list[tuple[int, ...]] = []
    lines, total = [], 0.0
    for u in range(kernel_height):
        for v in range(kernel_width):
            p, q = g.height.taps(i)[u], g.width.taps(j)[v]
            inside = 0 <= p < case.height and 0 <= q < case.width
            for c in range(depth):
                channel = start + c
                x = case.x[n, p, q, channel] if inside else 0.0
                w = case.w[u, v, c, o]
                at = (n, channel, p, q) if first else (n, p, q, channel)
                to = _filter_index(contract, shown, (u, v, c, o), channel)
                if inside:
                    read.append(at)
                used.append(to)
                total += float(x) * float(w)
                source = f"x{list(at)}" if inside else "padding"
                lines.append(f"{_n(x):>6} * {_n(w):>5} = {_n(x * w):>7}    {source} * w{list(to)}")
    if len(lines) > MOST_LINES:
        lines = [*lines[:MOST_LINES], f"... and {len(lines) - MOST_LINES} more products"]
    if case.bias is not None:
        total += float(case.bias[o])
        lines.append(f"{'+ bias':>14} = {_n(case.bias[o]):>7}    bias[{o}]")
    return {"x": read, "w": used}, (*lines, f"{'sum':>14} = {_n(total):>7}")


def _filter_index(contract: Contract, shown: np.ndarray, index: tuple[int, int, int, int], channel: int) -> tuple[int, ...]:
    """Return where (u, v, c, o) stands in the filters as the function got them."""
    u, v, c, o = index
    if contract.channels_first:
        return (o, c, u, v)
    if contract.form != "geometry" and contract.op == "pointwise":
        return (c, o)
    if contract.form != "geometry" and contract.op == "depthwise":
        return (u, v, channel) if shown.ndim == 3 else (u, v, channel, o % shown.shape[3])
    return (u, v, c, o)


def _column(contract: Contract, case: Case, cell: tuple[int, ...]) -> tuple[str, ...]:
    """Say which window and which tap a cell of the matrix belongs to, by numbering the windows of a picture of indices."""
    g = case.geometry
    lines = []
    if contract.style == "convlab":
        position, tap = cell
        n, place = divmod(position, g.positions)
        (u, v), c = divmod(tap // case.x.shape[3], case.spec.kernel[1]), tap % case.x.shape[3]
    else:
        kh, kw = case.spec.kernel
        if contract.style == "torch":
            n, tap, place = cell
        else:
            tap, position = cell
            place, n = divmod(position, case.batch)
        c, rest = divmod(tap, kh * kw)
        u, v = divmod(rest, kw)
    i, j = divmod(place, g.out_width)
    p, q = g.height.taps(i)[u], g.width.taps(j)[v]
    inside = 0 <= p < case.height and 0 <= q < case.width
    lines.append(f"cell {list(cell)} is image {n}, window ({i}, {j}), tap ({u}, {v}), channel {c}")
    lines.append(f"it reads row {p}, column {q}: " + (_n(case.x[n, p, q, c]) if inside else "padding, 0"))
    return tuple(lines)


# Text


def _n(value: Any) -> str:
    """Write a number shortly: whole ones without a point."""
    number = float(value)
    if number == int(number) if math.isfinite(number) else False:
        return str(int(number)) if abs(number) < 1e9 else f"{number:.6g}"
    return f"{number:.6g}"


def planes(name: str, array: np.ndarray, channels_first: bool) -> list[tuple[str, np.ndarray, list[tuple[int, ...]]]]:
    """Cut an array into planes to look at: (title, plane, index of each cell in the array, row by row)."""
    if array.ndim == 4:
        rows, columns = (2, 3) if channels_first else (0, 1) if name == "w" else (1, 2)
    elif array.ndim == 3:
        rows, columns = (0, 1) if name == "w" else (1, 2)
    elif array.ndim == 2:
        rows, columns = 0, 1
    else:
        flat = np.atleast_1d(array)[None]
        return [(name, flat, [tuple(index) for index in np.ndindex(array.shape)] if array.ndim else [()])]
    rest = [axis for axis in range(array.ndim) if axis not in (rows, columns)]
    found = []
    for fixed in np.ndindex(*(array.shape[axis] for axis in rest)):
        at: list[Any] = [slice(None)] * array.ndim
        for axis, index in zip(rest, fixed, strict=True):
            at[axis] = index
        title = f"{name}[{', '.join(':' if isinstance(part, slice) else str(part) for part in at)}]" if rest else name
        height, width = array.shape[rows], array.shape[columns]
        indices = []
        for i, j in np.ndindex(height, width):
            full = list(at)
            full[rows], full[columns] = i, j
            indices.append(tuple(full))
        found.append((title, array[tuple(at)], indices))
    return found


def _drawn(name: str, array: np.ndarray, marked: list[tuple[int, ...]], channels_first: bool) -> list[str]:
    """Draw an array plane by plane; marked numbers stand in brackets."""
    marks = set(marked)
    all_planes = planes(name, array, channels_first)
    # The planes with marks first: they are what the text speaks of.
    chosen = sorted(all_planes, key=lambda plane: not marks.intersection(plane[2]))[:MOST_PLANES]
    lines = []
    for title, plane, indices in chosen:
        if not plane.size:
            lines.append(f"  {title}: empty, shape {array.shape}")
            continue
        cells = [f"[{_n(value)}]" if index in marks else f" {_n(value)} " for value, index in zip(plane.ravel(), indices, strict=True)]
        width = max(map(len, cells))
        rows = [cells[start : start + plane.shape[1]] for start in range(0, len(cells), plane.shape[1])]
        lines.append(f"  {title}")
        lines += ["    " + "".join(cell.rjust(width) for cell in row) for row in rows[:12]]
        if len(rows) > 12:
            lines.append(f"    ... {len(rows) - 12} more rows")
    if len(all_planes) > len(chosen):
        lines.append(f"  ... {len(all_planes) - len(chosen)} more planes of {name} {array.shape}")
    return lines or [f"  {name}: empty, shape {array.shape}"]


def _text(report: Report) -> list[str]:
    asked = [result for result in report.properties if result.passed is not None]
    right = sum(bool(result.passed) for result in asked)
    verdict = "passed" if report.passed else "FAILED"
    counted = f"{right} of {len(asked)} properties, score {report.score:.0%}, seed {report.seed}"
    lines = [f"{report.name}: {report.op}, style {report.style}: {verdict}, {counted}", ""]
    width = max((len(result.title) for result in asked), default=0)
    for result in asked:
        told = result.message if result.message else f"{result.cases} cases"
        lines.append(f"  {'ok' if result.passed else 'WRONG':<6}{result.title:<{width}}  {told}")
    if report.not_exercised:
        lines += ["", "Not exercised:", *(line for note in report.not_exercised for line in _wrapped(note))]
    failure = report.failure
    if failure is None:
        return lines
    lines += ["", f"The smallest failing case ({failure.title}): {failure.message}", "", f"  {failure.call}", ""]
    if failure.layout != "C":
        lines += [f"  (the arrays are {LAYOUT_WORDS[failure.layout]})", ""]
    for name, array in failure.arrays.items():
        lines += _drawn(name, array, failure.taps.get(name, []), report.channels_first)
    cells = [failure.cell] if failure.cell is not None else []
    lines += ["", *_drawn("expected", failure.expected, cells, report.channels_first)]
    if failure.got is not None:
        same = failure.got.shape == failure.expected.shape
        lines += _drawn("got", failure.got, cells if same else [], report.channels_first)
    if failure.cell is not None and failure.arithmetic:
        where = f" at {list(failure.cell)}" if failure.cell else ""
        lines += ["", f"The first wrong number{where}:" if _same_shape(failure) else "How the first number comes about:"]
        lines += [f"  {line}" for line in failure.arithmetic]
        if _same_shape(failure) and failure.got is not None:
            lines.append(f"  {'got':>14} = {_n(failure.got[failure.cell]):>7}")
    return [*lines, *_diagnosis_text(failure.diagnosis)]


def _same_shape(failure: Failure) -> bool:
    return failure.got is not None and failure.got.shape == failure.expected.shape


LAYOUT_WORDS: Mapping[str, str] = {
    "C": "contiguous",
    "F": "in Fortran order",
    "reversed": "reversed views: their strides are negative",
    "sliced": "views of every second number of larger arrays",
    "read-only": "read-only",
}


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 100, initial_indent="  ", subsequent_indent="  ")


def _diagnosis_text(diagnosis: Diagnosis) -> list[str]:
    lines = []
    if diagnosis.notes:
        lines += ["", "What can be seen:", *(line for note in diagnosis.notes for line in _wrapped(note))]
    if diagnosis.name:
        lines += ["", f"Diagnosis: {diagnosis.name}", *_wrapped(diagnosis.explanation)]
    elif diagnosis.candidates:
        lines += [
            "",
            "Diagnosis: one of these; no case was found that tells them apart:",
            *(f"  - {name}" for name in diagnosis.candidates),
        ]
    else:
        lines += ["", "Diagnosis: no known mistake gives these numbers. Compare the sum above with what your function adds up."]
    if diagnosis.hint:
        lines += _wrapped(f"Hint: {diagnosis.hint}")
    if diagnosis.seen_in:
        lines += _wrapped(f"Seen in the wild: {diagnosis.seen_in}.")
    return lines


# HTML

_MARK = {"x": "#ffe08a", "w": "#ffe08a", "expected": "#bfe8bf", "got": "#f6b5b5"}


def _html_array(name: str, array: np.ndarray, marked: list[tuple[int, ...]], channels_first: bool) -> str:
    marks, blocks = set(marked), []
    all_planes = planes(name, array, channels_first)
    for title, plane, indices in sorted(all_planes, key=lambda found: not marks.intersection(found[2]))[:MOST_PLANES]:
        if not plane.size:
            continue
        cells = []
        for value, index in zip(plane.ravel(), indices, strict=True):
            colour = f";background:{_MARK.get(name, '#ffe08a')};color:#000" if index in marks else ""
            cells.append(f'<td style="border:1px solid #888;padding:2px 6px;text-align:right{colour}">{_n(value)}</td>')
        rows = [f"<tr>{''.join(cells[start : start + plane.shape[1]])}</tr>" for start in range(0, len(cells), plane.shape[1])]
        caption = f'<caption style="caption-side:top;text-align:left"><code>{html.escape(title)}</code></caption>'
        blocks.append(
            f'<table style="display:inline-table;margin:4px 12px 4px 0;border-collapse:collapse">{caption}{"".join(rows)}</table>'
        )
    if len(all_planes) > MOST_PLANES:
        blocks.append(f"<span>... {len(all_planes) - MOST_PLANES} more planes</span>")
    return f"<div>{''.join(blocks) or f'<code>{html.escape(name)}</code>: empty, shape {array.shape}'}</div>"


def _html(report: Report) -> str:
    rows = []
    for result in report.properties:
        if result.passed is None:
            continue  # its reason stands among those below the table
        mark = "ok" if result.passed else "wrong"
        told = result.message if result.message else f"{result.cases} cases"
        row = "".join(f'<td style="text-align:left">{html.escape(cell)}</td>' for cell in (mark, result.title, told))
        rows.append(f"<tr>{row}</tr>")
    verdict = "passed" if report.passed else "failed"
    head = f"<p><b>{html.escape(report.name)}</b> ({report.op}, style {report.style}): <b>{verdict}</b>, score {report.score:.0%}</p>"
    parts = [head, f"<table>{''.join(rows)}</table>"]
    if report.not_exercised:
        parts.append(f"<p>{'<br>'.join(html.escape(line) for line in ('Not exercised:', *report.not_exercised))}</p>")
    failure = report.failure
    if failure is not None:
        parts.append(f"<p>The smallest failing case ({html.escape(failure.title)}): {html.escape(failure.message)}<br>")
        parts.append(f"<code>{html.escape(failure.call)}</code></p>")
        parts += [_html_array(name, array, failure.taps.get(name, []), report.channels_first) for name, array in failure.arrays.items()]
        cells = [failure.cell] if failure.cell is not None else []
        parts.append(_html_array("expected", failure.expected, cells, report.channels_first))
        if failure.got is not None:
            parts.append(_html_array("got", failure.got, cells if _same_shape(failure) else [], report.channels_first))
        if failure.arithmetic:
            parts.append(f"<pre>{html.escape(chr(10).join(failure.arithmetic))}</pre>")
        parts.append(f'<pre style="white-space:pre-wrap">{html.escape(chr(10).join(_diagnosis_text(failure.diagnosis)))}</pre>')
    return f"<div>{''.join(parts)}</div>"
