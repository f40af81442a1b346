"""Detectors: their networks, anchors and boxes by hand, and what TensorFlow.js finds on the same pictures."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import convlab as cl
from convlab import ssd
from convlab.forward import Runnable
from convlab.layers import from_dict, parameter_shapes, to_dict, walk
from convlab.plan import Plan

NAMES = {"coco": "ssdlite_mobilenet_v2_coco", "faces": "ssd_mobilenet_v1_faces"}

TINY = cl.Network(
    "tiny detector",
    (8, 8, 3),
    (
        cl.Conv("stem", cl.ConvSpec(3, 4, 3, 2, "same")),
        cl.Branch("boxes0", (cl.Conv("boxes0.predict", cl.ConvSpec.pointwise(4, 8), None, None),)),
        cl.Branch("scores0", (cl.Conv("scores0.predict", cl.ConvSpec.pointwise(4, 6), None, None),)),
        cl.Conv("extra", cl.ConvSpec(4, 5, 3, 2, "same")),
        cl.Branch("boxes1", (cl.Conv("boxes1.predict", cl.ConvSpec.pointwise(5, 4), None, None),)),
        cl.Branch("scores1", (cl.Conv("scores1.predict", cl.ConvSpec.pointwise(5, 3), None, None),)),
    ),
)
SHAPES = (((0.25, 1.0), (0.5, 2.0)), ((0.75, 1.0),))


@pytest.fixture(scope="module", params=list(NAMES))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def detector(family: str) -> cl.Detector:
    return cl.load(NAMES[family])


# Networks


def test_a_branch_leaves_the_way_as_it_was() -> None:
    assert TINY.outputs == {"boxes0": (4, 4, 8), "scores0": (4, 4, 6), "boxes1": (2, 2, 4), "scores1": (2, 2, 3)}
    shapes = {visit.layer.name: (visit.input, visit.output) for visit in walk(TINY)}
    assert shapes["extra"] == ((4, 4, 4), (2, 2, 5))
    assert shapes["boxes0"] == ((4, 4, 8), (4, 4, 4))
    assert from_dict(json.loads(json.dumps(to_dict(TINY)))) == TINY
    with pytest.raises(ValueError, match="'tiny detector' has 4 outputs, not one: boxes0, scores0, boxes1, scores1"):
        _ = TINY.output


def test_branches_need_layers() -> None:
    with pytest.raises(ValueError, match="a branch must have at least one layer: 'b' has none"):
        cl.Branch("b", ())
    with pytest.raises(TypeError, match="a branch is made of Conv layers: 'b' holds a Pool"):
        cl.Branch("b", (cl.Pool("p"),))  # type: ignore[arg-type]


def test_a_way_that_goes_on_is_an_output_too() -> None:
    net = cl.Network("both", (4, 4, 2), (cl.Branch("side", (cl.Conv("c", cl.ConvSpec(2, 3, 1)),)), cl.Pool("pool")))
    model = cl.Model.random(cl.Network("one", (4, 4, 2), net.layers[1:]))
    assert net.outputs == {"side": (4, 4, 3), "pool": (2,)}
    with pytest.raises(ValueError, match="has 2 outputs, not one"):
        cl.Model.random(net)
    assert model.network.outputs == {"pool": (2,)}


def test_outputs_are_what_each_part_gives_alone() -> None:
    detector = _Loose.random(TINY, seed=3)
    x = np.random.default_rng(0).uniform(-1, 1, (2, 8, 8, 3)).astype(np.float32)
    given = detector.outputs(x, kernel="naive")
    assert {name: y.shape[1:] for name, y in given.items()} == TINY.outputs
    for name in TINY.outputs:
        way = [layer for layer in TINY.layers[: 1 if name.endswith("0") else 4] if not isinstance(layer, cl.Branch)]
        branch = next(layer for layer in TINY.layers if layer.name == name)
        alone = cl.Network("alone", TINY.input, (*way, *branch.body))
        params = {key: detector.params[key] for key in parameter_shapes(alone)}
        np.testing.assert_array_equal(given[name], cl.Model(alone, params)(x, kernel="naive"))
    one = detector.outputs(x[1], kernel="naive")
    assert all(np.array_equal(one[name], given[name][1]) for name in given)


def exact() -> cl.Detector:
    """Return a detector of small whole numbers: every sum is exact in float32, in whatever order."""
    rng = np.random.default_rng(5)
    params = {
        name: np.ones(shape) if name.endswith(("gamma", "variance")) else rng.integers(-2, 3, shape)
        for name, shape in parameter_shapes(EXACT).items()
    }
    return cl.Detector(EXACT, params, anchors=SHAPES)


EXACT = dataclasses.replace(
    TINY,
    layers=(
        cl.Conv("stem", cl.ConvSpec(3, 4, 3, 2, "same"), eps=0.0),
        cl.Residual(
            "block",
            (
                cl.Conv("block.expand", cl.ConvSpec.pointwise(4, 8), eps=0.0),
                cl.Conv("block.depthwise", cl.ConvSpec.depthwise(8, 3, padding=1), eps=0.0),
                cl.Conv("block.project", cl.ConvSpec.pointwise(8, 4), None, eps=0.0),
            ),
        ),
        cl.Conv("wide", cl.ConvSpec.pointwise(4, 4), eps=0.0),
        *TINY.layers[1:3],
        cl.Conv("between", cl.ConvSpec.depthwise(4, 3, padding="same"), eps=0.0),
        cl.Conv("extra", cl.ConvSpec(4, 5, 3, 2, "same"), eps=0.0),
        *TINY.layers[4:],
    ),
)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_plan_gives_every_output_to_the_last_bit(threads: int, batch: int) -> None:
    """A branch leaves in the midst of what would be fused (pointwise, depthwise), behind a shortcut, and at the way's end."""
    detector = exact()
    x = np.random.default_rng(1).integers(-2, 3, (batch, 8, 8, 3)).astype(np.float32)
    expected = detector.outputs(x, kernel="naive")
    plan = pickle.loads(pickle.dumps(detector.compile(batch, threads)))
    for _ in range(2):
        given = plan.outputs(x)
        assert list(given) == list(EXACT.outputs)
        for name, y in expected.items():
            np.testing.assert_array_equal(given[name], y, err_msg=name)
    assert plan.arena_bytes >= plan.least
    assert plan.explain(rounds=1).rows[-1][3] == f"{cl.cost(EXACT).macs:,}"
    with pytest.raises(ValueError, match=r"has 4 outputs: Plan\.outputs returns them all"):
        plan(x)


