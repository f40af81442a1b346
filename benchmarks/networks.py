"""Time MobileNet V1 and V2 whole, against torch, torch.compile, ONNX Runtime and OpenVINO.

python -m benchmarks.networks            about a quarter of an hour on a quiet machine
python -m benchmarks.networks --quick    a trial

Batch 1 and 8, 1 and 2 threads. Every engine runs in its own process, in turns with the others (`rounds.py`), at its best
settings (`peers.py`), on the same weights; what it computes is compared before it is timed.
"""

from __future__ import annotations

from convlab import mobilenet_v1, mobilenet_v2

from . import peers, plots, report, results, rounds

DEFAULT = ("convlab", "torch", "torch.compile", "onnxruntime", "openvino", "openvino streams")


def main() -> None:
    """Run all matches, write networks.json, print the targets."""
    chosen = results.options(
        __doc__,
        engines={"nargs": "+", "choices": list(peers.ENGINES), "default": DEFAULT, "help": "only these"},
        rounds={"type": int, "help": "turns of each engine (30)"},
    )
    peers.require_peers()
    # PyTorch's padding: TensorFlow's would cost torch an extra pass at each stride, and the others nothing.
    side = 64 if chosen.quick else 224
    networks = {"V1": mobilenet_v1(resolution=side, padding="symmetric"), "V2": mobilenet_v2(resolution=side, padding="symmetric")}
    record = {**results.header(chosen.quick), "resolution": side, "matches": []}
    for threads in (1, 2):
        for batch in (1, 8):
            engines = [engine for engine in chosen.engines if batch > 1 or engine != "openvino streams"]
            with rounds.Arena(engines, threads) as arena:
                for name, network in networks.items():
                    match = arena.match(network, batch, chosen.rounds or (3 if chosen.quick else 30), 0.02 if chosen.quick else 0.15)
                    record["matches"].append(rounds.record(name, network, batch, threads, match))
                    path = results.save(chosen.out, "networks", record)
                    print(report.network_table(record["matches"][-1]), end="\n\n")
    plots.networks(record, chosen.out)
    print(report.text(report.network_targets(record)))
    print(f"\nwritten: {path}")


if __name__ == "__main__":
    main()
