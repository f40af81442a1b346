"""What arguments may be: the rule, the value and the name stand in every refusal."""

import math

import numpy as np
import pytest

from convlab.arguments import LARGEST, integer, number, one_of, pair


def test_an_integer_is_whatever_counts():
    assert [integer("n", value, 0) for value in (0, np.int8(3), np.array(4), LARGEST)] == [0, 3, 4, LARGEST]
    assert all(type(integer("n", value, 0)) is int for value in (0, np.uint16(3)))


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: integer("n", 0, 1), ValueError, "n must be at least 1: n=0"),
        (lambda: integer("n", LARGEST + 1, 1), ValueError, f"n must be at most {LARGEST}: n={LARGEST + 1}"),
        (lambda: integer("n", True, 0), TypeError, "n must be an integer: n=True"),
        (lambda: integer("n", 2.0, 0), TypeError, "n must be an integer: n=2.0"),
        (lambda: number("x", "1"), TypeError, "x must be a number: x='1'"),
        (lambda: number("x", False), TypeError, "x must be a number: x=False"),
        (lambda: pair("p", (1, 2, 3), 0), ValueError, "p must be an integer or a pair (height, width): p=(1, 2, 3)"),
        (lambda: pair("p", (1, -2), 0), ValueError, "p width must be at least 0: p width=-2"),
        (lambda: one_of("w", "c", ("a", "b")), ValueError, "w must be one of a, b: w='c'"),
        (lambda: one_of("w", ["a"], ("a", "b")), ValueError, "w must be one of a, b: w=['a']"),
    ],
)
def test_what_is_refused_is_said_with_its_rule(call, error, said):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == said


def test_pairs_numbers_and_words():
    assert pair("p", 3, 0) == (3, 3)
    assert pair("p", np.array([2, 1]), 0) == pair("p", [2, 1], 0) == (2, 1)
    assert number("x", np.float32(0.5)) == 0.5
    assert (number("x", 10**400), number("x", -(10**400))) == (math.inf, -math.inf)
    assert one_of("w", "a", ("a", "b")) == "a"
