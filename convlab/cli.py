"""The command line: `tour`, `cost`, `summary`, `classify`, `bench`, `check`, `step`, `notebooks`.

Each subcommand is one function that takes the parsed arguments and two consoles, `out` for what was asked
and `err` for progress and complaints, and returns the exit code. What a user got wrong ends as one line on stderr and
code 2. Only the calls that judge a user's input stand inside `_refusals`; an error from anywhere else is
a bug and keeps its traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from . import __version__, lessons, machine, zoo
from .bench import bench, bench_networks
from .cost import compare, summary
from .forward import Model
from .geometry import ConvSpec
from .kernels import KERNELS
from .layers import Network
from .mobilenet import mobilenet_v1, mobilenet_v2
from .stepper import Setting, page
from .tables import Table
from .terminal import bars, plain, show, show_comparison, show_kinds, waiting
from .tour import tour

if TYPE_CHECKING:
    from .checker.batch import Settings
    from .checker.report import Report

NETWORKS: Mapping[str, Callable[..., Network]] = {"mobilenet_v1": mobilenet_v1, "mobilenet_v2": mobilenet_v2}


class WrongInput(Exception):
    """What the user gave cannot be used; the text is the line to show."""


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Turn the errors by which the package refuses wrong input, or misses an extra, into `WrongInput`."""
    try:
        yield
    except (ValueError, TypeError, OSError, ModuleNotFoundError, MemoryError) as error:
        if isinstance(error, OSError) and error.strerror:
            raise WrongInput(": ".join(str(part) for part in (error.strerror, error.filename) if part)) from error
        if isinstance(error, MemoryError):
            raise WrongInput(f"not enough memory: {error}".rstrip(": ")) from error
        raise WrongInput(str(error)) from error


def _complain(err: Console, prog: str, message: object) -> None:
    """Print one line, however long."""
    err.print(plain(f"{prog}: {message}"), soft_wrap=True)


# Reading arguments


def _number(text: str) -> int:
    """Read a whole number; nine digits are more than any picture has, and keep every product printable."""
    if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) <= 9):
        raise argparse.ArgumentTypeError(f"must be a whole number of at most 9 digits: {text!r}")
    return int(text)


def _picture_size(text: str) -> tuple[int, int, int]:
    """Read "6x6x3" as (6, 6, 3)."""
    try:
        height, width, channels = map(_number, text.lower().split("x"))
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(f"must be HEIGHTxWIDTHxCHANNELS, such as 6x6x3: {text!r}") from None
    return height, width, channels


def _pair(text: str) -> int | tuple[int, int]:
    """Read "3" as 3 and "3x2" as (3, 2)."""
    try:
        height, *width = map(_number, text.lower().split("x"))
        if not width:
            return height
        (only,) = width
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(f"must be a number or HEIGHTxWIDTH, such as 3 or 3x2: {text!r}") from None
    return height, only


def _padding(text: str) -> str | int | tuple[int, int]:
    """Read "same", "valid", "1" or "1x2"."""
    if text in ("same", "valid"):
        return text
    try:
        return _pair(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"must be same, valid, a number or HEIGHTxWIDTH, such as 1 or 1x2: {text!r}") from None


