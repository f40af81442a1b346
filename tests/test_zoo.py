"""The embedded models, their cards, the labelled pictures and the photos, as they ship."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from numba import config

import convlab as cl
from convlab import zoo

HERE = Path(zoo.__file__).parent
NETWORKS = {
    "mobilenet_v2_cifar10": cl.mobilenet_v2(alpha=0.5, resolution=64, classes=10, padding="symmetric"),
    "mobilenet_v1_cifar10": cl.mobilenet_v1(alpha=0.4, resolution=64, classes=10, padding="symmetric"),
}


@pytest.fixture(scope="module", params=list(NETWORKS))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def model(name):
    return cl.load(name)


@pytest.fixture(scope="module")
def logits(model):
    pictures, _ = zoo.sample_pictures()
    return model(np.stack([model.preprocess(picture) for picture in pictures]), kernel="im2col")


def on_card(name, pattern):
    found = re.search(pattern, zoo.card(name))
    assert found, f"the card says nothing like {pattern!r}"
    return float(found[1].replace(",", ""))


def test_networks_are_the_published_ones_unmodified(name, model):
    assert list(zoo.MODELS) == list(NETWORKS)
    assert model.network == NETWORKS[name]
    assert model.labels == ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def test_the_two_do_the_same_work_to_a_percent():
    one, other = (cl.cost(network).macs for network in NETWORKS.values())
    assert one == pytest.approx(other, rel=0.01)


def test_everything_shipped_is_small():
    assert sum(path.stat().st_size for path in zoo.MODELS.values()) <= 3_000_000
    assert sum(path.stat().st_size for path in HERE.rglob("*") if path.suffix != ".pyc") <= 4_000_000


def test_accuracy_on_the_shipped_pictures_is_the_one_on_the_card(name, logits):
    _, labels = zoo.sample_pictures()
    accuracy = np.mean(logits.argmax(1) == labels)
    # The card rounds to 0.1 %; one picture of 200 is 0.5 %, so a picture on the edge may fall either way elsewhere.
    assert accuracy == pytest.approx(on_card(name, r"ship beside it: ([\d.]+) %") / 100, abs=0.0051)


def test_card_claims_enough_and_its_classes_average_to_the_whole(name):
    whole = on_card(name, r"\*\*([\d.]+) %\*\*")
    classes = [float(share) for share in re.findall(r"^\| \w+ \| ([\d.]+) %", zoo.card(name), re.MULTILINE)]
    assert whole >= 88
    assert len(classes) == 10
    assert np.mean(classes) == pytest.approx(whole, abs=0.05)  # ten shares of 1,000 pictures, rounded to 0.1 %


def test_card_counts_what_the_network_costs(name, model):
    total = cl.cost(model.network).total
    assert on_card(name, r"([\d,]+) trained parameters") == total.params
    assert on_card(name, r"([\d,]+) multiply-accumulates") == total.macs


@pytest.mark.parametrize("kernel", [kernel for kernel in cl.KERNELS if kernel != "naive"])
def test_every_quick_rung_names_the_shipped_pictures_alike(model, logits, kernel):
    few = slice(3, 4) if config.DISABLE_JIT else slice(None, None, 20)  # one of each class; as Python, loops take seconds for one
    pictures, _ = zoo.sample_pictures()
    got = model(np.stack([model.preprocess(picture) for picture in pictures[few]]), kernel=kernel)
    np.testing.assert_allclose(got, logits[few], atol=1e-3 * np.abs(logits).max())


def test_a_real_cat_is_named_a_cat():
    label, probability = cl.load().classify(zoo.photos()["chelsea"], top=1, kernel="im2col")[0]
    assert label == "cat"
    assert probability > 0.5


def test_a_cat_is_a_cat_however_it_is_opened():
    Image = pytest.importorskip("PIL.Image", reason="reading pictures needs Pillow")
    model, path = cl.load(), zoo.photos()["chelsea"]
    with Image.open(path) as picture:
        opened = [picture, *(picture.convert(mode) for mode in ("CMYK", "YCbCr", "HSV", "LAB", "P", "RGBA", "L", "I", "F"))]
        deep = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
        given = [*opened, deep, np.asarray(picture), io.BytesIO(path.read_bytes())]
        assert [model.classify(one, top=1, kernel="im2col")[0][0] for one in given] == ["cat"] * len(given)


def test_every_photo_has_a_source_and_a_licence():
    text = (HERE / "photos" / "README.md").read_text(encoding="utf-8")
    assert len(zoo.photos()) >= 2
    for path in zoo.photos().values():
        row = next(line for line in text.splitlines() if f"`{path.name}`" in line)
        assert "CC0" in row or "public domain" in row


def test_what_does_not_exist_is_named():
    known = "the embedded models are mobilenet_v2_cifar10, mobilenet_v1_cifar10"
    with pytest.raises(FileNotFoundError, match=f"no such model or path: 'resnet'; {known}"):
        cl.load("resnet")
    with pytest.raises(ValueError, match="no such model: 'resnet'"):
        zoo.card("resnet")
