"""`convlab classify`."""

from __future__ import annotations

import argparse
import json

from rich.console import Console

from .. import zoo
from ..files import plain
from ..forward import Model
from ..kernels import KERNELS
from ..terminal import bars, waiting
from .pictures import A_PICTURE, expanded
from .reading import A_MODEL, Commands, WrongInput, add_command, at_least_one, complain, refusals


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "classify",
        "what is on a picture",
        "Name what is on pictures of the usual formats. The model that comes with convlab knows ImageNet's 1000\n"
        "classes: whatever it is shown, it answers with one of these.",
        "examples:\n"
        "  convlab classify photo.jpg\n"
        "  convlab classify chelsea coffee rocket               the photos that come with convlab\n"
        "  convlab classify holidays/ --top 1 --json            a folder's pictures\n"
        "  convlab classify photo.jpg --model path/to/mobilenet_v2_1.0_224",
    )
    parser.add_argument(
        "pictures",
        nargs="+",
        metavar="PICTURE",
        help=A_PICTURE,
    )
    parser.add_argument("--model", default=zoo.DEFAULT, metavar="MODEL", help=f"{A_MODEL} (default: {zoo.DEFAULT})")
    parser.add_argument("--top", type=at_least_one, default=5, metavar="N", help="how many classes to show (default: 5)")
    parser.add_argument("--json", action="store_true", help="print JSON: a list of {picture, top: [{label, probability}]}")
    parser.add_argument(
        "--kernel", choices=("auto", *KERNELS), help="let this rung run the convolutions, one by one (default: the compiled plan)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, out: Console, err: Console) -> int:
    answers: list[tuple[str, list[tuple[str, float]]]] = []
    paths, code = expanded(arguments.pictures, err, "convlab classify")
    if not paths:
        return code
    with waiting(err, "loading the model", len(paths)) as progress:
        (task,) = progress.task_ids
        with refusals():
            model = zoo.load(arguments.model)
            if not isinstance(model, Model):
                raise ValueError(f"{arguments.model} finds things and names no pictures: convlab detect --model {arguments.model}")
        for name, path in paths:
            progress.update(task, description=plain(f"classifying {path.name}"))
            try:
                with refusals():
                    answers.append((name, model.classify(path, arguments.top, arguments.kernel)))
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
