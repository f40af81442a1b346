"""The benchmarks compare before they time, judge as they say, and every peer runs the same network. No test judges speed."""

import math
import os
import time

import numpy as np
import pytest

import convlab as cl
from benchmarks import detectors, kernels, peers, report, rounds, scaling
from benchmarks.zoo import detectors as conversions

TINY = cl.mobilenet_v2(alpha=0.35, resolution=32, classes=10)

NETWORKS = [
    TINY,
    cl.mobilenet_v1(alpha=0.25, resolution=33, classes=7, padding="symmetric"),
    cl.Network(
        "lone", (9, 8, 6), (cl.Conv("layer", cl.ConvSpec(6, 4, (3, 2), stride=2, padding=((0, 1), (2, 1)), groups=2), "relu", None),)
    ),
]


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
@pytest.mark.parametrize(
    ("engine", "needs"),
    [
        ("torch", ("torch",)),
        ("onnxruntime", ("onnx", "onnxruntime")),
        ("openvino", ("onnx", "openvino")),
        ("openvino streams", ("onnx", "openvino")),
    ],
)
def test_a_peer_computes_what_convlab_does(engine, needs, network, batch):
    for package in needs:
        pytest.importorskip(package, reason="an engine that the benchmarks compare with")
    x = rounds.pictures(network, batch)
    run = peers.ENGINES[engine](rounds.random_model(network), x, 1)
    first = np.array(run())
    rounds.check(engine, network, first, rounds.reference(network, batch))
    np.testing.assert_array_equal(run(), first)


DETECTORS = [
    cl.ssdlite_mobilenet_v2(alpha=0.35, resolution=48, classes=4),
    cl.ssd_mobilenet_v1(alpha=0.25, resolution=64, classes=3, eps=None),
]


@pytest.mark.parametrize("network", DETECTORS, ids=lambda network: network.name)
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_peer_gives_every_output_of_a_detector(engine, network):
    for package in ("onnx", engine):
        pytest.importorskip(package, reason="an engine that the benchmarks compare with")
    contestant, expected = rounds.Contestant(engine, 1), rounds.reference(network, 1)
    _, first = contestant.build(network, 1)
    assert list(first) == list(network.outputs)
    rounds.check(engine, network, first, expected)
    rounds.check(engine, network, contestant.output(), expected)


def test_torch_is_not_given_a_network_it_would_not_run_whole():
    pytest.importorskip("torch", reason="an engine that the benchmarks compare with")
    with pytest.raises(ValueError, match=r"without branches: .* has boxes0, scores0"):
        peers.ENGINES["torch"](rounds.random_model(DETECTORS[0]), rounds.pictures(DETECTORS[0], 1), 1)


def test_a_detector_of_which_one_output_is_wrong_or_missing_is_not_timed():
    network = DETECTORS[0]
    expected = rounds.reference(network, 1)
    assert rounds.check("same", network, expected, expected) == 0
    small = min(expected, key=lambda name: np.abs(expected[name]).max())
    with pytest.raises(RuntimeError, match="bad must agree before it is timed"):
        rounds.check("bad", network, {**expected, small: expected[small] * 1.01}, expected)
    with pytest.raises(RuntimeError, match=r"bad must give the outputs boxes0, .*: it gives scores0, "):
        rounds.check("bad", network, {name: y for name, y in expected.items() if name != "boxes0"}, expected)
    with pytest.raises(RuntimeError, match=r"bad must give the outputs boxes0, .*: it gives one"):
        rounds.check("bad", network, expected["boxes0"], expected)


def test_folding_changes_nothing_but_rounding():
    """The folded weights in a network without batch norm give the same logits."""
    model = cl.Model.random(NETWORKS[1])

    def bare(layer):
        return cl.Conv(layer.name, layer.spec, layer.activation, None) if isinstance(layer, cl.Conv) else layer

    network = cl.Network("bare", model.network.input, tuple(map(bare, model.network.layers)))
    params = {}
    for name, (weight, bias) in peers.folded(model).items():
        params |= {f"{name}.weight": weight, f"{name}.bias": bias}
    x = rounds.pictures(network, 1)
    rounds.check("folded", network, cl.Model(network, params)(x, kernel="im2col"), rounds.reference(model.network, 1))


