"""The table of rooms in README.md holds: who may import whom, and what each file needs from outside."""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "convlab"
OUTSIDE = ("__init__.py", "__main__.py")  # the front and the starter stand outside the order: they open the house
NAMES = {"PIL": "pillow"}  # where a distribution is imported under another name


@dataclass(frozen=True)
class Room:
    """A row of the table: a file, or a folder where the name ends in a slash."""

    name: str
    needs: frozenset[str]

    def holds(self, file: str) -> bool:
        return file == self.name or (self.name.endswith("/") and file.startswith(self.name))


def rooms(text: str) -> list[Room]:
    """Read the Markdown table headed `| room | purpose | needs |`."""
    lines = iter(text.splitlines())
    for line in lines:
        if [cell.strip() for cell in line.strip().strip("|").split("|")] == ["room", "purpose", "needs"]:
            break
    else:
        raise AssertionError("README.md has no table headed | room | purpose | needs |")
    found = []
    for line in lines:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        named = re.fullmatch(r"`([\w/.]+)`", cells[0])
        if named is not None:  # the line of dashes names no room
            words = re.findall(r"[a-z][a-z0-9_]*", re.sub(r"`\w+`", "", cells[2].lower()))  # an extra's name stands in backticks
            found.append(Room(named[1], frozenset(words) - {"stdlib"}))
    return found


def files() -> list[str]:
    """Return every Python file of the package, relative to it."""
    return sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


def imports(file: str) -> tuple[set[str], set[str]]:
    """Return the files of the package and the packages from outside that a file imports, anywhere in it."""
    inside, outside = set(), set()
    here = Path(file).parent
    for node in ast.walk(ast.parse((PACKAGE / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top, *rest = alias.name.split(".")
                if top == "convlab":
                    inside.add(module("/".join(rest)))
                else:
                    outside.add(top)
        elif isinstance(node, ast.ImportFrom):
            base = (node.module or "").split(".") if node.module else []
            if node.level == 0 and base[0] != "convlab":
                outside.add(base[0])
                continue
            folder = Path(*here.parts[: len(here.parts) - node.level + 1]) if node.level else Path()
            parts = base if node.level else base[1:]
            target = "/".join([*folder.parts, *parts])
            for alias in node.names:
                inner = f"{target}/{alias.name}".strip("/")
                inside.add(module(inner) if exists(inner) else module(target))
    return inside, {NAMES.get(name, name) for name in outside - sys.stdlib_module_names}


def exists(dotless: str) -> bool:
    return (PACKAGE / f"{dotless}.py").is_file() or (PACKAGE / dotless / "__init__.py").is_file()


def module(dotless: str) -> str:
    """Return the file of a module given as a path without ending; "" is the package itself."""
    return f"{dotless}.py" if dotless and (PACKAGE / f"{dotless}.py").is_file() else f"{dotless}/__init__.py".lstrip("/")


@pytest.fixture(scope="module")
def table() -> list[Room]:
    return rooms((ROOT / "README.md").read_text(encoding="utf-8"))


def row(table: list[Room], file: str) -> int:
    """Return the row that holds a file; a file's own row comes before its folder's."""
    found = [i for i, room in enumerate(table) if room.name == file] or [i for i, room in enumerate(table) if room.holds(file)]
    assert found, f"{file} stands in no row of the README's table of rooms"
    return found[0]


INNER = [file for file in files() if file not in OUTSIDE]


@pytest.mark.parametrize("file", INNER)
def test_every_file_has_its_row(table: list[Room], file: str) -> None:
    row(table, file)


def test_every_row_has_its_files(table: list[Room]) -> None:
    assert len({room.name for room in table}) == len(table)
    empty = [room.name for room in table if not any(room.holds(file) for file in INNER)]
    assert empty == [], f"rows without a file: {empty}"


@pytest.mark.parametrize("file", INNER)
def test_a_file_imports_only_from_the_rows_above(table: list[Room], file: str) -> None:
    own = row(table, file)
    for target in sorted(imports(file)[0]):
        if target in OUTSIDE:
            assert own == len(table) - 1, f"{file} imports the package itself, which only the last row may"
            continue
        neighbours = table[own].name.endswith("/") and row(table, target) == own
        assert neighbours or row(table, target) < own, f"{file} imports {target}, which does not stand above it"


@pytest.mark.parametrize("file", INNER)
def test_a_file_needs_what_its_row_says(table: list[Room], file: str) -> None:
    room = table[row(table, file)]
    needed = imports(file)[1]
    if room.name.endswith("/"):  # a folder's row speaks for all of its files
        needed = set().union(*(imports(other)[1] for other in INNER if table[row(table, other)] is room))
    assert needed == room.needs, f"{file} imports {sorted(needed)}, its row says {sorted(room.needs)}"


def test_nothing_imports_the_command_line() -> None:
    assert [file for file in files() if not file.startswith("cli/") and "cli/__init__.py" in imports(file)[0]] == ["__main__.py"]


def test_the_table_is_read_as_written() -> None:
    text = "# x\n\n| room | purpose | needs |\n|---|---|---|\n| `a.py` | first | stdlib |\n| `k/b.py` | second | numpy, numba |\n"
    text += "| `z/` | third | numpy (`lab`: pillow) |\n| `c.py` | fourth | |\n\nmore\n| `d.py` | not of the table | |\n"
    assert rooms(text) == [
        Room("a.py", frozenset()),
        Room("k/b.py", frozenset({"numpy", "numba"})),
        Room("z/", frozenset({"numpy", "pillow"})),
        Room("c.py", frozenset()),
    ]
    with pytest.raises(AssertionError, match="no table"):
        rooms("# convlab\n")


def test_imports_are_seen() -> None:
    inside, outside = imports("forward.py")
    assert {"images.py", "ops.py", "conv.py", "cost.py", "layers.py", "tables.py"} <= inside
    assert outside == {"numpy"}
    assert imports("kernels/__init__.py")[0] == {"geometry.py", "kernels/im2col.py", "kernels/naive.py", "machinecode/interrupts.py"}
    assert imports("zoo/__init__.py")[0] == {"weights/__init__.py", "forward.py"}
    assert "pillow" in imports("images.py")[1]
