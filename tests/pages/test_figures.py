"""Figures show what convlab computes: what they draw is read back from the artists and compared."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from matplotlib.collections import LineCollection, QuadMesh
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from strategies import cases

import convlab as cl
from convlab import figures
from convlab.bench import bench_networks, duration
from convlab.cost import kind_of
from convlab.figures.canvas import KINDS, LEAST, WIDTH
from convlab.figures.grids import WINDOW, ZERO_READ
from convlab.layers import walk

SPEC = cl.ConvSpec
TINY = cl.Network("tiny", (7, 5, 3), (cl.Conv("only", SPEC(3, 2, (3, 2), stride=(2, 1)), activation="relu", eps=None),))
SHORTCUT = cl.Network(
    "one shortcut",
    (4, 6, 2),
    (
        cl.Residual("block1", (cl.Conv("block1.expand", SPEC.pointwise(2, 5)), cl.Conv("block1.project", SPEC.pointwise(5, 2), None))),
        cl.Pool("pool"),
        cl.Dense("classifier", 2, 3),
    ),
)
NETWORKS = [cl.mobilenet_v1(), cl.mobilenet_v2(0.35, 96), TINY, SHORTCUT]


def by_gid(figure: Figure, kind: type = Text) -> dict:
    """Return the artists of a kind that carry a name."""
    return {artist.get_gid(): artist for artist in figure.findobj(kind) if artist.get_gid()}


def value(text: str) -> float:
    return float(text.replace("\N{MINUS SIGN}", "-").replace(",", ""))


def said(figure: Figure, name: str) -> str:
    return by_gid(figure)[name].get_text()


def numbers(figure: Figure, name: str) -> np.ndarray:
    """Return the numbers written into a grid of cells."""
    pattern = re.compile(re.escape(name) + r"\[(\d+),(\d+)\]")
    cells = {(int(m[1]), int(m[2])): value(text.get_text()) for gid, text in by_gid(figure).items() if (m := pattern.fullmatch(gid))}
    rows, columns = (1 + max(axis) for axis in zip(*cells, strict=True))
    return np.array([[cells[i, j] for j in range(columns)] for i in range(rows)])


def marked(figure: Figure, name: str) -> np.ndarray:
    """Return which cells of a grid have the window's colour."""
    colours = np.asarray(by_gid(figure, QuadMesh)[name].get_array(), float)[..., :3]
    return np.isclose(colours, WINDOW).all(-1) | np.isclose(colours, ZERO_READ).all(-1)


def channels_of(one: cl.ConvSpec, filter: int) -> list[int]:
    """Return the input channels on which an output channel depends: found by impulses, not by arithmetic on groups."""
    spec = SPEC(one.in_channels, one.out_channels, 1, groups=one.groups)
    w = np.ones(spec.weight_shape)
    return [
        c
        for c, impulse in enumerate(np.eye(one.in_channels))
        if cl.conv2d(impulse.reshape(1, 1, -1), w, groups=one.groups, kernel="naive")[0, 0, filter]
    ]


small = cases(paddings=("valid", "same", "int"), batches=(1,), max_stride=2, max_dilation=2)


@given(small, st.data())
def test_window_shows_the_sum(case, data) -> None:
    """Orange cells times filter are the products; the products add up to what naive computes there."""
    x, w = np.sign(case.integers(np.int32)[0][0]), case.integers(np.int32)[1] % 3
    y = cl.conv2d(x, w, kernel="naive", **case.options)
    *at, filter = (data.draw(st.integers(0, size - 1)) for size in y.shape)
    figure = figures.window(x, w, tuple(at), filter, channels=2, **case.options)
    reads = channels_of(case.spec, filter)
    total = 0.0
    for k, channel in enumerate(reads[:2]):
        seen = numbers(figure, f"input {channel}")[marked(figure, f"input {channel}")].reshape(case.spec.kernel)
        np.testing.assert_array_equal(numbers(figure, f"filter {channel}"), w[:, :, k, filter])
        products = numbers(figure, f"products {channel}")
        np.testing.assert_array_equal(seen * w[:, :, k, filter], products)
        assert value(said(figure, f"sum {channel}").removeprefix("sum = ")) == products.sum()
        total += products.sum()
    if len(reads) > 1:  # the line below says it all
        _, terms, result, *rest = re.split(r": | = |   ", said(figure, "total"))
        whole = [value(term) for term in re.sub(r" ([+\N{MINUS SIGN}]) ", r" \1", terms).split()]
        assert sum(whole) == value(result) == y[(*at, filter)]
        assert len(whole) == min(len(reads), 3)
        assert rest == ([f"(the last term is of {len(reads) - 2} not drawn)"] if len(reads) > 2 else [])
        total = sum(whole)
    np.testing.assert_array_equal(numbers(figure, "output"), y[:, :, filter])
    assert np.argwhere(marked(figure, "output")).tolist() == [at]
    assert total == y[(*at, filter)]


