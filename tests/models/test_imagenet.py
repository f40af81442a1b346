"""Real ImageNet weights on real pictures, against the logits that HF Transformers gives."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import convlab as cl

pytest.importorskip("safetensors", reason="safetensors is not installed")

NAMES = ("mobilenet_v1_0.25_224", "mobilenet_v2_1.0_224")
JIT_OFF = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "imagenet"


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "expected.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module", params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(folder: Path, name: str) -> cl.Model:
    return cl.load(folder / name)


@pytest.fixture(scope="module")
def logits(model: cl.Model, expected: dict[str, np.ndarray]) -> np.ndarray:
    x = np.stack([model.preprocess(picture) for picture in expected["images"]])
    return np.concatenate([model(x[i : i + 4], kernel="im2col") for i in range(0, 24, 4)])


def test_the_logits_are_transformers(name: str, logits: np.ndarray, expected: dict[str, np.ndarray]) -> None:
    """The same sums in another order, over some fifty layers of float32: within 1e-3 of the largest logit."""
    assert logits.shape == (24, 1001)
    assert np.abs(logits - expected[name]).max() < 1e-3 * np.abs(expected[name]).max()


@pytest.mark.skipif(JIT_OFF, reason="whole networks on Python loops take minutes: NUMBA_DISABLE_JIT is set")
def test_jit_gives_the_same(name: str, model: cl.Model, expected: dict[str, np.ndarray]) -> None:
    x = expected["images"][:4].astype(np.float32) / np.float32(127.5) - np.float32(1)
    assert np.abs(model(x, kernel="jit") - expected[name][:4]).max() < 1e-3 * np.abs(expected[name]).max()


def test_how_many_it_names(name: str, logits: np.ndarray, expected: dict[str, np.ndarray]) -> None:
    """Of the 20 pictures from ImageNet: V2 18, V1 at a quarter of its width 13."""
    right = logits[4:].argmax(1) == expected["label"][4:]
    assert right.sum() == {"mobilenet_v1_0.25_224": 13, "mobilenet_v2_1.0_224": 18}[name]


def test_v2_names_the_four_known_pictures(folder: Path, expected: dict[str, np.ndarray]) -> None:
    model = cl.load(folder / "mobilenet_v2_1.0_224")
    x = np.stack([model.preprocess(picture) for picture in expected["images"][:4]])
    assert model.labels is not None
    assert [model.labels[i] for i in model(x, kernel="im2col").argmax(1)] == ["military uniform", "Egyptian cat", "espresso", "missile"]
    assert model.classify(expected["images"][0], top=1, kernel="im2col")[0][0] == "military uniform"


def test_what_the_config_says(model: cl.Model, name: str) -> None:
    assert model.network.output == (1001,)
    assert model.labels is not None
    assert model.labels[0] == "background"
    build, alpha = {"mobilenet_v1_0.25_224": (cl.mobilenet_v1, 0.25), "mobilenet_v2_1.0_224": (cl.mobilenet_v2, 1.0)}[name]
    assert model.network == build(alpha, 224, classes=1001, padding="same", eps=1e-3)
