"""Run every notebook, as it stands and with its solutions; store its outputs, or with --check compare them.

    python notebooks/refresh.py                 run all and store their outputs
    python notebooks/refresh.py 03 04           only these
    python notebooks/refresh.py --check         store nothing; fail on an error, an unsolved exercise or a stale output

It needs the extra `book`. How a notebook says what is what (tags are in a cell's metadata; there are no others):

exercise
    A cell in which the student writes. The first ```python block under the next `<summary>Solution</summary>` is its
    solution, which a second run puts in the cell's place. At least one `check` stands between the two.
check
    A cell that judges an exercise; its last value has `passed` (a `cl.check` report, a `lessons.answer`). It must not
    raise while the exercise is untouched, nor pass it, and must have passed once it is solved.
measured
    A cell whose output is another on each machine and day (times, this machine's peak). It is run, not compared.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, DeadKernelError
from traitlets.config import Config

HERE = Path(__file__).resolve().parent
LARGEST = 1_500_000
"""Bytes a stored notebook may have: code hosts show no larger ones."""

TAGS = ("exercise", "check", "measured")
SOLUTION = re.compile(r"<summary>Solution</summary>.*?```python\n(.*?)```", re.DOTALL)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}, "language_info": {"name": "python"}}
PASSED = "getattr(Out.get(len(In) - 2), 'passed', None)"
"""What the check in the cell before says; `_` would not do, since a notebook may use that name."""


def tags(cell: Any) -> list[str]:
    """Return a cell's tags."""
    return cell.metadata.get("tags", [])


def normal(notebook: Any) -> Any:
    """Return the notebook in the form that is stored: nothing in it depends on an editor, a version or the timing of a run."""
    notebook = deepcopy(notebook)
    notebook.metadata = nbformat.from_dict(KERNEL)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    count = 0
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i:03}"
        cell.metadata = nbformat.from_dict({"tags": tags(cell)} if tags(cell) else {})
        cell.source = cell.source.strip()
        if cell.cell_type == "code":
            count += 1
            cell.execution_count, cell.outputs = count, list(joined(cell.outputs))
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count = count
                output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)  # names a widget of that one run
        else:
            cell.pop("attachments", None)
    return notebook


def joined(outputs: list[Any]) -> Iterator[Any]:
    """Yield outputs with the pieces of one stream put together: how it is cut depends on timing."""
    last = None
    for output in outputs:
        if last is not None and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
            continue
        if last is not None:
            yield last
        last = output
    if last is not None:
        yield last


