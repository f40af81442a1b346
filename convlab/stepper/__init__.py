"""The interactive page: one window, its row of the im2col matrix and its output, linked and stepped through.

`page` writes it as one HTML file that needs neither Python nor a network; `widget` shows it in a notebook. Both run
the same `stepper.js`, which draws a *trace*: everything the engine says about one setting of the sliders.
In a notebook each move of a slider asks Python for the next `trace`. A page opened from disk has nobody
to ask, so it carries a `book`: what the engine says about every setting that its sliders can reach.

There are 5,400 of those for each number of groups, but few different numbers among them. Rows and columns are
independent, so sizes and taps are kept once for each axis. An output depends on where its window starts, not on the stride
or the padding that brought it there. So for each size, kernel, dilation and number of groups the book holds one
convolution, at stride 1 and with the widest padding of any setting, and a setting's outputs are those at its windows'
starts. Inputs and weights of a smaller size are corners of the largest.

The page's own arithmetic is a check, never a source: whenever a trace is drawn, each output is summed up again
from the taps that the engine names, and compared with the output that the engine computed; multiplications and
weights are counted on the way and compared with `cost`. A difference is shown as an error.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib import resources
from string import Template
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..arguments import integer
from ..compare import compare
from ..conv import conv2d
from ..cost import cost, sizes
from ..geometry import Axis, ConvSpec

if TYPE_CHECKING:
    from anywidget import AnyWidget

SLIDERS: Mapping[str, tuple[Any, ...]] = {
    "height": (4, 5, 6, 7, 8),
    "width": (4, 5, 6, 7, 8),
    "kernel_height": (1, 2, 3),
    "kernel_width": (1, 2, 3),
    "stride": (1, 2, 3),
    "padding": ("valid", "same", 1, 2),
    "dilation": (1, 2),
}
"""What each slider can be set to. The groups have one too, whose stops depend on the channels."""

CHANNELS = 6
"""Most channels and filters: more do not fit on a screen, nor their book into 3 MB."""

EXAMPLES = ((6, 6, 3, 5), (5, 5, 3, 16))
"""The documents' examples (000 and 004): height, width, channels, filters of 3x3."""

KERNEL = "im2col"
"""The rung that runs it: exact on integers, and nobody waits for a compiler."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where the sliders stand, and the channels and filters, which have none.

    Parameters
    ----------
    height, width, kernel_height, kernel_width, stride, dilation : int
        Of `SLIDERS`.
    padding : "valid", "same" or int
        Of `SLIDERS`.
    channels, filters : int
        From 1 to `CHANNELS`.
    groups : int
        Divides both.

    Raises
    ------
    ValueError, TypeError
        The message states the rule, then the value.

    Examples
    --------
    >>> Setting(channels=6, filters=4).stops
    (1, 2)
    """

    height: int = 6
    width: int = 6
    kernel_height: int = 3
    kernel_width: int = 3
    stride: int = 1
    padding: Literal["valid", "same"] | int = "valid"
    dilation: int = 1
    groups: int = 1
    channels: int = 4
    filters: int = 4

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "groups", integer("groups", self.groups, 1))
        for name in ("channels", "filters"):
            put(self, name, integer(name, getattr(self, name), 1))
            if getattr(self, name) > CHANNELS:
                raise ValueError(f"{name} must be at most {CHANNELS} on the page: {name}={getattr(self, name)}")
        for name, values in SLIDERS.items():
            value = getattr(self, name)
            if value not in values or isinstance(value, bool):
                raise ValueError(f"{name} must be one of {', '.join(map(str, values))} on the page: {name}={value!r}")
            put(self, name, values[values.index(value)])  # a plain int, whatever kind of 3 it was
        _ = self.spec  # refuses groups that do not divide

    @property
    def spec(self) -> ConvSpec:
        """The convolution."""
        window = self.kernel_height, self.kernel_width
        return ConvSpec(self.channels, self.filters, window, self.stride, self.padding, self.dilation, self.groups)

    @property
    def stops(self) -> tuple[int, ...]:
        """The numbers of groups that divide channels and filters: 1 is standard, `channels` depthwise."""
        return tuple(g for g in range(1, CHANNELS + 1) if self.channels % g == self.filters % g == 0)


def picture(setting: Setting) -> np.ndarray:
    """Return the input, (H, W, C) of 0 to 3; that of a smaller size is a corner of the largest."""
    i, j, c = np.ogrid[: setting.height, : setting.width, : setting.channels]
    return (3 * i * i + 5 * i * j + 2 * j + (c + 1) * (i + 7 * c + j * j)) % 11 % 4  # looks random, and is the same everywhere


