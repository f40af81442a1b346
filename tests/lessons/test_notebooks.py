"""The notebooks as they are stored, read without running them; and the script that runs and stores them, on tiny ones.

`python notebooks/refresh.py --check` runs the notebooks themselves.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"

TITLES = {
    "01_one_window": "One window, one number",
    "02_stride_padding_dilation": "Stride, padding, dilation and the floor",
    "03_im2col": "The same sum as a matrix",
    "04_depthwise_pointwise": "Depthwise and pointwise",
    "05_compiled_loops": "Compiled loops",
    "06_how_fast": "How fast can it be?",
    "07_mobilenet_v1": "MobileNet V1",
    "08_mobilenet_v2": "MobileNet V2",
    "09_folding_and_plans": "Batch-norm folding and the compiled plan",
    "10_count_it_yourself": "Count it yourself",
    "11_write_your_own": "Write your own kernel",
}
LARGEST = 1_200_000
MOST_EXERCISES = 6


def test_the_eleven_are_there() -> None:
    assert [file.stem for file in sorted(FOLDER.glob("*.ipynb"))] == list(TITLES)


def test_the_readme_lists_them() -> None:
    text = (FOLDER.parent / "README.md").read_text(encoding="utf-8").partition("## The notebooks")[2].partition("\n## ")[0]
    assert re.findall(r"^(\d+)\. \*\*(.*?)\*\*", text, re.MULTILINE) == [(str(int(name[:2])), title) for name, title in TITLES.items()]


# Each notebook, as it is stored


@pytest.fixture(params=sorted(FOLDER.glob("*.ipynb")), ids=lambda file: file.stem, scope="module")
def file(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture(scope="module")
def cells(file: Path) -> list[dict[str, Any]]:
    """Return the cells, each with its text and outputs as strings."""
    found = json.loads(file.read_text(encoding="utf-8"))["cells"]
    for cell in found:
        cell["source"] = "".join(cell["source"])
        cell["tags"] = cell["metadata"].get("tags", [])
    return found


def prose(cells: list[dict[str, Any]]) -> list[str]:
    return [cell["source"] for cell in cells if cell["cell_type"] == "markdown"]


def code(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [cell for cell in cells if cell["cell_type"] == "code"]


def parsed(source: str) -> ast.Module:
    """Return the cell's tree; lines of magic (`%matplotlib inline`) are no Python."""
    return ast.parse(re.sub(r"^[%!].*$", "pass", source, flags=re.MULTILINE))


def test_it_is_small(file: Path) -> None:
    assert file.stat().st_size <= LARGEST


def test_its_form_is_the_stored_one(file: Path, cells: list[dict[str, Any]]) -> None:
    text = file.read_text(encoding="utf-8")
    whole = json.loads(text)
    assert text == json.dumps(whole, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    assert (whole["nbformat"], whole["nbformat_minor"]) == (4, 5)
    assert whole["metadata"] == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    assert [cell["id"] for cell in cells] == [f"cell-{i:03}" for i in range(len(cells))]
    assert [cell["metadata"] for cell in cells] == [{"tags": cell["tags"]} if cell["tags"] else {} for cell in cells]
    assert [cell["execution_count"] for cell in code(cells)] == list(range(1, len(code(cells)) + 1))


def prints(source: str) -> bool:
    """Whether a cell prints at its top level, whatever else happens in it."""
    calls = [node.value for node in parsed(source).body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)]
    return any(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls)


def test_it_has_been_run_without_an_error(cells: list[dict[str, Any]]) -> None:
    for cell in code(cells):
        kinds = {output["output_type"] for output in cell["outputs"]}
        assert "error" not in kinds, cell["source"]
        assert "stream" in kinds or not prints(cell["source"]), f"run it: {cell['source']}"
        assert "execute_result" in kinds or "check" not in cell["tags"], f"run it: {cell['source']}"
        assert not any(output.get("name") == "stderr" for output in cell["outputs"]), f"it warns: {cell['source']}"


