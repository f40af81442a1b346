"""ONNX files as torch and tf2onnx export them, against ONNX Runtime."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import oracles
import pytest

import convlab as cl

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is an oracle, not a dependency")
torch = pytest.importorskip("torch", reason="torch is an oracle, not a dependency")
torch.set_num_threads(1)
SIDE = 64


def export(module, path: Path, side: int = SIDE, **options) -> Path:
    """Write a torch module with random weights as ONNX."""
    oracles.randomise(module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own about its exporters
        torch.onnx.export(module.eval(), (torch.zeros(1, 3, side, side),), str(path), dynamo=False, **options)
    return path


def compare(path: Path, side: int = SIDE, channels_first: bool = True) -> cl.Model:
    """Compare convlab with ONNX Runtime on one file."""
    model = cl.load(path)
    x = oracles.pictures(side, count=1)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = x.transpose(0, 3, 1, 2) if channels_first else x
    theirs = session.run(None, {session.get_inputs()[0].name: given})[0]
    oracles.assert_same(model(x, kernel="im2col"), theirs.reshape(1, -1))
    return model


def transformers_module(family: str, **options):
    oracles.prepare_torchvision()
    transformers = pytest.importorskip("transformers", reason="transformers is an oracle, not a dependency")
    config = getattr(transformers, f"MobileNet{family}Config")
    return getattr(transformers, f"MobileNet{family}ForImageClassification")(config(num_labels=5, return_dict=False, **options))


@pytest.mark.parametrize("tf_padding", [True, False])
@pytest.mark.parametrize("family", ["V1", "V2"])
def test_what_torch_exports(family: str, tf_padding: bool, tmp_path: Path) -> None:
    """With `tf_padding` the pads are asymmetric, and written as a dozen operations on constants."""
    module = transformers_module(family, depth_multiplier=0.25, image_size=SIDE, tf_padding=tf_padding)
    model = compare(export(module, tmp_path / "m.onnx"))
    stem = model.network.layers[0]
    assert isinstance(stem, cl.Conv)
    assert stem.spec.padding == ("same" if tf_padding else ((1, 1), (1, 1)))
    assert model.preprocessing.mean == ((127.5,) * 3 if tf_padding else (123.675, 116.28, 103.53))


@pytest.mark.parametrize("options", [{}, {"opset_version": 10}, {"opset_version": 17}, {"training": 1}, {"dynamic_axes": {"x": {0: "n"}}}])
def test_torchvision_exported_in_several_ways(options: dict, tmp_path: Path) -> None:
    """Older opsets keep a clip's bounds elsewhere; in training mode batch norm is not folded; a batch may be open."""
    if "training" in options:
        options = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    module = oracles.torchvision().models.mobilenet_v2(width_mult=0.35, num_classes=4)
    model = compare(export(module, tmp_path / "m.onnx", input_names=["x"], **options))
    assert model.network.name == "mobilenet_v2 alpha=0.35 64x64"
    assert [layer.name for layer in model.network.layers[-3:]] == ["head", "pool", "classifier"]


def test_todays_exporter_keeps_the_weights_beside_the_graph(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="onnxscript is an oracle, not a dependency")
    module = oracles.torchvision().models.mobilenet_v2(width_mult=0.35, num_classes=4).eval()
    oracles.randomise(module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (torch.zeros(1, 3, SIDE, SIDE),), str(tmp_path / "m.onnx"), dynamo=True, verbose=False)
    assert (tmp_path / "m.onnx.data").exists()
    compare(tmp_path / "m.onnx")


def test_a_softmax_at_the_end_is_left_to_classify(tmp_path: Path) -> None:
    module = oracles.torchvision().models.mobilenet_v2(width_mult=0.25, num_classes=4)
    model = cl.load(export(torch.nn.Sequential(module, torch.nn.Softmax(1)), tmp_path / "m.onnx"))
    x = oracles.pictures(SIDE, count=1)
    oracles.assert_same(model(x, kernel="im2col"), oracles.logits(module, x))