@given(small)
def test_windows_marks_what_is_read(case) -> None:
    """The im2col row of a picture that holds its own pixel numbers says which pixels a window reads; 0 is the padding."""
    g, (h, w) = case.geometry, (case.height, case.width)
    assume(max(g.out_width * (g.width.padded + 1.2), g.out_height * (g.height.padded + 2.2)) <= 90)  # as many cells as can be read
    spec = SPEC(1, 1, case.spec.kernel, case.spec.stride, case.spec.padding, case.spec.dilation)
    pixels = np.arange(1, h * w + 1).reshape(h, w)
    rows = cl.im2col(pixels[..., None], spec)
    padded = np.pad(pixels, g.padding)
    figure = figures.windows(g)
    assert len(by_gid(figure, QuadMesh)) == g.positions == len(rows)
    for position, row in enumerate(rows):
        i, j = divmod(position, g.out_width)
        np.testing.assert_array_equal(padded[marked(figure, f"window {i},{j}")], row)


def writable(case) -> bool:
    """Say whether the matrix and the channels side by side are well within a page."""
    g, channels = case.geometry, case.spec.in_channels
    taps = int(np.prod(case.spec.kernel)) * channels
    return taps <= 30 and g.positions <= 20 and channels * (g.width.padded + 2) + g.out_width <= 36


@given(small.filter(writable), st.data())
def test_im2col_links_window_row_and_output(case, data) -> None:
    channels = case.spec.in_channels
    x, w = case.integers(np.int32)[0][0] % 3, np.sign(case.integers(np.int32)[1])
    y, matrix = cl.conv2d(x, w, kernel="naive", **case.options), cl.im2col(x, case.spec)
    *at, filter = (data.draw(st.integers(0, size - 1)) for size in y.shape)
    figure = figures.im2col(x, w, tuple(at), filter, **case.options)
    row = at[0] * y.shape[1] + at[1]
    np.testing.assert_array_equal(numbers(figure, "matrix"), matrix)
    marks = marked(figure, "matrix")
    assert set(np.argwhere(marks)[:, 0]) == {row}
    assert (matrix[row] * numbers(figure, "filter")[0])[marks[row]].sum() == y[(*at, filter)]
    taps = matrix[row].reshape(-1, channels)
    reads = channels_of(case.spec, filter)
    for c in range(channels):
        assert (c in reads) == marks[row].reshape(-1, channels)[:, c].all()
        seen = numbers(figure, f"input {c}")[marked(figure, f"input {c}")]
        np.testing.assert_array_equal(seen, taps[:, c] if c in reads else [])
    assert np.argwhere(marked(figure, "output")).tolist() == [at]


def test_same_and_symmetric_padding_look_elsewhere() -> None:
    """At stride 2 on 6x6 the windows of "same" stand over pixels 1, 3, 5, those of padding 1 over 0, 2, 4."""
    geometries = [SPEC(1, 1, 3, 2, padding).geometry(6, 6) for padding in ("same", 1)]
    figure = figures.paddings(*geometries)
    lines = by_gid(figure, matplotlib.lines.Line2D)
    for k, (g, expected) in enumerate(zip(geometries, ([1, 3, 5], [0, 2, 4]), strict=True)):
        corner = np.asarray(by_gid(figure, QuadMesh)[f"padded {k}"].get_coordinates())[g.height.before, g.width.before]
        centres = [[np.array(lines[f"centre {k} {i},{j}"].get_xydata()[0]) - corner for j in range(3)] for i in range(3)]
        np.testing.assert_allclose([row[0][1] - 0.5 for row in centres], expected, atol=1e-12)
        np.testing.assert_allclose([centre[0] - 0.5 for centre in centres[0]], expected, atol=1e-12)
    assert said(figure, "zeros 0") == "zeros: top 0, bottom 1, left 0, right 1"
    assert said(figure, "zeros 1") == "zeros: top 1, bottom 1, left 1, right 1"
    assert said(figure, "unread 1") == "unread: 1 row, 1 column"


