"""A report as text, for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .contracts import written
from .diagnosis import Diagnosis

if TYPE_CHECKING:
    from .report import Report

MOST_PLANES = 6
"""How many planes (one channel of one image) of an array a report shows."""


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
        cells = [
            f"[{written(value)}]" if index in marks else f" {written(value)} " for value, index in zip(plane.ravel(), indices, strict=True)
        ]
        width = max(map(len, cells))
        rows = [cells[start : start + plane.shape[1]] for start in range(0, len(cells), plane.shape[1])]
        lines.append(f"  {title}")
        lines += ["    " + "".join(cell.rjust(width) for cell in row) for row in rows[:12]]
        if len(rows) > 12:
            lines.append(f"    ... {len(rows) - 12} more rows")
    if len(all_planes) > len(chosen):
        lines.append(f"  ... {len(all_planes) - len(chosen)} more planes of {name} {array.shape}")
    return lines or [f"  {name}: empty, shape {array.shape}"]


def page(report: Report) -> str:
    """Return a report as text."""
    asked = [result for result in report.properties if result.passed is not None]
    right = sum(bool(result.passed) for result in asked)
    verdict = "passed" if report.passed else "FAILED"
    counted = f"{right} of {len(asked)} properties, score {report.score:.0%}, seed {report.seed}"
    lines = [f"{report.name}: {report.op}, style {report.style}: {verdict}, {counted}", ""]
    width = max((len(result.title) for result in asked), default=0)
    for result in asked:
        told = result.message if result.message else f"{result.cases} cases"
        lines.append(f"  {'ok' if result.passed else 'WRONG':<6}{result.title:<{width}}  {told}")
    for head, notes in (("Advice, which does not count:", report.advice), ("Limits, which do not count:", report.limits)):
        if notes:
            lines += ["", head, *(line for note in notes for line in _wrapped(note))]
    if report.not_exercised:
        lines += ["", "Not exercised:", *(line for note in report.not_exercised for line in _wrapped(note))]
    failure = report.failure
    if failure is None:
        return "\n".join(lines)
    lines += ["", f"The smallest failing case ({failure.title}): {failure.message}", "", f"  {failure.call}", ""]
    if failure.layout != "C":
        lines += [f"  (the arrays are {LAYOUT_WORDS[failure.layout]})", ""]
    for name, array in failure.arrays.items():
        lines += _drawn(name, array, failure.taps.get(name, []), report.channels_first)
    cells = [failure.cell] if failure.cell is not None else []
    lines += ["", *_drawn("expected", failure.expected, cells, report.channels_first)]
    if failure.got is not None:
        lines += _drawn("got", failure.got, cells if failure.same_shape else [], report.channels_first)
    if failure.cell is not None and failure.arithmetic:
        where = f" at {list(failure.cell)}" if failure.cell else ""
        lines += ["", f"The first wrong number{where}:" if failure.same_shape else "How the first number comes about:"]
        lines += [f"  {line}" for line in failure.arithmetic]
        if failure.got is not None and failure.same_shape:
            lines.append(f"  {'got':>14} = {written(failure.got[failure.cell]):>7}")
    return "\n".join([*lines, *diagnosed(failure.diagnosis)])


LAYOUT_WORDS: Mapping[str, str] = {
    "C": "contiguous",
    "F": "in Fortran order",
    "reversed": "reversed views: their strides are negative",
    "sliced": "views of every second number of larger arrays",
    "read-only": "read-only",
}


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 100, initial_indent="  ", subsequent_indent="  ")


def diagnosed(diagnosis: Diagnosis) -> list[str]:
    """Return a diagnosis as lines of text."""
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
