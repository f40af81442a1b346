"""What is asked of a function, one property at a time, each with a weight: the simplest first.

A property draws cases with one thing in them (a stride, say) and little else, so that what fails says what is wrong, and a function that is
right but for its stride loses no more than the stride's share.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from hypothesis import strategies as st

from .contracts import CONVOLUTIONS, FORMS, Contract, forms_apply, option_names
from .outcome import Outcome
from .strategies import LAYOUTS, Case, cases

Judged = Literal["value", "dtype", "changed", "aliases", "overwritten", "shape"]


@dataclass(frozen=True)
class Property:
    """Something that must hold.

    Attributes
    ----------
    name, title : str
        For programs, for readers.
    weight : float
        Share in the score, relative to the others.
    draws : mapping
        Keywords of `strategies.cases`.
    options, forms : tuple of str
        What the function must take for this to be asked: options of the signature, forms of them.
    judged : str
        What of an `Outcome` is looked at.
    examples : int
        How many cases are drawn, where time allows.
    mixes : bool
        Whether every other case has options in it that the function has got right by themselves.
    mixture : mapping
        These options, as keywords of `strategies.cases`.
    """

    name: str
    title: str
    weight: float = 1.0
    draws: Mapping[str, Any] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    forms: tuple[str, ...] = ()
    judged: Judged = "value"
    examples: int = 12
    mixes: bool = False
    mixture: Mapping[str, Any] = field(default_factory=dict)

    def after(self, contract: Contract, passed: Collection[str]) -> Property:
        """Return the property as it is asked of a function that got others right: those by these names."""
        return replace(self, mixture=_mixture(contract, passed)) if self.mixes else self

    def strategy(self, contract: Contract) -> st.SearchStrategy[Case]:
        """Return the cases to draw for a function with this contract."""
        more: dict[str, Any] = {}
        if contract.style == "cs231n":
            more["divides"] = True  # the course asserts that the stride divides
        if contract.op == "output_size" or "kernel pair" in contract.without:
            more["square"] = True
        if self.draws.get("padding") == "int" and "padding int" in contract.without:
            more["padding"] = "same"
        plain = cases(contract.kind, **{**self.draws, **more})
        return st.one_of(plain, cases(contract.kind, **{**self.mixture, **self.draws, **more})) if self.mixture else plain

    def run(self, contract: Contract, function: Callable[..., Any], case: Case) -> Outcome:
        """Call the function as the property asks for."""
        if self.judged == "overwritten":
            return contract.observe(function, replace(case, seed=case.seed + 1000), case, case)
        return contract.observe(function, case)

    def complaint(self, contract: Contract, case: Case, outcome: Outcome) -> str:
        """Return what is wrong with an outcome, "" if nothing."""
        if outcome.error:
            return outcome.error
        value = outcome.value
        assert value is not None, "a call without an error has a value"
        match self.judged:
            case "dtype":
                return "" if value.dtype == case.dtype else f"{case.dtype} goes in, {value.dtype} comes out"
            case "changed":
                return f"{' and '.join(map(str, outcome.changed))} changed during the call" if outcome.changed else ""
            case "aliases":
                return "the result lies in the memory of an argument" if outcome.aliases else ""
            case "overwritten" if outcome.overwritten:
                return "an earlier result changed when the function was called again"
        expected = contract.expected(case)
        if value.shape != expected.shape:
            return f"the result has the shape {value.shape}, it must have {expected.shape}"
        wrong = 0 if self.judged == "shape" else int(wrong_cells(contract, case, value).sum())
        return f"{wrong} of {value.size} numbers are wrong" if wrong else ""

    def missing(self, contract: Contract) -> str:
        """Return why the property is not asked of a function with this contract, "" if it is."""
        if self.forms and not all(forms_apply(contract, form) or contract.form in ("geometry", "spec") for form in self.forms):
            return f"style {contract.style!r} has no {', '.join(self.forms)}"
        for option in self.options:
            if not contract.takes(option):
                if contract.form == "geometry" and option in ("bias", "groups"):
                    return f"the ladder's contract f(x, w, geometry) is asked without {option}"
                return f"the function has no parameter for {option}"
        for form in self.forms:
            if form in contract.without:
                option, value = FORMS[form]
                return f"the function refuses {option}={value!r}"
        if "layouts" in self.draws and contract.form == "geometry":
            return "kernels of the ladder get contiguous arrays"
        return ""


def wrong_cells(contract: Contract, case: Case, value: np.ndarray) -> np.ndarray:
    """Return where a result of the right shape is wrong: further off than rounding explains, or no number at all."""
    expected = contract.expected(case)
    with np.errstate(all="ignore"):
        return ~(np.abs(value.astype(np.float64) - expected) <= contract.tolerance(case))


def _mixture(contract: Contract, passed: Collection[str]) -> dict[str, Any]:
    """Return draws with any of the options that the function has got right: by the names of the properties."""
    kinds = {"int": "{}", "pair": "{} pairs", "sides": "{} sides", "same": "{} same, stride"}
    draws: dict[str, Any] = {}
    for option in ("stride", "padding", "dilation"):
        known = [kind for kind, name in kinds.items() if name.format(option) in passed]
        draws[option] = ("none", *(kind for kind in known if f"{option} {kind}" not in contract.without))
    for draw, name in (("bias", "bias"), ("grouped", "groups"), ("multiplied", "multiplier")):
        draws[draw] = (False, True) if name in passed else False
    return draws


def _together(contract: Contract) -> dict[str, Any]:
    """Return draws with everything at once that the function takes."""
    draws: dict[str, Any] = {}
    for option in ("stride", "padding", "dilation"):
        if contract.takes(option):
            pair = option + " pair"
            draws[option] = "pair" if pair not in contract.without and _has_pairs(contract) else "int"
    if contract.takes("bias") and contract.op in CONVOLUTIONS:
        draws["bias"] = True
    if contract.takes("groups") and contract.op in ("conv2d", "cost"):
        draws["grouped"] = True
    return draws


def _has_pairs(contract: Contract) -> bool:
    return contract.style != "cs231n" and contract.op != "output_size"


def properties_of(contract: Contract) -> list[Property]:
    """Return what is asked of a function with this contract; `Property.missing` says which of it cannot be.

    Examples
    --------
    >>> [p.name for p in properties_of(Contract("relu6", "convlab"))][:3]
    ['values', 'real numbers', 'dtype']
    """
    op = contract.op
    batches: dict[str, Any] = {} if op in ("output_size", "cost") else {"batches": (1, 2)}
    found = [Property("values", "values at stride 1, without padding", 4, {"square": True}, examples=25)]
    if op in ("conv2d", "depthwise", "im2col", "cost"):
        found += [Property("rectangles", "pictures and windows that are not square", 2)]
    if op in ("conv2d", "depthwise", "im2col"):
        found += [Property("whole", "a window as large as the picture", 1, {"window": "whole"}, examples=10)]
    if op == "pointwise":
        found += [Property("rectangles", "pictures that are not square", 2)]
    if op == "depthwise":
        found += [Property("multiplier", "several filters per channel", 1, {"multiplied": True})]
    if batches and op not in ("relu6", "fold_batch_norm"):
        found += [Property("batch", "several images", 1, {"batches": (2, 3)})]
    if op in CONVOLUTIONS or op == "fold_batch_norm":
        found += [Property("bias", "bias", 1, {"bias": True}, ("bias",) if op in CONVOLUTIONS else ())]
    if op not in ("relu6", "fold_batch_norm"):
        found += [
            Property("stride", "stride", 2, {"stride": "int"}, ("stride",)),
            *(
                [Property("stride pairs", "strides (height, width)", 1, {"stride": "pair"}, ("stride",), ("stride pair",))]
                if _has_pairs(contract)
                else []
            ),
        ]
    if op in ("conv2d", "depthwise", "im2col", "output_size", "cost"):
        found += [Property("padding", "padding", 2, {"padding": "int"}, ("padding",))]
        if _has_pairs(contract):
            found += [Property("padding pairs", "paddings (height, width)", 1, {"padding": "pair"}, ("padding",), ("padding pair",))]
        if contract.style == "convlab" and op != "output_size":
            found += [
                Property(
                    "padding sides", "paddings ((top, bottom), (left, right))", 1, {"padding": "sides"}, ("padding",), ("padding sides",)
                )
            ]
        if contract.style == "convlab":
            found += [Property("padding same", 'padding "same"', 1, {"padding": "same"}, ("padding",), ("padding same",))]
            found += [
                Property(
                    "padding same, stride",
                    'padding "same" with a stride',
                    1,
                    {"padding": "same", "stride": "int"},
                    ("padding", "stride"),
                    ("padding same",),
                )
            ]
        if contract.style != "cs231n":
            found += [Property("dilation", "dilation", 1, {"dilation": "int"}, ("dilation",))]
            if _has_pairs(contract):
                found += [
                    Property("dilation pairs", "dilations (height, width)", 1, {"dilation": "pair"}, ("dilation",), ("dilation pair",))
                ]
        if op in ("conv2d", "depthwise", "im2col"):
            found += [
                Property("1x1 stride", "a 1x1 window with a stride", 1, {"window": "one", "stride": "int"}, ("stride",)),
                Property("1x1 padding", "a 1x1 window with padding", 1, {"window": "one", "padding": "int"}, ("padding",)),
            ]
    if op in ("conv2d", "cost") and contract.style != "cs231n":
        found += [Property("groups", "groups", 1, {"grouped": True}, ("groups",))]
    if op not in ("relu6", "fold_batch_norm"):
        found += [
            Property("together", "all of it together", 2, {**_together(contract), **batches, **({"largest": 6} if not batches else {})})
        ]
    if not batches:
        return [*found, *_beyond(contract)]
    if op != "im2col":
        found += [
            Property(
                "real numbers",
                "larger cases with real numbers",
                2,
                {"values": "real", "largest": 9, "dtypes": ("float64", "float32"), **batches},
                examples=16,
                mixes=True,
            )
        ]
    found += _beyond(contract)
    found += [
        Property(
            "dtype", "float32 gives float32, float64 gives float64", 1, {"dtypes": ("float32", "float64")}, judged="dtype", examples=10
        ),
        Property("inputs unchanged", "the arguments are not written to", 1, judged="changed", examples=15),
    ]
    if op != "fold_batch_norm":
        # Small or 1x1: there a view of the picture could pass for a result.
        own: dict[str, Any] = {"window": "one", **({"largest": 1} if op == "relu6" else {})} if op in ("im2col", "relu6") else {}
        found += [
            Property("own memory", "the result has memory of its own", 1, own, judged="aliases", examples=20),
            Property("empty batch", "a batch of no images", 1, {"batches": (0,)}, judged="shape", examples=6, mixes=True),
        ]
    return [
        *found,
        # One property for each layout: drawn together, a seed might leave one of them out.
        *(Property(f"layout {layout}", title, 0.5, {"layouts": (layout,)}, examples=16, mixes=True) for layout, title in LAYOUTS.items()),
        Property("repeated calls", "nothing is kept between calls", 1, judged="overwritten", examples=12, mixes=True),
    ]


BEYOND: Mapping[str, tuple[str, str, str]] = {
    "windows": ("windows above 3x3", "conv2d depthwise im2col output_size cost fold_batch_norm", ""),
    "batches": ("more than 3 images", "conv2d depthwise pointwise im2col relu6", ""),
    "channels": ("more than 8 channels", "conv2d depthwise pointwise im2col cost relu6 fold_batch_norm", ""),
    "pictures": ("pictures above 30x30", "conv2d depthwise pointwise im2col output_size cost relu6", ""),
    "long": ("pictures longer than 255", "conv2d depthwise pointwise im2col output_size cost relu6", ""),
    "strides": ("strides above 3", "conv2d depthwise pointwise im2col output_size cost", "stride"),
    "paddings": ("paddings above 2", "conv2d depthwise im2col output_size cost", "padding"),
    "dilations": ("dilations above 3", "conv2d depthwise im2col output_size cost", "dilation"),
    "groups": ("more than 3 groups", "conv2d cost", "groups"),
    "all": ("larger windows, batches and channels at once", "conv2d depthwise", ""),
}
"""What is larger than in the other properties: `strategies.Beyond` -> (title, operations, option that it takes)."""


def _beyond(contract: Contract) -> list[Property]:
    """Return the properties with larger sizes and amounts: what is right on small ones alone is no convolution."""
    found = []
    for beyond, (title, ops, option) in BEYOND.items():
        if contract.op not in ops.split() or (option and option not in option_names(contract.op, contract.style)):
            continue
        draws: dict[str, Any] = {"beyond": beyond}
        if option and option != "groups":
            draws[option] = "int"
        forms = ("padding int",) if option == "padding" and contract.style != "cs231n" else ()
        if beyond == "all":
            draws |= {"values": "real", "dtypes": ("float64", "float32")}
        examples = {"windows": 8, "channels": 8, "all": 3}.get(beyond, 6)
        found += [Property(f"larger {beyond}", title, 0.5, draws, (option,) * bool(option), forms, examples=examples, mixes=True)]
    return found
