"""A report as graders read it: Gradescope's `results.json`, JUnit XML, a row of a table.

Gradescope's format is described at https://gradescope-autograders.readthedocs.io/en/latest/specs/.
"""

from __future__ import annotations

import csv
import io
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import Any

from .report import Report

VISIBILITIES = ("visible", "hidden", "after_due_date", "after_published")

NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold, not even escaped; a function's message may hold any."""


def gradescope(report: Report, points: float = 100.0, visibility: str = "visible") -> dict[str, Any]:
    """Return the content of Gradescope's `results.json`: one test per property that was exercised.

    Parameters
    ----------
    report : Report
    points : float
        What a right function gets; the properties share them by their weights.
    visibility : {"visible", "hidden", "after_due_date", "after_published"}
        When students see the tests and the report.

    Raises
    ------
    ValueError
        If the points are not above 0, or there is no such visibility.

    Examples
    --------
    >>> import convlab as cl
    >>> results = gradescope(cl.check(lambda x: x.clip(0, 6), op="relu6"), points=20)
    >>> results["score"], round(sum(test["max_score"] for test in results["tests"]), 4)
    (20.0, 20.0)
    """
    check_options(points, visibility)
    exercised = [result for result in report.properties if result.passed is not None]
    total = sum(result.weight for result in exercised)
    # Shares as differences of rounded sums, so that they add up to the points.
    sums = [0.0]
    for result in exercised:
        sums.append(sums[-1] + result.weight)
    marks = [round(points * part / total, 4) if total else 0.0 for part in sums]
    tests: list[dict[str, Any]] = []
    for number, result in enumerate(exercised, 1):
        share = round(marks[number] - marks[number - 1], 4)
        tests.append(
            {
                "name": result.title,
                "number": str(number),
                "score": share if result.passed else 0.0,
                "max_score": share,
                "status": "passed" if result.passed else "failed",
                "output": result.message,
                "output_format": "text",
                "visibility": visibility,
                "extra_data": {"property": result.name, "cases": result.cases},
            }
        )
    return {
        "score": round(sum((test["score"] for test in tests), 0.0), 4),
        "execution_time": max(0, math.ceil(report.seconds)),
        "output": str(report),
        "output_format": "text",
        "test_output_format": "text",
        "visibility": visibility,
        "stdout_visibility": "hidden",  # the grader's own output; what the function printed stands in the report
        "tests": tests,
    }


def check_options(points: float, visibility: str) -> None:
    """Refuse what `gradescope` would refuse, before the work is done.

    Raises
    ------
    ValueError
        If the points are not above 0, or there is no such visibility.
    """
    if not 0 < points < math.inf:
        raise ValueError(f"points must be above 0: points={points}")
    if visibility not in VISIBILITIES:
        raise ValueError(f"visibility must be one of {', '.join(VISIBILITIES)}: visibility={visibility!r}")


def junit(reports: Sequence[Report]) -> str:
    """Return reports as JUnit XML, a test suite each: what GitLab, Jenkins and others show.

    Examples
    --------
    >>> import convlab as cl
    >>> junit([cl.check(lambda x: x.clip(0, 6), op="relu6")]).splitlines()[0]
    '<?xml version="1.0" encoding="UTF-8"?>'
    """
    suites = ET.Element("testsuites")
    totals = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    for report in reports:
        failed = [result for result in report.properties if result.passed is False]
        skipped = [result for result in report.properties if result.passed is None]
        counts = {"tests": len(report.properties), "failures": len(failed), "errors": 0, "skipped": len(skipped)}
        totals = {name: totals[name] + count for name, count in counts.items()}
        counted = {name: str(count) for name, count in counts.items()}
        suite = ET.SubElement(suites, "testsuite", {"name": _xml(report.name), "time": f"{report.seconds:.3f}", **counted})
        for result in report.properties:
            case = ET.SubElement(suite, "testcase", classname=_xml(f"{report.name}.{report.op}"), name=_xml(result.title))
            if result.passed is None:
                ET.SubElement(case, "skipped", message=_xml(result.message))
            elif not result.passed:
                failure = ET.SubElement(case, "failure", message=_xml(result.message), type="AssertionError")
                failure.text = _xml(str(report)) if result is failed[0] else _xml(result.message)
    suites.attrib.update({name: str(count) for name, count in totals.items()}, time=f"{sum(report.seconds for report in reports):.3f}")
    ET.indent(suites)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(suites, encoding="unicode")}\n'


def _xml(text: str) -> str:
    return NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows of one shape as CSV (RFC 4180) with a head.

    Examples
    --------
    >>> to_csv([{"file": "a.py", "message": "=1+1"}]).splitlines()
    ['file,message', "a.py,'=1+1"]
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [])
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _cell(value) for key, value in row.items()})
    return text.getvalue()


def _cell(value: Any) -> Any:
    """Keep a student's text from being run as a formula where the table is opened: an apostrophe makes it text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
