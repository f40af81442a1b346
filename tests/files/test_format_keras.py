"""What Keras saves of MobileNet and MobileNetV2, against Keras itself."""

from __future__ import annotations

import json
import shutil
import warnings
import zipfile
from pathlib import Path

import numpy as np
import oracles
import pytest

import convlab as cl

h5py = pytest.importorskip("h5py", reason="h5py is not installed")
keras = oracles.keras()
SIDE = 64
FAMILIES = {"v1": "MobileNet", "v2": "MobileNetV2"}


def application(family: str, **options):
    options = {"weights": None, "alpha": 0.35, "input_shape": (SIDE, SIDE, 3), **options}
    made = getattr(keras.applications, FAMILIES[family])(**options)
    oracles.randomise_keras(made)
    return made


def trunk(family: str = "v2"):
    return application(family, include_top=False)


def save(made, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras' own, that .h5 is the older form
        made.save_weights(path) if path.name.endswith(".weights.h5") else made.save(path)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A trunk in both forms, for the tests that damage it."""
    folder, made = tmp_path_factory.mktemp("trunk"), trunk()
    return {ending: save(made, folder / f"m.{ending}") for ending in ("keras", "h5")}


def compare(made, path: Path, before=lambda x: x, tolerance: float = oracles.TOLERANCE) -> cl.Model:
    """Compare convlab with Keras on one file; `before` makes Keras' input out of the network's."""
    model = cl.load(save(made, path))
    x = oracles.pictures(*model.network.input[:2])
    oracles.assert_same(model(x, kernel="im2col"), oracles.predicted(made, before(x)), tolerance)
    return model


@pytest.mark.parametrize(
    ("family", "alpha", "shape", "top", "ending"),
    [
        ("v1", 0.25, (32, 32), True, "keras"),
        ("v1", 0.5, (47, 96), False, "h5"),
        ("v1", 0.37, (33, 33), True, "h5"),
        ("v2", 0.35, (33, 33), True, "keras"),
        ("v2", 1.0, (64, 64), True, "h5"),
        ("v2", 0.37, (47, 96), False, "keras"),
        ("v2", 1.3, (32, 32), False, "h5"),
    ],
)
def test_any_alpha_with_and_without_top(family: str, alpha: float, shape: tuple[int, int], top: bool, ending: str, tmp_path: Path) -> None:
    options = {"classes": 5, "classifier_activation": None} if top else {"include_top": False}
    made = application(family, alpha=alpha, input_shape=(*shape, 3), **options)
    model = compare(made, tmp_path / f"m.{ending}")
    assert isinstance(model.network.layers[-1], cl.Dense if top else cl.Conv)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_network_is_the_one_of_that_name(family: str, tmp_path: Path) -> None:
    """V1 pads its strides at the bottom and right whatever the size, as same padding does on even ones; so its network is the plain one."""
    model = compare(application(family, classes=5, classifier_activation=None, alpha=0.5), tmp_path / "m.keras")
    assert model.network == {"v1": cl.mobilenet_v1, "v2": cl.mobilenet_v2}[family](0.5, SIDE, classes=5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_softmax_is_left_to_classify(family: str, tmp_path: Path) -> None:
    made = application(family, classes=5)
    model = cl.load(save(made, tmp_path / "m.keras"))
    x = oracles.pictures(SIDE)
    powers = np.exp(model(x, kernel="im2col"))
    oracles.assert_same(powers / powers.sum(1, keepdims=True), oracles.predicted(made, x))


@pytest.mark.parametrize(
    ("form", "family", "top"),
    [("weights.h5", "v1", True), ("weights.h5", "v2", False), ("legacy.h5", "v1", False), ("legacy.h5", "v2", True)],
)
def test_weights_alone_are_told_by_their_names(form: str, family: str, top: bool, tmp_path: Path) -> None:
    options = {"classes": 5, "classifier_activation": None} if top else {"include_top": False, "pooling": "avg"}
    made = application(family, input_shape=(224, 224, 3), **options)
    path = save(made, tmp_path / ("m.weights.h5" if form == "weights.h5" else "m.h5"))
    if form == "legacy.h5":  # as the files of keras.applications are: the group of weights, by itself
        with h5py.File(path) as whole, h5py.File(tmp_path / "alone.h5", "w") as alone:
            for name in whole["model_weights"]:
                whole.copy(whole["model_weights"][name], alone)
            for name, value in whole["model_weights"].attrs.items():
                alone.attrs[name] = value
        path = tmp_path / "alone.h5"
    model = cl.load(path)
    x = oracles.pictures(224, count=1)
    oracles.assert_same(model(x, kernel="im2col"), oracles.predicted(made, x))


# A trunk with layers before and behind it


def functional(family: str):
    picture = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.RandomFlip("horizontal")(picture)
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(x)
    x = trunk(family)(x, training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.3)(x)
    x = keras.layers.Dense(16, "relu")(x)
    x = keras.layers.Dense(3)(x)
    made = keras.Model(picture, x)
    oracles.randomise_keras(made)
    return made


@pytest.mark.parametrize(("family", "ending"), [("v1", "h5"), ("v2", "keras")])
def test_a_nested_trunk_with_a_head_of_dense_layers(family: str, ending: str, tmp_path: Path) -> None:
    model = compare(functional(family), tmp_path / f"m.{ending}", before=lambda x: (x + 1) * 127.5)
    assert [layer.name for layer in model.network.layers[-3:]] == ["pool", "dense1", "classifier"]
    assert model.network.layers[-2].activation == "relu"  # type: ignore[union-attr]
    np.testing.assert_allclose([*model.preprocessing.mean, *model.preprocessing.deviation], 127.5, rtol=1e-6)
    x = oracles.pictures(SIDE)
    np.testing.assert_allclose(model.compile(batch=2)(x), model(x, kernel="im2col"), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_a_sequential_model(ending: str, tmp_path: Path) -> None:
    layers = keras.layers
    made = keras.Sequential([keras.Input((SIDE, SIDE, 3)), trunk(), layers.GlobalAveragePooling2D(), layers.Dense(2)])
    oracles.randomise_keras(made)
    compare(made, tmp_path / f"m.{ending}")


def test_arithmetic_of_preprocess_input(tmp_path: Path) -> None:
    picture = keras.Input((SIDE, SIDE, 3))
    x = keras.applications.mobilenet_v2.preprocess_input(picture)
    x = keras.layers.GlobalAveragePooling2D()(trunk()(x))
    made = keras.Model(picture, keras.layers.Dense(4)(x))
    oracles.randomise_keras(made)
    model = compare(made, tmp_path / "m.keras", before=lambda x: (x + 1) * 127.5)
    np.testing.assert_allclose([*model.preprocessing.mean, *model.preprocessing.deviation], 127.5, rtol=1e-6)


def test_another_preparation_is_read(tmp_path: Path) -> None:
    layers = keras.layers
    made = keras.Sequential(
        [keras.Input((SIDE, SIDE, 3)), layers.Rescaling(1 / 255), trunk(), layers.GlobalAveragePooling2D(), layers.Dense(2)]
    )
    oracles.randomise_keras(made)
    model = compare(made, tmp_path / "m.keras", before=lambda x: x * 255)
    np.testing.assert_allclose(model.preprocessing.mean, 0, atol=1e-6)
    np.testing.assert_allclose(model.preprocessing.deviation, 255, rtol=1e-6)


def test_an_open_size_is_224(tmp_path: Path) -> None:
    made = application("v2", include_top=False, input_shape=(None, None, 3))
    assert cl.load(save(made, tmp_path / "m.keras")).network.input == (224, 224, 3)


def test_a_renamed_file_is_told_by_its_content(files: dict[str, Path], tmp_path: Path) -> None:
    shutil.copy(files["keras"], tmp_path / "m.npz")
    assert cl.load(tmp_path / "m.npz").network.input == (SIDE, SIDE, 3)


def keras_2(config: dict) -> dict:
    """Return a config as Keras 2 wrote it: sources in lists of lists, the size under another name."""

    def source(value) -> list:
        return [value["config"]["keras_history"][0], 0, 0, {}]

    for layer in config["config"]["layers"]:
        if layer["class_name"] == "InputLayer":
            layer["config"]["batch_input_shape"] = layer["config"].pop("batch_shape")
        layer["inbound_nodes"] = [
            [source(value) for value in (node["args"][0] if isinstance(node["args"][0], list) else node["args"])]
            for node in layer["inbound_nodes"]
        ]
    config["config"]["output_layers"] = [config["config"]["output_layers"]]
    config["config"]["input_layers"] = [config["config"]["input_layers"]]
    return {"class_name": "Functional", "config": config["config"]}


@pytest.mark.parametrize("family", FAMILIES)
def test_what_keras_2_wrote(family: str, tmp_path: Path) -> None:
    made = application(family, classes=5, classifier_activation=None)
    path = save(made, tmp_path / "m.h5")
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = json.dumps(keras_2(json.loads(file.attrs["model_config"])))
    x = oracles.pictures(SIDE)
    oracles.assert_same(cl.load(path)(x, kernel="im2col"), oracles.predicted(made, x))


# What is no MobileNet, and what is no file


def refused(path: Path, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        cl.load(path)
    assert "\n" not in str(error.value)


def headed(*layers):
    made = keras.Sequential([keras.Input((SIDE, SIDE, 3)), trunk(), *layers])
    oracles.randomise_keras(made)
    return made


def test_other_heads_and_layers_are_named(tmp_path: Path) -> None:
    pool, dense = keras.layers.GlobalAveragePooling2D, keras.layers.Dense
    refused(
        save(headed(pool(), dense(1, "sigmoid", name="guess")), tmp_path / "a.keras"), "activations must be relu6 or relu: guess is sigmoid"
    )
    refused(save(headed(pool(), dense(4, "tanh", name="hidden"), dense(2)), tmp_path / "b.keras"), "hidden is tanh")
    refused(save(headed(keras.layers.Flatten(name="flat"), dense(2)), tmp_path / "c.keras"), "no layer Flatten: flat")
    refused(save(headed(keras.layers.GlobalMaxPooling2D(name="max"), dense(2)), tmp_path / "d.keras"), "no layer GlobalMaxPooling2D: max")
    refused(save(headed(keras.layers.Lambda(lambda x: x, name="code"), pool()), tmp_path / "e.keras"), "no layer Lambda: code")


def test_another_architecture_is_named(tmp_path: Path) -> None:
    large = keras.applications.MobileNetV3Small(weights=None, input_shape=(SIDE, SIDE, 3))
    refused(save(large, tmp_path / "m.keras"), "MobileNet V1 and V2 have no layer|activations must be")
    dense = keras.Sequential([keras.Input((SIDE, SIDE, 3)), keras.layers.Conv2D(4, 3, name="only"), keras.layers.GlobalAveragePooling2D()])
    refused(save(dense, tmp_path / "n.keras"), "neither MobileNet V1 nor V2")


def test_names_of_weights_alone_are_listed_on_both_sides(tmp_path: Path) -> None:
    made = application("v2", include_top=False)
    path = save(made, tmp_path / "m.weights.h5")
    with h5py.File(path, "a") as file:
        file["layers/conv2d/vars"].attrs["name"] = "first"
    refused(path, r"missing Conv1\.weight; superfluous first\.weight")


def test_weights_that_do_not_fit_their_config(files: dict[str, Path], tmp_path: Path) -> None:
    path = Path(shutil.copy(files["h5"], tmp_path / "m.h5"))
    with h5py.File(path, "a") as file:
        file["model_weights/Conv1"].attrs["weight_names"] = []
    refused(path, "the weights must fit the config: Conv1 needs 1 arrays, the file holds 0")


def test_nan_is_refused(tmp_path: Path) -> None:
    made = application("v2", include_top=False)
    made.weights[0].assign(np.full(made.weights[0].shape, np.nan))
    refused(save(made, tmp_path / "m.keras"), r"parameters must be finite float32 numbers: stem\.weight holds others")


@pytest.mark.parametrize("ending", ["keras", "h5"])
@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.95])
def test_a_cut_off_file_is_refused(files: dict[str, Path], ending: str, part: float, tmp_path: Path) -> None:
    path = tmp_path / f"m.{ending}"
    content = files[ending].read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    refused(path, rf"m\.{ending}")


@pytest.mark.parametrize("config", ["{", "[]", "{}", '{"class_name": "Functional", "config": {"layers": [{}]}}'])
def test_a_broken_config_is_refused(files: dict[str, Path], config: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(files["keras"]) as old, zipfile.ZipFile(tmp_path / "broken.keras", "w") as new:
        for name in old.namelist():
            new.writestr(name, config if name == "config.json" else old.read(name))
    refused(tmp_path / "broken.keras", r"broken\.keras: .*(JSON|readable file of Keras|not as Keras writes it)")
