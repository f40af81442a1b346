"""The report: what it says can be recomputed by hand, goes through JSON without loss, and holds nothing that harms a terminal or a page."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import convlab as cl
from convlab.checker import MISTAKES, SIGNATURES, Case, Report, cases, check
from convlab.checker.diagnosis import Diagnosis, Observation
from convlab.checker.domain import read
from convlab.checker.isolation import FileReport
from convlab.checker.operations import dressed
from convlab.checker.outcome import Outcome
from convlab.checker.properties import properties_of
from convlab.checker.report import MOST_NUMBERS, PropertyResult, explain
from convlab.checker.text import planes

FLIPPED = MISTAKES[0]
LINE = re.compile(r"^ *(\S+) \* +(\S+) = +(\S+)    (?:x\[(.*?)\]|padding) \* w\[(.*?)\]$")
VOID = {"br"}


def flipped(op="conv2d", style="convlab"):
    assert FLIPPED.name == "flipped kernel"
    return check(FLIPPED.function(op, style), op=op, style=style, name="mine")


def index(text):
    return tuple(int(part) for part in text.split(","))


class Balance(HTMLParser):
    """Whether every tag is closed by its own."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.tags = [], "", []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def page(report):
    parsed = Balance()
    parsed.feed(report._repr_html_())
    parsed.close()
    assert parsed.open == []
    return parsed


# What is said can be recomputed


DRAWS = {
    "conv2d": cases(stride="int", padding="int", bias=True, divides=True),
    "depthwise": cases("depthwise", stride="int", padding="int", multiplied=True, bias=True),
    "pointwise": cases("pointwise", stride="int", bias=True),
}


@pytest.mark.parametrize(("op", "style"), [pair for pair in SIGNATURES if pair[0] in DRAWS])
@given(data=st.data())
def test_the_sum_written_out_is_the_right_number(op, style, data):
    """Each line's product is right, its indices find its factors in the arrays shown, and the products add up to the expected number."""
    case = data.draw(DRAWS[op])
    function = dressed(lambda call: call.right() + 1, op, style)
    contract = read(function, op, style)
    property = properties_of(contract)[0]
    failure = explain(contract, "f", Observation(property, case, property.run(contract, function, case), True), Diagnosis())
    products = [match.groups() for match in map(LINE.match, failure.arithmetic) if match]
    for a, b, product, at, to in products:
        assert float(a) * float(b) == float(product)
        assert (failure.arrays["x"][index(at)] if at else 0) == float(a)
        assert failure.arrays["w"][index(to)] == float(b)
    bias, total = (float(line.split()[at]) for line, at in zip(failure.arithmetic[-2:], (3, 2), strict=True))
    if len(products) == np.prod(case.w.shape[:3]):  # else they are cut
        assert sum(float(product) for _, _, product, _, _ in products) + bias == total
    assert total == failure.expected[failure.cell]
    assert failure.got[failure.cell] == total + 1


def test_the_marked_window_is_what_the_cell_reads():
    report = flipped()
    failure = report.failure
    read_x = [failure.arrays["x"][at] for at in failure.taps["x"]]
    read_w = [failure.arrays["w"][at] for at in failure.taps["w"]]
    assert np.dot(read_x, read_w) == failure.expected[failure.cell]


@pytest.mark.parametrize("style", ["convlab", "cs231n", "torch"])
def test_the_cell_of_a_matrix_of_columns_is_explained(style):
    report = check(dressed(lambda call: call.right() * 2, "im2col", style), op="im2col", style=style)
    failure = report.failure
    assert any("it reads row" in line for line in failure.arithmetic)
    number = re.search(r"it reads row (\d+), column (\d+): (\S+)", failure.arithmetic[1])
    assert float(number[3]) == failure.expected[failure.cell]


