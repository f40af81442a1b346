"""A report as HTML, for a notebook."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from .contracts import written
from .text import MOST_PLANES, diagnosed, planes

if TYPE_CHECKING:
    from .report import Report

_MARK = {"x": "#ffe08a", "w": "#ffe08a", "expected": "#bfe8bf", "got": "#f6b5b5"}


def _array(name: str, array: np.ndarray, marked: list[tuple[int, ...]], channels_first: bool) -> str:
    marks, blocks = set(marked), []
    all_planes = planes(name, array, channels_first)
    for title, plane, indices in sorted(all_planes, key=lambda found: not marks.intersection(found[2]))[:MOST_PLANES]:
        if not plane.size:
            continue
        cells = []
        for value, index in zip(plane.ravel(), indices, strict=True):
            colour = f";background:{_MARK.get(name, '#ffe08a')};color:#000" if index in marks else ""
            cells.append(f'<td style="border:1px solid #888;padding:2px 6px;text-align:right{colour}">{written(value)}</td>')
        rows = [f"<tr>{''.join(cells[start : start + plane.shape[1]])}</tr>" for start in range(0, len(cells), plane.shape[1])]
        caption = f'<caption style="caption-side:top;text-align:left"><code>{escape(title)}</code></caption>'
        blocks.append(
            f'<table style="display:inline-table;margin:4px 12px 4px 0;border-collapse:collapse">{caption}{"".join(rows)}</table>'
        )
    if len(all_planes) > MOST_PLANES:
        blocks.append(f"<span>... {len(all_planes) - MOST_PLANES} more planes</span>")
    return f"<div>{''.join(blocks) or f'<code>{escape(name)}</code>: empty, shape {array.shape}'}</div>"


def page(report: Report) -> str:
    """Return a report as a piece of HTML."""
    rows = []
    for result in report.properties:
        if result.passed is None:
            continue  # its reason stands among those below the table
        mark = "ok" if result.passed else "wrong"
        told = result.message if result.message else f"{result.cases} cases"
        row = "".join(f'<td style="text-align:left">{escape(cell)}</td>' for cell in (mark, result.title, told))
        rows.append(f"<tr>{row}</tr>")
    verdict = "passed" if report.passed else "failed"
    head = f"<p><b>{escape(report.name)}</b> ({report.op}, style {report.style}): <b>{verdict}</b>, score {report.score:.0%}</p>"
    parts = [head, f"<table>{''.join(rows)}</table>"]
    for heading, notes in (("Advice, which does not count:", report.advice), ("Limits, which do not count:", report.limits)):
        if notes:
            parts.append(f"<p>{'<br>'.join(escape(line) for line in (heading, *notes))}</p>")
    if report.not_exercised:
        parts.append(f"<p>{'<br>'.join(escape(line) for line in ('Not exercised:', *report.not_exercised))}</p>")
    failure = report.failure
    if failure is not None:
        parts.append(f"<p>The smallest failing case ({escape(failure.title)}): {escape(failure.message)}<br>")
        parts.append(f"<code>{escape(failure.call)}</code></p>")
        parts += [_array(name, array, failure.taps.get(name, []), report.channels_first) for name, array in failure.arrays.items()]
        cells = [failure.cell] if failure.cell is not None else []
        parts.append(_array("expected", failure.expected, cells, report.channels_first))
        if failure.got is not None:
            parts.append(_array("got", failure.got, cells if failure.same_shape else [], report.channels_first))
        if failure.arithmetic:
            parts.append(f"<pre>{escape(chr(10).join(failure.arithmetic))}</pre>")
        parts.append(f'<pre style="white-space:pre-wrap">{escape(chr(10).join(diagnosed(failure.diagnosis)))}</pre>')
    return f"<div>{''.join(parts)}</div>"