def test_paddings_takes_any_geometries() -> None:
    figure = figures.paddings(SPEC(2, 2, (1, 3), (3, 2), ((0, 2), (1, 0)), (2, 1)).geometry(3, 7), SPEC(1, 1, 1).geometry(1, 1))
    assert said(figure, "sizes 0") == "3x7 -> 2x3"
    assert said(figure, "sizes 1") == "1x1 -> 1x1"
    assert said(figure, "unread 1") == "unread: 0 rows, 0 columns"


WIRED = [SPEC(1, 1, 1), SPEC(3, 5, 3), SPEC(12, 8, (3, 5), groups=4), SPEC.depthwise(3, 3, multiplier=2), SPEC(64, 32, 1)]


@pytest.mark.parametrize("spec", WIRED, ids=lambda spec: f"{spec.kind} {spec.in_channels} {spec.out_channels}")
def test_wires_are_what_outputs_depend_on(spec) -> None:
    figure = figures.wiring(spec)
    (wires,) = (found for found in figure.findobj(LineCollection) if found.get_gid() == "wires")
    dots = {
        gid: {y: n for n, (_, y) in enumerate(found.get_offsets())}
        for gid, found in by_gid(figure, matplotlib.collections.PathCollection).items()
    }
    drawn = {(dots["inputs"][start[1]], dots["outputs"][end[1]]) for start, end in wires.get_segments()}
    assert len(drawn) == len(wires.get_segments())
    assert drawn == {(c, o) for o in range(spec.out_channels) for c in channels_of(spec, o)}
    assert figure.axes[0].get_title().endswith(f"weights: {cl.cost(spec, 9, 9).weights:,}")


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_cost_bars_are_the_costs(network) -> None:
    counted = cl.cost(network)
    figure = figures.costs(counted)
    measures = {
        "parameters": [layer.cost.params for layer in counted.layers],
        "MACs": [layer.cost.macs for layer in counted.layers],
        "bytes moved": [layer.cost.bytes_read + layer.cost.bytes_written for layer in counted.layers],
    }
    for row, (measure, values) in enumerate(measures.items()):
        bars, shares = figure.axes[2 * row], figure.axes[2 * row + 1]
        assert [bar.get_height() for bar in bars.patches] == values
        assert [bar.get_facecolor()[:3] for bar in bars.patches] == [to_rgb(KINDS[layer.kind]) for layer in counted.layers]
        assert bars.get_title() == f"{measure}: {sum(values):,}"
        texts = by_gid(figure)
        drawn = {gid.split()[-1]: float(text.get_text().split()[-2]) for gid, text in texts.items() if gid.startswith(f"share {measure} ")}
        expected = {layer.kind: 0 for layer in counted.layers}
        for layer, number in zip(counted.layers, values, strict=True):
            expected[layer.kind] += number
        expected = {kind: 100 * number / sum(values) for kind, number in expected.items() if number}
        assert drawn == pytest.approx(expected, abs=0.05 + 1e-9)  # written with one digit
        np.testing.assert_allclose(sorted(bar.get_width() for bar in shares.patches), sorted(share / 100 for share in expected.values()))


def test_times_draws_every_layer_with_macs() -> None:
    counted = cl.cost(SHORTCUT)
    seconds = {"block1.expand": 0.25, "block1.project": 0.002, "classifier": 1e-6, "pool": 1.0}
    figure = figures.times(counted, seconds)
    points = {
        tuple(point)
        for gid, line in by_gid(figure, matplotlib.lines.Line2D).items()
        if gid.startswith("times ")
        for point in line.get_xydata()
    }
    assert points == {(layer.cost.macs, 1e3 * seconds[layer.name]) for layer in counted.layers if layer.cost.macs}
    assert figure.get_suptitle() == "one shortcut: 486 MACs in 252 ms, layer by layer"


@pytest.mark.parametrize(
    ("seconds", "message"),
    [
        ({}, "every layer with MACs: missing only"),
        ({"only": 1.0, "other": 1.0}, "must name layers of 'tiny': it has no other"),
        ({"only": 0.0}, "positive and finite: only: 0.0"),
        ({"only": np.nan}, "positive and finite: only: nan"),
    ],
)
def test_times_refuses_what_is_no_measurement(seconds, message) -> None:
    with pytest.raises(ValueError, match=message):
        figures.times(cl.cost(TINY), seconds)