def test_it_names_no_place_on_one_machine(file: Path, cells: list[dict[str, Any]]) -> None:
    texts = [*(cell["source"] for cell in cells), json.dumps([cell["outputs"] for cell in code(cells)])]
    for text in texts:
        without_pictures = re.sub(r'"image/png": "[^"]*"', "", text)
        assert not re.search(r"(?<![\w.:/])/(home|root|tmp|usr|opt|work|var|Users)/|[A-Z]:\\+Users|site-packages", without_pictures)


def bullets(text: str) -> int:
    return len(re.findall(r"^[-*] ", text, re.MULTILINE))


def test_it_begins_with_what_it_is_for(file: Path, cells: list[dict[str, Any]]) -> None:
    first = cells[0]["source"]
    assert first.startswith(f"# {file.stem[:2]} {TITLES[file.stem]}\n")
    aims, _, rest = first.partition("**You need**")
    assert "**You will be able to**" in aims
    assert 3 <= bullets(aims) <= 5
    minutes = re.search(r"\*\*Time\*\* about (\d+) minutes", rest)
    assert minutes is not None
    assert 15 <= int(minutes[1]) <= 45


def test_it_ends_with_what_to_take_along(file: Path, cells: list[dict[str, Any]]) -> None:
    last = cells[-1]["source"]
    assert "What to take along" in last
    assert 3 <= bullets(last) <= 5
    names = list(TITLES)
    if file.stem != names[-1]:
        after = names[names.index(file.stem) + 1]
        assert f"Next: [{after[:2]} {TITLES[after]}]({after}.ipynb)" in last


def test_every_link_leads_to_a_notebook_or_to_the_web(cells: list[dict[str, Any]]) -> None:
    for text in prose(cells):
        text = re.sub(r"```.*?```|`[^`]*`|\$[^$]*\$", "", text, flags=re.DOTALL)
        for link in re.findall(r"\]\(([^)\s]*)[^)]*\)|(?:href|src)=\"([^\"]*)\"", text):
            target = link[0] or link[1]
            assert target.startswith("https://") or (FOLDER / target).suffix == ".ipynb", target
            assert target.startswith("https://") or (FOLDER / target).is_file(), target


def test_its_exercises_have_hints_and_solutions(file: Path, cells: list[dict[str, Any]]) -> None:
    places = [i for i, cell in enumerate(cells) if "exercise" in cell["tags"]]
    assert 3 <= len(places) <= MOST_EXERCISES
    for k, i in enumerate(places, 1):
        _, _, task = "".join(prose(cells[:i])).rpartition("### Exercise ")
        assert task.startswith(f"{int(file.stem[:2])}.{k}: "), task
        assert re.search(r"^Difficulty: ●[●○][●○] \| about \d+ minutes?$", task, re.MULTILINE), task
        hints = re.findall(r"<details><summary>Hint (\d)</summary>\n\n.*?\n\n</details>", task, re.DOTALL)
        assert hints == ["1", "2", "3"][: len(hints)] != [], task
        after = i + 1
        while "check" in cells[after]["tags"]:
            after += 1
        assert after > i + 1, f"nothing judges {cells[i]['source']}"
        form = r"<details><summary>Solution</summary>\n\n```python\n(.*?)```\n\n(.*?)\n\n</details>"
        solution = re.match(form, cells[after]["source"], re.DOTALL)
        assert solution is not None, f"no solution and its reason after {cells[i]['source']}"
        assert parsed(solution[1]).body
    assert sum("<summary>Solution" in text for text in prose(cells)) == len(places)


# The script that runs and stores them


