"""Time the ladder on the layers of MobileNet V1 and V2, against torch and ONNX Runtime on one layer.

python -m benchmarks.kernels            about ten minutes on a quiet machine
python -m benchmarks.kernels --quick    a trial

One thread, batch 1. Each distinct convolution of the two networks is a network of one layer. The rungs are called by the kernels'
contract: they are given plain weights each time, as torch is. ONNX Runtime and convlab's plan pack their weights beforehand.
The equation as Python loops is too slow for whole layers and runs a crop of each.
"""

from __future__ import annotations

from convlab import KERNELS, Conv, ConvGeometry, Network, cost, machine, mobilenet_v1, mobilenet_v2
from convlab.layers import walk

from . import peers, plots, report, results, rounds

SLOW = "naive"
"""The rung that runs crops."""

CROP_MACS = 200_000
"""The most MACs of a crop: about a fifth of a second of Python."""

DEFAULT = (*(engine for engine in peers.RUNGS if engine != f"rung {SLOW}"), "convlab", "torch", "onnxruntime")


def distinct() -> dict[ConvGeometry, list[str]]:
    """Return every distinct convolution of the two networks -> where it stands, first V1's."""
    found: dict[ConvGeometry, list[str]] = {}
    for prefix, network in (("V1", mobilenet_v1(padding="symmetric")), ("V2", mobilenet_v2(padding="symmetric"))):
        for visit in walk(network):
            if visit.geometry is not None:
                found.setdefault(visit.geometry, []).append(f"{prefix} {visit.layer.name}")
    return found


def lone(name: str, geometry: ConvGeometry, macs: float = float("inf")) -> Network:
    """Return the network of one layer, its input cropped until it takes no more than `macs`, or to a single window."""
    height, width, channels = geometry.in_shape
    while cost(geometry.spec, height, width).macs > macs and min(height, width) > 1:
        height, width = -(-height // 2), -(-width // 2)
    return Network(name, (height, width, channels), (Conv("layer", geometry.spec, activation=None, eps=None),))


def main() -> None:
    """Run a match for each layer, write kernels.json, print the targets."""
    chosen = results.options(
        __doc__, engines={"nargs": "+", "choices": list(peers.ENGINES), "default": DEFAULT, "help": "only these, and the slowest rung"}
    )
    peers.require_peers()
    layers = list(distinct().items())
    count, turn_seconds = 10, 0.03
    if chosen.quick:
        layers, count, turn_seconds = layers[:: len(layers) // 5], 2, 0.005
    rounds.step("measuring the memory's bandwidth")
    record = {**results.header(chosen.quick), "bandwidth": machine.bandwidth(), "ladder": list(KERNELS), "layers": []}
    with rounds.Arena(chosen.engines, 1) as arena, rounds.Arena([f"rung {SLOW}"], 1) as slow:
        for number, (geometry, places) in enumerate(layers):
            network = lone(f"{places[0]} ({number + 1} of {len(layers)})", geometry)
            match = arena.match(network, 1, count, turn_seconds)
            counted = cost(geometry.spec, *geometry.in_shape[:2])
            crop = lone(f"{network.name}, crop", geometry, CROP_MACS)
            crop_match = slow.match(crop, 1, 1, 0)
            record["layers"].append(
                {
                    "places": places,
                    "kind": geometry.spec.kind,
                    "input": geometry.in_shape,
                    "output": geometry.out_shape,
                    "kernel": geometry.spec.kernel,
                    "stride": geometry.spec.stride,
                    "macs": counted.macs,
                    "intensity": counted.intensity,
                    "fma_peak": match.peak,
                    "fma_typical": match.typical,
                    "engines": {
                        **{engine: {"macs": counted.macs, **turns.record()} for engine, turns in match.turns.items()},
                        **{engine: {"macs": cost(crop).macs, **turns.record()} for engine, turns in crop_match.turns.items()},
                    },
                }
            )
            path = results.save(chosen.out, "kernels", record)
    print(report.kernel_table(record))
    plots.roofline(record, chosen.out)
    plots.ladder(record, chosen.out)
    plots.layers(record, chosen.out)
    print()
    print(report.text(report.kernel_targets(record)))
    print(f"\nwritten: {path}")


if __name__ == "__main__":
    main()
