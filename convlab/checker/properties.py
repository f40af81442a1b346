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

from .contracts import Contract
from .outcome import Outcome
from .strategies import LAYOUTS, Case, cases
from .styles import FORMS

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

    def on_the_cases_of(self, other: Property) -> Property:
        """Return the property as it is asked on another's cases."""
        return replace(self, draws=other.draws, mixture=other.mixture, examples=other.examples)

    def strategy(self, contract: Contract) -> st.SearchStrategy[Case]:
        """Return the cases to draw for a function with this contract."""
        more: dict[str, Any] = {}
        if contract.rules.divides:
            more["divides"] = True
        if contract.operation.one_axis or "kernel pair" in contract.without:
            more["square"] = True
        if self.draws.get("padding") == "int" and "padding int" in contract.without:
            more["padding"] = "same"
        plain = cases(contract.operation.kind, **{**self.draws, **more})
        return st.one_of(plain, cases(contract.operation.kind, **{**self.mixture, **self.draws, **more})) if self.mixture else plain

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

    def advised(self, case: Case, outcome: Outcome) -> bool:
        """Return whether what is wrong with an outcome is bad form only: it still is a convolution on all that it takes."""
        if self.judged == "dtype":
            return outcome.value is not None and (case.dtype, outcome.value.dtype.name) == ("float32", "float64")
        return (self.judged == "shape" and not outcome.crashed) or self.refused(outcome)

    def refused(self, outcome: Outcome) -> bool:
        """Return whether the function does not take the arguments' place in memory: it says so, rather than return wrong numbers."""
        return "layouts" in self.draws and bool(outcome.error) and not outcome.crashed and not outcome.nothing

    def missing(self, contract: Contract) -> str:
        """Return why the property is not asked of a function with this contract, "" if it is."""
        if self.forms and not all(contract.knows(form) or contract.form in ("geometry", "spec") for form in self.forms):
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
            draws[option] = "pair" if pair not in contract.without and _pairs(contract) else "int"
    if contract.takes("bias") and contract.operation.sums:
        draws["bias"] = True
    if contract.takes("groups") and contract.operation.kind == "standard":
        draws["grouped"] = True
    return draws


def _pairs(contract: Contract) -> bool:
    return "stride pair" in contract.rules.forms and not contract.operation.one_axis


# What operations ask for: the lists that they are put together from


def values() -> list[Property]:
    """Return the simplest: a square window on a square picture."""
    return [Property("values", "values at stride 1, without padding", 4, {"square": True}, examples=25)]


def bias(*options: str) -> Property:
    """Return what is asked of biases, where the function takes these options."""
    return Property("bias", "bias", 1, {"bias": True}, options)


def steps(contract: Contract) -> list[Property]:
    """Return strides, paddings, dilations and groups, each by itself and in each form that the style knows."""
    known, forms = contract.operation.options(contract.style), contract.rules.forms
    pairs, one_axis = _pairs(contract), contract.operation.one_axis
    found = []

    def ask(name: str, title: str, weight: float, draws: Mapping[str, Any], options: tuple[str, ...], *needed: str) -> None:
        found.append(Property(name, title, weight, draws, options, needed))

    if "stride" in known:
        ask("stride", "stride", 2, {"stride": "int"}, ("stride",))
        if pairs:
            ask("stride pairs", "strides (height, width)", 1, {"stride": "pair"}, ("stride",), "stride pair")
    if "padding" in known:
        ask("padding", "padding", 2, {"padding": "int"}, ("padding",))
        if pairs:
            ask("padding pairs", "paddings (height, width)", 1, {"padding": "pair"}, ("padding",), "padding pair")
        if "padding sides" in forms and not one_axis:
            ask("padding sides", "paddings ((top, bottom), (left, right))", 1, {"padding": "sides"}, ("padding",), "padding sides")
        if "padding same" in forms:
            ask("padding same", 'padding "same"', 1, {"padding": "same"}, ("padding",), "padding same")
            both = {"padding": "same", "stride": "int"}
            ask("padding same, stride", 'padding "same" with a stride', 1, both, ("padding", "stride"), "padding same")
    if "dilation" in known:
        ask("dilation", "dilation", 1, {"dilation": "int"}, ("dilation",))
        if pairs:
            ask("dilation pairs", "dilations (height, width)", 1, {"dilation": "pair"}, ("dilation",), "dilation pair")
    if "padding" in known and contract.operation.draws_arrays:
        ask("1x1 stride", "a 1x1 window with a stride", 1, {"window": "one", "stride": "int"}, ("stride",))
        ask("1x1 padding", "a 1x1 window with padding", 1, {"window": "one", "padding": "int"}, ("padding",))
    if "groups" in known and contract.operation.kind == "standard":
        ask("groups", "groups", 1, {"grouped": True}, ("groups",))
    return found