def weights(setting: Setting) -> np.ndarray:
    """Return the filters, (KH, KW, C / groups, O) of -1 to 1.

    A filter of a group keeps the weights that the standard filter (groups=1) has on the group's channels, so that the
    slider of the groups only takes connections away.
    """
    m, n, c, o = np.ogrid[: setting.kernel_height, : setting.kernel_width, : setting.channels, : setting.filters]
    standard = (2 * m + 3 * n * n + m * n + c * (o + 2) + o * (2 * m + n + 1)) % 7 % 3 - 1
    per_group = setting.channels // setting.groups
    first = np.arange(setting.filters) // (setting.filters // setting.groups) * per_group
    return np.take_along_axis(standard, first + np.arange(per_group)[:, None] + np.zeros_like(m + n), axis=2)


def _axis(axis: Axis) -> dict[str, Any]:
    names = ("input", "kernel", "stride", "dilation", "before", "after", "extent", "output", "unread")
    return {name: getattr(axis, name) for name in names} | {"taps": [list(axis.taps(i)) for i in range(axis.output)]}


def _costs(setting: Setting) -> list[dict[str, Any]]:
    """Return what the convolution costs at each stop of the groups' slider."""
    found = []
    for groups in setting.stops:
        spec = replace(setting, groups=groups).spec
        counted = cost(spec, setting.height, setting.width)
        found.append({"groups": groups, "kind": spec.kind, "params": counted.params, "macs": counted.macs})
    return found


def trace(setting: Setting) -> dict[str, Any]:
    """Return what the engine says about one setting, ready for JSON.

    Parameters
    ----------
    setting : Setting

    Returns
    -------
    dict
        "setting" and, of the engine: "rows" and "columns", each an `Axis` with its "taps"; "x" (H, W, C); "w" (KH, KW,
        C / groups, O); "y" (OH, OW, O); "costs", one for each stop of the groups' slider. Where the output would be empty,
        "setting" and "error", the engine's message.

    Examples
    --------
    >>> t = trace(Setting(channels=3, filters=5))
    >>> t["rows"]["taps"], t["costs"]
    ([[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5]], [{'groups': 1, 'kind': 'standard', 'params': 135, 'macs': 2160}])
    >>> trace(Setting(height=4, dilation=2))["error"][:48]
    'the window must fit into the padded input: along'
    """
    try:
        g = setting.spec.geometry(setting.height, setting.width)
    except ValueError as error:
        return {"setting": asdict(setting), "error": str(error)}
    x, w, spec = picture(setting), weights(setting), setting.spec
    y = conv2d(x, w, stride=spec.stride, padding=g.padding, dilation=spec.dilation, groups=spec.groups, kernel=KERNEL)
    numbers = {"x": x.tolist(), "w": w.tolist(), "y": y.tolist(), "costs": _costs(setting)}
    return {"setting": asdict(setting), "rows": _axis(g.height), "columns": _axis(g.width), **numbers}


def _key(*values: object) -> str:
    return ",".join(map(str, values))


def _axes(name: str) -> dict[str, dict[str, Any]]:
    """Return every axis that the sliders reach, the "rows" or the "columns", by size, kernel, stride, padding and dilation."""
    found: dict[str, dict[str, Any]] = {}
    size = ("height", "kernel_height") if name == "rows" else ("width", "kernel_width")
    for n, k, *others in itertools.product(*(SLIDERS[slider] for slider in (*size, "stride", "padding", "dilation"))):
        window, shape = ((k, 1), (n, 1)) if name == "rows" else ((1, k), (1, n))
        try:
            g = ConvSpec(1, 1, window, *others).geometry(*shape)
            found[_key(n, k, *others)] = _axis(g.height if name == "rows" else g.width)
        except ValueError as error:
            found[_key(n, k, *others)] = {"error": str(error)}
    return found


