"""One more operation is one file: everything else finds it by what it says of itself."""

import ast
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import convlab as cl
from convlab.checker import check, domain, mistakes, operations
from convlab.checker.contracts import Operation, fresh
from convlab.checker.operations import OPERATIONS, OPS, SIGNATURES
from convlab.checker.properties import memory, real, values
from convlab.checker.styles import FORMS, STYLES

CHECKER = Path(cl.__file__).parent / "checker"


class Softsign(Operation):
    """A ninth operation: x / (1 + |x|)."""

    name = "softsign"
    signatures: ClassVar = {"convlab": "f(x)"}
    layout = False

    def options(self, style):
        return ()

    def leading(self, contract):
        return ("x",)

    def arguments(self, contract, case):
        return [fresh(case.activations, case)], {}

    def expected(self, contract, case):
        x = case.activations.astype(np.float64)
        return x / (1 + np.abs(x))

    def tolerance(self, contract, case):
        return 4 * float(np.finfo(case.dtype).eps)

    def explanation(self, contract, case, cell):
        return {"x": [cell]}, (f"x / (1 + |x|) with x = {case.activations[cell]:g}",)

    def properties(self, contract):
        return [*values(), real(), *memory(small={"largest": 1})]

    def dressed(self, run, style):
        return run


@pytest.fixture
def ninth(monkeypatch):
    everything = {**OPERATIONS, "softsign": Softsign()}
    for module in (operations, domain, mistakes.mistake):
        monkeypatch.setattr(module, "OPERATIONS", everything)
    monkeypatch.setattr(domain, "OPS", tuple(everything))
    monkeypatch.setattr(domain, "WITHOUT_LAYOUT", (*operations.WITHOUT_LAYOUT, "softsign"))


def test_a_ninth_operation_is_checked_explained_and_shown(ninth):
    assert check(lambda x: x / (1 + np.abs(x)), op="softsign").passed
    report = check(lambda x: x / (1 + x), op="softsign", name="mine")
    assert not report.passed
    assert "mine(x)" in str(report)
    assert "x / (1 + |x|) with x = " in str(report)
    assert "softsign" in report._repr_html_()
    assert not check(lambda x: np.divide(x, 1 + np.abs(x), out=x), op="softsign").passed


def test_operations_are_their_files():
    files = {path.stem for path in (CHECKER / "operations").glob("*.py")} - {"__init__", "convolution"}
    assert files == set(operations.FILES) == set(OPS)
    assert {op for op, _ in SIGNATURES} == set(OPS)
    assert {style for _, style in SIGNATURES} == set(STYLES)


def test_no_other_file_asks_which_operation_it_is():
    """What an operation is stands in its own file: elsewhere no name of one is compared with anything (mistakes say where they apply)."""
    for path in CHECKER.rglob("*.py"):
        if path.parent.name in ("operations", "mistakes", "examples"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                compared = {part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)}
                assert not compared & (set(OPS) - {"depthwise", "pointwise"}), f"{path.name}, line {node.lineno}"


def test_layouts_lead_there_and_back():
    x, w = np.arange(24).reshape(1, 2, 3, 4), np.arange(24).reshape(1, 2, 3, 4)
    for style in STYLES.values():
        np.testing.assert_array_equal(style.image_back(style.image(x)), x)
        np.testing.assert_array_equal(style.filters_back(style.filters(w)), w)
        assert style.image(x).shape == tuple(
            dict(zip(("batch", "height", "width", "channels"), x.shape, strict=True))[a] for a in style.axes
        )
        assert set(style.forms) <= set(FORMS)


def test_every_signature_reads_as_it_is_written():
    """The first way that is written down, given as a function, takes every option that the operation has in this style."""
    for (op, style), text in SIGNATURES.items():
        parameters = text[2:].split(")", 1)[0].replace('{"stride": 1, "pad": 0}', "conv_param")
        function = eval(f"lambda {parameters}: None")
        contract = domain.read(function, op, style)
        for option in OPERATIONS[op].options(contract.style):
            assert contract.takes(option), (op, style, option)
