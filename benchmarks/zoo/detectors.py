"""What the two detectors' conversions share: a manifest of TensorFlow.js, comparing, and what a card says."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

import convlab as cl
from convlab import ssd
from convlab.layers import parameter_shapes

ZOO = Path(cl.zoo.__file__).parent


def tensors(manifest: Iterable[Mapping], folder: Path) -> dict[str, np.ndarray]:
    """Read the tensors that a manifest lists: all files one after another are one stream, in the manifest's order.

    8-bit ones hold ``integer * scale + min`` (TensorFlow.js's quantisation).
    """
    found = {}
    for group in manifest:
        stream = b"".join((folder / path).read_bytes() for path in group["paths"])
        place = 0
        for entry in group["weights"]:
            quantised = entry.get("quantization")
            dtype = np.dtype(quantised["dtype"] if quantised else entry["dtype"]).newbyteorder("<")
            count = int(np.prod(entry["shape"], dtype=int))
            array = np.frombuffer(stream, dtype, count, place).reshape(entry["shape"])
            place += array.nbytes
            found[entry["name"]] = array.astype(np.float64) * quantised["scale"] + quantised["min"] if quantised else array
        if place != len(stream):
            raise SystemExit(f"{folder}: the manifest lists {place} bytes, the files hold {len(stream)}")
    return found


def folded(weight: np.ndarray, gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray, variance: np.ndarray, eps: float) -> tuple:
    """Return depthwise weights (3, 3, C, 1) as (3, 3, 1, C) and a bias, with a batch norm folded into them."""
    scale = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + eps)
    return depthwise(weight, scale), beta - mean * scale


def depthwise(weight: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return TensorFlow's depthwise weights (3, 3, C, 1) in convlab's layout (3, 3, 1, C), each channel times its scale."""
    return weight.transpose(0, 1, 3, 2) * scale


def taken(network: cl.Network, params: Mapping[str, np.ndarray]) -> None:
    """Say what is missing, or too much, before a model is made of it."""
    shapes = parameter_shapes(network)
    if wrong := [*(shapes.keys() ^ params.keys()), *(name for name in shapes.keys() & params.keys() if params[name].shape != shapes[name])]:
        raise SystemExit(f"these do not fit the network: {', '.join(sorted(wrong))}")


def same_anchors(detector: cl.Detector, theirs: np.ndarray) -> float:
    """Return the largest difference of a detector's anchors from a file's own, given as top, left, bottom, right."""
    ours = ssd.decode(np.zeros_like(detector.anchors), detector.anchors)
    return float(np.abs(ours - theirs.reshape(-1, 4)).max())


def written(detections: Iterable[cl.Detection]) -> str:
    """Write detections as a card shows them."""
    return ", ".join(f"{d.label} {d.score:.2f}" for d in detections) or "nothing"


def found_on(detector: cl.Detector, paths: Mapping[str, Path]) -> str:
    """Return a Markdown table of what a detector finds."""
    rows = [f"| {name} | {written(detector.detect(path, 0.4, kernel='im2col'))} |" for name, path in paths.items()]
    return "\n".join(["| picture | found, score at least 0.4 |", "|---|---|", *rows])


def changed(before: cl.Detector, after: cl.Detector, paths: Iterable[Path]) -> str:
    """Say how much storing changed what a detector gives: scores, and corners in units of the picture."""
    scores, corners = [], []
    for path in paths:
        x = before.preprocess(path)
        (boxes, logits), (others, other_logits) = (ssd.gathered(detector(x, kernel="im2col")) for detector in (before, after))
        likely = ssd.sigmoid(logits.astype(float))[:, 1:].max(1)
        scores.append(np.abs(ssd.sigmoid(other_logits.astype(float)) - ssd.sigmoid(logits.astype(float))).max())
        sure = likely >= 0.4
        corners += [np.abs(ssd.decode(others[sure], before.anchors[sure]) - ssd.decode(boxes[sure], before.anchors[sure])).max(initial=0.0)]
    side = f"of a side of a box whose score is at least 0.4, {max(corners):.4f} of the picture"
    return f"the largest change of a score is {max(scores):.4f}, and {side}"


CLOSE = 1e-3
"""How far a score of the original weights may lie from TensorFlow.js's."""


def confirmed(original: cl.Detector, expected: Mapping[str, Iterable[Mapping]], pictures: Mapping[str, Path], iou: float) -> str:
    """Say how near the original weights come to TensorFlow.js's detections on these pictures; end if labels or scores differ."""
    scores, overlaps, seen = [], [], [name for name in expected if name in pictures]
    for name in seen:
        things = list(expected[name])
        found = original.detect(pictures[name], 0.4, iou, kernel="im2col")
        if [d.label for d in found] != [thing["label"] for thing in things]:
            raise SystemExit(f"on {name} TensorFlow.js finds {', '.join(t['label'] for t in things) or 'nothing'}: here {written(found)}")
        for d, thing in zip(found, things, strict=True):
            scores.append(abs(d.score - thing["score"]))
            if scores[-1] > CLOSE:
                raise SystemExit(
                    f"a score must be within {CLOSE} of TensorFlow.js's {thing['score']}: {d.label} on {name} has {d.score:.4f}"
                )
            overlaps.append(float(ssd.overlap(_corners(d.box), _corners(thing["box_xywh"])[None])[0]))
    if not scores:
        raise SystemExit(f"the expected detections must be of these pictures, and some: {', '.join(pictures)}")
    near = f"scores that differ by at most {max(scores):.0e} (more than {CLOSE:.0e} ends the script)"
    return (
        "The original weights, run by convlab, find what TensorFlow.js finds with them, scores of at least 0.4, on "
        f"{', '.join(seen)}:\n{len(scores)} detections with the same labels, {near},\n"
        f"and boxes with an intersection over union of at least {min(overlaps):.3f}."
    )


def _corners(box: Iterable[float]) -> np.ndarray:
    """Return (x, y, width, height) as top, left, bottom, right."""
    x, y, width, height = box
    return np.array([y, x, y + height, x + width])


def pictures() -> dict[str, Path]:
    """Return the pictures that are compared: convlab's photos, and Matplotlib's with a person on it."""
    import matplotlib

    return {**cl.zoo.photos(), "grace_hopper": Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"}


def arguments(text: str | None) -> argparse.Namespace:
    """Read what both scripts are given."""
    p = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--package", type=Path, required=True, help="the folder `package` that the npm package was unpacked to")
    p.add_argument(
        "--expected", type=Path, required=True, help="JSON of what TensorFlow.js detects: family -> picture -> label, score, box_xywh"
    )
    p.add_argument("--out", type=Path, default=ZOO, help="where to; the package's zoo unless given")
    return p.parse_args()


def json_of(path: Path) -> object:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))