def test_roofline_draws_the_benchmarks_under_the_roof() -> None:
    specs = SPEC(1, 2, (3, 2)), SPEC.depthwise(3, 3)
    results = [cl.bench("naive", "im2col", spec=spec, height=5, width=7, max_seconds=0.05, rounds=1) for spec in specs]
    figure = figures.roofline(*results, peak=4e10, bandwidth=1e10)
    lines = by_gid(figure, matplotlib.lines.Line2D)
    for k, result in enumerate(results):
        for timing in result.timings:
            counted = cl.cost(result.spec, *timing.shape[1:3])
            ((x, y),) = lines[f"point {k} {timing.name}"].get_xydata()
            assert x == pytest.approx(2 * counted.macs / (counted.bytes_read + counted.bytes_written))
            assert y == pytest.approx(2 * timing.macs / min(timing.seconds))
    roof = lines["roof"].get_xydata()
    np.testing.assert_allclose(roof[:, 1], [min(4e10, 1e10 * x) for x in roof[:, 0]])
    assert roof[1].tolist() == [4.0, 4e10]
    low, high = figure.axes[0].get_ylim()
    assert all(low < line.get_ydata()[0] < high for gid, line in lines.items() if gid.startswith("point "))


@pytest.fixture(scope="module")
def steps() -> list:
    """Return a trace of the embedded model on two pictures."""
    model = cl.load()
    pictures, _ = cl.zoo.sample_pictures()
    return list(model.trace(np.stack([model.preprocess(picture) for picture in pictures[:2]]), kernel="im2col"))


@pytest.mark.parametrize(("name", "count"), [("stem.relu6", 24), ("block17.project.batch_norm", 1), ("block3.add", 3), ("head.conv", 30)])
def test_feature_maps_are_the_outputs(steps, name, count) -> None:
    (step,) = (step for step in steps if step.name == name)
    figure = figures.feature_maps(step, count, picture=1)
    maps = by_gid(figure, matplotlib.image.AxesImage)
    output = step.output[1]
    assert len(maps) == min(count, output.shape[2])
    for c in range(len(maps)):
        np.testing.assert_array_equal(maps[f"map {c}"].get_array(), output[:, :, c])
    assert len({image.get_clim() for image in maps.values()}) == 1  # one scale for all


@pytest.mark.parametrize("shape", [(3, 3, 3, 8), (1, 1, 3, 1), (5, 2, 1, 10), (2, 3, 7, 4), (3, 3, 96, 2)])
def test_filters_are_the_weights(shape) -> None:
    w = np.random.default_rng(0).standard_normal(shape)
    w[0, 0, 0, 0] = 0
    figure = figures.filters(w, count=12)
    tiles = by_gid(figure, matplotlib.image.AxesImage)
    slices = [w[..., o] for o in range(shape[3])] if shape[2] == 3 else [w[:, :, c, o] for o in range(shape[3]) for c in range(shape[2])]
    assert len(tiles) == min(12, len(slices))
    for tile, part in zip(tiles.values(), slices, strict=False):
        np.testing.assert_allclose((np.asarray(tile.get_array()) - 0.5) * 2 * np.abs(w).max(), part, atol=1e-12)
    assert np.asarray(next(iter(tiles.values())).get_array()).flat[0] == 0.5


def test_filters_of_zeros_are_grey() -> None:
    (tile,) = by_gid(figures.filters(np.zeros((2, 2, 1, 1))), matplotlib.image.AxesImage).values()
    assert (tile.get_array() == 0.5).all()


@pytest.mark.parametrize("block", ["block3", "stem", "block1"])
def test_activations_count_every_number(steps, block) -> None:
    figure = figures.activations(iter(steps), block)
    stairs, texts = by_gid(figure, matplotlib.patches.StepPatch), by_gid(figure)
    bars = by_gid(figure, matplotlib.patches.Rectangle)
    outputs = {step.name: step.output for step in steps}
    layers = [name.removesuffix(".batch_norm") for name in outputs if name.startswith(block + ".") and name.endswith(".batch_norm")]
    assert len(layers) == {"block3": 3, "stem": 1, "block1": 2}[block]
    for name in layers:
        before = outputs[f"{name}.batch_norm"]
        below = 100 * np.count_nonzero(before < 0) / before.size
        assert stairs[f"before {name}"].get_data().values.sum() == pytest.approx(100)
        assert texts[f"negative {name}"].get_text().endswith(f"\n{below:.1f} % below 0")
        if f"{name}.relu6" not in outputs:
            assert f"relu would set {below:.1f} % of the numbers to 0" in texts[f"linear {name}"].get_text()
            continue
        ends = {0: before <= 0, 6: before >= 6}
        for end, there in ends.items():
            share = 100 * np.count_nonzero(there) / before.size
            assert bars[f"end {name} {end}"].get_height() == pytest.approx(share)
            assert texts[f"share {name} {end}"].get_text() == f"{share:.1f} % are {end}"
        inside = stairs[f"after {name}"].get_data().values.sum()
        assert inside == pytest.approx(100 * np.count_nonzero((before > 0) & (before < 6)) / before.size)