@pytest.mark.parametrize("change", [lambda y: y + 0.01 * np.abs(y).max(), lambda y: np.full_like(y, np.nan), lambda y: y[:, ::-1]])
def test_an_engine_that_disagrees_is_not_timed(change):
    expected = rounds.reference(TINY, 1)
    assert rounds.check("same", TINY, expected, expected) == 0
    with pytest.raises(RuntimeError, match="bad must agree before it is timed"):
        rounds.check("bad", TINY, change(expected), expected)


def test_an_engine_with_another_shape_is_not_timed():
    expected = rounds.reference(TINY, 2)
    with pytest.raises(RuntimeError, match=r"bad must give \(2, 10\)"):
        rounds.check("bad", TINY, expected[:1], expected)


class Served:
    """What a worker serves in these tests."""

    def fail(self):
        raise ValueError("on purpose")

    def die(self):
        os._exit(3)

    def threads(self):
        return os.environ["OMP_NUM_THREADS"]


def test_a_worker_has_its_own_environment_and_its_errors_come_back():
    before = dict(os.environ)
    worker = rounds.Worker(Served, threads=7)
    assert dict(os.environ) == before
    try:
        assert worker.call("threads") == "7"
        with pytest.raises(RuntimeError, match=r"(?s)a worker failed during 'fail'.*ValueError: on purpose"):
            worker.call("fail")
    finally:
        worker.stop()


def test_a_worker_that_dies_is_noticed():
    worker = rounds.Worker(Served)
    try:
        with pytest.raises(RuntimeError, match="a worker died during 'die': exit code 3"):
            worker.call("die")
    finally:
        worker.stop()
    assert not worker.process.is_alive()


def test_a_turn_times_its_calls_and_no_others():
    calls = []
    contestant = rounds.Contestant("none", 1)
    contestant.run = lambda: calls.append(len(calls))
    contestant.turn(calls=1, warm=0)
    end = time.process_time() + 0.02
    while time.process_time() < end:  # at work between its turns, as an engine whose threads wait by spinning is
        pass
    calls.clear()
    seconds, idle = contestant.turn(calls=5, warm=2)
    assert (len(calls), len(seconds)) == (7, 5)
    assert min(seconds) > 0
    assert idle >= 0.02


def test_the_exponent_of_a_power_law_is_found():
    sizes = [1, 2, 4, 8]
    slope, error, factor = scaling.exponent(sizes, [3 * size**1.5 for size in sizes])
    assert (slope, factor) == pytest.approx((1.5, 3.0))
    assert error == pytest.approx(0, abs=1e-9)
    assert math.isnan(scaling.exponent([1, 2], [1, 4])[1])
    # A point off the line: numpy's covariance is an independent word on the standard error.
    values = [1.0, 2.2, 3.9, 8.5]
    slope, error, _ = scaling.exponent(sizes, values)
    (expected, _), covariance = np.polyfit(np.log(sizes), np.log(values), 1, cov=True)
    assert (slope, error) == pytest.approx((expected, math.sqrt(covariance[0, 0])))


@pytest.mark.parametrize(
    ("target", "met", "verdict"),
    [
        (report.Target("", 0.9, 0.81, "x"), True, "met by 10.0%"),
        (report.Target("", 0.9, 0.99, "x"), False, "MISSED by 10.0%"),
        (report.Target("", 0.8, 0.88, "%", at_most=False), True, "met by 10.0%"),
        (report.Target("", 0.8, 0.72, "%", at_most=False), False, "MISSED by 10.0%"),
        (report.Target("", 0.8, None, "x"), False, "not measured"),
    ],
)
def test_a_target_says_whether_it_was_met_and_by_how_much(target, met, verdict):
    assert (target.met, target.verdict) == (met, verdict)


def test_the_best_runtime_is_the_one_to_beat():
    def engine(*medians):
        return {"median": float(np.median(medians)), "minimum": min(medians), "round_medians": list(medians), "calls": 3, "idle_cpu": 0.0}

    match = {"network": "V2", "batch": 8, "threads": 1, "macs": 100, "fma_peak": 1000.0, "differences": dict.fromkeys("abc", 0.0)}
    match["engines"] = {
        "convlab": engine(2.0, 2.0, 2.0),
        "onnxruntime": engine(5.0, 5.0, 5.0),
        "openvino": engine(6.0, 4.0, 4.0),
        "torch": engine(1.0, 1.0, 1.0),  # not a runtime to beat, however fast
    }
    match["differences"] = dict.fromkeys(match["engines"], 0.0)
    assert report.best_rival(match) == "openvino"
    assert report.ratio(match) == 0.5
    assert report.share(match, "convlab") == 2 * 8 * 100 / 2.0 / 1000.0
    (judged,) = [target for target in report.network_targets({"matches": [match]}) if target.value is not None]
    assert judged.what.startswith("V2, batch 8, 1 thread:")
    assert judged.met
    assert "**convlab**" in report.network_table(match)


