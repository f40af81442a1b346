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
    assert model.network == NETWORKS[name]
    assert model.labels == ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def test_the_two_do_the_same_work_to_a_percent():
    one, other = (cl.cost(network).macs for network in NETWORKS.values())
    assert one == pytest.approx(other, rel=0.01)


def test_everything_shipped_is_small():
    most = {"mobilenet_v2_imagenet": 7.5e6, "ssdlite_mobilenet_v2_coco": 5e6, "ssd_mobilenet_v1_faces": 6e6}
    for name, path in zoo.MODELS.items():
        assert path.stat().st_size <= most.get(name, 1.5e6), name
    assert sum(path.stat().st_size for path in HERE.rglob("*") if path.suffix != ".pyc") <= 22_000_000  # the wheel: 25 MB at most


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
    label, probability = cl.load("mobilenet_v2_cifar10").classify(zoo.photos()["chelsea"], top=1, kernel="im2col")[0]
    assert label == "cat"
    assert probability > 0.5


def test_a_cat_is_a_cat_however_it_is_opened():
    Image = pytest.importorskip("PIL.Image", reason="reading pictures needs Pillow")
    model, path = cl.load("mobilenet_v2_cifar10"), zoo.photos()["chelsea"]
    with Image.open(path) as picture:
        opened = [picture, *(picture.convert(mode) for mode in ("CMYK", "YCbCr", "HSV", "LAB", "P", "RGBA", "L", "I", "F"))]
        deep = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
        given = [*opened, deep, np.asarray(picture), io.BytesIO(path.read_bytes())]
        assert [model.classify(one, top=1, kernel="im2col")[0][0] for one in given] == ["cat"] * len(given)


# ImageNet


@pytest.fixture(scope="module")
def imagenet():
    return cl.load()


def test_the_photos_are_named_as_torchvision_names_them(imagenet):
    """By torch, with torchvision's own preprocessing and weights: 0.6926 and 0.9881."""
    for photo, label, probability in (("chelsea", "Egyptian cat", 0.6926), ("coffee", "espresso", 0.9881)):
        (first, *_) = imagenet.classify(zoo.photos()[photo], kernel="im2col")
        assert first[0] == label
        assert first[1] == pytest.approx(probability, abs=0.005)


def test_the_imagenet_model_is_torchvisions(imagenet):
    assert imagenet.network == cl.mobilenet_v2(padding="symmetric", eps=1e-5)
    assert len(set(imagenet.labels)) >= 998  # crane and maillot stand twice: a bird and a machine, a tank suit and its cloth
    assert [imagenet.labels[i] for i in (0, 285, 967, 999)] == ["tench", "Egyptian cat", "espresso", "toilet tissue"]
    ready = imagenet.preprocessing
    assert (ready.fit, ready.shorter, ready.size) == ("shorter", 256, (224, 224))
    assert np.allclose(ready.mean, np.array([0.485, 0.456, 0.406]) * 255)
    assert np.allclose(ready.deviation, np.array([0.229, 0.224, 0.225]) * 255)


def test_it_names_pictures_of_imagenet(imagenet, shared):
    """16 of the 20: cut to squares before, they are cut once more. Their labels count the background as 0."""
    with np.load(shared / "imagenet" / "expected.npz") as file:
        pictures, truth = file["images"][4:], file["label"][4:] - 1
    found = [imagenet(imagenet.preprocess(picture), kernel="im2col").argmax() for picture in pictures]
    assert np.sum(found == truth) == 16


@pytest.mark.parametrize("name", ["mobilenet_v2_imagenet", *zoo.DETECTORS])
def test_each_card_says_where_it_comes_from_and_what_it_cannot(name):
    text = zoo.card(name)
    total = cl.cost(cl.load(name).network).total
    assert f"{total.params:,}" in text
    assert f"{total.macs:,} multiply-accumulates" in text
    assert f"{zoo.MODELS[name].stat().st_size / 1e6:.2f} MB" in text
    for heading in ("## Source", "## What was changed", "## Preprocessing", "## What it can't do"):
        assert heading in text
    assert re.search("BSD|Apache|MIT", text)


def test_every_photo_has_a_source_and_a_licence():
    text = (HERE / "photos" / "README.md").read_text(encoding="utf-8")
    assert len(zoo.photos()) >= 2
    for path in zoo.photos().values():
        row = next(line for line in text.splitlines() if f"`{path.name}`" in line)
        assert "CC0" in row or "public domain" in row


def test_what_does_not_exist_is_named():
    known = "the embedded models are mobilenet_v2_imagenet, mobilenet_v2_cifar10, mobilenet_v1_cifar10, ssdlite"
    with pytest.raises(FileNotFoundError, match=f"no such model or path: 'resnet'; {known}"):
        cl.load("resnet")
    with pytest.raises(ValueError, match="no such model: 'resnet'"):
        zoo.card("resnet")
