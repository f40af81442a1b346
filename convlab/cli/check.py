"""`convlab check`: one file, or a folder of them."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.console import Console

from .. import files
from ..files import plain
from ..tables import Table
from ..terminal import show, waiting
from ..units import percent
from .reading import FAILED, RIGHT, WRONG, Commands, WrongInput, add_command, at_least_one, number, refusals

if TYPE_CHECKING:
    from ..checker.graders import Settings


ONE_FILE, FOLDER = ("json", "gradescope", "points", "visibility", "junit"), ("out", "jobs", "pattern")
"""Which options are for which kind of target."""

WIDEST_NAME = 32


WEIGHTS = 1_000_000
"""Bytes that a file of weights may have."""


def add(commands: Commands) -> None:
    parser = add_command(
        commands,
        "check",
        "whether a function of yours is a convolution",
        "Call a function of a file on small cases, from the plain to the odd, and report the smallest on which it fails\n"
        "and the mistake that gives just these numbers. A folder is checked file by file, into one table; run again, an\n"
        "interrupted check goes on where it stopped. Exit code: 0 passed, 1 failed, 2 wrong usage,\n"
        "3 convlab or the machine failed.\n"
        "\n"
        "The file runs in a process of its own, with limits of time and memory. This protects against accidents (endless\n"
        "loops, crashes, floods of output), not against a hostile program: it can do what you can. Against that, run convlab\n"
        "itself in a container:\n"
        "  docker run --rm --network none --read-only --tmpfs /tmp --memory 6g --pids-limit 256 --cap-drop ALL \\\n"
        '    --user 65534 -v "$PWD":/work:ro -w /work IMAGE convlab check student.py:conv2d\n'
        "\n"
        "Among submissions start it as convlab, or as python -P -m convlab: with python -m convlab, Python itself would import\n"
        "a file of theirs named types.py, or like another of the few modules that it needs before convlab's first line.",
        "examples:\n"
        "  convlab check examples/flipped.py:conv2d             an example that comes with convlab, if there is no such file\n"
        "  convlab check student.py:my_conv --style torch --forbid torch,scipy,convlab\n"
        "  convlab check student.py:depthwise --op depthwise --gradescope results.json\n"
        "  convlab check submissions/ --function conv2d --jobs 2 --out results/",
    )
    parser.add_argument("target", metavar="FILE:FUNCTION", help="what to check; or a folder of files, with --function and --out")
    parser.add_argument("--function", metavar="NAME", help="the function's name, where the target does not say it")
    parser.add_argument(
        "--op",
        default="conv2d",
        help="what it computes: conv2d, depthwise, pointwise, im2col, output_size, cost, relu6, fold_batch_norm (default: conv2d)",
    )
    parser.add_argument(
        "--style", default="convlab", help="how it takes its arguments: convlab (NHWC), cs231n or torch (NCHW) (default: convlab)"
    )
    parser.add_argument(
        "--strict", action="store_true", help="advice counts too: float64 for float32, an empty batch, arrays that are not contiguous"
    )
    parser.add_argument("--seed", type=number, default=0, metavar="N", help="the cases are the same for a seed (default: 0)")
    parser.add_argument(
        "--weights", metavar="FILE", help="JSON: what each property counts, by its name in --json (default: each its own weight)"
    )
    parser.add_argument(
        "--forbid", type=lambda text: tuple(filter(None, text.split(","))), default=(), metavar="A,B", help="modules it must not import"
    )
    parser.add_argument("--timeout", type=float, default=60.0, metavar="S", help="seconds for each file (default: 60)")
    parser.add_argument("--call-timeout", type=float, default=10.0, metavar="S", help="seconds for one call (default: 10)")
    parser.add_argument("--memory", type=number, default=4096, metavar="MIB", help="memory of its process (default: 4096)")
    one_file = parser.add_argument_group("one file")
    one_file.add_argument("--json", metavar="FILE", help="write the report as JSON")
    one_file.add_argument("--gradescope", metavar="FILE", help="write Gradescope's results.json")
    one_file.add_argument("--points", type=float, metavar="P", help="what Gradescope gives a right function (default: 100)")
    one_file.add_argument("--visibility", metavar="V", help="visible, hidden, after_due_date or after_published (default: visible)")
    one_file.add_argument("--junit", metavar="FILE", help="write JUnit XML")
    folder = parser.add_argument_group("a folder")
    folder.add_argument("--out", metavar="DIR", help="where table.csv, table.json and the reports go; needed")
    folder.add_argument("--jobs", type=at_least_one, metavar="N", help="files checked at a time (default: 1)")
    folder.add_argument("--pattern", metavar="GLOB", help="which files, such as */conv.py (default: *.py)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, out: Console, err: Console) -> int:
    try:
        from ..checker import domain, graders, grading, isolation
    except ModuleNotFoundError as error:
        if error.name != "hypothesis":
            raise
        raise WrongInput('checking needs hypothesis: pip install "convlab-engine[lab]"') from error
    target, function = arguments.target, arguments.function
    folder = Path(target).is_dir()
    if not folder and function is None and ":" in target:
        target, _, function = target.rpartition(":")
    with refusals():
        if not function:
            what = "--function NAME" if folder else "FILE:FUNCTION, or --function NAME"
            raise ValueError(f"say which function to check, as {what}: {arguments.target!r}")
        needless = [f"--{name}" for name in (ONE_FILE if folder else FOLDER) if getattr(arguments, name) is not None]
        if needless:
            raise ValueError(f"{', '.join(needless)} only with {'one file' if folder else 'a folder'}: {target!r}")
        domain.check_names(arguments.op, arguments.style)
        limits = isolation.Limits(arguments.timeout, arguments.call_timeout, arguments.memory, arguments.forbid)
        weights = None if arguments.weights is None else _weights(arguments.weights)
        settings = graders.Settings(function, arguments.op, arguments.style, arguments.seed, weights, limits, arguments.strict)
    try:
        isolation.require_processes()
    except OSError as error:
        raise WrongInput(error, FAILED) from error
    if folder:
        return _check_folder(arguments, settings, out, err)

    with refusals():
        for name in ("json", "gradescope", "junit"):
            if (path := getattr(arguments, name)) is not None:
                if not Path(path).absolute().parent.is_dir():
                    raise FileNotFoundError(f"no such folder: {Path(path).parent} (for --{name})")
                files.check_writable(path)
        points = 100.0 if arguments.points is None else arguments.points
        visibility = arguments.visibility or "visible"
        grading.check_options(points, visibility)
        path = _example(target)
        if not os.path.lexists(path) or path.is_dir():
            raise FileNotFoundError(f"no such file: {target}")
    try:
        with waiting(err, f"checking {plain(path.name)}"), _weights_refused(weights):
            report = settings.check(path)
    except OSError as error:
        raise WrongInput(f"the check failed: {error}", FAILED) from error
    try:
        with refusals():
            if arguments.json is not None:
                files.write_json(arguments.json, report.to_dict())
            if arguments.gradescope is not None:
                files.write_json(arguments.gradescope, grading.gradescope(report, points, visibility))
            if arguments.junit is not None:
                files.write(arguments.junit, grading.junit([report]))
    finally:
        print(files.printable(str(report)))  # where a disk is full, too
    return RIGHT if report.passed else WRONG


def _check_folder(arguments: argparse.Namespace, settings: Settings, out: Console, err: Console) -> int:
    from ..checker import batch
    from ..checker.isolation import FileReport

    with refusals():
        if arguments.out is None:
            raise ValueError("say where the table and the reports go: --out DIR")
        pattern = arguments.pattern or "*.py"
        names = batch.submissions(arguments.target, pattern)
        Path(arguments.out).mkdir(parents=True, exist_ok=True)
    exposed: set[str] = set()
    with waiting(err, "checking", len(names)) as progress, refusals():
        (task,) = progress.task_ids

        def done(name: str, found: FileReport | str) -> None:
            if isinstance(found, FileReport) and found.exposed:
                exposed.add(found.exposed)
            progress.update(task, description=plain(f"checked {name}"), advance=1)

        rows = batch.check_folder(arguments.target, settings, arguments.out, arguments.jobs or 1, pattern, done)
    verdicts = [row["passed"] for row in rows]
    lines = [
        (
            _short(row["file"]),
            "passed" if row["passed"] else plain(row["mistake"] or row["message"]),
            "" if row["passed"] is None else percent(row["score"], 0),
        )
        for row in rows
    ]
    show(out, Table("", ("file", "result", "score"), lines, words=2))
    out.print()
    out.print(f"{verdicts.count(True)} of {len(rows)} passed; tables and reports are in {arguments.out}", soft_wrap=True)
    for reason in sorted(exposed):
        out.print(f"submissions were not kept from signalling the grader: {reason}", soft_wrap=True)
    if None in verdicts:
        told = next(row["message"] for row in rows if row["passed"] is None)
        raise WrongInput(f"{verdicts.count(None)} of {len(rows)} could not be judged, run again to go on from here: {told}", FAILED)
    return RIGHT if all(verdicts) else WRONG


def _short(name: str) -> str:
    """Return a file's name as a column of a terminal holds it; the tables in files have it whole."""
    return name if cell_len(name) <= WIDEST_NAME else set_cell_size(name, WIDEST_NAME - 1).rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def _weights_refused(weights: Mapping[str, float] | None) -> contextlib.AbstractContextManager[None]:
    """Return what stands around a check: which properties there are to weigh turns out only there."""
    return contextlib.nullcontext() if weights is None else refusals()


def _weights(path: str) -> dict[str, float]:
    """Read what each property counts."""
    weights = files.json_object(files.read(path, WEIGHTS), f"--weights {path}")
    if not all(isinstance(w, int | float) and not isinstance(w, bool) for w in weights.values()):
        raise ValueError(f"weights must be a JSON object of numbers, by property: {path}")
    return weights


def _example(name: str) -> Path:
    """Return the file of this name or, where there is none and it is one of `examples/`, the shipped one."""
    from ..checker.isolation import EXAMPLES

    path = Path(name)
    shipped = EXAMPLES / path.name
    return shipped if not path.exists() and path.parent.name == "examples" and shipped.is_file() else path
