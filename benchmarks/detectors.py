"""Time the embedded detectors' networks against ONNX Runtime and OpenVINO, and naming and finding on one large photo part by part.

python -m benchmarks.detectors            about two minutes on a quiet machine
python -m benchmarks.detectors --quick    a trial

The networks run at batch 1 on one thread, in turns as in `networks.py`. The photo, of four megapixels, goes through `classify` and
`detect` on all cores in a process of its own for each model; the first call compiles, the second is what counts. The wheel is built as
an installer would build it.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import convlab as cl
from convlab import images

from . import peers, report, results, rounds

NAMES = ("ssdlite_mobilenet_v2_coco", "ssd_mobilenet_v1_faces")
ENGINES = ("convlab", "onnxruntime", "openvino")
PHOTO = (2309, 1732)
"""Width and height of four megapixels."""


def large(folder: Path) -> Path:
    """Write one of convlab's photos, scaled up to four megapixels, as a JPEG."""
    from PIL import Image

    path = folder / "photo.jpg"
    with Image.open(cl.zoo.photos()["chelsea"]) as photo:
        photo.convert("RGB").resize(PHOTO, Image.Resampling.BICUBIC).save(path, quality=90)
    return path


class Visitor:
    """One model and one photo in a process of their own."""

    def __init__(self, name: str | Path, path: Path) -> None:
        self.model, self.path = cl.load(name), path

    def seconds(self) -> dict[str, float]:
        """Return the seconds of the second call, whole and part by part: each part is timed at its own second call."""
        model, path = self.model, self.path
        whole = model.detect if isinstance(model, cl.Detector) else model.classify
        pixels = images.as_rgb(path)
        x = model.preprocess(pixels)
        return {
            "whole": second(lambda: whole(path)),
            "reading": second(lambda: images.as_rgb(path)),
            "scaling": second(lambda: model.preprocess(pixels)),
            "network": second(lambda: model.plan().outputs(x)),
        }


def second(call: Callable[[], object]) -> float:
    """Call twice; return the seconds of the second call."""
    call()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def photo(name: str, path: Path, times: int) -> dict[str, Any]:
    """Return the median seconds, over so many fresh processes, of naming or finding what is on a photo."""
    found = []
    for _ in range(times):
        worker = rounds.Worker(Visitor, name, path, threads=cl.machine.cores())
        try:
            found.append(worker.call("seconds"))
        finally:
            worker.stop()
    return {"model": name, "seconds": {part: median(one[part] for one in found) for part in found[0]}}


def wheel_bytes() -> int:
    """Build the wheel and return its size."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
        ran = subprocess.run(command, cwd=results.HERE.parent, capture_output=True, text=True)
        if ran.returncode:
            raise RuntimeError(f"the wheel could not be built:\n{ran.stderr}")
        (file,) = Path(folder).iterdir()
        return file.stat().st_size


def main() -> None:
    """Run all, write detectors.json, print the tables."""
    chosen = results.options(
        __doc__,
        rounds={"type": int, "help": "turns of each engine (30)"},
        without_wheel={"action": "store_true", "help": "leave the wheel out, which needs hatchling"},
    )
    peers.require_peers()
    if not chosen.without_wheel and importlib.util.find_spec("hatchling") is None:
        raise SystemExit('building the wheel needs hatchling: pip install ".[test]"')
    record: dict[str, Any] = {**results.header(chosen.quick), "photo": PHOTO, "cores": cl.machine.cores(), "matches": [], "calls": []}
    with rounds.Arena(ENGINES, 1) as arena:
        for name in NAMES:
            network = cl.load(name).network
            match = arena.match(network, 1, chosen.rounds or (3 if chosen.quick else 30), 0.02 if chosen.quick else 0.15)
            record["matches"].append(rounds.record(name, network, 1, 1, match))
            results.save(chosen.out, "detectors", record)
    with tempfile.TemporaryDirectory() as folder:
        path = large(Path(folder))
        for name in ("mobilenet_v2_imagenet", *NAMES):
            rounds.step(f"a photo of four megapixels: {name}")
            record["calls"].append(photo(name, path, 1 if chosen.quick else 5))
    if not chosen.without_wheel:
        rounds.step("the wheel")
        record["wheel"] = wheel_bytes()
    rounds.step("")
    written = results.save(chosen.out, "detectors", record)
    print(report.detector_tables(record))
    print(f"\nwritten: {written}")


if __name__ == "__main__":
    main()
