"""V1 and V2 against HF Transformers: its modules, random weights and statistics, saved by it and loaded by convlab."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import oracles
import pytest

import convlab as cl

pytest.importorskip("safetensors", reason="safetensors is not installed")
torch = pytest.importorskip("torch", reason="torch is an oracle, not a dependency")
with warnings.catch_warnings():
    # Transformers and what it imports warn of their own deprecations, which says nothing about convlab.
    warnings.simplefilter("ignore")
    oracles.prepare_torchvision()
    transformers = pytest.importorskip("transformers", reason="transformers is an oracle, not a dependency")
    from transformers import MobileNetV1Config, MobileNetV1ForImageClassification, MobileNetV2Config, MobileNetV2ForImageClassification

torch.set_num_threads(1)  # tiny pictures: threads would only wait for each other

FAMILIES = {
    "v1": (MobileNetV1Config, MobileNetV1ForImageClassification),
    "v2": (MobileNetV2Config, MobileNetV2ForImageClassification),
}


def randomised(family: str, **options):
    """Return a module with weights that keep activations at a steady size and batch-norm statistics unlike the neutral ones."""
    config, build = FAMILIES[family]
    torch.manual_seed(0)
    module = build(config(**options)).eval()
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name.endswith(("convolution.weight", "classifier.weight")):
                tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5)
            elif name.endswith(("normalization.weight", "running_var")):
                tensor.uniform_(0.5, 1.5)
            elif tensor.is_floating_point():
                tensor.normal_(0, 0.1)
    return module


@pytest.mark.parametrize("tf_padding", [True, False])
@pytest.mark.parametrize(
    ("family", "alpha", "resolution", "classes", "eps"),
    [
        ("v1", 1.0, 32, 10, 1e-3),
        ("v1", 0.25, 47, 3, 1e-5),
        ("v1", 0.75, 97, 101, 1e-3),
        ("v1", 0.1, 32, 2, 0.1),
        ("v2", 1.0, 64, 10, 1e-3),
        ("v2", 0.35, 47, 3, 1e-5),
        ("v2", 1.4, 33, 7, 1e-3),
        ("v2", 0.25, 33, 5, 1e-3),  # so narrow that the first block is as wide as the stem
        ("v2", 0.37, 32, 5, 0.1),  # where rounding to eights before or after rounding to whole channels differs
    ],
)
def test_logits(family: str, alpha: float, resolution: int, classes: int, eps: float, tf_padding: bool, tmp_path: Path) -> None:
    module = randomised(
        family, depth_multiplier=alpha, image_size=resolution, num_labels=classes, layer_norm_eps=eps, tf_padding=tf_padding
    )
    module.save_pretrained(tmp_path)
    model = cl.load(tmp_path)
    assert model.network.input == (resolution, resolution, 3)
    assert model.network.output == (classes,)
    x = np.random.default_rng(1).uniform(-1, 1, (2, resolution, resolution, 3)).astype(np.float32)
    with torch.no_grad():
        theirs = module(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).logits.numpy()
    ours = model(x, kernel="im2col")
    # Both sum in float32 in orders of their own: through some fifty layers the difference grows to about 1e-5 of the
    # largest logit. A misread statistic, a wrong border or a missing shortcut changes logits by their own size.
    assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_paddings_differ(family: str, tmp_path: Path) -> None:
    """Loading with the other padding is caught by the tolerance above."""
    logits = []
    for tf_padding in (True, False):
        module = randomised(family, depth_multiplier=0.35, image_size=64, num_labels=4, tf_padding=tf_padding)
        module.save_pretrained(tmp_path / str(tf_padding))
        logits.append(cl.load(tmp_path / str(tf_padding))(np.ones((64, 64, 3), np.float32), kernel="im2col"))
    assert np.abs(logits[0] - logits[1]).max() > 1e-2 * np.abs(logits[0]).max()


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_travel(family: str, tmp_path: Path) -> None:
    names = {0: "cat", 1: "dog", 2: "bird"}
    module = randomised(family, depth_multiplier=0.25, image_size=32, id2label=names, label2id={v: k for k, v in names.items()})
    module.save_pretrained(tmp_path)
    assert cl.load(tmp_path).labels == ("cat", "dog", "bird")
