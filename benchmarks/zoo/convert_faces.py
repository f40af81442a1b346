"""Turn face-api's SSD MobileNet V1, which finds faces, into what ships, and write its card.

    npm pack @vladmandic/face-api@1.7.15 && tar xzf vladmandic-face-api-1.7.15.tgz
    python -m benchmarks.zoo.convert_faces --package package --expected expected.json

In the file batch norm is folded into the pointwise layers; here it is folded into the depthwise ones too.
"""

from __future__ import annotations

import numpy as np

import convlab as cl

from . import detectors

NAME = "ssd_mobilenet_v1_faces"
EPS = 0.0010000000474974513
"""As face-api has it: 1e-3 in float32."""


def parameters(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the file's tensors under convlab's names, batch norm folded."""
    params = {}
    names = {"stem": "MobilenetV1/Conv2d_0_pointwise"}
    names |= {f"block{i}.pointwise": f"MobilenetV1/Conv2d_{i}_pointwise" for i in range(1, 14)}
    for i in range(4):
        names |= {
            f"extra{i + 1}.squeeze": f"Prediction/Conv2d_{2 * i}_pointwise",
            f"extra{i + 1}.standard": f"Prediction/Conv2d_{2 * i + 1}_pointwise",
        }
    for name, there in names.items():
        params |= {f"{name}.weight": found[f"{there}/weights"], f"{name}.bias": found[f"{there}/convolution_bn_offset"]}
    for i in range(1, 14):
        there = f"MobilenetV1/Conv2d_{i}_depthwise"
        norm = (found[f"{there}/BatchNorm/{part}"] for part in ("gamma", "beta", "moving_mean", "moving_variance"))
        weight, bias = detectors.folded(found[f"{there}/depthwise_weights"], *norm, EPS)
        params |= {f"block{i}.depthwise.weight": weight, f"block{i}.depthwise.bias": bias}
    for i in range(6):
        for name, kind in (("boxes", "BoxEncodingPredictor"), ("scores", "ClassPredictor")):
            there = f"Prediction/BoxPredictor_{i}/{kind}"
            params |= {f"{name}{i}.predict.weight": found[f"{there}/weights"], f"{name}{i}.predict.bias": found[f"{there}/biases"]}
    return params


def card(detector: cl.Detector, size: int, change: str, same: str) -> str:
    """Write the detector's card from what was measured."""
    total = cl.cost(detector.network).total
    (cat, *_) = detector.detect(cl.zoo.photos()["chelsea"], kernel="im2col")
    return f"""# {NAME}

SSD (Liu et al. 2016) on MobileNet V1, alpha 1, 512x512 input, TensorFlow's padding: {len(detector.anchors):,} anchors on six maps, one class, a human face.
{total.params:,} numbers (batch norm is folded into the convolutions), {total.macs:,} multiply-accumulates a picture, {size / 1e6:.2f} MB.
This card is written by `benchmarks/zoo/convert_faces.py`.

## Source

`model/ssd_mobilenetv1_model` of the npm package `@vladmandic/face-api` 1.7.15 (MIT), which has it from face-api.js (MIT). Its authors trained it on
WIDER FACE (Yang et al. 2016). No accuracy is published that could be quoted.

## What was changed

Batch norm is folded into the depthwise convolutions, which are stored with 16 bits. The file's other filters have 8 bits and keep them. All are used as
float32; biases stay float32. Against the file's own numbers, on the photos that come with convlab:
{change}.

{same}

## Preprocessing

Black at the right or below makes the picture square, bilinear scaling from the corners (`source = target * in / out`) makes it 512x512, then `x / 127.5 - 1`. It
is part of the file, and so are the anchors. A box may reach into the black, beyond the picture.

## What it finds on the photos that come with convlab

{detectors.found_on(detector, cl.zoo.photos())}

## What it can't do

* **It takes the cat Chelsea for a human face, with a score of {cat.score:.2f}**: it has learned two eyes over a nose, and saw few animals that were not to be
  found. A score says how much something looks like what was trained on, not how true it is.
* It finds faces; it does not know whose they are, nor whether they are photographed, painted or printed.
* Faces that are turned away, covered, or smaller than about a thirtieth of the picture's side are mostly missed.
* Nobody has measured here on whose faces it works less well; face detectors are known for such differences. It is for teaching; decide nothing by it.
"""


def main() -> None:
    """Convert, store, measure what storing changed, and write the card."""
    a = detectors.arguments(__doc__)
    folder = a.package / "model"
    found = detectors.tensors(detectors.json_of(folder / "ssd_mobilenetv1_model-weights_manifest.json"), folder)
    network = cl.ssd_mobilenet_v1(resolution=512, classes=3, eps=None)
    params = parameters(found)
    detectors.taken(network, params)
    preprocessing = cl.Preprocessing(network.input[:2], "pad", resample="corner")
    original = cl.Detector(network, params, [None, "face", None], cl.ssd.shapes(interpolated=1), preprocessing)
    apart = detectors.same_anchors(original, found["Output/extra_dim"])
    print(f"anchors differ from the file's own by {apart:.2g} at most")
    same = detectors.confirmed(original, detectors.json_of(a.expected)["faces"], detectors.pictures(), iou=0.5)
    print(same)

    a.out.mkdir(parents=True, exist_ok=True)
    file = a.out / f"{NAME}.npz"
    cl.save(original, file, dtype="uint8")
    detector = cl.load(file)
    change = detectors.changed(original, detector, cl.zoo.photos().values())
    file.with_suffix(".md").write_text(card(detector, file.stat().st_size, change, same), encoding="utf-8")
    print(file.with_suffix(".md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
