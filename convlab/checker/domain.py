"""What a function takes: read from its signature, and found by trying."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..geometry import ConvSpec
from .contracts import Contract
from .operations import OPERATIONS, OPS, SIGNATURES, WITHOUT_LAYOUT
from .outcome import Outcome
from .strategies import Case
from .styles import FORMS, STYLES


def check_names(op: str, style: str) -> None:
    """Refuse an operation, a style, or an operation that the style lacks.

    Raises
    ------
    ValueError
        The message lists what there is.
    """
    if op not in OPS:
        raise ValueError(f"op must be one of {', '.join(map(repr, OPS))}: op={op!r}")
    if style not in STYLES:
        raise ValueError(f"style must be one of {', '.join(map(repr, STYLES))}: style={style!r}")
    if op not in WITHOUT_LAYOUT and (op, style) not in SIGNATURES:
        has = [name for name, other in SIGNATURES if other == style]
        raise ValueError(f"style {style!r} has {', '.join([*has, *WITHOUT_LAYOUT])}: op={op!r}")


def read(function: Callable[..., Any], op: str, style: str) -> Contract:
    """Read from a function's signature what it can be told: an option without a parameter is not exercised.

    Examples
    --------
    >>> contract = read(lambda x, w, stride=1: ..., "conv2d", "convlab")
    >>> contract.takes("stride"), contract.takes("dilation")
    (True, False)
    """
    check_names(op, style)
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (ValueError, TypeError):
        parameters = None
    return OPERATIONS[op].read("convlab" if op in WITHOUT_LAYOUT else style, parameters)


def tried(contract: Contract, function: Callable[..., Any]) -> Contract:
    """Return the contract without the forms that the function refuses: each is tried once, on a small picture.

    Only an error counts as a refusal. A wrong result does not: it will be judged.
    """

    def outcome(contract: Contract, **options: Any) -> Outcome:
        kernel = 1 if contract.operation.kind == "pointwise" else 2
        groups = 2 if contract.operation.kind == "depthwise" else 1
        spec = ConvSpec(2, 2, **{"kernel": kernel, "groups": groups, **options})
        return contract.observe(function, Case(spec, 5, 5 if contract.operation.one_axis else 6))

    plain = outcome(contract)
    if (
        contract.operation.kind == "depthwise"
        and contract.style == "convlab"
        and contract.form == "options"
        and plain.error
        and not plain.crashed
    ):
        # Filters (KH, KW, C) or (KH, KW, C, M)? A signature does not tell; the one that runs is meant.
        other = replace(contract, without=frozenset({"filters (KH, KW, C)"}))
        again = outcome(other)
        if not again.error:
            contract, plain = other, again
    if plain.error:  # it fails on the simplest call: say that, and do not blame forms
        return contract
    refused = set(contract.without)
    for form, (option, value) in FORMS.items():
        if contract.knows(form) and (contract.takes(option) or option == "kernel"):
            done = outcome(contract, **{option: value})
            # A function whose own default is a word may know words only, and take no notice of the rest.
            words_only = contract.text_padding and option == "padding" and value != "same" and _same_shape(done, plain)
            if (done.error and not done.crashed) or words_only:
                refused.add(form)
    return replace(contract, without=frozenset(refused))


def _same_shape(one: Outcome, other: Outcome) -> bool:
    return one.value is not None and other.value is not None and one.value.shape == other.value.shape