def book(channels: int = 4, filters: int = 4) -> dict[str, Any]:
    """Return what the engine says about every setting of the sliders, each number once.

    Parameters
    ----------
    channels, filters : int
        From 1 to `CHANNELS`.

    Returns
    -------
    dict
        "x" and "w" of the largest size, "w" by groups; "rows" and "columns" by size, kernel, stride, padding and dilation,
        each as in `trace` or with an "error"; "costs" by kernel and output size; "reach", the widest padding, and
        "y" by size, kernel, dilation and groups, whose ``y[p + reach][q + reach]`` are the outputs of the window
        that starts at row p and column q.

    Raises
    ------
    ValueError, TypeError
        As `Setting`.

    Examples
    --------
    >>> whole, setting = book(1, 1), Setting(channels=1, filters=1, stride=2)
    >>> whole["y"]["6,6,3,3,1,1"][2 + whole["reach"]][0 + whole["reach"]] == trace(setting)["y"][1][0]
    True
    """
    largest = Setting(**{name: values[-1] for name, values in SLIDERS.items()}, channels=channels, filters=filters)
    rows, columns = _axes("rows"), _axes("columns")
    reach = max(axis[side] for axis in (*rows.values(), *columns.values()) if "error" not in axis for side in ("before", "after"))
    costs: dict[str, list[dict[str, Any]]] = {}
    y: dict[str, list[Any]] = {}
    for values in itertools.product(*SLIDERS.values()):
        s = replace(largest, **dict(zip(SLIDERS, values, strict=True)))
        down = rows[_key(s.height, s.kernel_height, s.stride, s.padding, s.dilation)]
        across = columns[_key(s.width, s.kernel_width, s.stride, s.padding, s.dilation)]
        if "error" in down or "error" in across:
            continue
        key = _key(s.kernel_height, s.kernel_width, down["output"], across["output"])
        if key not in costs:
            costs[key] = _costs(s)
        for groups in largest.stops:
            key = _key(s.height, s.width, s.kernel_height, s.kernel_width, s.dilation, groups)
            if key not in y:
                w = weights(replace(s, groups=groups))
                y[key] = conv2d(picture(s), w, padding=reach, dilation=s.dilation, groups=groups, kernel=KERNEL).tolist()
    return {
        "x": picture(largest).tolist(),
        "w": {groups: weights(replace(largest, groups=groups)).tolist() for groups in largest.stops},
        "rows": rows,
        "columns": columns,
        "costs": costs,
        "reach": reach,
        "y": y,
    }


def _examples() -> list[dict[str, Any]]:
    """Return the documents' examples as `compare` counts them."""
    found = []
    for height, width, channels, filters in EXAMPLES:
        c = compare(height, width, in_channels=channels, out_channels=filters, kernel=3)
        kinds = [
            {"kind": kind, "channels": m, "filters": n, "groups": g, "params": counted.params, "macs": counted.macs}
            for kind, m, n, g, counted in (
                ("standard", channels, filters, 1, c.standard),
                ("depthwise", channels, channels, channels, c.depthwise),
                ("pointwise", channels, filters, 1, c.pointwise),
                ("separable", channels, filters, 1, c.separable),
            )
        ]
        title = f"{sizes(c.input)}, {filters} filters of {sizes(c.kernel)}: output {sizes(c.output)}"
        found.append({"title": title, "result": c.table.title, "kinds": kinds})
    return found


def _options(setting: Setting) -> dict[str, Any]:
    """Return what the page shows before the first trace, and where it starts."""
    sliders = {**SLIDERS, "groups": setting.stops}
    return {"start": asdict(setting), "sliders": sliders, "examples": _examples()}


def _file(name: str) -> str:
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")


def page(setting: Setting | None = None) -> str:
    """Return the interactive page as one HTML file, self-contained.

    Parameters
    ----------
    setting : Setting, optional
        Where the sliders stand at first, and the channels and filters.

    Returns
    -------
    str
        HTML of 0.3 to 2.6 MB, by the channels and filters; it loads nothing from anywhere.

    Examples
    --------
    >>> html = page(Setting(channels=1, filters=1))
    >>> html[:15], 'src="' in html
    ('<!doctype html>', False)
    """
    setting = Setting() if setting is None else setting
    data = {"options": _options(setting), "book": book(setting.channels, setting.filters)}
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")  # no "</script>" inside
    return Template(_file("page.html")).substitute(style=_file("stepper.css"), script=_file("stepper.js"), data=text)


def widget(setting: Setting | None = None) -> AnyWidget:
    """Return the page as a notebook widget, whose sliders ask this Python.

    Parameters
    ----------
    setting : Setting, optional
        As in `page`.

    Returns
    -------
    anywidget.AnyWidget
        Its trait `setting` is where the sliders stand (a dict), `trace` what the engine says about it.

    Raises
    ------
    ModuleNotFoundError
        If anywidget is not installed.
    """
    try:
        import anywidget
        import traitlets
    except ModuleNotFoundError:
        raise ModuleNotFoundError('the widget needs anywidget: pip install "convlab-engine[lab]"') from None

    class Stepper(anywidget.AnyWidget):
        _esm = _file("stepper.js")
        _css = _file("stepper.css")
        options = traitlets.Dict().tag(sync=True)
        setting = traitlets.Dict().tag(sync=True)
        trace = traitlets.Dict().tag(sync=True)

        @traitlets.observe("setting")
        def _answer(self, change: Any) -> None:
            self.trace = trace(Setting(**change["new"]))

    setting = Setting() if setting is None else setting
    return Stepper(options=_options(setting), setting=asdict(setting))