def test_a_plan_of_one_picture_gives_outputs_without_a_batch() -> None:
    detector = exact()
    x = np.ones((8, 8, 3), np.float32)
    given, expected = detector.compile(threads=1).outputs(x), detector.outputs(x, kernel="naive")
    assert all(np.array_equal(given[name], expected[name]) for name in expected)


@pytest.mark.parametrize("last", ["pool", "shortcut", "convolution"])
def test_a_plan_gives_the_ways_end_and_the_branches(last: str) -> None:
    side = cl.Branch("side", (cl.Conv("side.a", cl.ConvSpec(2, 3, 1), eps=None), cl.Conv("side.b", cl.ConvSpec(3, 1, 3), None, eps=None)))
    end: cl.layers.Layer = {
        "pool": cl.Pool("end"),
        "shortcut": cl.Residual("end", (cl.Conv("inner", cl.ConvSpec(2, 2, 1), None, eps=None),)),
        "convolution": cl.Conv("end", cl.ConvSpec(2, 2, 3, 2), eps=None),
    }[last]
    net = cl.Network("both", (4, 4, 2), (side, cl.Conv("way", cl.ConvSpec(2, 2, 1), eps=None), end))
    rng = np.random.default_rng(0)
    params = {name: rng.integers(-3, 4, shape) for name, shape in parameter_shapes(net).items()}
    x = rng.integers(-3, 4, (4, 4, 2)).astype(np.float32)
    given, expected = Plan(net, _Runner(net, params).params).outputs(x), _Runner(net, params).outputs(x, kernel="naive")
    assert list(given) == list(expected) == ["side", "end"]
    for name in expected:
        np.testing.assert_array_equal(given[name], expected[name])