def _at_least_one(text: str) -> int:
    number = _number(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1: {text!r}")
    return number


class _Parser(argparse.ArgumentParser):
    """argparse, with complaints of one line."""

    def error(self, message: str) -> None:  # type: ignore[override]  # exit raises
        self.exit(2, plain(f"{self.prog}: {message} (see {self.prog} --help)") + "\n")


def _parser() -> _Parser:
    def add(name: str, help: str, description: str, epilog: str) -> argparse.ArgumentParser:
        style = argparse.RawDescriptionHelpFormatter
        return commands.add_parser(name, help=help, description=description, epilog=epilog, formatter_class=style, allow_abbrev=False)

    parser = _Parser(
        prog="convlab",
        description="How convolution works, what it costs, and how fast it can be made.",
        epilog="start here:\n  convlab tour\n\neach command explains itself with examples:\n  convlab cost --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"convlab {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    tour_parser = add(
        "tour",
        "what convlab shows, in under a minute",
        "The worked example counted and run, every kernel verified and timed, two networks counted,\n"
        "and two photos classified by the model that comes with convlab.",
        "example:\n  convlab tour",
    )
    tour_parser.set_defaults(run=lambda arguments, out, err: tour(out, err))

    cost_parser = add(
        "cost",
        "what a convolution costs, standard and separable",
        "Count the parameters, multiply-accumulates (MACs) and bytes of a standard convolution and of the separable\n"
        "one (depthwise, then pointwise) that replaces it. One MAC is one multiplication with its addition.",
        "examples:\n"
        "  convlab cost 6x6x3 --filters 5 --kernel 3            a picture of 6x6 pixels with 3 channels:\n"
        "                                                       2160 MACs against 432 + 240 = 672\n"
        "  convlab cost 224x224x3 --filters 32 --kernel 3 --stride 2 --padding same\n"
        "                                                       the first layer of MobileNet",
    )
    cost_parser.add_argument("picture", type=_picture_size, metavar="HxWxC", help="input: height, width, channels, such as 6x6x3")
    cost_parser.add_argument("--filters", type=_number, required=True, metavar="N", help="output channels")
    cost_parser.add_argument("--kernel", type=_pair, required=True, metavar="K", help="window: 3, or 3x2 (height x width)")
    cost_parser.add_argument("--stride", type=_pair, default=1, metavar="S", help="step of the window: 2, or 2x1 (default: 1)")
    cost_parser.add_argument(
        "--padding", type=_padding, default="valid", metavar="P", help="same, valid, 1 or 1x2: zeros around the picture (default: valid)"
    )
    cost_parser.add_argument("--dilation", type=_pair, default=1, metavar="D", help="step between taps: 2, or 2x1 (default: 1)")
    cost_parser.set_defaults(run=_cost)

    summary_parser = add(
        "summary",
        "a network layer by layer",
        "Count a network layer by layer: output size, parameters, MACs and each layer's share of them.\nNo weights are needed.",
        "examples:\n"
        "  convlab summary mobilenet_v2 --alpha 0.75 --resolution 192\n"
        "  convlab summary mobilenet_v1 --alpha 0.25 --classes 10\n"
        f"  convlab summary {zoo.DEFAULT}",
    )
    models = f"a model's name ({', '.join(zoo.MODELS)}), a .npz file, or a directory or .safetensors file of HF Transformers"
    summary_parser.add_argument("network", metavar="NETWORK", help=f"{', '.join(NETWORKS)}; or {models}")
    for option, kind, text in (
        ("alpha", float, "width multiplier in (0, 2] (default: 1)"),
        ("resolution", _number, "side of the square picture, 32 or more (default: 224)"),
        ("classes", _number, "outputs of the classifier (default: 1000)"),
    ):
        summary_parser.add_argument(f"--{option}", type=kind, help=text, metavar=option[0].upper())
    summary_parser.add_argument("--padding", choices=("same", "symmetric"), help="as TensorFlow pads, or as PyTorch (default: same)")
    summary_parser.set_defaults(run=_summary)

    classify_parser = add(
        "classify",
        "what is on a picture",
        "Name what is on pictures of any format that Pillow reads. The model that comes with convlab was trained on\n"
        "CIFAR-10 and knows ten classes only: whatever it is shown, it answers with one of these.",
        "examples:\n"
        "  convlab classify photo.jpg\n"
        "  convlab classify chelsea coffee rocket               the photos that come with convlab\n"
        "  convlab classify *.jpg --top 1 --json\n"
        "  convlab classify photo.jpg --model path/to/mobilenet_v2_1.0_224",
    )
    classify_parser.add_argument(
        "pictures",
        nargs="+",
        metavar="PICTURE",
        help=f"a file; where there is none of that name, a shipped photo ({', '.join(zoo.photos())})",
    )
    classify_parser.add_argument("--model", default=zoo.DEFAULT, metavar="MODEL", help=f"{models} (default: {zoo.DEFAULT})")
    classify_parser.add_argument("--top", type=_at_least_one, default=5, metavar="N", help="how many classes to show (default: 5)")
    classify_parser.add_argument("--json", action="store_true", help="print JSON: a list of {picture, top: [{label, probability}]}")
    classify_parser.add_argument(
        "--kernel", choices=("auto", *KERNELS), help="let this rung run the convolutions, one by one (default: the compiled plan)"
    )
    classify_parser.set_defaults(run=_classify)

    bench_parser = add(
        "bench",
        "how fast the kernels or the networks are here",
        "Verify, then time: every kernel of the ladder on one layer of each kind, or the compiled plans of MobileNet V1 and V2,\n"
        "on one thread and on all cores. The machine's peak is measured in the same run. Close other programs first.",
        "examples:\n  convlab bench kernels --plot roofline.png\n  convlab bench networks --json networks.json",
    )
    bench_parser.add_argument("what", choices=("kernels", "networks"), help="what to time")
    bench_parser.add_argument("--json", metavar="FILE", type=Path, help="write the results here too")
    bench_parser.add_argument("--plot", metavar="FILE", type=Path, help="draw them: kernels under the machine's roofline, networks as bars")
    bench_parser.set_defaults(run=_bench)

    check_parser = add(
        "check",
        "whether a function of yours is a convolution",
        "Call a function of a file on small cases, from the plain to the odd, and report the smallest on which it fails\n"
        "and the mistake that gives just these numbers. A folder is checked file by file, into one table; run again, an\n"
        "interrupted check goes on where it stopped. Exit code: 0 passed, 1 failed, 2 wrong usage.\n"
        "\n"
        "The file runs in a process of its own, with limits of time and memory. This protects against accidents (endless\n"
        "loops, crashes, floods of output), not against a hostile program: it can do what you can. Against that, run convlab\n"
        "itself in a container:\n"
        "  docker run --rm --network none --read-only --tmpfs /tmp --memory 6g --pids-limit 256 --cap-drop ALL \\\n"
        '    --user 65534 -v "$PWD":/work:ro -w /work IMAGE convlab check student.py:conv2d',
        "examples:\n"
        "  convlab check examples/flipped.py:conv2d             an example that comes with convlab, if there is no such file\n"
        "  convlab check student.py:my_conv --style torch --forbid torch,scipy,convlab\n"
        "  convlab check student.py:depthwise --op depthwise --gradescope results.json\n"
        "  convlab check submissions/ --function conv2d --jobs 2 --out results/",
    )
    check_parser.add_argument("target", metavar="FILE:FUNCTION", help="what to check; or a folder of files, with --function and --out")
    check_parser.add_argument("--function", metavar="NAME", help="the function's name, where the target does not say it")
    check_parser.add_argument(
        "--op",
        default="conv2d",
        help="what it computes: conv2d, depthwise, pointwise, im2col, output_size, cost, relu6, fold_batch_norm (default: conv2d)",
    )
    check_parser.add_argument(
        "--style", default="convlab", help="how it takes its arguments: convlab (NHWC), cs231n or torch (NCHW) (default: convlab)"
    )
    check_parser.add_argument("--seed", type=_number, default=0, metavar="N", help="the cases are the same for a seed (default: 0)")
    check_parser.add_argument(
        "--weights", metavar="FILE", help="JSON: what each property counts, by its name in --json (default: each its own weight)"
    )
    check_parser.add_argument(
        "--forbid", type=lambda text: tuple(filter(None, text.split(","))), default=(), metavar="A,B", help="modules it must not import"
    )
    check_parser.add_argument("--timeout", type=float, default=60.0, metavar="S", help="seconds for each file (default: 60)")
    check_parser.add_argument("--call-timeout", type=float, default=10.0, metavar="S", help="seconds for one call (default: 10)")
    check_parser.add_argument("--memory", type=_number, default=4096, metavar="MIB", help="memory of its process (default: 4096)")
    one_file = check_parser.add_argument_group("one file")
    one_file.add_argument("--json", metavar="FILE", help="write the report as JSON")
    one_file.add_argument("--gradescope", metavar="FILE", help="write Gradescope's results.json")
    one_file.add_argument("--points", type=float, metavar="P", help="what Gradescope gives a right function (default: 100)")
    one_file.add_argument("--visibility", metavar="V", help="visible, hidden, after_due_date or after_published (default: visible)")
    one_file.add_argument("--junit", metavar="FILE", help="write JUnit XML")
    folder = check_parser.add_argument_group("a folder")
    folder.add_argument("--out", metavar="DIR", help="where table.csv, table.json and the reports go; needed")
    folder.add_argument("--jobs", type=_at_least_one, metavar="N", help="files checked at a time (default: 1)")
    folder.add_argument("--pattern", metavar="GLOB", help="which files, such as */conv.py (default: *.py)")
    check_parser.set_defaults(run=_check)
    step_parser = add(
        "step",
        "an interactive page: window, matrix and output, step by step",
        "Write an HTML file to open in a browser: it steps a window through a convolution, with the row of the im2col matrix,\n"
        "the written-out sum and the output cell side by side, and sliders for everything. It needs no network.",
        "examples:\n"
        "  convlab step --out page.html\n"
        "  convlab step --out page.html --size 6x6x3 --filters 5             the documents' example\n"
        "  convlab step --out page.html --size 8x7x4 --filters 4 --kernel 3x2 --stride 2 --padding same --groups 4",
    )
    start = Setting()
    step_parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="where to write the page")
    step_parser.add_argument(
        "--size",
        type=_picture_size,
        default=(start.height, start.width, start.channels),
        metavar="HxWxC",
        help=f"input: height, width, channels (default: {start.height}x{start.width}x{start.channels})",
    )
    for option, reader, default, text in (
        ("filters", _number, start.filters, "output channels"),
        ("kernel", _pair, start.kernel_height, "window: 3, or 3x2 (height x width)"),
        ("stride", _number, start.stride, "step of the window"),
        ("padding", _padding, start.padding, "same, valid, or zeros on every side"),
        ("dilation", _number, start.dilation, "step between taps"),
        ("groups", _number, start.groups, "slices of the channels"),
    ):
        step_parser.add_argument(
            f"--{option}", type=reader, default=default, metavar=option[0].upper(), help=f"{text} (default: {default})"
        )
    step_parser.set_defaults(run=_step)

    notebooks_parser = add(
        "notebooks",
        "copy the notebooks to a folder, to work in",
        "Copy the notebooks that teach all this, from one window to a kernel of your own, to a folder. What is there\n"
        "already is never overwritten: for fresh copies name another folder.",
        "examples:\n"
        "  convlab notebooks                                    into the folder notebooks\n"
        "  convlab notebooks course && jupyter lab course/01_one_window.ipynb",
    )
    notebooks_parser.add_argument(
        "folder", nargs="?", type=Path, default=Path("notebooks"), metavar="DIR", help="where (default: notebooks)"
    )
    notebooks_parser.set_defaults(run=_notebooks)
    return parser


# The commands


def _cost(arguments: argparse.Namespace, out: Console, err: Console) -> int:
    height, width, channels = arguments.picture
    with _refusals():
        comparison = compare(
            height,
            width,
            in_channels=channels,
            out_channels=arguments.filters,
            kernel=arguments.kernel,
            stride=arguments.stride,
            padding=arguments.padding,
            dilation=arguments.dilation,
        )
    show_comparison(out, comparison)
    return 0


def _summary(arguments: argparse.Namespace, out: Console, err: Console) -> int:
    name = arguments.network
    given = {key: value for key in ("alpha", "resolution", "classes", "padding") if (value := getattr(arguments, key)) is not None}
    with _refusals():
        if name in NETWORKS:
            network = NETWORKS[name](**given)
        elif given:
            raise ValueError(f"--{', --'.join(given)} only with {' or '.join(NETWORKS)}: {name!r} has its own")
        elif name not in zoo.MODELS and not Path(name).exists():
            raise ValueError(f"a network is {', '.join((*NETWORKS, *zoo.MODELS))} or the path of a model: {name!r} is none")
        else:
            network = zoo.load(name).network
    table = summary(network)
    out.print(table.title, style="bold")
    out.print()
    show(out, table)
    out.print()
    show_kinds(out, network)
    return 0


def _picture(name: str) -> Path:
    """Return the file of this name or, where there is none, the shipped photo."""
    path, photos = Path(name), zoo.photos()
    if not path.exists():
        if name not in photos:
            raise FileNotFoundError(f"no such file: {name} (shipped photos are {', '.join(photos)})")
        return photos[name]
    return path


def _classify(arguments: argparse.Namespace, out: Console, err: Console) -> int:
    answers: list[tuple[str, list[tuple[str, float]]]] = []
    failed = False
    names = arguments.pictures
    with waiting(err, "loading the model", len(names)) as progress:
        (task,) = progress.task_ids
        with _refusals():
            model = zoo.load(arguments.model)
        for name in names:
            progress.update(task, description=plain(f"classifying {Path(name).name}"))
            try:
                with _refusals():
                    answers.append((name, model.classify(_picture(name), arguments.top, arguments.kernel)))
            except WrongInput as error:
                _complain(err, "convlab classify", error)
                failed = True
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
            out.print(f"{model.network.name}, {model.network.output[-1]} classes", style="dim")
    return 2 if failed else 0


ONE_FILE, FOLDER = ("json", "gradescope", "points", "visibility", "junit"), ("out", "jobs", "pattern")


LAYERS = {
    "standard": ConvSpec(32, 64, 3, padding="same"),
    "depthwise": ConvSpec.depthwise(128, 3, padding="same"),
    "pointwise": ConvSpec.pointwise(128, 128),
}
"""What `bench kernels` times, each on a picture of 56x56."""


def _bench(arguments: argparse.Namespace, out: Console, err: Console) -> int:
    with _refusals():  # what cannot be written is refused before the wait
        for file in filter(None, (arguments.json, arguments.plot)):
            file.open("a").close()
        if arguments.plot is not None:
            from . import figures
    if arguments.what == "kernels":
        results = []
        for kind, spec in LAYERS.items():
            with waiting(err, f"compiling, verifying and timing the kernels: {kind}"):
                results.append(bench(spec=spec))
            _show_result(out, results[-1].table)
        where, records = results[0].machine, [result.to_dict() for result in results]
        if arguments.plot is not None:
            peak, speed = max(result.peak or 0.0 for result in results), machine.bandwidth(machine.cores())
            figure = figures.roofline(*results, peak=peak, bandwidth=speed)
    else:
        with waiting(err, "compiling, verifying and timing the plans"):
            result = bench_networks(*(Model.random(build()) for build in NETWORKS.values()))
        _show_result(out, result.table)
        where, records = result.machine, [result.to_dict()]
        if arguments.plot is not None:
            figure = figures.plans(result)
    out.print(f"{where.cpu}, {where.cores} cores, BLAS: {where.blas}", style="dim", soft_wrap=True)
    with _refusals():
        if arguments.json is not None:
            arguments.json.write_text(json.dumps(records, indent=2) + "\n", encoding="utf-8")
        if arguments.plot is not None:
            figure.savefig(arguments.plot)
    return 0


def _show_result(out: Console, table: Table) -> None:
    out.print(table.title, style="bold")
    out.print()
    show(out, table, words=1)
    out.print()


def _check(arguments: argparse.Namespace, out: Console, err: Console) -> int:
    try:
        from .checker import batch, contracts, grading, runner
    except ModuleNotFoundError as error:
        if error.name != "hypothesis":
            raise
        raise WrongInput('checking needs hypothesis: pip install "convlab[lab]"') from error
    target, function = arguments.target, arguments.function
    folder = Path(target).is_dir()
    if not folder and function is None and ":" in target:
        target, _, function = target.rpartition(":")
    with _refusals():
        if not function:
            what = "--function NAME" if folder else "FILE:FUNCTION, or --function NAME"
            raise ValueError(f"say which function to check, as {what}: {arguments.target!r}")
        needless = [f"--{name}" for name in (ONE_FILE if folder else FOLDER) if getattr(arguments, name) is not None]
        if needless:
            raise ValueError(f"{', '.join(needless)} only with {'one file' if folder else 'a folder'}: {target!r}")
        contracts.check_names(arguments.op, arguments.style)
        limits = runner.Limits(arguments.timeout, arguments.call_timeout, arguments.memory, arguments.forbid)
        weights = None if arguments.weights is None else _weights(arguments.weights)
        settings = batch.Settings(function, arguments.op, arguments.style, arguments.seed, weights, limits)
    if folder:
        return _check_folder(arguments, settings, out, err)

    with _refusals():
        for name in ("json", "gradescope", "junit"):
            if (path := getattr(arguments, name)) is not None and not Path(path).absolute().parent.is_dir():
                raise FileNotFoundError(f"no such folder: {Path(path).parent} (for --{name})")
        points = 100.0 if arguments.points is None else arguments.points
        visibility = arguments.visibility or "visible"
        grading.check_options(points, visibility)
        path = _example(target)
        if not path.is_file():
            raise FileNotFoundError(f"no such file: {target}")
    with waiting(err, f"checking {plain(path.name)}"), _weights_refused(weights):
        report = settings.check(path)
    with _refusals():
        if arguments.json is not None:
            grading.write_json(arguments.json, report.to_dict())
        if arguments.gradescope is not None:
            grading.write_json(arguments.gradescope, grading.gradescope(report, points, visibility))
        if arguments.junit is not None:
            grading.write(arguments.junit, grading.junit([report]))
    # What a function says may hold escape codes: they must not reach the terminal.
    print("\n".join("".join(c if c.isprintable() else " " for c in line) for line in str(report).split("\n")))
    return 0 if report.passed else 1


def _check_folder(arguments: argparse.Namespace, settings: Settings, out: Console, err: Console) -> int:
    from .checker import batch

    with _refusals():
        if arguments.out is None:
            raise ValueError("say where the table and the reports go: --out DIR")
        pattern = arguments.pattern or "*.py"
        names = batch.submissions(arguments.target, pattern)
        Path(arguments.out).mkdir(parents=True, exist_ok=True)
    with waiting(err, "checking", len(names)) as progress, _weights_refused(settings.weights):
        (task,) = progress.task_ids

        def done(name: str, _: Report) -> None:
            progress.update(task, description=plain(f"checked {name}"), advance=1)

        try:
            rows = batch.check_folder(arguments.target, settings, arguments.out, arguments.jobs or 1, pattern, done)
        except batch.Interrupted as error:
            raise WrongInput(str(error)) from error
    passed = sum(row["passed"] for row in rows)
    lines = [
        (
            plain(row["file"]),
            "passed" if row["passed"] else plain(row["mistake"] or row["message"]),
            f"{row['score']:.0%}".replace("%", " %"),
        )
        for row in rows
    ]
    show(out, Table("", ("file", "result", "score"), lines))
    out.print()
    out.print(f"{passed} of {len(rows)} passed; tables and reports are in {arguments.out}", soft_wrap=True)
    return 0 if passed == len(rows) else 1


def _weights_refused(weights: Mapping[str, float] | None) -> contextlib.AbstractContextManager[None]:
    """Return what stands around a check: which properties there are to weigh turns out only there."""
    return contextlib.nullcontext() if weights is None else _refusals()


def _weights(path: str) -> dict[str, float]:
    """Read what each property counts."""
    try:
        weights = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"weights must be JSON: {path}: {error}") from error
    if not isinstance(weights, dict) or not all(isinstance(w, int | float) and not isinstance(w, bool) for w in weights.values()):
        raise ValueError(f"weights must be a JSON object of numbers, by property: {path}")
    return weights


def _example(name: str) -> Path:
    """Return the file of this name or, where there is none and it is one of `examples/`, the shipped one."""
    from .checker.runner import EXAMPLES

    path = Path(name)
    shipped = EXAMPLES / path.name
    return shipped if not path.exists() and path.parent.name == "examples" and shipped.is_file() else path


def _step(arguments: argparse.Namespace, out: Console, err: Console) -> int:
    height, width, channels = arguments.size
    kernel = arguments.kernel
    kernel_height, kernel_width = (kernel, kernel) if isinstance(kernel, int) else kernel
    with _refusals():
        setting = Setting(
            height=height,
            width=width,
            kernel_height=kernel_height,
            kernel_width=kernel_width,
            stride=arguments.stride,
            padding=arguments.padding,
            dilation=arguments.dilation,
            groups=arguments.groups,
            channels=channels,
            filters=arguments.filters,
        )
    html = page(setting)
    with _refusals():
        arguments.out.write_text(html, encoding="utf-8")
    out.print(plain(f"{arguments.out}: {len(html.encode()) / 1e6:.1f} MB; open it in a browser"), soft_wrap=True)
    return 0


def _notebooks(arguments: argparse.Namespace, out: Console, err: Console) -> int:
    folder = arguments.folder
    with _refusals():
        done = lessons.copy(folder)
    for fate, text in (("copied", "copied"), ("same", "there already, as they come")):
        if count := list(done.values()).count(fate):
            out.print(plain(f"{folder}: {count} notebook{'s' if count > 1 else ''} {text}"), soft_wrap=True)
    if kept := [name for name, fate in done.items() if fate == "kept"]:
        text = f"left as you have it: {', '.join(kept)} (for a fresh copy name another folder, or move yours away)"
        out.print(plain(text), soft_wrap=True)
    if not lessons.can_open():
        out.print('JupyterLab, which opens them, is missing: pip install "convlab[lab]"', soft_wrap=True)
    out.print("open the first with:", "  " + plain(f"jupyter lab {shlex.quote(str(folder / min(done)))}"), sep="\n", soft_wrap=True)
    return 0


# Starting


def run(argv: Sequence[str]) -> int:
    """Run the command line and return its exit code: 0, or 2 after wrong input, 130 after Ctrl-C.

    Examples
    --------
    >>> run(["cost", "6x6x3", "--filters", "5", "--kernel", "0"])       # complains on stderr
    2
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a file's name or a label may hold what the terminal cannot show
    # Labels and file names are shown as they are, not read as rich's [markup] or :emoji:.
    out, err = (Console(stderr=stderr, markup=False, emoji=False, highlight=False) for stderr in (False, True))
    parser = _parser()
    if not argv:
        parser.print_help(sys.stderr)
        return 2
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as stop:  # argparse has said what there was to say
        return int(stop.code or 0)
    try:
        code: int = arguments.run(arguments, out, err)
        sys.stdout.flush()  # here, so that a closed pipe is noticed here
        return code
    except WrongInput as error:
        _complain(err, f"convlab {arguments.command}", error)
        return 2
    except ModuleNotFoundError as error:
        if error.name is not None:  # an import failed that must not; ours, which name the missing extra, have no name
            raise
        _complain(err, f"convlab {arguments.command}", error)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (`head`) has seen enough. Python would complain once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
