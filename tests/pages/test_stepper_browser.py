"""The interactive page in a real browser: every control, and the numbers on screen against the engine.

It needs Chromium and Playwright: ``apt-get install chromium && pip install playwright``. Playwright's own browsers are not used.
"""

import base64
import json
import random
import re
from dataclasses import asdict, replace
from importlib import resources

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import convlab as cl
from convlab.stepper import SLIDERS, Setting, page, picture, trace, weights, widget

START = Setting(channels=4, filters=4)
SLIDER_STOPS = {**SLIDERS, "groups": START.stops}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Return the page of `START` as a file."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(page(START), encoding="utf-8")
    return path


def slide(view, name, value, stops=SLIDER_STOPS):
    view.locator(f"input[name={name}]").fill(str(list(stops[name]).index(value)))


def set_to(view, setting):
    """Move those sliders that stand elsewhere, without waiting for a frame after each."""
    places = {name: list(stops).index(getattr(setting, name)) for name, stops in SLIDER_STOPS.items()}
    view.evaluate(
        """(places) => {
          for (const [name, place] of Object.entries(places)) {
            const slider = document.querySelector(`input[name=${name}]`);
            if (Number(slider.value) === place) continue;
            slider.value = place;
            slider.dispatchEvent(new Event("input", { bubbles: true }));
          }
        }""",
        places,
    )


READ = """() => {
  const number = (text) => (text === "·" ? null : Number(text.replace("\\u2212", "-").replaceAll(",", "")));
  const cells = (rows) => [...rows].map((row) => [...row.querySelectorAll("td")].map((cell) => number(cell.textContent)));
  const planes = (name) => [...document.querySelectorAll(`.${name} .plane`)].map((plane) => cells(plane.querySelectorAll("tr")));
  const lit = (plane) => [...plane.querySelectorAll("tr")].flatMap((row, i) =>
    [...row.children].flatMap((cell, j) => (cell.classList.contains("lit") ? [[i, j]] : [])));
  return {
    alert: document.querySelector(".alert").textContent,
    input: planes("input"),
    kernel: planes("kernel"),
    output: planes("output"),
    matrix: cells(document.querySelectorAll(".matrix tbody tr")),
    filter: cells(document.querySelectorAll(".matrix .filter"))[0],
    inputLit: [...document.querySelectorAll(".input .plane")].map(lit),
    outputLit: [...document.querySelectorAll(".output .plane")].map(lit),
    rowsLit: [...document.querySelectorAll(".matrix tbody tr")].flatMap((row, k) => (row.classList.contains("lit") ? [k] : [])),
    terms: [...document.querySelectorAll(".sum .term")].map((term) =>
      [...term.querySelectorAll("b")].map((factor) => number(factor.textContent.replace(/[()]/g, "")))),
    parts: [...document.querySelectorAll(".sum .part")].map((part) => number(part.textContent.slice(2))),
    total: document.querySelector(".sum .total").textContent,
    sum: number(document.querySelector(".sum .total .y").textContent),
    costs: [...document.querySelectorAll(".costs tbody tr")].map((row) => [...row.children].slice(0, 4).map((cell) => cell.textContent)),
    current: [...document.querySelectorAll(".costs tr[aria-current]")].map((row) => Number(row.dataset.groups)),
    counted: document.querySelector(".costs > .note").textContent,
    shape: document.querySelector(".shape").innerText,
    status: document.querySelector("[role=status]").textContent,
    lines: document.querySelectorAll(".costs .wiring line").length,
    litLines: document.querySelectorAll(".costs .wiring line.lit").length,
  };
}"""


