"""What Transformers saves beside plain weights: shards, half precisions, trunks, and how pictures are prepared."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import oracles
import pytest

import convlab as cl

pytest.importorskip("safetensors", reason="safetensors is not installed")
torch = pytest.importorskip("torch", reason="torch is an oracle, not a dependency")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    oracles.prepare_torchvision()
    transformers = pytest.importorskip("transformers", reason="transformers is an oracle, not a dependency")
torch.set_num_threads(1)
SIDE = 64


def module(family: str, kind: str = "ForImageClassification", **options):
    config = getattr(transformers, f"MobileNet{family}Config")(depth_multiplier=0.35, image_size=SIDE, num_labels=3, **options)
    made = getattr(transformers, f"MobileNet{family}{kind}")(config).eval()
    oracles.randomise(made)
    return made


def theirs(made, x: np.ndarray, output: str = "logits") -> np.ndarray:
    with torch.no_grad():
        return getattr(made.float()(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())), output).numpy()


@pytest.mark.parametrize("family", ["V1", "V2"])
def test_shards(family: str, tmp_path: Path) -> None:
    made = module(family)
    made.save_pretrained(tmp_path, max_shard_size="200KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    x = oracles.pictures(SIDE)
    oracles.assert_same(cl.load(tmp_path)(x, kernel="im2col"), theirs(made, x))
    oracles.assert_same(cl.load(tmp_path / "model.safetensors.index.json")(x, kernel="im2col"), theirs(made, x))


@pytest.mark.parametrize("change", ["missing", "truncated", "swapped", "outside", "no map"])
def test_damaged_shards_are_refused(change: str, tmp_path: Path) -> None:
    module("V1").save_pretrained(tmp_path, max_shard_size="200KB")
    first, second, *_ = sorted(tmp_path.glob("*.safetensors"))
    index = tmp_path / "model.safetensors.index.json"
    places = json.loads(index.read_text())
    if change == "missing":
        first.unlink()
    elif change == "truncated":
        first.write_bytes(first.read_bytes()[:-10])
    elif change == "swapped":
        first.write_bytes(second.read_bytes())
    else:
        places["weight_map"] = {name: f"../{shard}" for name, shard in places["weight_map"].items()} if change == "outside" else None
        index.write_text(json.dumps(places))
    message = {
        "missing": "names the shard .* which is missing",
        "truncated": r"is not a readable \.safetensors file",
        "swapped": "the shards must hold what the index says",
        "outside": "shards must lie beside their index",
        "no map": "weight_map must say which file holds each tensor",
    }[change]
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        cl.load(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("family", ["V1", "V2"])
def test_other_precisions(family: str, dtype, tmp_path: Path) -> None:
    made = module(family).to(dtype)
    made.save_pretrained(tmp_path)
    x = oracles.pictures(SIDE)
    oracles.assert_same(cl.load(tmp_path)(x, kernel="im2col"), theirs(made, x))


@pytest.mark.parametrize("family", ["V1", "V2"])
def test_a_trunk_saved_alone_gives_its_pooled_features(family: str, tmp_path: Path) -> None:
    made = module(family, "Model")
    made.save_pretrained(tmp_path)
    model = cl.load(tmp_path)
    x = oracles.pictures(SIDE)
    oracles.assert_same(model(x, kernel="im2col"), theirs(made, x, "pooler_output"))
    assert model.labels is None
    oracles.assert_same(model.compile(batch=2)(x), theirs(made, x, "pooler_output"))


def test_a_config_without_classes_has_no_classifier(tmp_path: Path) -> None:
    config = transformers.MobileNetV2Config(depth_multiplier=0.35, image_size=SIDE, num_labels=0)
    made = transformers.MobileNetV2ForImageClassification(config).eval()
    oracles.randomise(made)
    made.save_pretrained(tmp_path)
    model = cl.load(tmp_path)
    x = oracles.pictures(SIDE)
    oracles.assert_same(model(x, kernel="im2col"), theirs(made, x))


def test_what_torch_saved_beside_a_config(tmp_path: Path) -> None:
    made = module("V2")
    made.config.save_pretrained(tmp_path)
    torch.save(made.state_dict(), tmp_path / "pytorch_model.bin")
    x = oracles.pictures(SIDE)
    oracles.assert_same(cl.load(tmp_path)(x, kernel="im2col"), theirs(made, x))


PROCESSORS = [
    {},
    {"size": {"shortest_edge": 70}, "crop_size": {"height": 60, "width": 50}, "resample": 3},
    {"size": {"height": 64, "width": 80}, "do_center_crop": False, "resample": 1},
    {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "crop_size": {"height": 64, "width": 64}, "size": {"shortest_edge": 64}},
    {"do_normalize": False, "rescale_factor": 1 / 127.5, "crop_size": 64},
    {"do_rescale": False, "do_normalize": False, "crop_size": 64},
    {"do_resize": False, "crop_size": {"height": 96, "width": 96}},
]


@pytest.mark.parametrize("options", PROCESSORS, ids=lambda options: " ".join(options) or "defaults")
@pytest.mark.parametrize("family", ["V1", "V2"])
def test_pictures_are_prepared_as_the_processor_does(family: str, options: dict, tmp_path: Path) -> None:
    from PIL import Image

    module(family).save_pretrained(tmp_path)
    processor = getattr(transformers, f"MobileNet{family}ImageProcessor")(**options)
    processor.save_pretrained(tmp_path)
    model = cl.load(tmp_path)
    for path in cl.zoo.photos().values():
        with Image.open(path) as photo:
            prepared = processor(photo.convert("RGB"), return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
        ours = model.preprocess(path)
        assert ours.shape == model.network.input == prepared.shape
        step = 1 / min(model.preprocessing.deviation)  # a pixel that rounds to the other side
        assert np.abs(ours - prepared).max() < 2.1 * step
        assert np.abs(ours - prepared).mean() < 0.01 * step


def test_the_order_of_channels_is_read(tmp_path: Path) -> None:
    module("V1").save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_flip_channel_order": True, "crop_size": SIDE}))
    turned = cl.load(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"crop_size": SIDE}))
    picture = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    np.testing.assert_array_equal(turned.preprocess(picture), cl.load(tmp_path).preprocess(picture)[:, :, ::-1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": "large"}, "size must be an integer"),
        ({"size": {"longest_edge": 3}}, "size height must be an integer"),
        ({"crop_size": [1, 2, 3]}, "crop_size must be a number or a height and a width"),
        ({"crop_size": 0}, "crop_size height must be at least 1"),
        ({"resample": 9}, "resample must be one of"),
        ({"image_mean": [1, 2]}, "mean must be a number or three"),
        ({"image_std": [0, 1, 1]}, "deviation must be positive"),
        ({"rescale_factor": 0}, "rescale_factor must be above 0"),
        ({"crop_size": 8}, "resolution . rho must be at least 32"),
    ],
)
def test_wrong_processors_are_named(changes: dict, message: str, tmp_path: Path) -> None:
    module("V1").save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(changes))
    with pytest.raises(ValueError, match=message) as error:
        cl.load(tmp_path)
    assert "config.json" in str(error.value)


def test_a_network_for_another_task_is_said(tmp_path: Path) -> None:
    module("V2").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["architectures"] = ["MobileNetV2ForSemanticSegmentation"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"must be MobileNetV2ForImageClassification or MobileNetV2Model: architectures="):
        cl.load(tmp_path)
