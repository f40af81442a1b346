"""What an operation says of itself, and what one function takes of it: how a case becomes a call, and what the call must return."""

from __future__ import annotations

import inspect
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from .calls import Call
from .outcome import Outcome, cut, observe
from .strategies import Case, Kind, laid_out
from .styles import STYLES, Style

if TYPE_CHECKING:
    from .properties import Property

Form = Literal["options", "geometry", "spec", "dict"]
Arguments = tuple[list[Any], dict[str, Any]]
Explanation = tuple[dict[str, list[tuple[int, ...]]], tuple[str, ...]]
"""Which numbers of each argument make up a number of the result, and how it comes about, line by line."""

NAMES = {
    "bias": ("bias", "b"),
    "stride": ("stride", "strides", "s"),
    "padding": ("padding", "pad", "p"),
    "dilation": ("dilation", "dilations", "d"),
    "groups": ("groups",),
    "eps": ("eps", "epsilon"),
}
"""The names that a parameter may have, for each option."""


class WrongKind(TypeError):
    """What came back is no array, or no number: it cannot be compared at all."""


class Nothing(WrongKind):
    """None came back."""


class Operation(ABC):
    """An operation that functions are checked for: a file in `operations`, and a line in its list.

    Attributes
    ----------
    name : str
    signatures : mapping
        Style -> what a function looks like. An operation without a layout is the same in every style; it is written down for "convlab".
    layout : bool
        Whether styles differ.
    kind : {"standard", "depthwise", "pointwise"}
        Of the cases that are drawn for it.
    sums : bool
        Whether the result is an image of sums of products: a convolution.
    one_axis : bool
        Whether it knows one axis only: there are no pairs.
    draws_arrays : bool
        Whether it is called with arrays; of sizes and counts there is no batch, no memory and no dtype.
    """

    name: ClassVar[str]
    signatures: ClassVar[Mapping[str, str]]
    layout: ClassVar[bool] = True
    kind: ClassVar[Kind] = "standard"
    sums: ClassVar[bool] = False
    one_axis: ClassVar[bool] = False
    draws_arrays: ClassVar[bool] = True

    # What it looks like

    @abstractmethod
    def options(self, style: str) -> tuple[str, ...]:
        """Return the options that it knows in a style: what a report can call exercised or not."""

    @abstractmethod
    def leading(self, contract: Contract) -> tuple[str, ...]:
        """Return what reports call the positional arguments."""

    def form(self, parameters: Sequence[str], style: str) -> Form:
        """Return how options are handed over, read from the names of the parameters."""
        return "options"

    def positional(self, style: str) -> int:
        """Return how many parameters come before the options."""
        return 2

    def knows(self, form: str, contract: Contract) -> bool:
        """Return whether it knows one of `styles.FORMS` at all."""
        if form == "kernel pair":
            return False
        if contract.form in ("geometry", "spec"):
            return form == "padding same"  # a geometry holds pairs throughout; only a spec still says "same"
        return form in contract.rules.forms

    def read(self, style: str, parameters: Sequence[inspect.Parameter] | None) -> Contract:
        """Read from a function's parameters what it can be told; a builtin may have none, and is told everything."""
        known = self.options(style)
        form = self.form([parameter.name for parameter in parameters or ()], style)
        if form != "options":
            return Contract(self, style, form)
        if parameters is None:
            return Contract(self, style, names={name: NAMES[name][0] for name in known})
        names, required, text = {}, set(), False
        everything = any(p.kind is p.VAR_KEYWORD for p in parameters)
        for option in known:
            found = next((p for p in parameters[self.positional(style) :] if p.name in NAMES[option]), None)
            if found is not None:
                names[option] = found.name
                if found.default is found.empty:
                    required.add(option)
                text |= option == "padding" and isinstance(found.default, str)
            elif everything:
                names[option] = NAMES[option][0]
        return Contract(self, style, names=names, text_padding=text, required=frozenset(required))

    # A case of it

    @abstractmethod
    def arguments(self, contract: Contract, case: Case) -> Arguments:
        """Return a call's positional arguments and keywords, with fresh arrays."""

    def returned(self, contract: Contract, result: Any) -> np.ndarray:
        """Return what a function returned as one array, or raise `WrongKind`."""
        return numbers(result)

    @abstractmethod
    def expected(self, contract: Contract, case: Case) -> np.ndarray:
        """Return the right result, computed in float64."""

    def tolerance(self, contract: Contract, case: Case) -> np.ndarray | float:
        """Return how far a right function's rounding may take it from `expected`, broadcastable to it."""
        return 0.0

    @abstractmethod
    def explanation(self, contract: Contract, case: Case, cell: tuple[int, ...]) -> Explanation:
        """Return which numbers make up a cell of the result, and the sum written out."""

    @abstractmethod
    def properties(self, contract: Contract) -> list[Property]:
        """Return what is asked of a function, the simplest first."""

    # The way back, for mistakes

    @abstractmethod
    def dressed(self, run: Callable[..., Any], style: Style) -> Callable[..., Any]:
        """Return ``run(call)`` as a function with the parameters of a style."""

    def finish(self, call: Call, windows: np.ndarray) -> Any:
        """Return the result from windows (N, OH, OW, KH, KW, C)."""
        raise NotImplementedError(f"{self.name} has no windows")


