"""Draw the pictures that README shows, from the engine's own numbers.

python -m benchmarks.pictures        (needs matplotlib; a few seconds)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import convlab as cl
from convlab import figures

PICTURES = Path(__file__).parent / "pictures"
DPI = 120


def main() -> None:
    """Write each picture anew; the numbers are seeded, so a run changes nothing but what the figures changed."""
    rng = np.random.default_rng(0)
    x, w = rng.integers(0, 5, (6, 6, 3)), rng.integers(-2, 3, (3, 3, 3, 5))
    drawn = {
        "im2col": figures.im2col(x, w, at=(1, 2), filter=1),
        "mobilenet_v2": figures.costs(cl.cost(cl.mobilenet_v2())),
    }
    detector, photos = cl.load(cl.zoo.DEFAULT_DETECTOR), cl.zoo.photos()
    for name in ("chelsea", "coffee"):
        drawn[name] = figures.detections(photos[name], detector.detect(photos[name]))
    PICTURES.mkdir(exist_ok=True)
    for name, figure in drawn.items():
        path = PICTURES / f"{name}.{'jpg' if name in photos else 'png'}"
        options = {"dpi": 80} if name in photos else {"dpi": DPI, "metadata": {"Software": None}}
        figure.savefig(path, **options)
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
