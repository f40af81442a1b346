"""What each operation expects in each style: how a case becomes a call, and what the call must return.

A style is a course's way to write a function down:

========  ============================================================================  ==============
style     conv2d                                                                        layouts
========  ============================================================================  ==============
convlab   f(x, w, bias=None, stride=1, padding=0, dilation=1, groups=1)                 NHWC, HWIO
          or the ladder's contract f(x, w, geometry)
cs231n    f(x, w, b, {"stride", "pad"}) -> out or (out, cache)                          NCHW, OIHW
torch     f(x, w, bias=None, stride=1, padding=0, dilation=1, groups=1)                 NCHW, OIHW
========  ============================================================================  ==============

`read` reads a function's signature: an option without a parameter is not exercised. `SIGNATURES` has the other operations.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from ..cost import cost
from ..geometry import ConvGeometry, ConvSpec
from ..kernels import im2col
from .outcome import Outcome, cut, observe
from .strategies import Case, Kind, laid_out, short

SIGNATURES: Mapping[tuple[str, str], str] = {
    ("conv2d", "convlab"): "f(x, w, bias=None, stride=1, padding=0, dilation=1, groups=1) or f(x, w, geometry)",
    ("conv2d", "cs231n"): 'f(x, w, b, {"stride": 1, "pad": 0}) -> out or (out, cache)',
    ("conv2d", "torch"): "f(x, w, bias=None, stride=1, padding=0, dilation=1, groups=1)",
    ("depthwise", "convlab"): "f(x, w, bias=None, stride=1, padding=0, dilation=1) or f(x, w, geometry)",
    ("depthwise", "torch"): "f(x, w, bias=None, stride=1, padding=0, dilation=1, groups=1)",
    ("pointwise", "convlab"): "f(x, w, bias=None, stride=1) or f(x, w, geometry)",
    ("pointwise", "torch"): "f(x, w, bias=None, stride=1)",
    ("im2col", "convlab"): "f(x, kernel, stride=1, padding=0, dilation=1), f(x, spec) or f(x, geometry) -> (N*OH*OW, KH*KW*C)",
    ("im2col", "cs231n"): "f(x, field_height, field_width, padding=1, stride=1) -> (C*FH*FW, OH*OW*N)",
    ("im2col", "torch"): "f(x, kernel_size, dilation=1, padding=0, stride=1) -> (N, C*KH*KW, OH*OW)",
    ("output_size", "convlab"): "f(size, kernel, stride=1, padding=0, dilation=1) -> int, along one axis",
    ("cost", "convlab"): "f(height, width, in_channels, out_channels, kernel, stride=1, padding=0, dilation=1, groups=1) or "
    "f(spec, height, width) -> (params, macs)",
    ("relu6", "convlab"): "f(x)",
    ("fold_batch_norm", "convlab"): "f(w, bias, gamma, beta, mean, variance, eps) -> (w, bias)",
    ("fold_batch_norm", "torch"): "f(w, bias, gamma, beta, mean, variance, eps) -> (w, bias)",
}
"""What a function of each operation and style looks like. The three that know no layout are the same in every style."""

OPS = tuple(dict.fromkeys(op for op, _ in SIGNATURES))
STYLES = tuple(dict.fromkeys(style for _, style in SIGNATURES))
WITHOUT_LAYOUT = ("output_size", "cost", "relu6")
CONVOLUTIONS = ("conv2d", "depthwise", "pointwise")

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


@dataclass(frozen=True)
class Contract:
    """An operation in a style, as one function takes it.

    Attributes
    ----------
    op, style : str
    form : {"options", "geometry", "spec", "dict"}
        How stride, padding and so on are handed over.
    names : mapping
        Option -> the function's own keyword.
    text_padding : bool
        Whether the function's own default is a word, "valid" or "same": no padding is then said so.
    required : frozenset of str
        Options without a default.
    without : frozenset of str
        Forms that the function was seen to refuse, such as "stride pair"; filled by trying, see `FORMS`.
    """

    op: str
    style: str
    form: Literal["options", "geometry", "spec", "dict"] = "options"
    names: Mapping[str, str] = field(default_factory=dict)
    text_padding: bool = False
    required: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()

    @property
    def kind(self) -> Kind:
        """The kind of convolution that the operation runs."""
        return "depthwise" if self.op == "depthwise" else "pointwise" if self.op == "pointwise" else "standard"

    @property
    def channels_first(self) -> bool:
        """Whether images are NCHW."""
        return self.style != "convlab" and self.op not in WITHOUT_LAYOUT

    def takes(self, option: str) -> bool:
        """Return whether the function has a way to be told this option."""
        if option in self.names:
            return True
        if self.form in ("geometry", "spec"):  # the ladder's `standard` has groups=1: grouped convolutions are another function
            return option in ("stride", "padding", "dilation") and not (self.op == "pointwise" and option != "stride")
        return self.form == "dict" and option in ("stride", "padding", "bias")

    # A case as the style writes it

    def image(self, x: np.ndarray) -> np.ndarray:
        """Return (N, H, W, C) in the style's layout."""
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if self.channels_first else x

    def filters(self, w: np.ndarray, case: Case) -> np.ndarray:
        """Return (KH, KW, C / groups, O) as the operation takes its filters."""
        if self.channels_first:
            return np.ascontiguousarray(w.transpose(3, 2, 0, 1))
        if self.form != "geometry" and self.op == "pointwise":
            return w[0, 0]
        if self.form != "geometry" and self.op == "depthwise":
            per_channel = w.reshape(*w.shape[:2], case.spec.in_channels, -1)
            return per_channel[..., 0] if per_channel.shape[3] == 1 and "filters (KH, KW, C)" not in self.without else per_channel
        return w

    def options(self, case: Case) -> dict[str, Any]:
        """Return the keywords of a case, under the function's own names."""
        given = case.options
        if self.text_padding and case.spec.padding == "valid":
            given["padding"] = "valid"
        return {self.names[name]: value for name, value in given.items() if name in self.names}

    def arguments(self, case: Case) -> tuple[list[Any], dict[str, Any]]:
        """Return a call's positional arguments and keywords, with fresh arrays."""

        def fresh(array: np.ndarray) -> np.ndarray:
            return laid_out(array, case.layout)

        spec, size = case.spec, (case.height, case.width)
        options = self.options(case)
        match self.op:
            case "relu6":
                return [fresh(case.activations)], {}
            case "output_size":
                return [case.height, spec.kernel[0]], options
            case "cost" if self.form == "spec":
                return [spec, *size], {}
            case "cost":
                return [*size, spec.in_channels, spec.out_channels, short(spec.kernel)], options
            case "fold_batch_norm":
                w, old = self.filters(case.w, case), np.zeros(spec.out_channels, case.dtype) if case.bias is None else case.bias
                return [fresh(w), *(laid_out(a, case.layout) for a in (old, *case.statistics.values()))], {
                    self.names.get("eps", "eps"): case.eps
                }
            case "im2col":
                x = fresh(self.image(case.x))
                if self.form != "options":
                    return [x, case.geometry if self.form == "geometry" else spec], {}
                return [x, *(spec.kernel if self.style == "cs231n" else (short(spec.kernel),))], options
            case _:
                x, w = fresh(self.image(case.x)), fresh(self.filters(case.w, case))
                bias = None if case.bias is None else fresh(case.bias)
                if bias is None and (self.form == "dict" or "bias" in self.required):
                    bias = fresh(np.zeros(spec.out_channels, case.dtype))
                if self.form == "geometry":
                    return [x, w, case.geometry], {}
                if self.form == "dict":
                    return [x, w, bias, {"stride": case.options["stride"], "pad": case.options["padding"]}], {}
                if bias is not None:
                    options[self.names["bias"]] = bias
                return [x, w], options

    def returned(self, result: Any) -> np.ndarray:
        """Return what a function returned as one array, or say why that cannot be."""
        if self.style == "cs231n" and isinstance(result, tuple) and result:
            result = result[0]  # (out, cache)
        if result is None:
            raise Nothing("returned nothing (None)")
        match self.op:
            case "output_size":
                return np.asarray(_number("the size", result))
            case "cost":
                if isinstance(result, Mapping):
                    result = (result.get("params"), result.get("macs"))
                elif hasattr(result, "params") and hasattr(result, "macs"):
                    result = (result.params, result.macs)
                if not isinstance(result, (tuple, list)) or len(result) != 2:
                    raise WrongKind(f"must return (params, macs): it returned {_said(result)}")
                return np.asarray([_number(name, n) for name, n in zip(("params", "macs"), result, strict=True)])
            case "fold_batch_norm":
                if not isinstance(result, (tuple, list)) or len(result) != 2:
                    raise WrongKind(f"must return (w, bias): it returned {_said(result)}")
                w, bias = map(_numbers, result)
                outputs = w.reshape(len(w), -1).T if self.channels_first else w.reshape(-1, w.shape[-1]) if w.ndim else w
                if w.ndim != 4 or bias.shape != outputs.shape[1:]:
                    raise WrongKind(f"must return (w, bias), shaped as they came: it returned {w.shape} and {bias.shape}")
                return np.concatenate([outputs, bias[None]])  # a column per output channel: its taps, below them its bias
            case _:
                return _numbers(result)

    # What it must return

    def expected(self, case: Case) -> np.ndarray:
        """Return the right answer, in float64 where it is no count."""
        spec, g = case.spec, case.geometry
        x, w = case.x.astype(np.float64), case.w.astype(np.float64)
        match self.op:
            case "relu6":
                return np.minimum(np.maximum(case.activations.astype(np.float64), 0), 6)
            case "output_size":
                return np.asarray(g.out_height)
            case "cost":
                counted = cost(spec, case.height, case.width)
                return np.asarray([counted.params, counted.macs])
            case "fold_batch_norm":
                gamma, beta, mean, variance = (a.astype(np.float64) for a in case.statistics.values())
                scale = gamma / np.sqrt(variance + case.eps)
                bias = np.zeros(spec.out_channels) if case.bias is None else case.bias.astype(np.float64)
                taps = w.transpose(2, 0, 1, 3) if self.channels_first else w
                return np.concatenate([(taps * scale).reshape(-1, spec.out_channels), (beta + (bias - mean) * scale)[None]])
            case "im2col":
                return self._columns(x, g)
            case _:
                y = self._convolved(x, w, g)
                return self.image(y if case.bias is None else y + case.bias.astype(np.float64))

    @staticmethod
    def _convolved(x: np.ndarray, w: np.ndarray, g: ConvGeometry) -> np.ndarray:
        # im2col's functions are compared with `naive` by the package's own tests, and are quick enough for hundreds of cases.
        kind = g.spec.kind
        return {"standard": im2col.standard, "pointwise": im2col.pointwise, "depthwise": im2col.depthwise, "grouped": im2col.grouped}[kind](
            x, w, g
        )

    def _columns(self, x: np.ndarray, g: ConvGeometry) -> np.ndarray:
        if self.style == "convlab":
            return im2col.columns(x, g)
        windows = im2col.windows(x, g)  # (N, OH, OW, KH, KW, C)
        n, taps = len(x), np.prod(windows.shape[3:])
        if self.style == "torch":
            return windows.transpose(0, 5, 3, 4, 1, 2).reshape(n, taps, g.positions)
        return windows.transpose(5, 3, 4, 1, 2, 0).reshape(taps, g.positions * n)

    def tolerance(self, case: Case) -> np.ndarray | float:
        """Return how far a right function's rounding may take it from `expected`, broadcastable to it.

        A sum of n products in any order is off by at most n eps sum|x w| <= n eps |x_window| |w| (Higham 2002, section 3.1, and
        Cauchy-Schwarz). A convolution by FFT is off by a few eps log2(pixels) |x_image| |w| (Higham 2002, section 24.1, once
        each way and for both factors). The bound below holds for both; on the small whole numbers it stays far below 1.
        """
        eps = float(np.finfo(case.dtype).eps)
        if self.op == "fold_batch_norm":
            return 8 * eps * (np.abs(self.expected(case)) + sum(float(np.abs(a).max()) for a in case.statistics.values()) * 40)
        if self.op not in CONVOLUTIONS:
            return 0.0
        x, w = case.x.astype(np.float64), case.w.astype(np.float64)
        terms = int(np.prod(w.shape[:3]))
        pixels = case.geometry.height.padded * case.geometry.width.padded
        image = np.sqrt((x**2).sum(axis=(1, 2, 3)))[:, None, None, None]
        filters = np.sqrt((w**2).sum(axis=(0, 1, 2)))
        size = image * filters + (0 if case.bias is None else np.abs(case.bias.astype(np.float64)))
        return self.image(eps * (terms + 8 * np.log2(pixels + 1) + 8) * size)

    # Running

    def observe(self, function: Callable[..., Any], *cases: Case) -> Outcome:
        """Call the function on cases of the same shapes in turn, and look at what the last call did."""
        calls = [self.arguments(case) for case in cases]
        # The size alone is told, and the answer itself must be gone before: else its memory is what comes back.
        outcome = observe(function, calls, self.expected(cases[-1]).size, 1 if self.style == "cs231n" else None)
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

    def argument_names(self, positional: list[Any], keywords: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments under the names that reports use."""
        names: tuple[str, ...] = ("x", "w", "bias", "conv_param")
        if self.op == "fold_batch_norm":
            names = ("w", "bias", "gamma", "beta", "mean", "variance")
        elif self.op == "output_size":
            names = ("size", "kernel")
        elif self.op == "cost":
            names = ("spec", "height", "width") if self.form == "spec" else ("height", "width", "in_channels", "out_channels", "kernel")
        elif self.op == "im2col":
            names = ("x", "field_height", "field_width") if self.style == "cs231n" else ("x", "kernel")
        if self.form in ("geometry", "spec") and self.op != "cost":
            names = (*names[: len(positional) - 1], self.form)
        return dict(zip(names, positional, strict=False)) | dict(keywords)


def _said(result: Any) -> str:
    return cut(f"{type(result).__name__} {result!r}", 80)


def _number(name: str, value: Any) -> int:
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise WrongKind(f"{name} must be an integer: it returned {_said(value)}") from None


def _numbers(result: Any) -> np.ndarray:
    """Return an array of real numbers; what only looks like one (a tensor, say) is taken by its `__array__`."""
    if not isinstance(result, np.ndarray) and not hasattr(result, "__array__"):
        raise WrongKind(f"must return an array: it returned {_said(result)}")
    array = np.asarray(result)
    if array.dtype.kind not in "fiub":
        raise WrongKind(f"must return an array of real numbers: it returned dtype {array.dtype}")
    return array


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
    """Read from a function's signature what it can be told.

    Examples
    --------
    >>> contract = read(lambda x, w, stride=1: ..., "conv2d", "convlab")
    >>> contract.takes("stride"), contract.takes("dilation")
    (True, False)
    """
    check_names(op, style)
    if op in WITHOUT_LAYOUT:
        style = "convlab"
    known = _options(op, style)
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (ValueError, TypeError):  # a builtin may have none: it is told everything
        return Contract(op, style, "dict" if (op, style) == ("conv2d", "cs231n") else "options", {name: NAMES[name][0] for name in known})
    if op == "fold_batch_norm":
        return Contract(op, style, names={"eps": next((p.name for p in parameters if p.name in NAMES["eps"]), "eps")})
    if (op, style) == ("conv2d", "cs231n"):
        return Contract(op, style, "dict")
    at = {"im2col": 1, "cost": 0}.get(op, 2)
    if style == "convlab" and len(parameters) > at:
        if parameters[at].name in ("geometry", "g") and op != "cost":
            return Contract(op, style, "geometry")
        if parameters[at].name == "spec" and op in ("im2col", "cost"):
            return Contract(op, style, "spec")
    names, required, text = {}, set(), False
    everything = any(p.kind is p.VAR_KEYWORD for p in parameters)
    positional = {"output_size": 2, "cost": 5, "im2col": 3 if style == "cs231n" else 2}.get(op, 2)
    for option in known:
        found = next((p for p in parameters[positional:] if p.name in NAMES[option]), None)
        if found is not None:
            names[option] = found.name
            if found.default is found.empty:
                required.add(option)
            text |= option == "padding" and isinstance(found.default, str)
        elif everything:
            names[option] = NAMES[option][0]
    return Contract(op, style, "options", names, text, frozenset(required))


def _options(op: str, style: str) -> tuple[str, ...]:
    """Return the options that an operation knows in a style."""
    window = ("stride", "padding", "dilation")
    return {
        "conv2d": ("bias", *window, "groups"),
        "depthwise": ("bias", *window, *(("groups",) if style == "torch" else ())),
        "pointwise": ("bias", "stride"),
        "im2col": window[:2] if style == "cs231n" else window,
        "output_size": window,
        "cost": (*window, "groups"),
        "relu6": (),
        "fold_batch_norm": (),
    }[op]


def option_names(op: str, style: str) -> tuple[str, ...]:
    """Return the options that an operation knows in a style: what a report can call exercised or not."""
    return _options(op, "convlab" if op in WITHOUT_LAYOUT else style)


FORMS: Mapping[str, tuple[str, Any]] = {
    "stride pair": ("stride", (1, 2)),
    "padding int": ("padding", 1),
    "padding pair": ("padding", (1, 2)),
    "padding sides": ("padding", ((0, 1), (2, 1))),
    "padding same": ("padding", "same"),
    "dilation pair": ("dilation", (1, 2)),
    "kernel pair": ("kernel", (2, 3)),
}
"""Forms of an option that a signature does not tell: name -> (option, a value in this form)."""

FORMS_OF: Mapping[str, tuple[str, ...]] = {
    "cs231n": (),
    "torch": ("stride pair", "padding int", "padding pair", "dilation pair"),
    "convlab": tuple(FORMS),
}


def tried(contract: Contract, function: Callable[..., Any]) -> Contract:
    """Return the contract without the forms that the function refuses: each is tried once, on a small picture.

    Only an error counts as a refusal. A wrong result does not: it will be judged.
    """

    def outcome(contract: Contract, **options: Any) -> Outcome:
        kernel = 1 if contract.op == "pointwise" else 2
        groups = 2 if contract.op == "depthwise" else 1
        spec = ConvSpec(2, 2, **{"kernel": kernel, "groups": groups, **options})
        return contract.observe(function, Case(spec, 5, 5 if contract.op == "output_size" else 6))

    plain = outcome(contract)
    if contract.op == "depthwise" and contract.style == "convlab" and contract.form == "options" and plain.error and not plain.crashed:
        # Filters (KH, KW, C) or (KH, KW, C, M)? A signature does not tell; the one that runs is meant.
        other = replace(contract, without=frozenset({"filters (KH, KW, C)"}))
        again = outcome(other)
        if not again.error:
            contract, plain = other, again
    if plain.error:  # it fails on the simplest call: say that, and do not blame forms
        return contract
    refused = set(contract.without)
    for form, (option, value) in FORMS.items():
        if forms_apply(contract, form) and (contract.takes(option) or option == "kernel"):
            done = outcome(contract, **{option: value})
            # A function whose own default is a word may know words only, and take no notice of the rest.
            words_only = contract.text_padding and option == "padding" and value != "same" and _same_shape(done, plain)
            if (done.error and not done.crashed) or words_only:
                refused.add(form)
    return replace(contract, without=frozenset(refused))


def _same_shape(one: Outcome, other: Outcome) -> bool:
    return one.value is not None and other.value is not None and one.value.shape == other.value.shape


def forms_apply(contract: Contract, form: str) -> bool:
    """Return whether an operation in a style knows a form at all."""
    if form == "kernel pair":
        return (contract.op == "cost" or contract.op == "im2col") and contract.form == "options" and contract.style != "cs231n"
    if contract.form in ("geometry", "spec"):
        return form == "padding same"  # a geometry holds pairs throughout; only a spec still says "same"
    one_axis = contract.op == "output_size"
    return form in FORMS_OF[contract.style] and not (one_axis and form in ("stride pair", "padding pair", "padding sides", "dilation pair"))