def test_sizes_counts_and_folding_are_explained():
    report = check(lambda size, kernel, stride=1: size, op="output_size")
    assert f"= {report.failure.expected}" in report.failure.arithmetic[-1]
    report = check(lambda height, width, c, o, kernel: (0, 0), op="cost")
    params, macs = report.failure.expected
    assert report.failure.arithmetic[0].endswith(f"= {params}")
    assert report.failure.arithmetic[2].endswith(f"= {macs}")
    report = check(lambda x: x, op="relu6")
    assert report.failure.arithmetic[0].endswith(f"= {report.failure.expected[report.failure.cell]:g}")
    report = check(lambda w, bias, gamma, beta, mean, variance, eps: (w, bias), op="fold_batch_norm")
    scale = float(report.failure.arithmetic[1].rsplit("=", 1)[1])
    w = report.failure.arrays["w"].reshape(-1, report.failure.expected.shape[1])
    np.testing.assert_allclose(w[0, report.failure.cell[-1]] * scale, report.failure.expected[0, report.failure.cell[-1]], rtol=1e-5)


# Text


def test_the_text_has_what_a_student_needs():
    text = str(flipped())
    assert text.startswith("mine: conv2d, style convlab: FAILED, ")
    for part in (
        "WRONG values at stride 1, without padding",
        "The smallest failing case (values at stride 1, without padding)",
        "mine(x, w, stride=1, padding=0, dilation=1, groups=1)",
        "expected[0, :, :, 0]",
        "The first wrong number at [0, 0, 0, 0]:",
        "Diagnosis: flipped kernel",
        "Hint: Which tap of the kernel meets the top left number of the window?",
        "Seen in the wild: scipy.signal.convolve2d flips",
    ):
        assert part in text
    assert max(map(len, text.splitlines())) <= 140


def test_a_report_that_passed_is_short():
    report = check(lambda x: np.clip(x, 0, 6), op="relu6")
    assert report.passed
    assert "passed" in str(report).splitlines()[0]
    assert "Diagnosis" not in str(report)
    report.raise_for_failure()


def test_a_report_shows_its_text_which_is_the_same_in_each_run():
    report = flipped()
    later = replace(report, seconds=report.seconds + 60)
    assert repr(report) == str(report) == str(later)
    assert report._repr_html_() == later._repr_html_()
    of_a_file = FileReport.from_dict(report.to_dict() | {"output": "hello", "exposed": ""})
    assert repr(of_a_file) == str(of_a_file) == f"{report}\n\nIt printed:\n  hello"


def test_raise_for_failure_has_the_text():
    report = flipped()
    with pytest.raises(AssertionError) as caught:
        report.raise_for_failure()
    assert str(caught.value) == str(report)


def test_the_memory_layout_is_named_where_it_matters():
    report = check(lambda x, w: dressed(lambda call: call.right(), "conv2d", "convlab")(x.ravel(order="K").reshape(x.shape), w))
    assert "in Fortran order" in str(report)


def test_the_wrong_cell_is_marked():
    report = check(dressed(lambda call: call.right() + (np.arange(call.out[1]) == 1)[:, None], "conv2d", "convlab"))
    failure = report.failure
    assert failure.cell[2] == 1
    marked = [line for line in str(report).splitlines() if f"[{failure.expected[failure.cell]:g}]" in line]
    assert marked


# JSON


@pytest.mark.parametrize("mistake", MISTAKES[::9], ids=lambda mistake: mistake.name)
def test_reports_go_through_json_without_loss(mistake):
    op = mistake.ops[0]
    style = "convlab" if op in ("relu6", "output_size", "cost") else mistake.styles[0]
    report = check(mistake.function(op, style), op=op, style=style)
    text = json.dumps(report.to_dict(), allow_nan=False)
    again = Report.from_dict(json.loads(text))
    assert again.to_dict() == report.to_dict()
    assert str(again) == str(report)
    assert again._repr_html_() == report._repr_html_()
    assert (again.passed, again.score) == (report.passed, report.score)
    assert_array_equal(again.failure.expected, report.failure.expected, strict=True)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_goes_through_json(value):
    report = check(lambda x, w: np.full((1, 1, 1, 1), value))
    again = Report.from_dict(json.loads(json.dumps(report.to_dict(), allow_nan=False)))
    assert_array_equal(again.failure.got, report.failure.got, strict=True)


def test_a_longdouble_keeps_its_digits_and_its_range():
    numbers = np.longdouble(1) / np.array([3, 1e-300, np.inf, -np.inf, np.nan], np.longdouble) ** 2
    report = check(lambda x, w: numbers)
    again = Report.from_dict(json.loads(json.dumps(report.to_dict(), allow_nan=False)))
    assert_array_equal(again.failure.got, numbers, strict=True)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", "longdouble"])