class _Runner(Runnable):
    """A network with several outputs that is no detector."""


def test_a_changed_parameter_is_seen_by_the_next_call() -> None:
    detector = planted((0.25, 0.125, 0.5, 0.375), at=32)
    picture = np.zeros((80, 160, 3), np.uint8)
    assert {d.label for d in detector.detect(picture)} == {"ball"}
    detector.params["scores1.predict.bias"][:] = [0, 5, -8]
    assert {d.label for d in detector.detect(picture)} == {"dog"}


class _Loose(cl.Detector):
    """A detector with the tiny network's anchors."""

    def __init__(self, network: cl.Network, params: dict) -> None:
        super().__init__(network, params, anchors=SHAPES)


def test_costs_and_summary_count_the_heads() -> None:
    c = cl.cost(TINY)
    assert c.macs == 4 * 4 * 9 * 3 * 4 + 4 * 4 * 4 * (8 + 6) + 2 * 2 * 9 * 4 * 5 + 2 * 2 * 5 * (4 + 3)
    assert c.params == sum(int(np.prod(shape)) for name, shape in parameter_shapes(TINY).items() if not name.endswith(("mean", "variance")))
    table = cl.summary(TINY)
    assert [row[0] for row in table.rows] == [
        *("stem", "boxes0.predict", "scores0.predict", "extra", "boxes1.predict", "scores1.predict", "total")
    ]
    assert table.rows[-1][2] == "4 outputs"


def test_the_published_networks() -> None:
    coco, faces = cl.ssdlite_mobilenet_v2(), cl.ssd_mobilenet_v1(resolution=512, classes=3)
    assert [coco.outputs[f"boxes{i}"][0] for i in range(6)] == [19, 10, 5, 3, 2, 1]
    assert [faces.outputs[f"boxes{i}"][0] for i in range(6)] == [32, 16, 8, 4, 2, 1]
    assert (len(ssd.anchors(coco, ssd.shapes())), len(ssd.anchors(faces, ssd.shapes()))) == (1917, 5118)
    assert (ssd.columns(coco), ssd.columns(faces)) == (91, 3)
    with pytest.raises(ValueError, match="classes must be at least 2"):
        cl.ssdlite_mobilenet_v2(classes=1)


# Anchors and boxes


def test_anchors_by_hand() -> None:
    found = ssd.anchors(TINY, SHAPES)
    assert found.shape == (4 * 4 * 2 + 2 * 2, 4)
    np.testing.assert_allclose(found[0], [0.125, 0.125, 0.25, 0.25])
    np.testing.assert_allclose(found[1], [0.125, 0.125, 0.5 / 2**0.5, 0.5 * 2**0.5])
    np.testing.assert_allclose(found[2][:2], [0.125, 0.375])  # the next column comes before the next row
    np.testing.assert_allclose(found[-1], [0.75, 0.75, 0.75, 0.75])


def encode(box: np.ndarray, anchor: np.ndarray) -> np.ndarray:
    """Return what a head must give for an anchor to become a box: the inverse of `decode`."""
    centre, size = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
    return np.concatenate([(centre - anchor[:2]) / anchor[2:] * 10, np.log(size / anchor[2:]) * 5])


@given(st.lists(st.floats(0.05, 0.45), min_size=4, max_size=4), st.lists(st.floats(0.1, 0.9), min_size=4, max_size=4))
def test_decoding_undoes_encoding(halves: list[float], anchor: list[float]) -> None:
    box = np.array([0.5 - halves[0], 0.5 - halves[1], 0.5 + halves[2], 0.5 + halves[3]])
    back = ssd.decode(encode(box, np.array(anchor))[None], np.array([anchor]))[0]
    np.testing.assert_allclose(back, box, atol=1e-9)