@pytest.fixture(scope="module")
def refresh() -> Any:
    for name in ("nbclient", "ipykernel"):
        pytest.importorskip(name, reason=f'running notebooks needs {name}: pip install ".[book]"')
    spec = importlib.util.spec_from_file_location("refresh", FOLDER / "refresh.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SOLUTION = "<details><summary>Solution</summary>\n\n```python\nn = 6 * 7\n```\n\nRows times columns.\n\n</details>"
JUDGE = "answer(n, 42, faults={13: 'a product is asked for'})"
IMPORT = "from convlab.lessons import answer"


def written(folder: Path, *cells: tuple[str, ...]) -> Path:
    """Write a notebook of cells, each a kind, a text and tags, and return its file."""
    made = []
    for i, (kind, text, *tags) in enumerate(cells):
        cell: dict[str, Any] = {"cell_type": kind, "source": text, "metadata": {"tags": tags}, "id": f"mine-{i}"}
        made.append({**cell, "outputs": [], "execution_count": None} if kind == "code" else cell)
    file = folder / "01_tiny.ipynb"
    file.write_text(json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return file


def exercise(solution: str = SOLUTION, judge: str = JUDGE, start: str = "n = ...") -> list[tuple[str, ...]]:
    return [("code", IMPORT), ("code", start, "exercise"), ("code", judge, "check"), ("markdown", solution)]


def test_what_is_stored_is_the_same_each_time_and_checks(refresh: Any, tmp_path: Path, capsys) -> None:
    file = written(
        tmp_path,
        *exercise(),
        ("code", "import time\nprint(time.perf_counter_ns())", "measured"),
        ("code", "for _ in range(2):\n    print('one', flush=True)"),  # from here on `_` is not the last value
        *exercise(),
        (
            "code",
            "import convlab\nfrom pathlib import Path\n\nPath(convlab.__file__).parents[1].joinpath('notebooks', 'refresh.py').is_file()",
        ),
    )
    assert refresh.main([], tmp_path) == 0
    stored = file.read_text()
    assert "2 exercises" in capsys.readouterr().out
    cells = json.loads(stored)["cells"]
    assert "Not answered yet" in json.dumps(cells[2]["outputs"])
    assert [output["text"] for output in cells[5]["outputs"]] == [["one\n", "one\n"]]
    assert cells[-1]["outputs"][0]["data"] == {"text/plain": ["True"]}
    assert [cell["id"] for cell in cells] == [f"cell-{i:03}" for i in range(len(cells))]
    assert json.loads(stored)["metadata"]["language_info"] == {"name": "python"}

    assert refresh.main(["--check"], tmp_path) == 0
    assert file.read_text() == stored
    assert refresh.main(["01"], tmp_path) == 0
    assert [cell for cell in json.loads(file.read_text())["cells"] if cell["metadata"] != {"tags": ["measured"]}] == [
        cell for cell in cells if cell["metadata"] != {"tags": ["measured"]}
    ]
    capsys.readouterr()

    stale = stored.replace('"one\\n",', '"two\\n",', 1)
    assert stale != stored
    file.write_text(stale)
    assert refresh.main(["--check"], tmp_path) == 1
    said = capsys.readouterr().err
    assert "01_tiny.ipynb:" in said
    assert "two\\none\\n" in said.partition("--- now")[0].partition("--- stored")[2]
    assert "one\\none\\n" in said.partition("--- now")[2]
    assert file.read_text() == stale

    file.write_text(stored.replace("cell-000", "another"))
    assert refresh.main(["--check"], tmp_path) == 1
    assert "not in the form" in capsys.readouterr().err


FAULTS = {
    "a cell raises": (
        [("code", "1 + 1"), ("code", "rows = []\nrows[3]")],
        ["as it stands", "rows = []\nrows[3]", "IndexError: list index"],
    ),
    "the solution is wrong": (
        exercise(SOLUTION.replace("*", "+")),
        ["with its solutions", "the solution does not pass: 13 is not right: a product is asked for."],
    ),
    "the solution raises": (exercise(SOLUTION.replace("6", "six")), ["with its solutions", "NameError: name 'six'"]),
    "nothing to do": (exercise(start="n = 42  # ..."), ["as it stands", "passes an untouched exercise"]),
    "a check says nothing": (exercise(judge="assert n"), ["with its solutions", "the solution does not pass: None"]),
    "the kernel dies": ([("code", "import os\n\nos._exit(1)")], ["as it stands", "Kernel died"]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_a_run_finds_is_reported_and_nothing_is_stored(refresh: Any, tmp_path: Path, capsys, name: str) -> None:
    cells, texts = FAULTS[name]
    file = written(tmp_path, *cells)
    before = file.read_text()
    assert refresh.main([], tmp_path) == 1
    said = capsys.readouterr().err
    assert [text for text in ["01_tiny.ipynb:", *texts] if text not in said] == []
    assert "\x1b" not in said
    assert file.read_text() == before


CODE, CHECK, SOLVED = ("code", "n = ...", "exercise"), ("code", JUDGE, "check"), ("markdown", SOLUTION)
FORMS = {
    "cell 0 has an unknown tag 'Exercise'; there are exercise, check, measured": [("code", "n = ...", "Exercise"), CHECK, SOLVED],
    "cell 0 is no code and has the tag 'check'": [("markdown", "text", "check")],
    "the exercise in cell 0 has no solution": [CODE, CHECK],
    "the exercise in cell 0 has no solution before the next": [CODE, CHECK, CODE, CHECK, SOLVED],
    "the exercise in cell 1 has no check before its solution": [("code", "1"), CODE, SOLVED, CHECK],
    "the check in cell 0 has no exercise before it": [CHECK],
    "the check in cell 3 has no exercise before it, or stands under its solution": [CODE, CHECK, SOLVED, CHECK],
    "the solution in cell 0 has no exercise before it": [SOLVED],
    "the solution in cell 2 has no block": [CODE, CHECK, ("markdown", SOLUTION.replace("```python", "```"))],
}


@pytest.mark.parametrize("said", FORMS)
def test_a_wrong_form_is_refused_before_anything_runs(refresh: Any, tmp_path: Path, capsys, monkeypatch, said: str) -> None:
    monkeypatch.setattr(refresh, "run", None)
    written(tmp_path, *FORMS[said])
    assert refresh.main([], tmp_path) == 1
    assert f"before it is run: {said}" in capsys.readouterr().err


def test_a_file_that_is_no_notebook_is_refused(refresh: Any, tmp_path: Path, capsys) -> None:
    (tmp_path / "01_torn.ipynb").write_text('{"cells": [')
    assert refresh.main([], tmp_path) == 1
    assert "before it is run: Notebook does not appear to be JSON" in capsys.readouterr().err


def test_a_large_notebook_is_refused(refresh: Any, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(refresh, "LARGEST", 1000)
    monkeypatch.setattr(refresh, "run", lambda notebook, *_: refresh.normal(notebook))
    file = written(tmp_path, ("markdown", "long " * 500))
    before = file.read_text()
    for option in ([], ["--check"]):
        assert refresh.main(option, tmp_path) == 1
        assert "1,000 are the most" in capsys.readouterr().err or option
    assert file.read_text() == before


def test_only_the_named_are_run(refresh: Any, tmp_path: Path, capsys, monkeypatch) -> None:
    ran: list[str] = []
    monkeypatch.setattr(refresh, "work", lambda file, check: ran.append(file.name) or [])
    with pytest.raises(SystemExit):
        refresh.main([], tmp_path)
    for name in ("01_a", "02_b", "02_c", "book"):
        (tmp_path / f"{name}.ipynb").touch()
    assert refresh.main(["02"], tmp_path) == 0
    assert ran == ["02_b.ipynb", "02_c.ipynb"]
    with pytest.raises(SystemExit):
        refresh.main(["03"], tmp_path)
    assert "no notebook begins with '03'; there are 01_a, 02_b, 02_c" in capsys.readouterr().err