def test_results_of_any_real_dtype_go_through_json(dtype):
    report = check(lambda x, w: np.ones((1, 1, 1, 1), dtype))
    again = Report.from_dict(json.loads(json.dumps(report.to_dict(), allow_nan=False)))
    assert_array_equal(again.failure.got, report.failure.got, strict=True)


def test_a_huge_wrong_result_is_not_kept():
    report = check(lambda x, w: np.zeros(MOST_NUMBERS + 1))
    assert report.failure.got is None
    assert f"the result has the shape ({MOST_NUMBERS + 1},)" in str(report)
    assert len(json.dumps(report.to_dict())) < 20_000


# Harmless


def test_escape_codes_of_a_function_do_not_reach_the_terminal():
    def rude(x, w):
        raise ValueError("\x1b[2J\x07red\nline " + "long " * 1000)

    text = str(check(rude, name="rude"))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "raised ValueError: [2J red line long" in text
    assert max(map(len, text.splitlines())) < 500


def test_the_page_is_well_formed_and_marks_the_window():
    parsed = page(flipped())
    assert "flipped kernel" in parsed.text
    assert "background:#ffe08a" in flipped()._repr_html_()
    assert "background:#f6b5b5" in flipped()._repr_html_()


def test_the_page_says_what_was_not_asked():
    """Each reason once, as in the text, and no line of the table for each property."""
    report = check(lambda x, w: np.zeros(1))
    said = page(report).text
    assert "Not exercised:" in said
    for note in report.not_exercised:
        assert said.count(note) == 1
    assert "Not exercised" not in page(check(lambda x: np.clip(x, 0, 6), op="relu6")).text


def test_the_page_escapes_what_a_function_says():
    def rude(x, w):
        raise ValueError("<script>alert(1)</script>")

    report = check(rude, name="<b>bold</b>")
    parsed = page(report)
    assert "script" not in parsed.tags
    assert "<script>alert(1)</script>" in parsed.text
    assert "<b>bold</b>" in parsed.text


def test_the_page_of_a_report_that_passed():
    parsed = page(check(lambda x: np.clip(x, 0, 6), op="relu6"))
    assert "passed" in parsed.text


# Parts


def results(*passed):
    return tuple(
        PropertyResult(f"p{i}", f"P{i}", value, weight=i + 1.0, cases=1, message="" if value else "why") for i, value in enumerate(passed)
    )


@pytest.mark.parametrize(
    ("passed", "score", "verdict"),
    [
        ((True, True), 1, True),
        ((True, False), 1 / 3, False),
        ((None, True), 1, True),
        ((None, None), 0, False),
        ((), 0, False),
        ((False,), 0, False),
    ],
)
def test_scores(passed, score, verdict):
    report = Report("f", "conv2d", "convlab", 0, results(*passed))
    assert report.score == pytest.approx(score)
    assert report.passed is verdict
    assert Report.from_dict(report.to_dict()) == report


@pytest.mark.parametrize(
    ("shape", "first"), [((2, 3, 4, 2), False), ((2, 3, 4, 2), True), ((3, 4, 2), False), ((3, 4), False), ((5,), False), ((), False)]
)
def test_planes_hold_every_number_once(shape, first):
    array = np.arange(int(np.prod(shape))).reshape(shape)
    for name in ("x", "w"):
        seen = []
        for _, plane, indices in planes(name, array, first):
            assert [array[at] for at in indices] == plane.ravel().tolist()
            seen += indices
        assert sorted(seen) == sorted(np.ndindex(*shape))


def test_a_failure_without_numbers_is_explained_too():
    contract = read(lambda x, w: None, "conv2d", "convlab")
    property = properties_of(contract)[0]
    seen = Observation(property, Case(cl.ConvSpec(1, 1, 2), 3, 3), Outcome(error="raised ValueError: no"), True)
    failure = explain(contract, "f", seen, Diagnosis())
    assert failure.got is None
    assert failure.cell is None
    assert failure.message == "raised ValueError: no"
