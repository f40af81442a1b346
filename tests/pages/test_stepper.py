"""The interactive page's numbers: the traces, the book of all settings, the page's text, and what `convlab step` writes."""

import itertools
import json
import re
import subprocess
import sys
from dataclasses import FrozenInstanceError, asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import convlab as cl
from convlab import cli
from convlab.stepper import CHANNELS, SLIDERS, Setting, book, page, picture, trace, weights, widget


@st.composite
def settings(draw):
    """Draw any setting that the sliders reach, of any channels and filters."""
    channels, filters = draw(st.integers(1, CHANNELS)), draw(st.integers(1, CHANNELS))
    standing = {name: draw(st.sampled_from(values)) for name, values in SLIDERS.items()}
    setting = Setting(**standing, channels=channels, filters=filters)
    return replace(setting, groups=draw(st.sampled_from(setting.stops)))


def convolved(setting, kernel="naive"):
    """Return the outputs of a setting as a user computes them."""
    options = {name: getattr(setting, name) for name in ("stride", "padding", "dilation", "groups")}
    return cl.conv2d(picture(setting), weights(setting), **options, kernel=kernel)


def reachable(setting):
    """Whether the window fits into the padded input."""
    try:
        setting.spec.geometry(setting.height, setting.width)
    except ValueError:
        return False
    return True


# One trace


@given(settings())
def test_a_trace_is_what_the_engine_says(setting):
    t = json.loads(json.dumps(trace(setting)))
    assert t["setting"] == asdict(setting)
    if not reachable(setting):
        assert set(t) == {"setting", "error"}
        with pytest.raises(ValueError, match=re.escape(t["error"])):
            convolved(setting)
        return
    assert_array_equal(t["x"], picture(setting))
    assert_array_equal(t["w"], weights(setting))
    assert_array_equal(t["y"], convolved(setting))
    g = setting.spec.geometry(setting.height, setting.width)
    for axis, name in ((g.height, "rows"), (g.width, "columns")):
        assert t[name]["taps"] == [list(axis.taps(i)) for i in range(axis.output)]
        assert (t[name]["output"], t[name]["unread"], t[name]["extent"]) == (axis.output, axis.unread, axis.extent)
        assert (t[name]["before"], t[name]["after"]) == (axis.before, axis.after)
    counted = {c["groups"]: (c["kind"], c["params"], c["macs"]) for c in t["costs"]}
    assert tuple(counted) == setting.stops
    for groups in setting.stops:
        spec = replace(setting, groups=groups).spec
        c = cl.cost(spec, setting.height, setting.width)
        assert counted[groups] == (spec.kind, c.params, c.macs)


@given(settings())
def test_groups_only_take_connections_away(setting):
    """A grouped filter is the standard one with zeros where its group does not read."""
    standard, mine = weights(replace(setting, groups=1)), weights(setting)
    per_group = setting.channels // setting.groups
    spread = np.zeros_like(standard)
    for o in range(setting.filters):
        first = o // (setting.filters // setting.groups) * per_group
        spread[:, :, first : first + per_group, o] = mine[..., o]
        assert_array_equal(mine[..., o], standard[:, :, first : first + per_group, o])
    if reachable(setting):
        options = {name: getattr(setting, name) for name in ("stride", "padding", "dilation")}
        assert_array_equal(convolved(setting), cl.conv2d(picture(setting), spread, **options, kernel="naive"))


def test_pictures_and_weights_tell_channels_and_filters_apart():
    """A wrong channel, filter, row or column shows: no two are alike."""
    setting = Setting(height=8, width=8, channels=CHANNELS, filters=CHANNELS)
    x, w = picture(setting), weights(setting)
    for array, axes in ((x, range(3)), (w, range(4))):
        for axis in axes:
            slices = np.moveaxis(array, axis, 0)
            for a, b in itertools.combinations(slices, 2):
                assert (a != b).any()
    assert (x.min(), x.max(), w.min(), w.max()) == (0, 3, -1, 1)