@given(st.lists(st.tuples(*[st.integers(0, 6)] * 4, st.integers(0, 9)), min_size=0, max_size=12), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_suppression_by_its_definition(drawn: list[tuple[int, ...]], iou: float) -> None:
    """A box stays if no likelier one that stayed overlaps it too much; whole numbers make the areas exact."""
    boxes = np.array([(y, x, y + h, x + w) for y, x, h, w, _ in drawn], float).reshape(-1, 4)
    scores = np.array([score for *_, score in drawn], float)
    kept = ssd.suppress(boxes, scores, iou, 100).tolist()
    expected: list[int] = []
    for i in sorted(range(len(drawn)), key=lambda i: (-scores[i], i)):
        if all(cells(boxes[i], boxes[j]) <= iou for j in expected):
            expected.append(i)
    assert kept == expected
    assert ssd.suppress(boxes, scores, iou, 2).tolist() == expected[:2]


def cells(one: np.ndarray, other: np.ndarray) -> float:
    """Return intersection over union by counting squares."""
    squares = [{(y, x) for y in range(int(b[0]), int(b[2])) for x in range(int(b[1]), int(b[3]))} for b in (one, other)]
    union = len(squares[0] | squares[1])
    return len(squares[0] & squares[1]) / union if union else 0.0


def planted(box: tuple[float, float, float, float], at: int, logit: float = 4.0) -> cl.Detector:
    """Return a detector that finds one thing whatever it is shown: the anchor's head says this box and column 2."""
    params = {name: np.zeros(shape) for name, shape in parameter_shapes(TINY).items()}
    params["boxes1.predict.bias"] = encode(np.array(box), ssd.anchors(TINY, SHAPES)[at])
    for i, cell in enumerate(SHAPES):
        params[f"scores{i}.predict.bias"] = np.full(3 * len(cell), -8.0)
    params["scores1.predict.bias"][2] = logit
    params["scores1.predict.bias"][0] = 9.0  # the background is never reported
    return cl.Detector(TINY, params, [None, "dog", "ball"], SHAPES)


def test_a_planted_thing_is_found_in_the_pictures_pixels() -> None:
    """All four cells of the last map say the same of their own anchor; the first one's box is known."""
    box = (0.25, 0.125, 0.5, 0.375)  # top, left, bottom, right
    found = planted(box, at=32).detect(np.zeros((80, 160, 3), np.uint8), kernel="naive")
    assert {label for label, _, _ in found} == {"ball"}
    assert found[0].score == pytest.approx(1 / (1 + np.exp(-4.0)))
    assert found[0].box == pytest.approx((20, 20, 40, 20), abs=1e-4)
    assert len(found) == 4
    assert planted(box, at=32, logit=-1.0).detect(np.zeros((80, 160, 3), np.uint8), kernel="naive") == []


def test_padding_puts_boxes_where_the_picture_is() -> None:
    detector = planted((0.25, 0.125, 0.5, 0.375), at=32)
    detector = cl.Detector(TINY, detector.params, detector.labels, SHAPES, cl.Preprocessing((8, 8), "pad"))
    (first, *_) = detector.detect(np.zeros((80, 160, 3), np.uint8), kernel="naive")
    assert first.box == pytest.approx((20, 40, 40, 40), abs=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.5}, "threshold must be from 0 to 1: threshold=1.5"),
        ({"threshold": float("nan")}, "threshold must be from 0 to 1: threshold=nan"),
        ({"iou": -0.1}, "iou must be from 0 to 1: iou=-0.1"),
        ({"top": 0}, "top must be at least 1: top=0"),
    ],
)
def test_wrong_wishes_are_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        planted((0.25, 0.125, 0.5, 0.375), at=32).detect(np.zeros((8, 8, 3), np.uint8), **options)


def test_threshold_and_top_bound_what_is_found() -> None:
    detector = planted((0.25, 0.125, 0.5, 0.375), at=32)
    everything = detector.detect(np.zeros((80, 160, 3), np.uint8), threshold=0.0, iou=1.0, top=1000, kernel="naive")
    assert len(everything) == 36
    assert [d.score for d in everything] == sorted((d.score for d in everything), reverse=True)
    assert detector.detect(np.zeros((80, 160, 3), np.uint8), top=1, kernel="naive") == everything[:1]
    assert detector.detect(np.zeros((80, 160, 3), np.uint8), threshold=1.0, kernel="naive") == []