def test_activations_bins_meet_at_zero_and_six(steps) -> None:
    for patch in figures.activations(steps, "block5").findobj(matplotlib.patches.StepPatch):
        edges = patch.get_data().edges
        assert min(abs(edges)) < 1e-9
        assert min(abs(edges - 6)) < 1e-9


@pytest.mark.parametrize("network", [*NETWORKS, cl.mobilenet_v2()], ids=lambda network: f"{network.name} {network.input}")
def test_blocks_say_what_the_network_is(network) -> None:
    """Every layer is in a box, or in the box of an equal one whose line names its block."""
    texts = by_gid(figures.blocks(network))
    visits = {visit.layer.name: visit for visit in walk(network)}
    lines: dict[str, list[str]] = {}  # the first block of a line -> all of them
    for gid, text in texts.items():
        if gid.startswith("name "):
            first, _, last = text.get_text().partition(" \N{EN DASH} ")
            number = int(first.removeprefix("block")) if last else 0
            lines[first] = [f"block{n}" for n in range(number, int(last) + 1)] if last else [first]
    assert [block for line in lines.values() for block in line] == list(dict.fromkeys(name.partition(".")[0] for name in visits))
    for first, blocks in lines.items():
        for block in blocks:
            own = [visit for name, visit in visits.items() if name.partition(".")[0] == block]
            sizes = ["x".join(map(str, shape)) for shape in (own[0].input, own[-1].output)]
            assert [texts[f"input {first}"].get_text(), texts[f"output {first}"].get_text()] == sizes
            for visit in own:
                if isinstance(visit.layer, cl.Conv):
                    box = texts[f"box {visit.layer.name.replace(block, first)}"].get_text()
                    spec = visit.layer.spec
                    assert box.startswith(f"{spec.kernel[0]}x{spec.kernel[1]}")
                    assert (" /" in box) == (spec.stride != (1, 1))
                    assert f", {spec.out_channels}" in box
                    assert box.endswith("linear") == (visit.layer.activation is None)


def test_blocks_draw_the_shortcuts() -> None:
    arcs = [gid for gid in by_gid(figures.blocks(cl.mobilenet_v2()), matplotlib.lines.Line2D) if gid.startswith("shortcut ")]
    assert arcs == [f"shortcut block{n}" for n in (3, 5, 8, 12, 15)]  # 1 + 2 + 3 + 2 + 2 = 10 blocks
    assert by_gid(figures.blocks(cl.mobilenet_v1()), matplotlib.lines.Line2D) == {}


def test_every_kind_has_a_colour_of_its_own() -> None:
    kinds = {kind_of(visit) for network in NETWORKS for visit in walk(network)} | {"grouped"}
    assert kinds <= set(KINDS)
    assert len(set(KINDS.values())) == len(KINDS)


def gallery(steps: list) -> dict[str, Figure]:
    """Return figures of every kind, with odd shapes among them."""
    rng = np.random.default_rng(0)
    x, w = rng.integers(0, 9, (6, 6, 3)), rng.integers(-4, 5, (3, 3, 3, 5))
    result = cl.bench("naive", "im2col", spec=SPEC(1, 2, 3), height=5, width=7, max_seconds=0.05, rounds=1)
    by_name = {step.name: step for step in steps}
    counted = cl.cost(cl.mobilenet_v2())
    return {
        "window": figures.window(x, w, (1, 2), 3),
        "window, 1x1": figures.window(np.ones((1, 1, 1)), np.ones((1, 1, 1, 1))),
        "window, real numbers": figures.window(rng.standard_normal((4, 7, 5)), rng.standard_normal((3, 2, 5, 2)), stride=2, padding="same"),
        "windows": figures.windows(SPEC(1, 1, 3, 2, "same").geometry(5, 7)),
        "windows, 1x1": figures.windows(SPEC(1, 1, 1).geometry(1, 1)),
        "windows, 1 row": figures.windows(SPEC(1, 1, (1, 2)).geometry(1, 9)),
        "im2col": figures.im2col(x, w, (3, 3), 4),
        "im2col, 1 channel": figures.im2col(x[:4, :5, :1], w[:, :2, :1], (1, 0)),
        "paddings": figures.paddings(*(SPEC(1, 1, 3, 2, p).geometry(6, 6) for p in ("same", 1))),
        "wiring": figures.wiring(SPEC(6, 6, 3), SPEC(6, 6, 3, groups=2), SPEC.depthwise(6, 3), SPEC.pointwise(6, 6)),
        "wiring, many": figures.wiring(*WIRED),
        "costs": figures.costs(counted),
        "costs, V1": figures.costs(cl.cost(cl.mobilenet_v1())),
        "costs, one layer": figures.costs(cl.cost(TINY)),
        "times": figures.times(counted, {layer.name: 1e-3 + layer.cost.macs / 1e10 for layer in counted.layers}),
        "times, one layer": figures.times(cl.cost(TINY), {"only": 0.1}),
        "roofline": figures.roofline(result, peak=1e11, bandwidth=1e10),
        "feature maps": figures.feature_maps(by_name["block3.expand.relu6"]),
        "feature maps, one": figures.feature_maps(by_name["stem.conv"], 1),
        "filters": figures.filters(w),
        "filters, many": figures.filters(rng.standard_normal((3, 3, 16, 16))),
        "activations": figures.activations(steps, "block3"),
        "blocks, V1": figures.blocks(cl.mobilenet_v1()),
        "blocks, V2": figures.blocks(cl.mobilenet_v2()),
        "blocks, shortcut": figures.blocks(SHORTCUT),
    }