def check(view, setting, i=0, j=0, o=0):
    """Compare everything on screen with the engine, the window standing at output (i, j) of filter o."""
    seen = view.evaluate(READ)
    assert seen["alert"] == ""
    g = setting.spec.geometry(setting.height, setting.width)
    x, w = picture(setting), weights(setting)
    options = {name: getattr(setting, name) for name in ("stride", "padding", "dilation", "groups")}
    y = cl.conv2d(x, w, **options, kernel="naive")

    # The numbers.
    assert_array_equal(np.moveaxis(seen["input"], 0, 2), np.pad(x, (*g.padding, (0, 0))))
    assert_array_equal(np.moveaxis(seen["output"], 0, 2), y)
    matrix = np.array(seen["matrix"])
    assert_array_equal(matrix[:, :-1], cl.im2col(x, setting.spec))
    assert_array_equal(matrix[:, -1], y[..., o].ravel())
    per_group = setting.channels // setting.groups
    first = o // (setting.filters // setting.groups) * per_group
    spread = np.full((*setting.spec.kernel, setting.channels), None)
    spread[:, :, first : first + per_group] = w[..., o]
    assert_array_equal(np.moveaxis(np.array(seen["kernel"], object), 0, 2), spread)
    assert_array_equal(np.array(seen["filter"], object), spread.ravel())

    # What is lit.
    (top, _), (left, _) = g.padding
    taps = [[p + top, q + left] for p in g.height.taps(i) for q in g.width.taps(j)]
    assert seen["inputLit"] == [taps] * setting.channels
    assert seen["outputLit"] == [[[i, j]] if filter == o else [] for filter in range(setting.filters)]
    assert seen["rowsLit"] == [i * g.out_width + j]

    # The sum.
    window = cl.im2col(x, setting.spec)[i * g.out_width + j].reshape(-1, setting.channels)[:, first : first + per_group]
    products = np.stack([window.T, w[..., o].reshape(-1, per_group).T], axis=-1)  # by channel
    assert_array_equal(seen["terms"], products.reshape(-1, 2))
    assert seen["parts"] == products.prod(axis=-1).sum(axis=-1).tolist()
    assert seen["sum"] == y[i, j, o] == sum(seen["parts"])
    assert seen["total"].startswith(f"y({i}, {j}, {o}) = ")

    # The costs.
    expected = []
    for groups in setting.stops:
        spec = replace(setting, groups=groups).spec
        c = cl.cost(spec, setting.height, setting.width)
        expected.append([str(groups), spec.kind, f"{c.params:,}", f"{c.macs:,}"])
    assert seen["costs"] == expected
    assert seen["current"] == [setting.groups]
    c = cl.cost(setting.spec, setting.height, setting.width)
    assert [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*(?= )", seen["counted"])] == [c.params, c.macs]
    assert seen["counted"].endswith("as the engine says. ✓")
    assert seen["lines"] == setting.filters * per_group
    assert seen["litLines"] == per_group
    assert seen["shape"].startswith(f"Output {g.out_height}x{g.out_width}x{setting.filters}")
    place = f"Window {i * g.out_width + j + 1} of {g.positions}, output row {i}, column {j}, filter {o}: "
    assert seen["status"].startswith(place)
    assert seen["status"].endswith(f"sum {y[i, j, o]}.".replace("-", "\N{MINUS SIGN}"))


# The sliders


@pytest.mark.parametrize("name", SLIDER_STOPS)
def test_every_slider_moves_by_keyboard_and_says_its_value(tab, file, name):
    view = tab(file)
    slider = view.locator(f"input[name={name}]")
    slider.press("Home")
    for value in SLIDER_STOPS[name]:
        assert slider.get_attribute("aria-valuetext") == str(value)
        assert view.locator("label", has=slider).locator(".now").inner_text() == str(value)
        check(view, replace(START, **{name: value}))
        slider.press("ArrowRight")


def test_settings_far_from_the_start(tab, file):
    """Sliders move together, rectangular kernels and unequal sides included."""
    view, random_ = tab(file), random.Random(0)
    seen = 0
    while seen < 8:
        setting = replace(START, **{name: random_.choice(values) for name, values in SLIDER_STOPS.items()})
        if "error" in trace(setting):
            continue
        set_to(view, setting)
        view.get_by_role("button", name="First window").click()
        check(view, setting)
        view.get_by_role("button", name="Last window").click()
        g = setting.spec.geometry(setting.height, setting.width)
        check(view, setting, g.out_height - 1, g.out_width - 1)
        seen += 1


@pytest.mark.parametrize("start", [Setting(channels=3, filters=5), Setting(channels=6, filters=6, groups=3, height=8, width=5, padding=2)])
def test_other_channels_and_filters(tab, tmp_path, start):
    path = tmp_path / "page.html"
    path.write_text(page(start), encoding="utf-8")
    view = tab(path)
    check(view, start)
    groups = view.locator("input[name=groups]")
    assert groups.is_disabled() == (start.stops == (1,))
    for stop in start.stops if len(start.stops) > 1 else ():
        slide(view, "groups", stop, {"groups": start.stops})
        check(view, replace(start, groups=stop))


def test_what_the_engine_refuses_is_said_in_its_words(tab, file):
    view = tab(file)
    impossible = replace(START, height=4, dilation=2)
    slide(view, "height", 4)
    slide(view, "dilation", 2)
    assert view.get_by_role("alert").inner_text() == trace(impossible)["error"]
    for hidden in (".stage", ".player", ".sum", ".costs"):
        assert not view.locator(hidden).is_visible()
    slide(view, "padding", "same")
    check(view, replace(impossible, padding="same"))


def test_the_window_stays_where_it_is_if_it_can(tab, file):
    view = tab(file)
    view.locator("input[name=window]").fill("9")  # output row 2, column 1
    check(view, START, 2, 1)
    slide(view, "groups", 4)
    check(view, replace(START, groups=4), 2, 1)
    slide(view, "stride", 2)  # the output is 2x2: the nearest row is 1
    check(view, replace(START, groups=4, stride=2), 1, 1)


# The page checks itself


@pytest.mark.parametrize(
    ("pattern", "change", "message"),
    [
        (
            r'("6,6,3,3,1,1":\[(?:\[.*?\]\],){2}\[(?:\[.*?\],){2}\[)-?\d+',
            r"\g<1>999",
            r"1 number .* output row 0, column 0, filter 0: .* 999",
        ),
        (r'("macs":)2304', r"\g<1>2305", "MACs: the page counts 2,?304, the engine says 2,?305"),
        (r'("params":)144', r"\g<1>145", "parameters: the page counts 144, the engine says 145"),
    ],
)
def test_a_number_that_differs_from_the_engines_is_an_error(tab, file, tmp_path, pattern, change, message):
    html, count = re.subn(pattern, change, file.read_text(encoding="utf-8"))
    assert count > 0
    path = tmp_path / "wrong.html"
    path.write_text(html, encoding="utf-8")
    view = tab(path)
    assert re.search(message, view.get_by_role("alert").inner_text())
    assert "✓" not in view.locator(".costs > .note").inner_text()


# Moving the window


def test_buttons(tab, file):
    view = tab(file)

    def press(name):
        view.get_by_role("button", name=name, exact=True).click()

    press("Previous window")  # there is none
    check(view, START, 0, 0)
    press("Next window")
    check(view, START, 0, 1)
    press("Last window")
    check(view, START, 3, 3)
    press("Next window")
    check(view, START, 3, 3)
    press("Previous window")
    check(view, START, 3, 2)
    press("First window")
    check(view, START, 0, 0)


def test_time_and_filter_sliders(tab, file):
    view = tab(file)
    time = view.get_by_role("slider", name="Window")
    time.press("End")
    check(view, START, 3, 3)
    time.press("ArrowLeft")
    check(view, START, 3, 2)
    assert time.get_attribute("aria-valuetext") == "15 of 16, output row 3, column 2"
    filters = view.get_by_role("slider", name="Filter")
    for o in range(START.filters):
        filters.fill(str(o))
        check(view, START, 3, 2, o)


def test_keys_on_the_stage(tab, file):
    view = tab(file)
    stage = view.locator(".stage")
    stage.focus()
    steps = [
        *[("ArrowRight", 0, 1, 0), ("ArrowDown", 1, 1, 0), ("ArrowLeft", 1, 0, 0), ("ArrowLeft", 1, 0, 0), ("ArrowUp", 0, 0, 0)],
        *[("ArrowUp", 0, 0, 0), ("End", 3, 3, 0), ("ArrowRight", 3, 3, 0), ("ArrowDown", 3, 3, 0), ("PageDown", 3, 3, 1)],
        *[("PageDown", 3, 3, 2), ("PageUp", 3, 3, 1), ("Home", 0, 0, 1), ("PageUp", 0, 0, 0), ("PageUp", 0, 0, 0)],
    ]
    for key, i, j, o in steps:
        view.keyboard.press(key)
        check(view, START, i, j, o)


def test_keys_in_the_matrix_scroll_it_until_a_click_takes_them_back(tab, file):
    view = tab(file)
    view.set_viewport_size({"width": 390, "height": 800})
    matrix = view.locator(".matrix .scroll")
    matrix.focus()
    view.keyboard.press("ArrowRight")
    view.wait_for_function("() => document.querySelector('.matrix .scroll').scrollLeft > 0")
    check(view, START, 0, 0)
    view.locator(".matrix tr[data-i='1'][data-j='0'] th").click()
    view.keyboard.press("ArrowDown")
    check(view, START, 2, 0)


def test_pointing_and_pinning(tab, file):
    view = tab(file)
    pin = view.get_by_role("button", name="Pin")

    def output(i, j, o):
        return view.locator(f".output td[data-i='{i}'][data-j='{j}'][data-o='{o}']")

    output(2, 3, 1).hover()
    check(view, START, 2, 3, 1)
    view.locator(".matrix tr[data-i='1'][data-j='2'] td").first.hover()
    check(view, START, 1, 2, 1)
    view.locator(".input td[data-p='3'][data-q='2']").first.hover()  # the middle of the window that starts at (2, 1)
    check(view, START, 2, 1, 1)
    view.locator(".input td[data-p='5'][data-q='0']").first.hover()  # in a corner: the nearest window
    check(view, START, 3, 0, 1)
    assert pin.get_attribute("aria-pressed") == "false"

    output(1, 1, 0).click()
    assert pin.get_attribute("aria-pressed") == "true"
    output(3, 3, 2).hover()
    check(view, START, 1, 1, 0)  # pinned
    output(3, 3, 2).click()  # another cell: the pin moves
    check(view, START, 3, 3, 2)
    assert pin.get_attribute("aria-pressed") == "true"
    output(3, 3, 2).click()  # the same: it lets go
    assert pin.get_attribute("aria-pressed") == "false"
    pin.click()
    output(0, 0, 0).hover()
    check(view, START, 3, 3, 2)
    view.locator(".stage").press("Escape")
    assert pin.get_attribute("aria-pressed") == "false"
    view.locator(".stage").press("Enter")
    assert pin.get_attribute("aria-pressed") == "true"


def test_a_page_redrawn_under_a_resting_pointer_keeps_its_window(tab, file):
    view = tab(file)
    view.locator(".output td[data-i='2'][data-j='3'][data-o='1']").hover()
    check(view, START, 2, 3, 1)
    slide(view, "width", 8)  # other cells come to lie under the pointer
    slide(view, "padding", 2)
    view.evaluate("() => new Promise((done) => setTimeout(done, 300))")  # the browser looks again what the pointer is on
    check(view, replace(START, width=8, padding=2), 2, 3, 1)


def test_play_steps_to_the_end_and_starts_over(tab, file):
    view = tab(file, clock=True)
    play, status = view.get_by_role("button", name="Play"), view.get_by_role("status")
    play.click()
    assert status.get_attribute("aria-live") == "off"
    view.clock.run_for(1500)
    check(view, START, 0, 2)
    view.get_by_role("button", name="Pause").click()
    assert status.get_attribute("aria-live") == "polite"
    view.clock.run_for(5000)
    check(view, START, 0, 2)
    play.click()
    view.clock.run_for(60_000)
    check(view, START, 3, 3)
    play.click()  # from the end it starts over
    check(view, START, 0, 0)
    view.clock.run_for(800)
    view.get_by_role("button", name="Last window").click()  # by hand: the playing ends
    view.clock.run_for(5000)
    check(view, START, 3, 3)
    assert play.is_visible()


def test_the_lit_row_of_a_long_matrix_is_in_sight(tab, file):
    view = tab(file)
    setting = replace(START, height=8, width=8, padding=2)
    set_to(view, setting)
    view.get_by_role("button", name="Last window").click()
    check(view, setting, 9, 9)
    inside = """() => {
      const [row, box] = [".matrix tr.lit", ".matrix .scroll"].map((name) => document.querySelector(name).getBoundingClientRect());
      const head = document.querySelector(".matrix thead").getBoundingClientRect();
      return head.bottom <= row.top + 1 && row.bottom <= box.bottom + 1;
    }"""
    assert view.evaluate(inside)
    view.get_by_role("button", name="First window").click()
    assert view.evaluate(inside)


# The documents' examples


def test_the_documents_examples_are_side_by_side(tab, file):
    view = tab(file)
    shown = view.evaluate("""() => {
      const entry = (kind) => [kind.dataset.kind, kind.querySelector("b").textContent];
      const kinds = (example) => Object.fromEntries([...example.querySelectorAll(".kind")].map(entry));
      return [...document.querySelectorAll(".example")].map(kinds);
    }""")
    assert shown[0] == {"standard": "2,160", "depthwise": "432", "pointwise": "240", "separable": "672"}
    assert shown[1] == {"standard": "3,888", "depthwise": "243", "pointwise": "432", "separable": "675"}
    tops = view.evaluate("() => [...document.querySelectorAll('.example:first-of-type .kind')].map((k) => k.getBoundingClientRect().top)")
    assert len(set(tops)) == 1
    for example, (size, filters) in zip(view.locator(".example").all(), ((6, 5), (5, 16)), strict=True):
        assert cl.compare(size, size, in_channels=3, out_channels=filters, kernel=3).table.title in example.inner_text()


# For everybody


def test_every_control_has_a_name_and_is_reached_by_tab(tab, file):
    view = tab(file)
    names = view.evaluate("() => [...document.querySelectorAll('button, input')].map((c) => c.getAttribute('aria-label') ?? c.textContent)")
    assert all(names)
    assert len(set(names)) == len(names) == 8 + 6 + 2
    reached = set()
    for _ in range(len(names) + 4):  # the stage and two regions that scroll, too
        view.keyboard.press("Tab")
        reached.add(view.evaluate("() => document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent"))
    assert set(names) | {"Input, kernel, matrix and output", "im2col matrix, scrolls"} <= reached


def test_what_a_screen_reader_is_told(tab, file):
    view = tab(file)
    told = view.locator("main").aria_snapshot()
    for line in ('slider "Groups"', 'table "im2col matrix"', 'table "channel 0"', 'table "filter 3"', "status:"):
        assert line in told
    assert 'img "4 input channels and 4 filters in 1 group"' in told
    keys = view.locator(".stage").get_attribute("aria-describedby")
    assert "Arrow keys" in view.locator(f"#{keys}").inner_text()
    current = view.locator(".stage [aria-current=true]")
    assert current.count() == 2  # the matrix's row and the output's cell


def luminance(colour):
    """Return the relative luminance of #rrggbb (WCAG 2.2)."""
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(tab, file, scheme):
    """WCAG 2.2, level AA: 4.5 to 1 for text."""
    view = tab(file, color_scheme=scheme)
    check(view, START)

    def colour(name):
        return view.evaluate(f"() => getComputedStyle(document.querySelector('main')).getPropertyValue('--{name}').trim()")

    assert (luminance(colour("card")) > 0.5) == (scheme == "light")
    pairs = [("ink", "ground"), ("ink", "card"), ("soft", "card"), ("soft", "ground"), ("card", "w"), ("alert", "alert-soft")]
    for text, ground in [*pairs, *((f"{name}-ink", f"{name}-soft") for name in "xwy"), *((f"{name}-ink", "card") for name in "xwy")]:
        dark, light = sorted((luminance(colour(text)), luminance(colour(ground))))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)


