"""Preprocessing as data: what it does to a picture, against Pillow; and that it travels with a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import convlab as cl
from convlab import images

RNG = np.random.default_rng(0)


def small(**options) -> cl.Model:
    net = cl.mobilenet_v1(0.25, 32, classes=2)
    return cl.Model(net, cl.Model.random(net).params, preprocessing=cl.Preprocessing((32, 32), **options))


@pytest.mark.parametrize("name", [name for name in images.FILTERS if name != "corner"])
@pytest.mark.parametrize(("source", "target"), [((300, 451), (256, 384)), ((30, 45), (64, 61)), ((7, 5), (3, 2)), ((8, 8), (4, 4))])
def test_filters_are_pillows(name: str, source: tuple[int, int], target: tuple[int, int]) -> None:
    """Pillow counts its weights in fixed point: seldom does a pixel round to the other side."""
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    pixels = RNG.integers(0, 256, (*source, 3), dtype=np.uint8)
    theirs = np.asarray(image.fromarray(pixels).resize(target[::-1], getattr(image.Resampling, name.upper()))).astype(int)
    ours = images.resize(pixels, *target, name, whole=True)
    assert np.abs(ours - theirs).max() <= 1
    assert (ours != theirs).mean() < 0.1


@pytest.mark.parametrize("name", [name for name in images.FILTERS if name != "corner"])
def test_every_filter_keeps_a_constant(name: str) -> None:
    np.testing.assert_allclose(images.interpolation(13, 5, name).sum(1), 1, rtol=1e-12)
    np.testing.assert_allclose(images.interpolation(5, 13, name).sum(1), 1, rtol=1e-12)


def test_middle_of_an_odd_rest_and_beyond_the_edge() -> None:
    row = np.arange(1, 8, dtype=np.uint8).reshape(1, 7, 1)
    assert images.middle(row, 1, 4).ravel().tolist() == [2, 3, 4, 5]
    assert images.middle(row, 1, 4, even=True).ravel().tolist() == [3, 4, 5, 6]  # 1.5 rounds to 2, as Python and torchvision do
    assert images.middle(row, 1, 10).ravel().tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0, 0]


def test_mean_deviation_and_order_of_channels() -> None:
    pixel = np.array([[[10, 20, 30]]], np.uint8)
    plain = cl.Preprocessing((1, 1), mean=(1, 2, 3), deviation=(1, 2, 3))
    assert plain(pixel).tolist() == [[[9, 9, 9]]]
    turned = cl.Preprocessing((1, 1), mean=(1, 2, 3), deviation=(1, 2, 3), order="BGR")
    assert turned(pixel).tolist() == [[[29, 9, pytest.approx(7 / 3)]]]


def test_shorter_side_then_the_middle() -> None:
    pixels = RNG.integers(0, 256, (30, 61, 3), dtype=np.uint8)
    ours = cl.Preprocessing((8, 8), fit="shorter", shorter=10, mean=0, deviation=1)(pixels)
    np.testing.assert_array_equal(ours, images.resize(pixels, 10, 20)[1:9, 6:14])


def test_stretched_whole() -> None:
    pixels = RNG.integers(0, 256, (30, 61, 3), dtype=np.uint8)
    ours = cl.Preprocessing((8, 9), fit="stretch", mean=0, deviation=1)(pixels)
    np.testing.assert_array_equal(ours, images.resize(pixels, 8, 9))


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (300, 2), (32, 32), (33, 31)])
@pytest.mark.parametrize("fit", ["square", "shorter", "stretch", "crop"])
def test_any_shape_gives_the_size(shape: tuple[int, int], fit: str) -> None:
    assert cl.Preprocessing((24, 40), fit=fit)(np.ones((*shape, 3), np.uint8)).shape == (24, 40, 3)


def test_it_travels_with_the_model(tmp_path: Path) -> None:
    model = small(fit="shorter", shorter=36, resample="bicubic", mean=(1, 2, 3.5), deviation=4, order="BGR", whole=True, middle="even")
    cl.save(model, tmp_path / "m.npz")
    back = cl.load(tmp_path / "m.npz")
    assert back.preprocessing == model.preprocessing
    picture = RNG.integers(0, 256, (50, 40, 3), dtype=np.uint8)
    np.testing.assert_array_equal(back.preprocess(picture), model.preprocess(picture))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": (0, 3)}, "size height must be at least 1"),
        ({"size": 3}, "size must be a pair"),
        ({"fit": "fill"}, "fit must be one of square, shorter, stretch, crop, pad: fit='fill'"),
        ({"resample": "cubic"}, "resample must be one of bilinear, bicubic, "),
        ({"mean": (1, 2)}, "mean must be a number or three"),
        ({"mean": float("nan")}, "mean must be at most 1,000,000,000: mean=nan"),
        ({"mean": 1e308}, r"mean must be at most 1,000,000,000: mean=1e\+308"),
        ({"mean": 10**400}, "mean must be at most 1,000,000,000: mean=1"),
        ({"deviation": 1e-308}, "deviation must be positive, and at least 1e-09: deviation=1e-308"),
        ({"deviation": 0}, "deviation must be positive, and at least 1e-09: deviation=0"),
        ({"order": "GBR"}, "order must be one of RGB, BGR"),
        ({"middle": "up"}, "middle must be one of down, even"),
        ({"shorter": 0}, "shorter must be at least 1"),
    ],
)
def test_wrong_parts_are_named(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cl.Preprocessing(**{"size": (32, 32), **changes})


def test_wrong_records_are_refused() -> None:
    for record, message in (([1], "must be a JSON object"), ({"size": [3, 3], "colour": "red"}, "does not describe preprocessing")):
        with pytest.raises(ValueError, match=message):
            cl.Preprocessing.from_dict(record)


def test_prepared_for_another_size_is_refused() -> None:
    net = cl.mobilenet_v1(0.25, 32, classes=2)
    with pytest.raises(ValueError, match=r"pictures must be prepared for the network's size \(32, 32\): size=\(33, 32\)"):
        cl.Model(net, cl.Model.random(net).params, preprocessing=cl.Preprocessing((33, 32)))


def test_a_network_without_a_classifier_names_nothing() -> None:
    net = cl.Network("trunk", (32, 32, 3), cl.mobilenet_v1(0.25, 32).layers[:-1])
    with pytest.raises(ValueError, match="only a network with a classifier can name pictures: 'trunk' ends in 'pool'"):
        cl.Model.random(net).classify(np.zeros((32, 32, 3), np.uint8))


# What detectors need


def test_corner_is_tensorflows_first_bilinear_filter() -> None:
    """Two neighbours, from ``source = target * in / out``, by the definition."""
    pixels = RNG.integers(0, 256, (7, 11, 3)).astype(np.float64)
    expected = np.empty((4, 5, 3))
    for i in range(4):
        for j in range(5):
            y, x = i * 7 / 4, j * 11 / 5
            top, left = int(y), int(x)
            bottom, right = min(top + 1, 6), min(left + 1, 10)
            upper = pixels[top, left] * (1 - (x - left)) + pixels[top, right] * (x - left)
            lower = pixels[bottom, left] * (1 - (x - left)) + pixels[bottom, right] * (x - left)
            expected[i, j] = upper * (1 - (y - top)) + lower * (y - top)
    np.testing.assert_allclose(images.resize(pixels, 4, 5, "corner"), expected, rtol=1e-5)


def test_padding_is_black_at_the_right_or_below() -> None:
    white = np.full((2, 4, 3), 255, np.uint8)
    low = cl.Preprocessing((4, 4), "pad")(white)
    assert (low[:2] == 1).all()
    assert (low[2:] == -1).all()
    high = cl.Preprocessing((4, 4), "pad")(white.transpose(1, 0, 2))
    np.testing.assert_array_equal(high, low.transpose(1, 0, 2))


@pytest.mark.parametrize("fit", ["square", "shorter", "stretch", "pad"])
@pytest.mark.parametrize("shape", [(30, 50), (50, 30), (40, 40), (31, 47)])
def test_the_frame_is_where_the_network_looks(fit: str, shape: tuple[int, int]) -> None:
    """A ramp of brightness says which part of the picture each pixel of the input is."""
    ramp = np.stack(np.broadcast_arrays(np.arange(shape[0])[:, None], np.arange(shape[1]), 0), axis=2).astype(np.uint8)
    ready = cl.Preprocessing((20, 20), fit, 25 if fit == "shorter" else None, mean=0, deviation=1)
    seen, frame = ready(ramp), ready.frame(*shape)
    for axis, (start, size, edge) in enumerate(((frame.y, frame.height, shape[0]), (frame.x, frame.width, shape[1]))):
        places = start + (np.arange(20) + 0.5) * size / 20 - 0.5
        inside = (places > 1.5) & (places < edge - 2.5)
        assert inside.sum() > 8
        middle = seen[:, 8, 0] if axis == 0 else seen[8, :, 1]
        np.testing.assert_allclose(middle[inside], places[inside], atol=0.6)


@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.sampled_from(list(images.FILTERS)), st.integers(1, 4)
)
def test_scaling_is_the_two_matrices_product(height: int, width: int, to_height: int, to_width: int, name: str, colours: int) -> None:
    pixels = np.random.default_rng(height * width).integers(0, 256, (height, width, colours)).astype(np.uint8)
    rows, columns = images.interpolation(height, to_height, name), images.interpolation(width, to_width, name)
    expected = np.einsum("hH,HWC,wW->hwC", rows, pixels.astype(np.float64), columns)
    ours = images.resize(pixels, to_height, to_width, name)
    np.testing.assert_allclose(ours, expected, atol=1e-3)
    top, left = to_height // 3, to_width // 4
    window = images.Window(top, left, to_height - top, to_width - left)
    np.testing.assert_array_equal(images.resize(pixels, to_height, to_width, name, window=window), ours[top:, left:])