def visible_texts(figure: Figure) -> list[Text]:
    """Return every text that is drawn, without the labels of ticks outside the axes' limits."""
    hidden = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                if not (low <= tick.get_loc() <= high and tick.get_visible() and axes.axison):
                    hidden |= {tick.label1, tick.label2}
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip() and text not in hidden]


def test_every_figure_can_be_read(steps) -> None:
    """All texts lie on the page, none lies on another, none is tiny; two thirds of a point are the letters' own margins."""
    for name, figure in gallery(steps).items():
        assert figure.get_size_inches()[0] == WIDTH, name
        figure.set_dpi(72)
        figure.draw_without_rendering()
        boxes = [(text.get_text(), text.get_window_extent(), text.get_fontsize()) for text in visible_texts(figure)]
        assert boxes, name
        for text, box, size in boxes:
            assert size >= LEAST, (name, text)
            assert figure.bbox.x0 - 1 <= box.x0 <= box.x1 <= figure.bbox.x1 + 1, (name, text)
            assert figure.bbox.y0 - 1 <= box.y0 <= box.y1 <= figure.bbox.y1 + 1, (name, text)
        for (one, a, _), (other, b, _) in combinations(boxes, 2):
            across = min(a.x1, b.x1) - max(a.x0, b.x0)
            down = min(a.y1, b.y1) - max(a.y0, b.y0)
            assert min(across, down) < 1.5, (name, one, other)


@pytest.mark.parametrize("draw", [figures.window, figures.im2col])
@pytest.mark.parametrize("scale", [1, 15, 0.25])
def test_numbers_stay_clear_of_the_borders_of_their_cells(draw, scale) -> None:
    """As wide as they are on the page: of the 6x6x3 example's cells none is touched by its number, nor by a long negative one."""
    rng = np.random.default_rng(0)
    x, w = rng.integers(0, 5, (6, 6, 3)), scale * rng.integers(-2, 3, (3, 3, 3, 5))
    assert cl.conv2d(x, w)[..., 0].min() <= -10 * scale, "the output has to hold a long negative number"
    figure = draw(x, w)
    figure.set_dpi(288)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    seen = 0
    for gid, text in by_gid(figure).items():
        if not re.search(r"\[\d+,\d+\]$", gid):
            continue
        box = text.get_window_extent()
        left, right = (axes.transData.transform((text.get_position()[0] + side, 0))[0] for side in (-0.5, 0.5))
        room = min(box.x0 - left, right - box.x1) / (right - left)
        assert room > 0.06, (gid, text.get_text(), room)
        seen += 1
    assert seen > 100


def test_a_plot_in_the_houses_style_needs_figures_alone() -> None:
    assert [name for name in figures.__all__ if not hasattr(figures, name)] == []
    for name in ("BLUE", "ORANGE", "GREY", "SKY", "VERMILLION", "SMALL", "page", "plain", "tint"):
        assert name in figures.__all__
        assert getattr(figures, name) is getattr(figures.canvas, name)
    figure = figures.page(3.0, "squares")
    axes = figure.subplots()
    axes.plot([0, 1, 4, 9], color=figures.BLUE)
    figures.plain(axes, grid="y")
    assert figure.get_suptitle() == "squares"
    assert not axes.spines["top"].get_visible()
    assert figure._repr_png_()[0].startswith(b"\x89PNG")


