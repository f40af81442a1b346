"""State dicts of torchvision's MobileNetV2 and of timm's networks, in torch's containers, against the libraries themselves."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import oracles
import pytest

import convlab as cl

torch = pytest.importorskip("torch", reason="torch is an oracle, not a dependency")
vision = oracles.torchvision()
torch.set_num_threads(1)


def mobilenet_v2(**options):
    module = vision.models.mobilenet_v2(**options).eval()
    oracles.randomise(module)
    return module


@pytest.fixture(scope="module")
def module():
    return mobilenet_v2(width_mult=0.25, num_classes=3)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize(("alpha", "classes"), [(1.0, 10), (0.5, 3), (0.37, 4), (0.25, 2)])
def test_logits(alpha: float, classes: int, legacy: bool, tmp_path: Path) -> None:
    module = mobilenet_v2(width_mult=alpha, num_classes=classes)
    torch.save(module.state_dict(), tmp_path / "m.pth", _use_new_zipfile_serialization=not legacy)
    model = cl.load(tmp_path / "m.pth")
    assert model.network.input == (224, 224, 3)
    x = oracles.pictures(224, count=1)
    oracles.assert_same(model(x, kernel="im2col"), oracles.logits(module, x))


def test_the_network_is_the_one_of_that_name(tmp_path: Path) -> None:
    torch.save(mobilenet_v2().state_dict(), tmp_path / "m.pth")
    assert cl.load(tmp_path / "m.pth").network == cl.mobilenet_v2(padding="symmetric", eps=1e-5)


def test_pictures_are_prepared_as_torchvision_does(module, tmp_path: Path) -> None:
    from PIL import Image

    torch.save(module.state_dict(), tmp_path / "m.pth")
    model = cl.load(tmp_path / "m.pth")
    prepare = vision.models.MobileNet_V2_Weights.IMAGENET1K_V1.transforms(antialias=True)
    for path in cl.zoo.photos().values():
        with Image.open(path) as photo:
            theirs = prepare(photo.convert("RGB")).numpy().transpose(1, 2, 0)
        difference = np.abs(model.preprocess(path) - theirs)
        assert difference.max() < 1.1 / (255 * 0.224)  # a pixel that rounds to the other side
        assert difference.mean() < 1e-3


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "model.module."])
@pytest.mark.parametrize("key", [None, "state_dict", "model"])
def test_wrappers_are_taken_off(module, prefix: str, key: str | None, tmp_path: Path) -> None:
    state = {prefix + name: tensor for name, tensor in module.state_dict().items()}
    torch.save(state if key is None else {key: state, "epoch": 3}, tmp_path / "m.pt")
    model = cl.load(tmp_path / "m.pt")
    np.testing.assert_array_equal(model.params["stem.weight"], module.features[0][0].weight.detach().numpy().transpose(2, 3, 1, 0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(module, dtype, tmp_path: Path) -> None:
    torch.save({name: tensor.to(dtype) for name, tensor in module.state_dict().items()}, tmp_path / "m.pth")
    model = cl.load(tmp_path / "m.pth")
    np.testing.assert_array_equal(model.params["classifier.bias"], module.classifier[1].bias.detach().to(dtype).float().numpy())


def test_without_a_classifier(module, tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in module.state_dict().items() if not name.startswith("classifier.")}
    torch.save(state, tmp_path / "m.pth")
    model = cl.load(tmp_path / "m.pth")
    x = oracles.pictures(224, count=1)
    with torch.no_grad():
        theirs = module.features(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).mean((2, 3)).numpy()
    oracles.assert_same(model(x, kernel="im2col"), theirs)


def test_a_head_of_one_layer_in_the_place_of_torchvisions(module, tmp_path: Path) -> None:
    state = module.state_dict()
    for part in ("weight", "bias"):
        state[f"classifier.{part}"] = state.pop(f"classifier.1.{part}")
    torch.save(state, tmp_path / "m.pth")
    np.testing.assert_array_equal(cl.load(tmp_path / "m.pth").params["classifier.bias"], module.classifier[1].bias.detach().numpy())


def test_a_renamed_file_is_told_by_its_content(module, tmp_path: Path) -> None:
    for ending, zipped in (("npz", True), ("onnx", False), ("bin", True), ("ckpt", True)):
        torch.save(module.state_dict(), tmp_path / f"m.{ending}", _use_new_zipfile_serialization=zipped)
        assert cl.load(tmp_path / f"m.{ending}").network.output == (3,)


def refused(path: Path, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        cl.load(path)
    assert "\n" not in str(error.value)


def test_names_are_listed_on_both_sides(module, tmp_path: Path) -> None:
    state = module.state_dict()
    state["features.0.0.filter"] = state.pop("features.0.0.weight")
    torch.save(state, tmp_path / "m.pth")
    refused(tmp_path / "m.pth", r"m\.pth: the tensors must fit .*missing features\.0\.0\.weight; superfluous features\.0\.0\.filter")


def test_an_unknown_prefix_is_said(module, tmp_path: Path) -> None:
    torch.save({f"backbone.{name}": tensor for name, tensor in module.state_dict().items()}, tmp_path / "m.pth")
    refused(tmp_path / "m.pth", r"such as features\.0\.0\.weight.* all names begin with 'backbone\.'")


def test_another_network_is_said(tmp_path: Path) -> None:
    torch.save(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)).state_dict(), tmp_path / "m.pth")
    refused(tmp_path / "m.pth", r"the names must be those of torchvision's mobilenet_v2, timm's .*: the file has 0\.weight, 0\.bias")


def test_a_head_of_several_layers_is_said(module, tmp_path: Path) -> None:
    torch.save({**module.state_dict(), "classifier.4.weight": torch.ones(2, 3)}, tmp_path / "m.pth")
    refused(tmp_path / "m.pth", r"the head must be one dense layer; .*: classifier\.1, classifier\.4")


def test_nan_is_refused(module, tmp_path: Path) -> None:
    state = module.state_dict()
    torch.save({**state, "classifier.1.bias": torch.full((3,), torch.nan)}, tmp_path / "m.pth")
    refused(tmp_path / "m.pth", r"parameters must be finite float32 numbers: classifier\.bias holds others")


class Trap:
    """Unpickling this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("legacy", [False, True])
