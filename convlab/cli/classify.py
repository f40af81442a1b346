"""`convlab classify`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console

from .. import zoo
from ..files import plain
from ..kernels import KERNELS
from ..terminal import bars, waiting
from .reading import A_MODEL, RIGHT, Commands, WrongInput, add_command, at_least_one, complain, refusals


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "classify",
        "what is on a picture",
        "Name what is on pictures of the usual formats. The model that comes with convlab was trained on\n"
        "CIFAR-10 and knows ten classes only: whatever it is shown, it answers with one of these.",
        "examples:\n"
        "  convlab classify photo.jpg\n"
        "  convlab classify chelsea coffee rocket               the photos that come with convlab\n"
        "  convlab classify *.jpg --top 1 --json\n"
        "  convlab classify photo.jpg --model path/to/mobilenet_v2_1.0_224",
    )
    parser.add_argument(
        "pictures",
        nargs="+",
        metavar="PICTURE",
        help=f"a file; where there is none of that name, a shipped photo ({', '.join(zoo.photos())})",
    )
    parser.add_argument("--model", default=zoo.DEFAULT, metavar="MODEL", help=f"{A_MODEL} (default: {zoo.DEFAULT})")
    parser.add_argument("--top", type=at_least_one, default=5, metavar="N", help="how many classes to show (default: 5)")
    parser.add_argument("--json", action="store_true", help="print JSON: a list of {picture, top: [{label, probability}]}")
    parser.add_argument(
        "--kernel", choices=("auto", *KERNELS), help="let this rung run the convolutions, one by one (default: the compiled plan)"
    )
    parser.set_defaults(run=run)


def _picture(name: str) -> Path:
    """Return the file of this name or, where there is none, the shipped photo."""
    path, photos = Path(name), zoo.photos()
    if not path.exists():
        if name not in photos:
            raise FileNotFoundError(f"no such file: {name} (shipped photos are {', '.join(photos)})")
        return photos[name]
    return path


def run(arguments: argparse.Namespace, out: Console, err: Console) -> int:
    answers: list[tuple[str, list[tuple[str, float]]]] = []
    code = RIGHT
    names = arguments.pictures
    with waiting(err, "loading the model", len(names)) as progress:
        (task,) = progress.task_ids
        with refusals():
            model = zoo.load(arguments.model)
        for name in names:
            progress.update(task, description=plain(f"classifying {Path(name).name}"))
            try:
                with refusals():
                    answers.append((name, model.classify(_picture(name), arguments.top, arguments.kernel)))
            except WrongInput as error:
                complain(err, "convlab classify", error)
                code = max(code, error.code)
            progress.advance(task)

    if arguments.json:
        records = [
            {"picture": name, "top": [{"label": label, "probability": probability} for label, probability in guesses]}
            for name, guesses in answers
        ]
        print(json.dumps(records, indent=2))
    else:
        for name, guesses in answers:
            out.print(plain(name), style="bold", soft_wrap=True)
            out.print(bars(guesses))
            out.print()
        if answers:
            out.print(plain(f"{model.network.name}, {model.network.output[-1]} classes"), style="dim")
    return code
