"""Networks as data: walking them, refusing wrong ones, and taking them through JSON and back."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import convlab as cl
from convlab.layers import from_dict, parameter_shapes, to_dict, walk

STEM = cl.Conv("stem", cl.ConvSpec(3, 4, 3, padding="same"))
BODY = (cl.Conv("a", cl.ConvSpec.pointwise(4, 8)), cl.Conv("b", cl.ConvSpec.pointwise(8, 4), activation=None))
TINY = cl.Network("tiny", (5, 6, 3), (STEM, cl.Residual("block", BODY), cl.Pool("pool"), cl.Dense("classifier", 4, 2)))


@st.composite
def networks(draw) -> cl.Network:
    build = draw(st.sampled_from([cl.mobilenet_v1, cl.mobilenet_v2]))
    return build(
        alpha=draw(st.floats(0.05, 2)),
        resolution=draw(st.integers(32, 300)),
        classes=draw(st.integers(1, 2000)),
        padding=draw(st.sampled_from(["same", "symmetric"])),
        eps=draw(st.sampled_from([1e-3, 1e-5, 0.01])),
    )


@st.composite
def hand_made(draw) -> cl.Network:
    """Draw a network of any specs, with and without batch norm, activation, shortcut and classifier."""
    names = (f"layer{i}" for i in range(100))
    eps, activation = st.sampled_from([None, 1e-3, 0.1]), st.sampled_from([None, "relu", "relu6"])
    channels, layers = 6, []
    for _ in range(draw(st.integers(1, 4))):
        groups = draw(st.sampled_from([1, 2, 3, 6]))
        spec = cl.ConvSpec(
            channels,
            6 * draw(st.integers(1, 2)),
            draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
            draw(st.integers(1, 2)),
            draw(st.sampled_from(["same", 2, (2, 3), ((2, 3), (4, 2))])),
            draw(st.tuples(st.integers(1, 2), st.integers(1, 2))),
            groups,
        )
        layers.append(cl.Conv(next(names), spec, draw(activation), draw(eps)))
        channels = spec.out_channels
        if draw(st.booleans()):
            body = tuple(cl.Conv(next(names), cl.ConvSpec.pointwise(channels, channels), None, draw(eps)) for _ in range(2))
            layers.append(cl.Residual(next(names), body))
    if draw(st.booleans()):
        layers.append(cl.Pool(next(names)))
        layers.append(cl.Dense(next(names), channels, draw(st.integers(1, 9))))
    return cl.Network(draw(st.text(max_size=20)), (draw(st.integers(6, 20)), draw(st.integers(6, 20)), 6), tuple(layers))


# Walking


def test_walk_gives_each_layer_with_its_shapes() -> None:
    visits = [(visit.layer.name, visit.input, visit.output) for visit in walk(TINY)]
    assert visits == [
        ("stem", (5, 6, 3), (5, 6, 4)),
        ("a", (5, 6, 4), (5, 6, 8)),
        ("b", (5, 6, 8), (5, 6, 4)),
        ("block", (5, 6, 4), (5, 6, 4)),
        ("pool", (5, 6, 4), (4,)),
        ("classifier", (4,), (2,)),
    ]
    assert TINY.output == (2,)


@given(networks() | hand_made())
def test_every_layer_is_given_what_the_one_before_gives(net: cl.Network) -> None:
    shape: tuple[int, ...] = net.input
    for visit in walk(net):
        assert visit.input == shape
        if visit.geometry is not None:
            assert (visit.geometry.in_shape, visit.geometry.out_shape) == (visit.input, visit.output)
        assert (visit.geometry is not None) == isinstance(visit.layer, cl.Conv)
        shape = visit.output
    assert net.output == shape


@given(networks() | hand_made())
def test_parameter_shapes(net: cl.Network) -> None:
    shapes = parameter_shapes(net)
    assert all(size >= 1 for shape in shapes.values() for size in shape)
    for visit in walk(net):
        own = {
            name.removeprefix(f"{visit.layer.name}."): shape for name, shape in shapes.items() if name.startswith(f"{visit.layer.name}.")
        }
        match visit.layer:
            case cl.Conv(_, spec, _, None):
                assert own == {"weight": spec.weight_shape, "bias": (spec.out_channels,)}
            case cl.Conv(_, spec, _, _):
                assert own.pop("weight") == spec.weight_shape
                assert own == dict.fromkeys(("gamma", "beta", "mean", "variance"), (spec.out_channels,))
            case cl.Dense(_, given, wanted):
                assert own == {"weight": (given, wanted), "bias": (wanted,)}


def test_a_network_is_a_value() -> None:
    twin = cl.Network("tiny", (5, 6, 3), (STEM, cl.Residual("block", BODY), cl.Pool("pool"), cl.Dense("classifier", 4, 2)))
    assert twin == TINY
    assert hash(twin) == hash(TINY)
    with pytest.raises(dataclasses.FrozenInstanceError):
        TINY.name = "other"  # type: ignore[misc]


# Refusing


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((cl.Conv("c", cl.ConvSpec(4, 5, 3)),), r"layer 'c' must be given \(H, W, 4\): the layer before it gives \(6, 7, 3\)"),
        ((cl.Pool("p"), cl.Conv("c", cl.ConvSpec(3, 5, 1))), r"layer 'c' must be given \(H, W, 3\): the layer before it gives \(3,\)"),
        ((cl.Pool("p"), cl.Pool("q")), r"layer 'q' must be given \(H, W, C\): the layer before it gives \(3,\)"),
        ((cl.Dense("d", 3, 2),), r"layer 'd' must be given \(3,\): the layer before it gives \(6, 7, 3\)"),
        ((cl.Pool("p"), cl.Dense("d", 4, 2)), r"layer 'd' must be given \(4,\): the layer before it gives \(3,\)"),
        ((cl.Conv("c", cl.ConvSpec(3, 5, 7)),), "along the height the input is 6 .* the output would be empty"),
    ],
)
def test_a_layer_must_fit_the_one_before(layers: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cl.Network("n", (6, 7, 3), layers)


@pytest.mark.parametrize(
    "spec",
    [cl.ConvSpec(3, 4, 1), cl.ConvSpec(3, 3, 3), cl.ConvSpec(3, 3, 3, stride=2, padding="same")],
    ids=["channels", "size", "stride"],
)
def test_a_shortcut_needs_equal_shapes(spec: cl.ConvSpec) -> None:
    with pytest.raises(ValueError, match=r"a shortcut needs equal shapes: 'r' turns \(6, 7, 3\) into"):
        cl.Network("n", (6, 7, 3), (cl.Residual("r", (cl.Conv("c", spec),)),))


@pytest.mark.parametrize(
    "layers",
    [
        (cl.Conv("x", cl.ConvSpec(3, 3, 1)), cl.Conv("x", cl.ConvSpec(3, 3, 1))),
        (cl.Conv("x", cl.ConvSpec(3, 3, 1)), cl.Pool("x")),
        (cl.Residual("x", (cl.Conv("x", cl.ConvSpec(3, 3, 1)),)),),
        (cl.Conv("x", cl.ConvSpec(3, 3, 1)), cl.Residual("r", (cl.Conv("x", cl.ConvSpec(3, 3, 1)),))),
    ],
)
def test_names_must_be_unique(layers: tuple) -> None:
    with pytest.raises(ValueError, match="layer names must be unique: 'x' stands twice in 'n'"):
        cl.Network("n", (6, 7, 3), layers)


def test_a_network_needs_a_layer() -> None:
    with pytest.raises(ValueError, match="a network must have at least one layer: 'n' has none"):
        cl.Network("n", (6, 7, 3), ())


@pytest.mark.parametrize("input", [(6, 7), (6, 7, 3, 1), (6.5, 7, 3), (0, 7, 3), (6, 7, -3), ("6", "7", "3")])
def test_the_input_is_three_sizes(input: tuple) -> None:
    with pytest.raises((ValueError, TypeError), match=r"input .*must be"):
        cl.Network("n", input, (cl.Pool("p"),))


def test_a_shortcut_goes_round_convolutions() -> None:
    with pytest.raises(ValueError, match="a shortcut must go round at least one layer: 'r' has none"):
        cl.Residual("r", ())
    with pytest.raises(TypeError, match="a shortcut goes round Conv layers: 'outer' holds a Residual"):
        cl.Residual("outer", (cl.Residual("inner", BODY),))  # type: ignore[arg-type]


@pytest.mark.parametrize("activation", ["tanh", "RELU6", "", True])
def test_an_unknown_activation_is_refused(activation: object) -> None:
    with pytest.raises(ValueError, match=f'activation must be "relu6", "relu" or None: activation={activation!r}'):
        cl.Conv("c", cl.ConvSpec(3, 3, 1), activation)  # type: ignore[arg-type]


@pytest.mark.parametrize(("eps", "error"), [(-1e-3, ValueError), (math.nan, ValueError), (math.inf, ValueError), ("1e-3", TypeError)])
def test_eps_is_a_small_number(eps: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="eps must be"):
        cl.Conv("c", cl.ConvSpec(3, 3, 1), eps=eps)  # type: ignore[arg-type]


@pytest.mark.parametrize(("sizes", "error"), [((0, 3), ValueError), ((3, -1), ValueError), ((3, 2.5), TypeError), ((True, 2), TypeError)])
def test_dense_sizes(sizes: tuple, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"(in|out)_features must be"):
        cl.Dense("d", *sizes)


# Through JSON


@given(networks() | hand_made())
def test_json_round_trip(net: cl.Network) -> None:
    assert from_dict(json.loads(json.dumps(to_dict(net)))) == net
    assert from_dict(to_dict(net)) == net


def test_numpy_sizes_go_through_json() -> None:
    net = cl.mobilenet_v1(alpha=0.25, resolution=np.int64(32), classes=np.int32(5))  # type: ignore[arg-type]
    assert from_dict(json.loads(json.dumps(to_dict(net)))) == net
    net = cl.Network("n", tuple(np.array([6, 7, 3])), (cl.Pool("p"), cl.Dense("d", np.int64(3), np.int64(2))))  # type: ignore[arg-type]
    assert from_dict(json.loads(json.dumps(to_dict(net)))) == net


def record() -> dict:
    return json.loads(json.dumps(to_dict(TINY)))


def test_the_record_is_plain() -> None:
    assert record()["layers"][0] == {
        "type": "Conv",
        "name": "stem",
        "spec": {
            "in_channels": 3,
            "out_channels": 4,
            "kernel": [3, 3],
            "stride": [1, 1],
            "padding": "same",
            "dilation": [1, 1],
            "groups": 1,
        },
        "activation": "relu6",
        "eps": 0.001,
    }
    assert [layer["type"] for layer in record()["layers"][1]["body"]] == ["Conv", "Conv"]


@pytest.mark.parametrize("key", ["name", "input", "layers"])
def test_an_incomplete_record_is_refused(key: str) -> None:
    broken = record()
    del broken[key]
    with pytest.raises(ValueError, match=f"this record does not describe a network: KeyError: '{key}'"):
        from_dict(broken)


@pytest.mark.parametrize("broken", [None, 3, "network", [], {"name": "n", "input": 3, "layers": []}, {**record(), "layers": [1]}])
def test_something_else_is_refused(broken) -> None:
    with pytest.raises(ValueError, match="this record does not describe a network"):
        from_dict(broken)


def _type(layers: list) -> None:
    layers[0]["type"] = "Attention"


def _no_type(layers: list) -> None:
    del layers[0]["type"]


def _surplus(layers: list) -> None:
    layers[0]["momentum"] = 0.9


def _lacking(layers: list) -> None:
    del layers[3]["out_features"]


def _spec(layers: list) -> None:
    layers[0]["spec"]["kernal"] = 3


def _negative(layers: list) -> None:
    layers[0]["spec"]["stride"] = [0, 1]


def _activation(layers: list) -> None:
    layers[0]["activation"] = "tanh"


def _nested(layers: list) -> None:
    layers[1]["body"] = [dict(layers[1], name="inner")]


def _shape(layers: list) -> None:
    layers[3]["in_features"] = 5


def _twice(layers: list) -> None:
    layers[2]["name"] = "stem"


@pytest.mark.parametrize("change", [_type, _no_type, _surplus, _lacking, _spec, _negative, _activation, _nested, _shape, _twice])
def test_a_broken_record_is_refused(change) -> None:
    """Every constructor checks its part again: what `Network(...)` would refuse, no file brings in."""
    broken = record()
    change(broken["layers"])
    with pytest.raises(ValueError, match=r"Attention|type|momentum|out_features|kernal|stride|activation|shortcut|must be given|unique"):
        from_dict(broken)