def test_objects_are_never_unpickled(module, legacy: bool, tmp_path: Path) -> None:
    torch.save({"a": Trap(tmp_path / "sprung")}, tmp_path / "trap.pth", _use_new_zipfile_serialization=not legacy)
    torch.save(module, tmp_path / "whole.pth", _use_new_zipfile_serialization=not legacy)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    for name in ("trap", "whole"):
        refused(tmp_path / f"{name}.pth", r"holds Python objects beside tensors, which are not unpickled: save model\.state_dict\(\)")
    refused(tmp_path / "plain.pth", r"plain\.pth: it ")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("part", [0.0, 0.001, 0.3, 0.99])
def test_a_cut_off_file_is_refused(module, part: float, legacy: bool, tmp_path: Path) -> None:
    path = tmp_path / "m.pth"
    torch.save(module.state_dict(), path, _use_new_zipfile_serialization=not legacy)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    refused(path, r"m\.pth: it (is not a file that torch can read|holds Python objects)")


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, "text", torch.ones(3)])
def test_what_is_no_state_dict_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "m.pth")
    refused(tmp_path / "m.pth", "it must hold a state dict, names with tensors")


def test_without_torch_one_line_says_so(module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(module.state_dict(), tmp_path / "m.pth")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModuleNotFoundError, match="reading what torch saved needs torch"):
        cl.load(tmp_path / "m.pth")


# timm

TIMM = (
    "mobilenetv1_100",
    "mobilenetv1_100h",
    "mobilenetv1_125",
    "mobilenetv2_035",
    "mobilenetv2_100",
    "mobilenetv2_110d",
    "mobilenetv2_140",
)


@pytest.fixture(scope="module")
def timm():
    return pytest.importorskip("timm", reason="timm is an oracle, not a dependency")


def saved(timm, name: str, folder: Path, **options):
    module = timm.create_model(name, **options).eval()
    oracles.randomise(module)
    timm.models.save_for_hf(module, folder)
    return module


@pytest.mark.parametrize("name", TIMM)
def test_timm(timm, name: str, tmp_path: Path) -> None:
    module = saved(timm, name, tmp_path, num_classes=5)
    model = cl.load(tmp_path)
    x = oracles.pictures(224, count=1)
    oracles.assert_same(model(x, kernel="im2col"), oracles.logits(module, x))


def test_timm_without_a_classifier_and_without_a_config(timm, tmp_path: Path) -> None:
    module = saved(timm, "mobilenetv2_035", tmp_path, num_classes=0)
    x = oracles.pictures(224, count=1)
    oracles.assert_same(cl.load(tmp_path)(x, kernel="im2col"), oracles.logits(module, x))
    torch.save(module.state_dict(), tmp_path / "m.pth")
    oracles.assert_same(cl.load(tmp_path / "m.pth")(x, kernel="im2col"), oracles.logits(module, x))


def test_timm_prepares_pictures_as_its_config_says(timm, tmp_path: Path) -> None:
    from PIL import Image

    module = saved(timm, "mobilenetv2_035", tmp_path, num_classes=2)
    config = json.loads((tmp_path / "config.json").read_text())
    config["pretrained_cfg"] |= {"input_size": [3, 192, 192], "crop_pct": 0.9, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = cl.load(tmp_path)
    assert model.network.input == (192, 192, 3)
    data = timm.data.resolve_data_config(config["pretrained_cfg"], model=module)
    prepare = timm.data.create_transform(**data, is_training=False)
    for path in cl.zoo.photos().values():
        with Image.open(path) as photo:
            theirs = prepare(photo.convert("RGB")).numpy().transpose(1, 2, 0)
        difference = np.abs(model.preprocess(path) - theirs)
        assert difference.max() < 2.2 / (255 * 0.4)
        assert difference.mean() < 1e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "resnet18"}, r"architecture must be one of mobilenetv1_\*, mobilenetv2_\*: architecture='resnet18'"),
        ({"architecture": "mobilenetv3_large_100"}, "architecture='mobilenetv3_large_100'"),
        ({"architecture": "mobilenetv1_100"}, r"the names must be those of timm's mobilenetv1"),
        ({"model_args": {"act_layer": "swish"}}, "other networks are not built here: model_args act_layer='swish'"),
        ({"global_pool": "max"}, "global_pool must be"),
        ({"pretrained_cfg": {"crop_pct": 0}}, None),
        ({"pretrained_cfg": {"crop_pct": 3}}, r"crop_pct must be in \(0, 1\]"),
        ({"pretrained_cfg": {"input_size": [1, 224, 224]}}, r"input_size must be \[3, height, width\]"),
        ({"pretrained_cfg": {"mean": [1, 2]}}, "mean must be three numbers"),
        ({"pretrained_cfg": {"interpolation": "random"}}, "resample must be one of"),
    ],
)
def test_wrong_timm_configs_are_named(timm, changes: dict, message: str | None, tmp_path: Path) -> None:
    saved(timm, "mobilenetv2_035", tmp_path, num_classes=2)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **changes}))
    if message is None:
        cl.load(tmp_path)
    else:
        refused(tmp_path, message)
