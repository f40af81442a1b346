"""The benchmarks compare before they time, judge as they say, and every peer runs the same network. No test judges speed."""

import math
import os
import time

import numpy as np
import pytest

import convlab as cl
from benchmarks import kernels, peers, report, rounds, scaling

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