class Normalised(torch.nn.Module):
    """A network that prepares its pictures itself."""

    def __init__(self, inner) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x):
        mean, deviation = (torch.tensor(three).reshape(1, 3, 1, 1) for three in ((0.5, 0.4, 0.3), (0.2, 0.25, 0.5)))
        return self.inner((x - mean) / deviation)


def test_a_network_that_prepares_its_pictures(tmp_path: Path) -> None:
    inner = oracles.torchvision().models.mobilenet_v2(width_mult=0.25, num_classes=4)
    model = cl.load(export(Normalised(inner), tmp_path / "m.onnx"))
    np.testing.assert_allclose(model.preprocessing.mean, (127.5, 102, 76.5), rtol=1e-5)
    np.testing.assert_allclose(model.preprocessing.deviation, (51, 63.75, 127.5), rtol=1e-5)
    picture = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    prepared = model.preprocessing.__class__((SIDE, SIDE), "crop", mean=model.preprocessing.mean, deviation=model.preprocessing.deviation)(
        picture
    )
    session = runtime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    given = (picture.astype(np.float32) / 255).transpose(2, 0, 1)[None]
    theirs = session.run(None, {session.get_inputs()[0].name: given})[0][0]
    oracles.assert_same(model(prepared, kernel="im2col"), theirs)


def refused(path: Path, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        cl.load(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("activation", "message"),
    [("Hardswish", "activations must be relu6 or relu: .* is hard_swish"), ("Sigmoid", "is sigmoid"), ("LeakyReLU", "is leaky_relu")],
)
def test_another_activation_is_named(activation: str, message: str, tmp_path: Path) -> None:
    module = oracles.torchvision().models.mobilenet_v2(width_mult=0.25, num_classes=4)
    module.features[3].conv[0][2] = getattr(torch.nn, activation)()
    refused(export(module, tmp_path / "m.onnx", opset_version=14), message)


def test_other_networks_are_named(tmp_path: Path) -> None:
    models = oracles.torchvision().models
    refused(export(models.resnet18(num_classes=4), tmp_path / "r.onnx"), r"m?r\.onnx: .*(MaxPool|MobileNet)")
    module = models.mobilenet_v2(width_mult=0.25, num_classes=4)
    module.features[3].conv[1][0] = torch.nn.Conv2d(48, 48, 5, padding=2, groups=48, bias=False)
    refused(export(module, tmp_path / "five.onnx"), "a MobileNet's windows are 3x3: .* is 5x5")
    module = models.mobilenet_v2(width_mult=0.25, num_classes=4)
    module.classifier = torch.nn.Sequential(module.classifier[1], torch.nn.Sigmoid())
    refused(export(module, tmp_path / "head.onnx"), "is sigmoid")


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = export(oracles.torchvision().models.mobilenet_v2(width_mult=0.25, num_classes=4), tmp_path / "m.onnx")
    content = path.read_bytes()
    for part in (0.5, 0.99):
        path.write_bytes(content[: int(part * len(content))])
        refused(path, r"m\.onnx")
    path.write_bytes(b"no such thing")
    refused(path, r"m\.onnx is not a readable \.onnx file")
    path.write_bytes(b"")
    refused(path, r"m\.onnx")
    (tmp_path / "m.npz").write_bytes(content)  # the content says what it is
    assert cl.load(tmp_path / "m.npz").network.output == (4,)


def test_nan_is_refused(tmp_path: Path) -> None:
    path = export(oracles.torchvision().models.mobilenet_v2(width_mult=0.25, num_classes=4), tmp_path / "m.onnx")
    proto = onnx.load(path)
    weight = next(each for each in proto.graph.initializer if len(each.dims) == 4)
    weight.CopyFrom(onnx.numpy_helper.from_array(np.full(list(weight.dims), np.nan, np.float32), weight.name))
    onnx.save(proto, path)
    refused(path, "parameters must be finite float32 numbers: stem.weight holds others")


def test_eight_bits_are_said(tmp_path: Path) -> None:
    path = export(oracles.torchvision().models.mobilenet_v2(width_mult=0.25, num_classes=4), tmp_path / "m.onnx")
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(path, tmp_path / "q.onnx", weight_type=QuantType.QUInt8)
    refused(tmp_path / "q.onnx", "of 8 bits")