def plain(notebook: Any) -> Any:
    """Return the notebook in its normal form, without outputs."""
    notebook = normal(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def text(notebook: Any) -> str:
    """Return what the file holds."""
    return nbformat.writes(notebook) + "\n"


def solutions(notebook: Any) -> dict[int, str]:
    """Return each exercise's solution, by the exercise's place among the cells.

    Raises
    ------
    ValueError
        If a tag is unknown, or exercises, checks and solutions do not belong together.
    """
    found: dict[int, str] = {}
    exercise, checks = None, 0
    for i, cell in enumerate(notebook.cells):
        for tag in tags(cell):
            if tag not in TAGS:
                raise ValueError(f"cell {i} has an unknown tag {tag!r}; there are {', '.join(TAGS)}")
            if cell.cell_type != "code":
                raise ValueError(f"cell {i} is no code and has the tag {tag!r}")
        if "exercise" in tags(cell):
            if exercise is not None:
                raise ValueError(f"the exercise in cell {exercise} has no solution before the next")
            exercise, checks = i, 0
        if "check" in tags(cell):
            if exercise is None:
                raise ValueError(f"the check in cell {i} has no exercise before it, or stands under its solution")
            checks += 1
        if cell.cell_type == "markdown" and "<summary>Solution" in cell.source:
            block = SOLUTION.search(cell.source)
            if exercise is None or block is None:
                what = "no exercise before it" if exercise is None else "no block that begins with ```python"
                raise ValueError(f"the solution in cell {i} has {what}")
            if not checks:
                raise ValueError(f"the exercise in cell {exercise} has no check before its solution")
            found[exercise], exercise = block[1].strip(), None
    if exercise is not None:
        raise ValueError(f"the exercise in cell {exercise} has no solution")
    return found


def run(notebook: Any, file: Path, solved: dict[int, str] | None = None) -> Any:
    """Execute a notebook in a fresh kernel, in its own folder, with this checkout's convlab.

    With solutions they stand in their exercises' places. Each check must have passed with them, and none without.
    """
    notebook = plain(notebook)
    cells = []
    for i, cell in enumerate(notebook.cells):
        if solved is not None and i in solved:
            cell.source = solved[i]
        cells.append(cell)
        if "check" in tags(cell):
            wanted = f"not {PASSED}, 'this check passes an untouched exercise'"
            if solved is not None:
                wanted = f"{PASSED}, f'the solution does not pass: {{Out.get(len(In) - 2)}}'"
            cells.append(nbformat.v4.new_code_cell(f"assert {wanted}", metadata={"judge": True}))
    notebook.cells = cells
    path = os.pathsep.join(filter(None, (str(HERE.parent), os.environ.get("PYTHONPATH"))))
    with tempfile.TemporaryDirectory() as sockets:
        # Over sockets in a folder of this user, where the system has them: what goes over TCP, other users can read.
        private = {"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}} if os.name == "posix" else {}
        options = {"timeout": 600, "kernel_name": "python3", "resources": {"metadata": {"path": str(file.parent)}}}
        NotebookClient(notebook, config=Config(private), **options).execute(env={**os.environ, "PYTHONPATH": path})
    notebook.cells = [cell for cell in notebook.cells if "judge" not in cell.metadata]
    return normal(notebook)


def words(cell: Any) -> list[Any]:
    """Return what a cell's outputs say; of a picture only that it is there, since its bytes differ between versions of matplotlib."""
    said = []
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            said.append((output.name, output.text))
        else:
            said.append({kind: value if kind.startswith("text/") else "..." for kind, value in output.data.items()})
    return said


def stale(stored: Any, fresh: Any) -> list[str]:
    """Return where a stored notebook's outputs are not what a run gives today."""
    pairs = [(old, new) for old, new in zip(stored.cells, fresh.cells, strict=True) if "measured" not in tags(new)]
    return [f"{new.source}\n--- stored\n{words(old)}\n--- now\n{words(new)}" for old, new in pairs if words(old) != words(new)]


def work(file: Path, check: bool) -> list[str]:
    """Run one notebook both ways; store it, or return what is wrong with what is stored."""
    started = time.perf_counter()
    way = "before it is run"
    try:
        stored = nbformat.read(file, as_version=4)
        solved = solutions(stored)
        way = "as it stands"
        fresh = run(stored, file)
        if solved:
            way = "with its solutions"
            run(stored, file, solved)
    except (
        CellControlSignal,
        DeadKernelError,
        ValueError,
    ) as error:  # a cell raised or took too long, the kernel died, or the form is wrong
        return [f"{way}: {COLOUR.sub('', str(error))}"]
    pictures = sum("image/png" in output.get("data", {}) for cell in fresh.cells for output in cell.get("outputs", []))
    size = len(text(fresh).encode())
    took = time.perf_counter() - started
    print(f"{file.name}: {took:.0f} s both ways, {len(solved)} exercises, {pictures} pictures, {size:,} bytes", flush=True)
    if check:
        if file.read_text(encoding="utf-8") != text(normal(stored)):
            return ["it is not in the form that this script stores; run it without --check"]
        size = file.stat().st_size
    if size > LARGEST:
        return [f"it has {size:,} bytes; {LARGEST:,} are the most"]
    if check:
        return stale(stored, fresh)
    file.write_text(text(fresh), encoding="utf-8", newline="\n")
    return []


def main(argv: list[str] | None = None, folder: Path = HERE) -> int:
    """Work through a folder's notebooks that were named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", nargs="*", help="how the names of the notebooks to run begin; all unless given")
    parser.add_argument("--check", action="store_true", help="store nothing, compare")
    arguments = parser.parse_args(argv)
    files = sorted(folder.glob("[0-9]*.ipynb"))
    if not files:
        parser.error(f"no notebooks in {folder}")
    for number in arguments.numbers:
        if not any(file.name.startswith(number) for file in files):
            parser.error(f"no notebook begins with {number!r}; there are {', '.join(file.stem for file in files)}")
    chosen = [file for file in files if not arguments.numbers or file.name.startswith(tuple(arguments.numbers))]
    faults = {file.name: found for file in chosen if (found := work(file, arguments.check))}
    for name, found in faults.items():
        print(f"\n{name}:", *found, sep="\n", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
