"""`convlab detect`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console

from .. import files, images, zoo
from ..files import plain
from ..forward import Detector
from ..kernels import KERNELS
from ..ssd import Detection
from ..terminal import detections, show, waiting
from .pictures import A_PICTURE, expanded
from .reading import A_MODEL, Commands, WrongInput, add_command, at_least_one, complain, refusals


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "detect",
        "what is where on a picture",
        "Find things on pictures, and say where: x and y of a box's top left corner, width and height, in pixels.\n"
        f"{zoo.DETECTORS[0]} knows 80 classes of things, {zoo.DETECTORS[1]} human faces.",
        "examples:\n"
        "  convlab detect photo.jpg\n"
        "  convlab detect coffee --out marked.png\n"
        f"  convlab detect chelsea --model {zoo.DETECTORS[1]}    no face, and yet\n"
        "  convlab detect holidays/ --threshold 0.7 --out marked/ --json found.json",
    )
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help=A_PICTURE)
    default = zoo.DEFAULT_DETECTOR
    parser.add_argument("--model", default=default, metavar="MODEL", help=f"{A_MODEL} (default: {default})")
    parser.add_argument("--threshold", type=share, default=0.5, metavar="T", help="the least score, 0 to 1 (default: 0.5)")
    parser.add_argument("--iou", type=share, default=0.5, metavar="T", help="how much boxes may overlap, 0 to 1 (default: 0.5)")
    parser.add_argument("--top", type=at_least_one, default=20, metavar="N", help="how many boxes a picture at most (default: 20)")
    parser.add_argument("--out", type=Path, metavar="PATH", help="draw the boxes: a .png file, or for several pictures a folder")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write JSON: a list of {picture, found: [{label, score, box}]}")
    parser.add_argument("--kernel", choices=("auto", *KERNELS), help="let this rung run the convolutions, one by one")
    parser.set_defaults(run=run)


def share(text: str) -> float:
    """Read a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1: {text!r}")
    return value


def run(arguments: argparse.Namespace, out: Console, err: Console) -> int:
    paths, code = expanded(arguments.pictures, err, "convlab detect")
    if not paths:
        return code
    with refusals():
        targets = _targets(arguments.out, paths)
    found: list[tuple[str, list[Detection]]] = []
    with waiting(err, "loading the model", len(paths)) as progress:
        (task,) = progress.task_ids
        with refusals():
            detector = zoo.load(arguments.model)
            if not isinstance(detector, Detector):
                raise ValueError(f"{arguments.model} names whole pictures: convlab classify --model {arguments.model}")
        for i, (name, path) in enumerate(paths):
            progress.update(task, description=plain(f"looking at {path.name}"))
            try:
                with refusals():
                    pixels = images.read(path)
                    things = detector.detect(pixels, arguments.threshold, arguments.iou, arguments.top, arguments.kernel)
                    if targets:
                        _draw(pixels, things, targets[i])
                found.append((name, things))
            except WrongInput as error:
                complain(err, "convlab detect", error)
                code = max(code, error.code)
            progress.advance(task)
        if arguments.json is not None and found:
            records = [{"picture": name, "found": [thing._asdict() for thing in things]} for name, things in found]
            with refusals():
                files.write(arguments.json, json.dumps(records, indent=2, ensure_ascii=False) + "\n")
    for name, things in found:
        out.print(plain(name), style="bold", soft_wrap=True)
        show(out, detections(things))
        out.print()
    return code


def _targets(out: Path | None, paths: list[tuple[str, Path]]) -> list[Path]:
    """Return where each picture with its boxes goes: a file of that name, or files in that folder."""
    if out is None:
        return []
    if len(paths) == 1 and not out.is_dir():
        if out.suffix.lower() != ".png":
            raise ValueError(f"--out must be a .png file, or a folder for several pictures: {out}")
        if not out.parent.is_dir():
            raise FileNotFoundError(f"no such folder: {out.parent}")
        return [out]
    if out.suffix.lower() == ".png" and not out.is_dir():
        raise ValueError(f"--out must be a folder for {len(paths)} pictures: {out}")
    out.mkdir(parents=True, exist_ok=True)
    targets = [out / f"{path.stem}.png" for _, path in paths]
    if len(set(targets)) < len(targets):  # a.jpg and a.png, or files of one name from two folders
        targets = [out / f"{i}_{path.stem}.png" for i, (_, path) in enumerate(paths, 1)]
    return targets


def _draw(pixels: object, things: list[Detection], target: Path) -> None:
    from ..figures import detections as picture  # imported here: matplotlib takes its time to load

    figure = picture(pixels, things)  # type: ignore[arg-type]
    files.write(target, lambda file: figure.savefig(file, format="png", dpi=150))