def test_a_notebook_shows_a_figure_by_itself() -> None:
    data, size = figures.wiring(SPEC(1, 1, 1))._repr_png_()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert size["width"] == 768


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: figures.window(np.ones((2, 4, 4, 1)), np.ones((3, 3, 1, 1))), r"one image \(H, W, C\): x.shape=\(2, 4, 4, 1\)"),
        (lambda: figures.window(np.ones((4, 4, 1)), np.ones((3, 3, 1, 1)), (2, 0)), "at row must be from 0 to 1: at row=2"),
        (lambda: figures.window(np.ones((4, 4, 1)), np.ones((3, 3, 1, 1)), (0, -1)), "at column must be at least 0: at column=-1"),
        (lambda: figures.window(np.ones((4, 4, 1)), np.ones((3, 3, 1, 1)), (0, 0, 0)), "at must be"),
        (lambda: figures.window(np.ones((4, 4, 1)), np.ones((3, 3, 1, 1)), filter=1), "filter must be from 0 to 0: filter=1"),
        (lambda: figures.window(np.ones((4, 4, 1)), np.ones((3, 3, 1, 1)), channels=0), "channels must be at least 1"),
        (lambda: figures.window(np.ones((4, 4, 2)), np.ones((3, 3, 1, 1))), "w must read"),
        (lambda: figures.window(np.ones((50, 50, 1)), np.ones((3, 3, 1, 1))), "at most 40 cells across and down"),
        (lambda: figures.im2col(np.ones((9, 9, 1)), np.ones((3, 3, 1, 1))), "at most 40 cells across and down"),
        (lambda: figures.window(np.full((6, 9, 1), 123456), np.ones((1, 5, 1, 1), int)), "short enough for their cells: '123456'"),
        (lambda: figures.windows(SPEC(1, 1, 3).geometry(224, 224)), "at most 90 cells"),
        (lambda: figures.paddings(), "at least one geometry"),
        (lambda: figures.wiring(), "at least one convolution"),
        (lambda: figures.wiring(SPEC(65, 1, 1)), "up to 64 channels: in_channels=65"),
        (lambda: figures.roofline(peak=1.0, bandwidth=1.0), "at least one benchmark"),
        (lambda: figures.filters(np.ones((3, 3, 3))), r"w must be \(KH, KW, C, O\)"),
        (lambda: figures.filters(np.ones((3, 3, 3, 1)), 0), "count must be at least 1"),
        (lambda: figures.activations([], "block1"), "must have convolutions in the trace: block='block1'"),
    ],
)
def test_wrong_input_is_refused(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: figures.windows(SPEC(1, 1, 3)), r"must be a ConvGeometry, as spec.geometry\(height, width\) returns: got ConvSpec"),
        (lambda: figures.paddings(SPEC(1, 1, 3)), "must be a ConvGeometry"),
        (lambda: figures.wiring(SPEC(1, 1, 3).geometry(3, 3)), "must be a ConvSpec"),
        (lambda: figures.costs(TINY), r"must be a NetworkCost, as convlab.cost\(network\) returns: got Network"),
        (lambda: figures.times(TINY, {}), "must be a NetworkCost"),
        (lambda: figures.roofline(1.0, peak=1.0, bandwidth=1.0), "must be a Benchmark"),
        (lambda: figures.feature_maps(np.ones((1, 2, 2, 1))), "must be a Step"),
        (lambda: figures.activations([1], "stem"), "must be a Step"),
        (lambda: figures.blocks(cl.cost(TINY)), "must be a Network,"),
        (lambda: figures.window(np.ones((4, 4, 1)), np.ones((3, 3, 1, 1)), (0.5, 0)), "at row must be an integer: at row=0.5"),
        (lambda: figures.window(np.ones((4, 4, 1)), np.ones((3, 3, 1, 1)), strides=2), "strides"),
    ],
)
def test_what_is_of_another_kind_is_refused(call, message) -> None:
    with pytest.raises(TypeError, match=message):
        call()


def test_a_network_without_macs() -> None:
    counted = cl.cost(cl.Network("only a pool", (2, 3, 1), (cl.Pool("pool"),)))
    assert [axes.get_title() for axes in figures.costs(counted).axes[::2]] == ["parameters: 0", "MACs: 0", "bytes moved: 28"]
    with pytest.raises(ValueError, match="a layer with MACs: 'only a pool' has none"):
        figures.times(counted, {})