# All of them


@pytest.fixture(scope="module", params=[(4, 4), (3, 5), (6, 4)], ids=lambda p: f"{p[0]} channels {p[1]} filters")
def whole(request):
    """Return (channels, filters, book), the book as the page reads it."""
    return *request.param, json.loads(json.dumps(book(*request.param)))


def looked_up(b, s):
    """Read one setting out of a book as its docstring says."""

    def key(*values):
        return ",".join(map(str, values))

    rows = b["rows"][key(s.height, s.kernel_height, s.stride, s.padding, s.dilation)]
    columns = b["columns"][key(s.width, s.kernel_width, s.stride, s.padding, s.dilation)]
    if "error" in rows or "error" in columns:
        return {"setting": asdict(s), "error": rows.get("error", columns.get("error"))}
    x = [row[: s.width] for row in b["x"][: s.height]]
    w = [row[: s.kernel_width] for row in b["w"][str(s.groups)][: s.kernel_height]]
    y = b["y"][key(s.height, s.width, s.kernel_height, s.kernel_width, s.dilation, s.groups)]
    y = [[y[p[0] + b["reach"]][q[0] + b["reach"]] for q in columns["taps"]] for p in rows["taps"]]
    costs = b["costs"][key(s.kernel_height, s.kernel_width, rows["output"], columns["output"])]
    return {"setting": asdict(s), "rows": rows, "columns": columns, "x": x, "w": w, "y": y, "costs": costs}


def test_the_book_holds_the_trace_of_every_setting(whole):
    """Every seventh of 5,400 settings for each number of groups: 7 divides no slider's number of stops, so all come up."""
    channels, filters, b = whole
    seen, empty = 0, 0
    stops = Setting(channels=channels, filters=filters).stops
    for values in itertools.islice(itertools.product(*SLIDERS.values(), stops), 0, None, 7):
        *standing, groups = values
        setting = Setting(**dict(zip(SLIDERS, standing, strict=True)), channels=channels, filters=filters, groups=groups)
        expected = trace(setting)
        assert looked_up(b, setting) == expected
        seen += 1
        empty += "error" in expected
    assert seen == -(-5400 * len(stops) // 7)
    assert 0 < empty < seen / 2


def test_the_book_stays_small(whole):
    assert len(json.dumps(whole[2], separators=(",", ":"))) < 2e6


# The page


def test_the_page_is_one_file_that_carries_the_book():
    html = page(Setting(channels=3, filters=5))
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    data = json.loads(data)
    assert data["book"] == json.loads(json.dumps(book(3, 5)))
    assert data["options"]["start"] == asdict(Setting(channels=3, filters=5))
    assert data["options"]["sliders"] == {**{name: list(values) for name, values in SLIDERS.items()}, "groups": [1]}
    assert "${" not in re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    # Nothing is loaded: no source, no import, no style sheet, and no address but that of SVG, which names and loads nothing.
    assert re.findall(r"\b(?:src|@import|import\(|fetch\(|url\()", html) == []
    assert set(re.findall(r"https?://[^\"'\s]*", html)) == {"http://www.w3.org/2000/svg"}


def test_the_page_carries_the_documents_examples():
    first, second = json.loads(re.findall(r'id="data">(.*?)</script>', page(Setting(channels=1, filters=1)))[0])["options"]["examples"]
    macs = [{kind["kind"]: kind["macs"] for kind in example["kinds"]} for example in (first, second)]
    assert macs[0] == {"standard": 2160, "depthwise": 432, "pointwise": 240, "separable": 672}
    assert macs[1] == {"standard": 3888, "depthwise": 243, "pointwise": 432, "separable": 675}
    assert "82.64 %" in second["result"]


# What is refused


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"height": 9}, "height must be one of 4, 5, 6, 7, 8 on the page: height=9"),
        ({"kernel_width": 0}, "kernel_width must be one of 1, 2, 3 on the page: kernel_width=0"),
        ({"padding": "full"}, "padding must be one of valid, same, 1, 2 on the page: padding='full'"),
        ({"stride": True}, "stride must be one of 1, 2, 3 on the page: stride=True"),
        ({"channels": 7}, "channels must be at most 6 on the page: channels=7"),
        ({"filters": 0}, "filters must be at least 1: filters=0"),
        ({"groups": 3}, "groups must divide in_channels: in_channels=4, groups=3"),
    ],
)
def test_wrong_settings(wrong, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Setting(**wrong)


def test_wrong_types():
    with pytest.raises(TypeError, match="channels must be an integer: channels='4'"):
        Setting(channels="4")
    with pytest.raises(FrozenInstanceError):
        Setting().stride = 2


def test_numpy_numbers_are_numbers():
    setting = Setting(height=np.int64(5), channels=np.int32(4), groups=np.int8(2))
    assert setting == Setting(height=5, groups=2)
    json.dumps(trace(setting))


# The command line


def test_step_writes_the_page(tmp_path, capsys):
    target = tmp_path / "page.html"
    argv = [
        "--size",
        "8x7x6",
        "--filters",
        "3",
        "--kernel",
        "3x2",
        "--stride",
        "2",
        "--padding",
        "same",
        "--dilation",
        "2",
        "--groups",
        "3",
    ]
    assert cli.run(["step", "--out", str(target), *argv]) == 0
    out, err = capsys.readouterr()
    assert (out.startswith(f"{target}: "), err) == (True, "")
    setting = Setting(
        height=8, width=7, channels=6, filters=3, kernel_height=3, kernel_width=2, stride=2, padding="same", dilation=2, groups=3
    )
    assert target.read_text(encoding="utf-8") == page(setting)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--size", "9x6x3"], "height must be one of 4, 5, 6, 7, 8 on the page: height=9"),
        (["--padding", "1x2"], "padding must be one of valid, same, 1, 2 on the page: padding=(1, 2)"),
        (["--groups", "3"], "groups must divide in_channels: in_channels=4, groups=3"),
    ],
)
def test_step_refuses_in_one_line(tmp_path, capsys, argv, message):
    target = tmp_path / "page.html"
    assert cli.run(["step", "--out", str(target), *argv]) == 2
    assert capsys.readouterr() == ("", f"convlab step: {message}\n")
    assert not target.exists()


