"""The front yard says what is true: names, commands, versions and paths in the files beside the package."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import convlab

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
WORDS = {".py", ".md", ".ipynb", ".toml", ".yml", ".cff", ".html", ".js", ""}


def texts() -> Iterator[tuple[str, str]]:
    """Yield every file of words that a clone has, by its path."""
    folders = [ROOT / name for name in (".ci", ".github", "benchmarks", "convlab", "notebooks", "tests")]
    found = [path for folder in folders for path in folder.rglob("*") if "__pycache__" not in path.parts]
    for path in sorted(path for path in (*found, *ROOT.iterdir()) if path.is_file() and path.suffix in WORDS and path.name != ".git"):
        yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


OTHERS = re.compile(r"""pip install [^\n&;]{0,40}?(?<![\w/.-])convlab(?![\w/.-])|(?<![\w-])convlab\[[a-z]""")
"""What would fetch the other project that is called convlab."""


@pytest.mark.parametrize("text", ["pip install {}", 'pip install -U "{}[lab]"', "pip install numpy {}==3", "book = {}[lab]"])
def test_the_name_of_another_project_is_seen(text: str) -> None:
    assert OTHERS.search(text.format("convlab"))
    assert not OTHERS.search(text.format("convlab-engine"))


def test_no_text_sends_anyone_to_another_project() -> None:
    found = list(texts())
    assert {"README.md", "convlab/__init__.py", "notebooks/01_one_window.ipynb", ".ci/run", "Makefile"} <= {name for name, _ in found}
    assert [(name, said[0]) for name, text in found if (said := OTHERS.search(text))] == []


def test_every_extra_that_a_text_names_exists() -> None:
    named = {
        (name, extra.strip())
        for name, text in texts()
        for group in re.findall(r"""(?:install[^\n]{0,40} ["']?\.|convlab-engine)\[([a-z, ]+)\]""", text)
        for extra in group.split(",")
    }
    assert ("README.md", "lab") in named
    assert [pair for pair in sorted(named) if pair[1] not in EXTRAS] == []


def test_a_package_has_one_minimum() -> None:
    """`lint` and `peers` take whatever is there; where a minimum is stated, it is the same in each extra."""
    stated: dict[str, set[str]] = {}
    for need in (*PROJECT["dependencies"], *(need for needs in EXTRAS.values() for need in needs)):
        name, least = re.fullmatch(r"([\w-]+)(?:\[\w+\])?(.*)", need).groups()
        if least:
            stated.setdefault(name, set()).add(least)
    assert {"numpy", "numba", "rich", "pillow", "matplotlib"} <= set(stated)
    assert {name: least for name, least in stated.items() if len(least) > 1} == {}


def test_the_citation_is_of_this_version() -> None:
    citation = dict(re.findall(r"^([\w-]+): (.+)$", read("CITATION.cff"), re.MULTILINE))
    assert (citation["version"], citation["title"], citation["license"]) == (convlab.__version__, "convlab", PROJECT["license"])
    assert f"0.{convlab.__version__.split('.')[1]}." in read("CHANGELOG.md")


TARGETS = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", ".github/workflows/ci.yml", ".ci/run"])
def test_the_commands_of_a_text_exist(name: str) -> None:
    said = {target for targets in re.findall(r"(?m)(?:^|[`&:] ?)make ((?:[a-z]+ ?)+)", read(name)) for target in targets.split()}
    assert said
    assert said <= TARGETS


def test_every_path_that_contributors_are_sent_to_exists() -> None:
    paths = [path for path in re.findall(r"`([\w./*-]+/[\w./*-]*)`", read("CONTRIBUTING.md")) if not path.startswith("../")]
    assert len(paths) > 10
    assert [path for path in paths if not list(ROOT.glob(path.rstrip("/"))) and not (ROOT / f"{path}.py").is_file()] == []


def test_committing_checks_with_the_ruff_that_ci_has() -> None:
    (ruff,) = (need for need in EXTRAS["lint"] if need.startswith("ruff"))
    asked = re.findall(r'additional_dependencies: \["(.+)"\]', read(".pre-commit-config.yaml"))
    assert asked == [ruff, ruff]