def test_no_width_makes_the_page_scroll_sideways(tab, file):
    view = tab(file)
    for setting in (START, replace(START, height=8, width=8, padding=2)):
        set_to(view, setting)
        for width in (320, 390, 700, 1000, 1440, 1920):
            view.set_viewport_size({"width": width, "height": 800})
            assert view.evaluate("() => document.documentElement.scrollWidth") <= width


# In a notebook


def test_the_widget_asks_python_and_draws_the_answer(tab):
    """`stepper.js` with a model like anywidget's, whose trace comes from Python."""
    view = tab(None)
    asked = []

    def answer(setting):
        asked.append(setting)
        return trace(Setting(**setting))

    view.expose_function("answer", answer)
    source = resources.files("convlab.stepper").joinpath("stepper.js").read_bytes()
    options = json.loads(page(START).split('id="data">')[1].split("</script>")[0])["options"]
    view.evaluate(
        """async ({ url, state }) => {
          const { default: entrance } = await import(url);
          const listeners = [];
          const model = {
            get: (name) => state[name],
            set: (name, value) => (state[name] = value),
            on: (event, call) => listeners.push(call),
            off: (event, call) => listeners.splice(listeners.indexOf(call), 1),
            save_changes: async () => {
              state.trace = await answer(state.setting);
              listeners.forEach((call) => call());
              document.body.dataset.answered = Number(document.body.dataset.answered ?? 0) + 1;
            },
          };
          window.close_ = entrance.render({ model, el: document.body });
          window.listeners = listeners;
        }""",
        {
            "url": "data:text/javascript;base64," + base64.b64encode(source).decode(),
            "state": {"options": options, "setting": asdict(START), "trace": trace(START)},
        },
    )
    check(view, START)
    for count, (name, value) in enumerate([("groups", 4), ("kernel_width", 2), ("padding", "same")], start=1):
        slide(view, name, value)
        view.wait_for_selector(f"body[data-answered='{count}']")
    expected = replace(START, groups=4, kernel_width=2, padding="same")
    assert asked[-1] == asdict(expected)
    check(view, expected)
    view.evaluate("() => window.close_()")
    assert view.evaluate("() => window.listeners.length") == 0


def test_the_widget_carries_what_the_browser_needs():
    pytest.importorskip("anywidget", reason="the notebook's widget needs anywidget: pip install anywidget")
    shown = widget(START)
    assert "export default" in shown._esm
    assert ".convlab-stepper" in shown._css
