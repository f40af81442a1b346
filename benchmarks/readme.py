"""Measure the ladder, and write what README shows between its markers; the networks' times are the stored ones.

python -m benchmarks.readme        (needs convlab and pillow; about half a minute)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import convlab as cl
from convlab import lessons, machine
from convlab.bench import LAYERS, Benchmark, rate
from convlab.units import percent

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
MARKERS = "<!-- generated: benchmarks/readme.py -->", "<!-- end -->"

SIDE = 56


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, numbers (all but the first column) to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ladder(results: Mapping[str, Benchmark]) -> str:
    """Return every rung's speed on three layers, and how many times naive's that is."""
    rows = []
    for i, rung in enumerate(cl.KERNELS):
        timings = [result.timings[i] for result in results.values()]
        speedups = [t.mac_rate / result.slowest.mac_rate for t, result in zip(timings, results.values(), strict=True)]
        rows.append([f"`{rung}`", *(f"{rate(t.mac_rate)} ({speedup:,.0f} x)" for t, speedup in zip(timings, speedups, strict=True))])
    head = ["MACs a second (against naive)", *LAYERS]
    said = f"One picture of {SIDE}x{SIDE}, float32, verified equal, then timed on {cpu()}; `cl.bench()` does it on yours."
    return f"{markdown(head, rows)}\n\n{said}"


def race() -> str:
    """Return the stored times of whole networks against other engines, the fastest of each row marked."""
    stored = lessons.results("networks")
    engines = ["convlab", "onnxruntime", "openvino", "torch.compile", "torch"]
    rows = []
    for match in stored["matches"]:
        # OpenVINO counts with the better of its two modes.
        names = {engine: [name for name in match["engines"] if name.partition(" ")[0] == engine] for engine in engines}
        times = {e: min(match["engines"][name]["median"] for name in mine) * 1e3 / match["batch"] for e, mine in names.items() if mine}
        written = {engine: f"{time:.2f}" for engine, time in times.items()}
        written[min(times, key=times.__getitem__)] = f"**{min(times.values()):.2f}**"
        threads = f"{match['threads']} thread{'s' if match['threads'] > 1 else ''}"
        rows.append([f"{match['network']}, batch {match['batch']}, {threads}", *(written.get(engine, "") for engine in engines)])
    said = (
        f"MobileNet V1 and V2 at 224x224, float32, median ms a picture on {stored['machine']['cores']} cores of {stored['machine']['cpu']}:"
        " `model.compile()` against other engines, each at its best settings. `benchmarks/README.md` says how it was measured."
    )
    return f"{markdown(['ms a picture', *engines], rows)}\n\n{said}"


def cpu() -> str:
    """Return what the figures were measured on."""
    return f"{machine.cores()} cores of {machine.cpu_name()}"


def separable() -> str:
    """Count the documents' two worked examples."""
    rows = []
    for side, filters in ((6, 5), (5, 16)):
        c = cl.compare(side, side, in_channels=3, out_channels=filters, kernel=3)
        two = f"{c.depthwise.macs:,} + {c.pointwise.macs:,} = {c.separable.macs:,}"
        rows.append(
            [
                f"{side}x{side}x3, {filters} filters 3x3",
                f"{c.standard.macs:,}",
                two,
                f"1/{filters} + 1/9 = {c.formula:.4f}",
                percent(c.saved, 2),
            ]
        )
    return markdown(["MACs", "standard", "depthwise + pointwise", "ratio", "saved"], rows)


def photo() -> str:
    """Let the embedded networks look at two shipped photos."""
    model, detector = cl.load(), cl.load(cl.zoo.DEFAULT_DETECTOR)
    rows = []
    for name in ("chelsea", "coffee"):
        path = cl.zoo.photos()[name]
        named = ", ".join(f"{label} {percent(probability)}" for label, probability in model.classify(path, top=3))
        found = ", ".join(f"{label} {score:.2f}" for label, score, _ in detector.detect(path))
        rows.append([f"`{name}`", named, found])
    classes, things = model.network.output[-1], sum(label is not None for label in detector.labels)
    said = (
        f"Two photos and two networks that come with the package: MobileNet V2 with ImageNet's {classes:,} classes,"
        f" and SSDLite on MobileNet V2 with COCO's {things}."
    )
    head = ["photo", "`convlab classify`", "`convlab detect`"]
    return f"{markdown(head, rows).replace('---:', '---')}\n\n{said}"


def replace(path: Path, body: str) -> None:
    """Replace what stands between a file's markers."""
    begin, end = MARKERS
    before, _, rest = path.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    if not after:
        raise SystemExit(f"{path} must hold the markers {begin} and {end}")
    path.write_text(f"{before}{begin}\n\n{body}\n\n{end}{after}", encoding="utf-8")
    print(body)


def main() -> None:
    """Measure, every rung verified equal first, and write."""
    measured = {name: cl.bench(spec=spec, height=SIDE, width=SIDE) for name, spec in LAYERS.items()}
    replace(README, "\n\n".join((ladder(measured), race(), separable(), photo())))


if __name__ == "__main__":
    main()
