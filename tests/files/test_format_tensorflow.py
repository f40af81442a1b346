"""What TensorFlow converts Keras' MobileNets to: TFLite, against its interpreter, and ONNX by tf2onnx, against ONNX Runtime."""

from __future__ import annotations

import io
import warnings
import zipfile
from pathlib import Path

import numpy as np
import oracles
import pytest

import convlab as cl
from convlab.weights import tflite as format_tflite

pytest.importorskip("tflite", reason="tflite is not installed")
keras = oracles.keras()
tf = pytest.importorskip("tensorflow", reason="tensorflow is an oracle, not a dependency")
SIDE = 64
pytestmark = pytest.mark.filterwarnings("ignore")  # TensorFlow's own


def made(family: str, **options):
    options = {"weights": None, "alpha": 0.35, "input_shape": (SIDE, SIDE, 3), **options}
    model = getattr(keras.applications, {"v1": "MobileNet", "v2": "MobileNetV2"}[family])(**options)
    oracles.randomise_keras(model)
    return model


MODELS = {
    "v1": lambda: made("v1", classes=5, classifier_activation=None),
    "v2": lambda: made("v2", classes=5, classifier_activation=None),
    "v2 odd": lambda: made("v2", classes=5, classifier_activation=None, input_shape=(47, 33, 3)),
    "v1 trunk": lambda: made("v1", include_top=False, pooling="avg"),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest):
    return MODELS[request.param]()


def converted(model, **options) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    for name, value in options.pop("target_spec", {}).items():
        setattr(converter.target_spec, name, value)
    for name, value in options.items():
        setattr(converter, name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return converter.convert()


def interpreted(content: bytes, x: np.ndarray) -> np.ndarray:
    """Return what TensorFlow's interpreter makes of pictures, one at a time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        interpreter = tf.lite.Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    (given,), (wanted,) = interpreter.get_input_details(), interpreter.get_output_details()
    results = []
    for picture in x:
        interpreter.set_tensor(given["index"], picture[None])
        interpreter.invoke()
        results.append(interpreter.get_tensor(wanted["index"])[0].copy())
    return np.stack(results)


HALF = {"optimizations": [tf.lite.Optimize.DEFAULT], "target_spec": {"supported_types": [tf.float16]}}


def test_tflite(model, tmp_path: Path) -> None:
    same(converted(model), tmp_path)


def test_tflite_with_weights_of_float16(tmp_path: Path) -> None:
    same(converted(MODELS["v2"](), **HALF), tmp_path)


def same(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(content)
    loaded = cl.load(tmp_path / "m.tflite")
    x = oracles.pictures(*loaded.network.input[:2])
    oracles.assert_same(loaded(x, kernel="im2col"), interpreted(content, x))
    assert loaded.network.name.startswith("mobilenet_v")


def test_tf2onnx(model, tmp_path: Path) -> None:
    tf2onnx = pytest.importorskip("tf2onnx", reason="tf2onnx is an oracle, not a dependency")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is an oracle, not a dependency")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tf2onnx.convert.from_keras(model, opset=13, output_path=str(tmp_path / "m.onnx"))
    loaded = cl.load(tmp_path / "m.onnx")
    x = oracles.pictures(*loaded.network.input[:2])
    session = runtime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    theirs = session.run(None, {session.get_inputs()[0].name: x})[0]
    oracles.assert_same(loaded(x, kernel="im2col"), theirs.reshape(2, -1))
    assert loaded.preprocessing == cl.Preprocessing(loaded.network.input[:2])


@pytest.fixture(scope="module")
def plain() -> bytes:
    return converted(made("v2", classes=5, alpha=0.35))


def test_names_of_classes_stand_behind_the_buffer(plain: bytes, tmp_path: Path) -> None:
    texts = io.BytesIO()
    with zipfile.ZipFile(texts, "w") as archive:
        archive.writestr("labels.txt", "cat\ndog\nfox\nowl\nbee\n")
    (tmp_path / "m.tflite").write_bytes(plain + texts.getvalue())
    assert cl.load(tmp_path / "m.tflite").labels == ("cat", "dog", "fox", "owl", "bee")


def test_the_softmax_is_left_to_classify(plain: bytes, tmp_path: Path) -> None:
    (tmp_path / "renamed.h5").write_bytes(plain)  # the content says what it is
    x = oracles.pictures(SIDE)
    powers = np.exp(cl.load(tmp_path / "renamed.h5")(x, kernel="im2col"))
    oracles.assert_same(powers / powers.sum(1, keepdims=True), interpreted(plain, x))


def refused(path: Path, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        cl.load(path)
    assert "\n" not in str(error.value)


def test_damage_is_one_clear_line(plain: bytes, tmp_path: Path) -> None:
    """Anywhere in the tables: the right numbers, or a refusal."""
    path = tmp_path / "m.tflite"
    rng = np.random.default_rng(0)
    refusals = 0
    for _ in range(60):
        damaged = bytearray(plain)
        place = int(rng.integers(8, 4000)) if rng.random() < 0.5 else int(rng.integers(len(plain) - 20000, len(plain)))
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        try:
            cl.load(path)
        except ValueError as error:
            refusals += "\n" not in str(error)
    assert refusals
    path.write_bytes(plain[: len(plain) // 2])
    refused(path, r"m\.tflite")


def test_other_networks_are_named(tmp_path: Path) -> None:
    layers = keras.layers
    other = keras.Sequential([keras.Input((32, 32, 3)), layers.Conv2D(8, 3), layers.MaxPooling2D(), layers.GlobalAveragePooling2D()])
    (tmp_path / "m.tflite").write_bytes(converted(other))
    refused(tmp_path / "m.tflite", "MobileNet V1 and V2 have no operator MAX_POOL_2D")
    swish = keras.Sequential(
        [keras.Input((32, 32, 3)), layers.Conv2D(8, 3), layers.Activation("hard_swish"), layers.GlobalAveragePooling2D()]
    )
    (tmp_path / "s.tflite").write_bytes(converted(swish))
    refused(tmp_path / "s.tflite", "hard_swish|no operator")


def test_eight_bits_are_parsed_and_said(shared: Path) -> None:
    for path in (shared / "tflite").glob("*.tflite"):
        graph = format_tflite.parse(path.read_bytes())
        assert {operator.kind for operator in graph.operators} >= {"CONV_2D", "DEPTHWISE_CONV_2D", "SOFTMAX"}
        filters = [graph.tensors[operator.inputs[1]] for operator in graph.operators if operator.kind == "CONV_2D"]
        for each in filters:
            assert each.array is not None
            assert len(each.scale) in (1, each.shape[0])
        refused(path, "only float networks are read here")
