"""Reports as graders read them: Gradescope's schema as it is documented, JUnit XML, CSV, files written in one step."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convlab.checker import PropertyResult, Report, check, grading

# https://gradescope-autograders.readthedocs.io/en/latest/specs/, by hand: field -> type.
RESULTS = {
    "score": float,
    "execution_time": int,
    "output": str,
    "output_format": str,
    "test_output_format": str,
    "test_name_format": str,
    "visibility": str,
    "stdout_visibility": str,
    "extra_data": dict,
    "tests": list,
    "leaderboard": list,
}
TEST = {
    "score": float,
    "max_score": float,
    "status": str,
    "name": str,
    "name_format": str,
    "number": str,
    "output": str,
    "output_format": str,
    "tags": list,
    "visibility": str,
    "extra_data": dict,
}
VISIBLE = {"hidden", "after_due_date", "after_published", "visible"}
FORMATS = {"text", "html", "simple_format", "md", "ansi"}

results = st.builds(
    PropertyResult,
    st.text(min_size=1),
    st.text(min_size=1),
    st.none() | st.booleans(),
    st.just(1.0) | st.floats(0, 100),
    st.integers(0, 99),
    st.text(),
)
reports = st.builds(
    Report,
    name=st.text(),
    op=st.just("conv2d"),
    style=st.just("convlab"),
    seed=st.just(0),
    properties=st.lists(results, max_size=6).map(tuple),
    seconds=st.floats(0, 100),
)


def assert_follows_the_schema(content):
    assert set(content) <= set(RESULTS)
    assert "tests" in content or "score" in content
    for name, value in content.items():
        assert isinstance(value, RESULTS[name]), name
    assert {content["visibility"], content["stdout_visibility"]} <= VISIBLE
    assert {content["output_format"], content["test_output_format"]} <= FORMATS
    for test in content["tests"]:
        assert set(test) <= set(TEST)
        for name, value in test.items():
            assert isinstance(value, TEST[name]), name
        assert test["status"] in ("passed", "failed")
        assert test["visibility"] in VISIBLE
        assert test["output_format"] in FORMATS
        assert 0 <= test["score"] <= test["max_score"]


@given(reports, st.floats(0.01, 1000))
def test_gradescope_follows_its_schema_and_the_shares_add_up(report, points):
    content = json.loads(json.dumps(grading.gradescope(report, points), allow_nan=False))
    assert_follows_the_schema(content)
    asked = [result for result in report.properties if result.passed is not None]
    assert [test["name"] for test in content["tests"]] == [result.title for result in asked]
    assert [test["status"] == "passed" for test in content["tests"]] == [result.passed for result in asked]
    # Each mark is rounded to 4 digits once: the differences are off by 0.0001 at most.
    assert content["score"] == pytest.approx(sum(test["score"] for test in content["tests"]), abs=1e-4)
    if sum(result.weight for result in asked) > 0:
        assert content["score"] == pytest.approx(points * report.score, abs=1e-4 * (1 + len(asked)))
        assert sum(test["max_score"] for test in content["tests"]) == pytest.approx(points, abs=1e-4)


def test_gradescope_of_a_wrong_function():
    report = check(lambda x: np.maximum(x, 0), op="relu6", name="half")
    content = grading.gradescope(report, points=10, visibility="after_due_date")
    assert_follows_the_schema(content)
    assert 0 < content["score"] < 10
    assert content["visibility"] == "after_due_date"
    assert content["output"] == str(report)
    failed = next(test for test in content["tests"] if test["status"] == "failed")
    assert failed["score"] == 0
    assert failed["output"]
    assert failed["extra_data"]["property"] in {result.name for result in report.properties}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points": 0}, "points must be above 0: points=0"),
        ({"points": float("nan")}, "points must be above 0: points=nan"),
        ({"visibility": "secret"}, "visibility must be one of visible, hidden, after_due_date, after_published: visibility='secret'"),
    ],
)
def test_wrong_options_of_gradescope(options, message):
    with pytest.raises(ValueError, match=message):
        grading.gradescope(Report("f", "conv2d", "convlab", 0, ()), **options)


@given(st.lists(reports, max_size=3))
def test_junit_is_xml_and_counts(given_reports):
    root = ET.fromstring(grading.junit(given_reports).encode())
    assert root.tag == "testsuites"
    assert len(root) == len(given_reports)
    for suite, report in zip(root, given_reports, strict=True):
        verdicts = [result.passed for result in report.properties]
        assert [int(suite.attrib[name]) for name in ("tests", "failures", "skipped", "errors")] == [
            len(verdicts),
            verdicts.count(False),
            verdicts.count(None),
            0,
        ]
        tags = [case[0].tag if len(case) else None for case in suite]
        assert tags == [{True: None, False: "failure", None: "skipped"}[verdict] for verdict in verdicts]
        assert all(set(case.attrib) == {"classname", "name"} for case in suite)
    for name in ("tests", "failures", "skipped", "errors"):
        assert int(root.attrib[name]) == sum(int(suite.attrib[name]) for suite in root)


def test_junit_keeps_what_xml_can_hold():
    report = Report(
        "a<b>&\x1b[31m\0", "conv2d", "convlab", 0, (PropertyResult("p", 'says "no"', False, 1.0, 3, "1 < 2 \ud800\uffff\U0001f600"),)
    )
    (suite,) = ET.fromstring(grading.junit([report]).encode())
    assert suite.attrib["name"] == "a<b>&\ufffd[31m\ufffd"
    (case,) = suite
    assert case.attrib["name"] == 'says "no"'
    assert case[0].attrib["message"] == "1 < 2 \ufffd\ufffd\U0001f600"
    assert "FAILED" in case[0].text  # the first failure carries the whole report


@given(st.lists(st.fixed_dictionaries({"file": st.text(), "score": st.floats(0, 1), "passed": st.booleans()}), min_size=1))
def test_csv_reads_back_and_no_cell_is_a_formula(rows):
    rows = [{**row, "file": row["file"].replace("\0", "")} for row in rows]  # csv's reader refuses it
    back = list(csv.DictReader(io.StringIO(grading.to_csv(rows), newline="")))
    assert len(back) == len(rows)
    for row, read in zip(rows, back, strict=True):
        assert read["file"].removeprefix("'") == row["file"].removeprefix("'")
        assert not read["file"].startswith(("=", "+", "-", "@", "\t", "\r"))
        assert float(read["score"]) == row["score"]
        assert read["passed"] == str(row["passed"])