def together(contract: Contract) -> Property:
    """Return everything at once that the function takes."""
    batches: dict[str, Any] = {"batches": (1, 2)} if contract.operation.draws_arrays else {"largest": 6}
    return Property("together", "all of it together", 2, {**_together(contract), **batches})


def real() -> Property:
    """Return real numbers, in larger cases, with what the function got right mixed in."""
    draws = {"values": "real", "largest": 9, "dtypes": ("float64", "float32"), "batches": (1, 2)}
    return Property("real numbers", "larger cases with real numbers", 2, draws, examples=16, mixes=True)


LARGER: Mapping[str, str] = {
    "windows": "windows above 3x3",
    "batches": "more than 3 images",
    "channels": "more than 8 channels",
    "pictures": "pictures above 30x30",
    "long": "pictures longer than 255",
    "strides": "strides above 3",
    "paddings": "paddings above 2",
    "dilations": "dilations above 3",
    "groups": "more than 3 groups",
    "all": "larger windows, batches and channels at once",
}
"""What is larger than in the other properties: `strategies.Beyond` -> title."""


def larger(contract: Contract, sizes: str) -> list[Property]:
    """Return larger cases, as what is right on small ones alone is no convolution: of these sizes, and of the options that it knows."""
    known = {"strides": "stride", "paddings": "padding", "dilations": "dilation", "groups": "groups"}
    found = []
    for beyond, title in LARGER.items():
        option = known.get(beyond, "")
        apart = option == "groups" and contract.operation.kind != "standard"
        if apart or (option not in contract.operation.options(contract.style) if option else beyond not in sizes.split()):
            continue
        draws: dict[str, Any] = {"beyond": beyond} | ({option: "int"} if option and option != "groups" else {})
        if beyond == "all":
            draws |= {"values": "real", "dtypes": ("float64", "float32")}
        forms = ("padding int",) if option == "padding" and "padding int" in contract.rules.forms else ()
        examples = {"windows": 8, "channels": 8, "all": 3}.get(beyond, 6)
        found.append(Property(f"larger {beyond}", title, 0.5, draws, (option,) * bool(option), forms, examples=examples, mixes=True))
    return found


def memory(small: Mapping[str, Any] | None = None, images: bool = True) -> list[Property]:
    """Return what is asked beside the numbers: dtype, arguments, memory, layouts, repeated calls.

    Parameters
    ----------
    small : mapping, optional
        Keywords of `strategies.cases` with which a view of an argument could pass for a result.
    images : bool
        Whether there is a batch, which may be empty, and a result that could be an argument's memory.
    """
    dtypes = {"dtypes": ("float32", "float64")}
    found = [
        Property("dtype", "float32 gives float32, float64 gives float64", 1, dtypes, judged="dtype", examples=10),
        Property("inputs unchanged", "the arguments are not written to", 1, judged="changed", examples=15),
    ]
    if images:
        found += [
            Property("own memory", "the result has memory of its own", 1, small or {}, judged="aliases", examples=20),
            Property("empty batch", "a batch of no images", 1, {"batches": (0,)}, judged="shape", examples=6, mixes=True),
        ]
    return [
        *found,
        # One property for each layout: drawn together, a seed might leave one of them out.
        *(Property(f"layout {layout}", title, 0.5, {"layouts": (layout,)}, examples=16, mixes=True) for layout, title in LAYOUTS.items()),
        Property("repeated calls", "nothing is kept between calls", 1, judged="overwritten", examples=12, mixes=True),
    ]


def properties_of(contract: Contract) -> list[Property]:
    """Return what is asked of a function with this contract; `Property.missing` says which of it cannot be.

    Examples
    --------
    >>> from convlab.checker.domain import read
    >>> [p.name for p in properties_of(read(lambda x: x, "relu6", "convlab"))][:2]
    ['values', 'real numbers']
    """
    return contract.operation.properties(contract)