def test_crops_are_small_and_every_layer_of_both_networks_is_there():
    layers = kernels.distinct()
    places = [place for group in layers.values() for place in group]
    assert len(places) == len(set(places)) == 27 + 52  # V1's and V2's convolutions
    for geometry in layers:
        crop = kernels.lone("crop", geometry, kernels.CROP_MACS)
        assert cl.cost(crop).macs <= kernels.CROP_MACS or min(crop.input[:2]) == 1
        assert kernels.lone("whole", geometry).input == geometry.in_shape


def test_a_large_photos_parts_are_shares_of_its_whole_call():
    def engine(seconds):
        return {"median": seconds, "minimum": seconds, "round_medians": [seconds] * 3, "calls": 3, "idle_cpu": 0.0}

    engines = {"convlab": engine(0.010), "onnxruntime": engine(0.008)}
    match = {"network": "finder", "batch": 1, "threads": 1, "macs": 100, "fma_peak": 1e6, "differences": dict.fromkeys(engines, 0.0)}
    seconds = {"whole": 0.040, "reading": 0.020, "scaling": 0.006, "network": 0.010}
    record = {"matches": [{**match, "engines": engines}], "calls": [{"model": "finder", "seconds": seconds}]}
    written = report.detector_tables({**record, "photo": [2309, 1732], "cores": 2, "wheel": 12_345_678})
    assert "| finder | 10.0 | 8.00 | 1.25 |" in written
    assert "| finder | 40.0 | 50% | 15% | 25% |" in written
    assert written.endswith("The wheel: 12.35 MB.")


def test_the_photo_has_four_megapixels_and_its_parts_are_timed(tmp_path):
    pytest.importorskip("PIL", reason="reading a photo needs Pillow")
    path = detectors.large(tmp_path)
    assert cl.images.read(path).shape == (1732, 2309, 3)
    assert np.prod(detectors.PHOTO) == pytest.approx(4e6, rel=0.001)
    network = cl.Network("small", (8, 8, 3), (cl.Conv("stem", cl.ConvSpec(3, 4, 3, 2)), cl.Pool("pool"), cl.Dense("classifier", 4, 2)))
    cl.save(cl.Model.random(network), tmp_path / "small.npz")
    seconds = detectors.Visitor(tmp_path / "small.npz", path).seconds()
    assert list(seconds) == ["whole", "reading", "scaling", "network"]
    assert min(seconds.values()) > 0


def test_the_second_call_is_the_one_that_is_timed():
    waits = iter([0.2, 0.0])
    assert 0 < detectors.second(lambda: time.sleep(next(waits))) < 0.2
    assert next(waits, None) is None


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({}, None),
        ({"score": 0.002}, r"within 0\.001 of TensorFlow\.js's .*: cat on chelsea has"),
        ({"label": "dog"}, "on chelsea TensorFlow.js finds dog: here cat"),
    ],
)
def test_a_conversion_is_confirmed_by_detections_or_ends(change, refusal):
    pytest.importorskip("PIL", reason="reading a photo needs Pillow")
    detector, pictures = cl.load("ssdlite_mobilenet_v2_coco"), cl.zoo.photos()
    (cat,) = detector.detect(pictures["chelsea"], 0.4, 0.4, kernel="im2col")
    thing = {"label": change.get("label", cat.label), "score": cat.score + change.get("score", 0.0), "box_xywh": cat.box}
    expected = {"chelsea": [thing], "elsewhere": [thing]}
    if refusal is None:
        said = conversions.confirmed(detector, expected, pictures, 0.4)
        assert "on chelsea:\n1 detections with the same labels, scores that differ by at most 0e+00" in said
        assert said.endswith("at least 1.000.")
    else:
        with pytest.raises(SystemExit, match=refusal):
            conversions.confirmed(detector, expected, pictures, 0.4)


def test_a_conversion_is_not_confirmed_by_nothing():
    detector, pictures = cl.load("ssdlite_mobilenet_v2_coco"), cl.zoo.photos()
    with pytest.raises(SystemExit, match="expected detections must be of these pictures, and some: chelsea"):
        conversions.confirmed(detector, {"elsewhere": []}, pictures, 0.4)
