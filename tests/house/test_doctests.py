"""Every example in a docstring of the package runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import convlab

MODULES = ["convlab", *(found.name for found in pkgutil.walk_packages(convlab.__path__, "convlab.") if not found.name.endswith("__main__"))]


def examples() -> list:
    """Return one parameter for each docstring with examples."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = []
    for name in MODULES:
        module = importlib.import_module(name)
        found += [pytest.param(test, id=test.name) for test in finder.find(module, name) if test.examples]
    return found


@pytest.mark.parametrize("test", examples())
def test_example(test: doctest.DocTest) -> None:
    report: list[str] = []
    failed, tried = doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    assert tried > 0
    assert failed == 0, "".join(report)


def test_examples_are_found() -> None:
    """The finder sees functions, classes and methods, in modules and in the packages below."""
    names = {parameter.id for parameter in examples()}
    assert {"convlab.conv.conv2d", "convlab.geometry.Axis", "convlab.forward.Model.classify", "convlab.kernels.naive.standard"} <= names