def test_wrong_traces_and_machines_are_refused(steps) -> None:
    with pytest.raises(ValueError, match=r"feature maps are \(N, H, W, C\): classifier gave"):
        figures.feature_maps(steps[-1])
    with pytest.raises(ValueError, match="picture must be from 0 to 1: picture=2"):
        figures.feature_maps(steps[0], picture=2)
    with pytest.raises(ValueError, match="the trace has stem, block1"):
        figures.activations(steps, "pool")
    wrong = cl.Model.random(TINY)
    wrong.params["only.bias"][0] = np.nan
    with pytest.raises(ValueError, match="must be finite: only has 12"):
        figures.activations(wrong.trace(np.zeros((7, 5, 3), np.float32), kernel="im2col"), "only")
    result = cl.bench("im2col", spec=SPEC(1, 1, 1), height=1, width=1, rounds=1)
    for machine in ({"peak": 0.0, "bandwidth": 1.0}, {"peak": 1.0, "bandwidth": float("inf")}):
        with pytest.raises(ValueError, match="must be positive and finite"):
            figures.roofline(result, **machine)


def test_nothing_global_is_touched() -> None:
    code = """
import sys, matplotlib
def settings():
    return {key: matplotlib.rcParams[key] for key in matplotlib.rcParams if key != "backend"}  # to read that one loads pyplot
before = settings()
from convlab import cost, figures, mobilenet_v1
figures.costs(cost(mobilenet_v1())).savefig(sys.stderr.buffer, format="svg")
assert settings() == before
assert "matplotlib.pyplot" not in sys.modules
"""
    ran = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr[-2000:]


def test_missing_matplotlib_is_one_clear_line() -> None:
    code = "import sys; sys.modules['matplotlib'] = None\nfrom convlab import figures"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert ran.stderr.splitlines()[-1] == 'ModuleNotFoundError: figures need matplotlib: pip install "convlab-engine[lab]"'


def test_the_pictures_of_the_readme_are_there() -> None:
    root = Path(__file__).resolve().parents[2]
    shown = re.findall(r'<img src="([^"]+)"', (root / "README.md").read_text(encoding="utf-8"))
    drawn = sorted(path.relative_to(root).as_posix() for path in (root / "benchmarks" / "pictures").iterdir())
    assert sorted(shown) == drawn
    assert len(drawn) == 4


def test_plans_are_bars_as_long_as_they_took():
    model = cl.Model.random(cl.mobilenet_v1(alpha=0.25, resolution=32, classes=4))
    result = bench_networks(model, rounds=2)
    axes = figures.plans(result).axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([1e3 * timing.median for timing in result.timings])
    texts = [text.get_text() for text in axes.texts]
    for timing, text in zip(result.timings, texts, strict=True):
        peak = result.peaks[timing.threads]  # None where Numba's JIT is switched off
        share = "" if peak is None else f", {2 * timing.macs / timing.median / peak:.0%} of peak".replace("%", " %")
        assert text == duration(timing.median) + share
    with pytest.raises(TypeError, match="result must be"):
        figures.plans(model)


# Detections


def test_boxes_are_drawn_as_far_as_the_picture_reaches() -> None:
    found = [
        cl.Detection("cup", 0.96, (10.0, 20.0, 30.0, 15.0)),
        cl.Detection("table", 0.7, (-5.0, -2.0, 200.0, 300.0)),
        cl.Detection("cup", 0.5, (60.0, 30.0, 10.0, 10.0)),
    ]
    figure = figures.detections(np.zeros((60, 100, 3), np.uint8), found, title="two cups")
    (axes,) = figure.axes
    boxes = {(round(p.get_x(), 1), round(p.get_y(), 1), p.get_width(), p.get_height()): p.get_edgecolor() for p in axes.patches}
    assert set(boxes) == {(9.5, 19.5, 30.0, 15.0), (-0.5, -0.5, 100.0, 60.0), (59.5, 29.5, 10.0, 10.0)}
    assert boxes[9.5, 19.5, 30.0, 15.0] == boxes[59.5, 29.5, 10.0, 10.0] != boxes[-0.5, -0.5, 100.0, 60.0]
    assert [text.get_text() for text in axes.texts] == ["cup 0.50", "table 0.70", "cup 0.96"]
    assert figure.get_suptitle() == "two cups"


def test_a_network_with_branches_is_drawn() -> None:
    figure = figures.blocks(cl.ssdlite_mobilenet_v2())
    outputs = {text.get_gid(): text.get_text() for text in figure.axes[0].texts if (text.get_gid() or "").startswith("output ")}
    assert outputs["output boxes0"] == "19x19x12"
    assert outputs["output scores5"] == "1x1x546"