def test_step_says_where_it_cannot_write(tmp_path, capsys):
    target = tmp_path / "missing" / "page.html"
    assert cli.run(["step", "--out", str(target)]) == 2
    assert capsys.readouterr() == ("", f"convlab step: No such file or directory: {target}\n")


def test_the_examples_of_the_help_work(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cli.run(["step", "--help"])
    lines = re.findall(r"^  convlab (step .*?)(?:   .*)?$", capsys.readouterr().out, re.MULTILINE)
    assert len(lines) >= 2
    for line in lines:
        assert cli.run(line.split()) == 0, line


# In a notebook


def test_the_widget_asks_python():
    pytest.importorskip("anywidget", reason="the notebook's widget needs anywidget: pip install anywidget")
    shown = widget(Setting(channels=6, filters=6))
    assert shown.trace == trace(Setting(channels=6, filters=6))
    for setting in (Setting(channels=6, filters=6, groups=3, stride=2), Setting(channels=6, filters=6, height=4, dilation=2)):
        shown.setting = json.loads(json.dumps(asdict(setting)))  # as the browser sends it
        assert shown.trace == trace(setting)
    assert "error" in shown.trace
    assert json.loads(json.dumps(shown.options))["sliders"]["groups"] == [1, 2, 3, 6]


def test_without_anywidget_the_widget_says_what_to_install():
    program = "import sys; sys.modules['anywidget'] = None; from convlab.stepper import page, widget; page(); widget()"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.endswith('ModuleNotFoundError: the widget needs anywidget: pip install "convlab-engine[lab]"\n')