@dataclass(frozen=True)
class Contract:
    """An operation in a style, as one function takes it.

    Attributes
    ----------
    operation : Operation
    style : str
    form : {"options", "geometry", "spec", "dict"}
        How stride, padding and so on are handed over.
    names : mapping
        Option -> the function's own keyword.
    text_padding : bool
        Whether the function's own default is a word, "valid" or "same": no padding is then said so.
    required : frozenset of str
        Options without a default.
    without : frozenset of str
        Forms that the function was seen to refuse, such as "stride pair"; filled by trying, see `domain.tried`.
    """

    operation: Operation
    style: str
    form: Form = "options"
    names: Mapping[str, str] = field(default_factory=dict)
    text_padding: bool = False
    required: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()

    @property
    def op(self) -> str:
        """The operation's name."""
        return self.operation.name

    @property
    def rules(self) -> Style:
        """The style, with what it asks for."""
        return STYLES[self.style]

    @property
    def channels_first(self) -> bool:
        """Whether images are NCHW."""
        return self.operation.layout and self.rules.channels_first

    def takes(self, option: str) -> bool:
        """Return whether the function has a way to be told this option."""
        if option in self.names:
            return True
        if self.form in ("geometry", "spec"):  # the ladder's `standard` has groups=1: grouped convolutions are another function
            return option in ("stride", "padding", "dilation") and option in self.operation.options(self.style)
        return self.form == "dict" and option in ("stride", "padding", "bias")

    def knows(self, form: str) -> bool:
        """Return whether the operation in this style knows a form at all."""
        return self.operation.knows(form, self)

    def options(self, case: Case) -> dict[str, Any]:
        """Return the keywords of a case, under the function's own names."""
        given = case.options
        if self.text_padding and case.spec.padding == "valid":
            given["padding"] = "valid"
        return {self.names[name]: value for name, value in given.items() if name in self.names}

    def image(self, x: np.ndarray) -> np.ndarray:
        """Return (N, H, W, C) in the style's layout."""
        return np.ascontiguousarray(self.rules.image(x)) if self.operation.layout else x

    def arguments(self, case: Case) -> Arguments:
        """Return a call's positional arguments and keywords, with fresh arrays."""
        return self.operation.arguments(self, case)

    def argument_names(self, positional: Sequence[Any], keywords: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments under the names that reports use."""
        return dict(zip(self.operation.leading(self), positional, strict=False)) | dict(keywords)

    def expected(self, case: Case) -> np.ndarray:
        """Return the right result, computed in float64."""
        return self.operation.expected(self, case)

    def tolerance(self, case: Case) -> np.ndarray | float:
        """Return how far a right function's rounding may take it from `expected`, broadcastable to it."""
        return self.operation.tolerance(self, case)

    def returned(self, result: Any) -> np.ndarray:
        """Return what a function returned as one array, or say why that cannot be."""
        if self.rules.cache and isinstance(result, tuple) and result:
            result = result[0]  # (out, cache)
        if result is None:
            raise Nothing("returned nothing (None)")
        return self.operation.returned(self, result)

    def observe(self, function: Callable[..., Any], *cases: Case) -> Outcome:
        """Call the function on cases of the same shapes in turn, and look at what the last call did."""
        calls = [self.arguments(case) for case in cases]
        # The size alone is told, and the answer itself must be gone before: else its memory is what comes back.
        outcome = observe(function, calls, self.expected(cases[-1]).size, 1 if self.rules.cache else None)
        if outcome.error:
            return outcome
        try:
            value = self.returned(outcome.value)
        except WrongKind as error:
            return Outcome(error=str(error), nothing=isinstance(error, Nothing))
        except Exception as error:  # of an object that only looks like an array
            return Outcome(error=f"raised {type(error).__name__}: {cut(str(error))}")
        names = list(self.argument_names(*calls[-1]))
        changed = tuple(names[name] if isinstance(name, int) else name for name in outcome.changed)
        return replace(outcome, value=np.array(value), changed=changed)


def fresh(array: np.ndarray, case: Case) -> np.ndarray:
    """Return a copy that lies in memory as the case asks for."""
    return laid_out(array, case.layout)


def said(result: Any) -> str:
    """Return what a result is, shortly."""
    return cut(f"{type(result).__name__} {result!r}", 80)


def integer(name: str, value: Any) -> int:
    """Return a whole number, or say that it is none."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise WrongKind(f"{name} must be an integer: it returned {said(value)}") from None


def numbers(result: Any) -> np.ndarray:
    """Return an array of real numbers; what only looks like one (a tensor, say) is taken by its `__array__`."""
    if not isinstance(result, np.ndarray) and not hasattr(result, "__array__"):
        raise WrongKind(f"must return an array: it returned {said(result)}")
    array = np.asarray(result)
    if array.dtype.kind not in "fiub":
        raise WrongKind(f"must return an array of real numbers: it returned dtype {array.dtype}")
    return array


def written(value: Any) -> str:
    """Write a number shortly: whole ones without a point."""
    number = float(value)
    return str(int(number)) if np.isfinite(number) and number == int(number) and abs(number) < 1e9 else f"{number:.6g}"