def test_wrong_labels_and_anchors_are_named() -> None:
    params = planted((0.25, 0.125, 0.5, 0.375), at=32).params
    for labels, error, message in (
        ([None, "a"], ValueError, "must name at least one column of scores, None the others: 2 labels, 3 columns"),
        ([None, None, None], ValueError, "must name at least one column"),
        ([None, 1, "a"], TypeError, "labels must be strings, or None"),
        ("abc", TypeError, "labels must be strings"),
    ):
        with pytest.raises(error, match=message):
            cl.Detector(TINY, params, labels, SHAPES)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="anchors must be given for each map: 6 for 2 maps"):
        cl.Detector(TINY, params)
    with pytest.raises(ValueError, match="map 0 of 'tiny detector' must have heads for 1 anchors"):
        cl.Detector(TINY, params, anchors=SHAPES[::-1])
    with pytest.raises(ValueError, match=r"a detector has outputs boxes0, scores0, boxes1, .* has pool"):
        ssd.anchors(cl.Network("n", (4, 4, 3), (cl.Pool("pool"),)), SHAPES)


def test_a_detector_goes_through_a_file(tmp_path: Path) -> None:
    detector = planted((0.25, 0.125, 0.5, 0.375), at=32)
    cl.save(detector, tmp_path / "d.npz")
    back = cl.load(tmp_path / "d.npz")
    assert isinstance(back, cl.Detector)
    assert (back.network, back.labels, back.shapes) == (detector.network, detector.labels, detector.shapes)
    assert back.preprocessing == detector.preprocessing
    picture = np.zeros((80, 160, 3), np.uint8)
    assert back.detect(picture, kernel="im2col") == detector.detect(picture, kernel="im2col")


# The embedded ones


def test_the_embedded_networks_are_the_published_ones(family: str, detector: cl.Detector) -> None:
    published = {
        "coco": (cl.ssdlite_mobilenet_v2(eps=None), ssd.shapes(), "stretch"),
        "faces": (cl.ssd_mobilenet_v1(resolution=512, classes=3, eps=None), ssd.shapes(interpolated=1), "pad"),
    }
    assert (detector.network, detector.shapes, detector.preprocessing.fit) == published[family]
    named = [label for label in detector.labels if label is not None]
    assert len(named) == {"coco": 80, "faces": 1}[family]
    assert (detector.labels[1], detector.labels[-1]) == {"coco": ("person", "toothbrush"), "faces": ("face", None)}[family]


def test_they_find_what_tensorflow_js_finds(family: str, detector: cl.Detector, shared: Path) -> None:
    """Labels in order, scores within 0.02, boxes with IoU above 0.9: what 8-bit filters leave of TensorFlow.js's float32."""
    expected = json.loads((shared / "detection" / "expected.json").read_text())[family]
    photos, seen = cl.zoo.photos(), 0
    for name, things in expected.items():
        path = photos.get(name) or elsewhere(name)
        if path is None:
            continue
        seen += 1
        found = detector.detect(path, 0.4, {"coco": 0.4, "faces": 0.5}[family], kernel="im2col")
        assert [d.label for d in found] == [thing["label"] for thing in things], name
        for d, thing in zip(found, things, strict=True):
            assert d.score == pytest.approx(thing["score"], abs=0.02)
            assert ssd.overlap(corners(d.box), corners(thing["box_xywh"])[None])[0] > 0.9
    assert seen >= 3


def elsewhere(name: str) -> Path | None:
    """Return a picture that another package brings, if it is installed."""
    if name == "grace_hopper":
        matplotlib = pytest.importorskip("matplotlib", reason="matplotlib brings a picture")
        return Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    return None


def corners(box) -> np.ndarray:
    x, y, width, height = box
    return np.array([y, x, y + height, x + width])


def test_the_cat_that_is_taken_for_a_face_stands_on_the_card() -> None:
    (cat, *_) = cl.load(NAMES["faces"]).detect(cl.zoo.photos()["chelsea"], kernel="im2col")
    assert cat.label == "face"
    assert f"with a score of {cat.score:.2f}" in cl.zoo.card(NAMES["faces"])
