"""The book builds without a warning, holds what it should, and every link in it leads somewhere without any network.

It needs the extra `book`; looking at it in a browser needs Chromium and Playwright, as the interactive page does.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import pytest

import convlab

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
README = (ROOT / "README.md").read_text(encoding="utf-8")


@dataclass
class Page(HTMLParser):
    """What a page names: places in it, links from it, and what it loads."""

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and given.get("rel") not in ("index", "search", "next", "prev", "author", "canonical"):
            self.loads.append(given["href"])
        elif tag != "a" and "src" in given:
            self.loads.append(given["src"])


def read(folder: Path) -> dict[Path, Page]:
    """Read a folder's pages."""
    pages = {}
    for file in sorted(folder.rglob("*.html")):
        pages[file] = Page()
        pages[file].feed(file.read_text(encoding="utf-8"))
    return pages


def lost(pages: dict[Path, Page]) -> list[str]:
    """Return the links within the book that lead nowhere."""
    found = []
    for file, page in pages.items():
        for link in [*page.links, *page.loads]:
            path, anchor = urldefrag(link)
            if re.match(r"https?:|data:", link):
                continue
            target = (file.parent / unquote(path.partition("?")[0])).resolve() if path else file
            if not target.is_file() or (anchor and target in pages and unquote(anchor) not in pages[target].ids):
                found.append(f"{file.name}: {link}")
    return found


def remote(folder: Path, pages: dict[Path, Page]) -> list[str]:
    """Return what would be loaded from a network."""
    found = [f"{file.name}: {load}" for file, page in pages.items() for load in page.loads if re.match(r"(https?:)?//", load)]
    for file in folder.rglob("*.css"):
        text = file.read_text(encoding="utf-8")
        found += [f"{file.name}: {load}" for load in re.findall(r"(?:url\(|@import )\s*['\"]?(?:https?:)?//[^)'\"]*", text)]
    return found


def test_lost_and_remote_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here">1</a><a href="b.html#gone">2</a><a href="c.html">3</a><a href="https://example.org">4</a>'
        '<img src="none.png"><script src="//cdn.example.org/x.js"></script><a href="#top">5</a><h1 id="top">6</h1>'
    )
    (tmp_path / "b.html").write_text('<h1 id="here">1</h1><link rel="stylesheet" href="s.css">')
    (tmp_path / "s.css").write_text("@import 'https://example.org/font.css'; p { background: url(x.png); }")
    pages = read(tmp_path)
    assert lost(pages) == ["a.html: b.html#gone", "a.html: c.html", "a.html: none.png", "a.html: //cdn.example.org/x.js"]
    assert remote(tmp_path, pages) == ["a.html: //cdn.example.org/x.js", "s.css: @import 'https://example.org/font.css"]


# The book itself


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it once, with warnings as errors."""
    for name in ("sphinx", "myst_nb", "furo", "latex2mathml"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f'building the book needs {name}: pip install ".[book]"')
    if not NOTEBOOKS:
        pytest.skip("there are no notebooks")
    folder = tmp_path_factory.mktemp("book")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-d",
        str(folder / "doctrees"),
        "notebooks/book",
        str(folder / "html"),
    ]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)
    assert ran.returncode == 0, ran.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def pages(book: Path) -> dict[Path, Page]:
    return read(book)


def test_every_link_in_it_leads_somewhere(pages: dict[Path, Page]) -> None:
    assert sum(len(page.links) for page in pages.values()) > 1000
    assert lost(pages) == []


def test_it_loads_nothing_from_a_network(book: Path, pages: dict[Path, Page]) -> None:
    assert remote(book, pages) == []


def test_it_holds_every_notebook_with_its_formulas_and_pictures(book: Path, pages: dict[Path, Page]) -> None:
    for notebook in NOTEBOOKS:
        file = book / "notebooks" / f"{notebook.stem}.html"
        text = file.read_text(encoding="utf-8")
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        prose = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        drawn = {
            str(output["data"]["image/png"])
            for cell in cells
            for output in cell.get("outputs", [])
            if "image/png" in output.get("data", {})
        }
        assert len({load for load in pages[file].loads if "_images/" in load}) == len(drawn)
        assert text.count('<div class="formula"><math') == prose.count("$$") / 2
        assert text.count("<summary>Solution</summary>") == prose.count("<summary>Solution</summary>") > 0


def test_it_explains_every_room(book: Path, pages: dict[Path, Page]) -> None:
    rooms = re.findall(r"^\| `([\w/.]+)` \|", README.partition("| room | purpose | needs |")[2].partition("\n\n")[0], re.MULTILINE)
    assert len(rooms) > 20
    for room in rooms:
        name = room.removesuffix("/").removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")
        assert f"module-convlab.{name}" in pages[book / "api" / f"{name}.html"].ids


def test_it_explains_every_public_name(book: Path, pages: dict[Path, Page]) -> None:
    explained = {link.rpartition("#")[2] for link in pages[book / "api" / "index.html"].links} | pages[book / "api" / "index.html"].ids
    for name in convlab.__all__:
        value = getattr(convlab, name)
        if callable(value):
            assert f"{value.__module__}.{value.__qualname__}" in explained


def test_it_holds_the_errata_as_they_stand_in_the_readme(book: Path) -> None:
    rows = README.partition("\n## Errata")[2].partition("\n## ")[0].count("\n| ") - 1  # without the table's head
    page = (book / "errata.html").read_text(encoding="utf-8")
    assert page.count("<tr") - 1 == rows > 20


def test_it_holds_the_benchmarks_the_card_and_the_interactive_page(book: Path, pages: dict[Path, Page]) -> None:
    pictures = {file.name for file in (ROOT / "benchmarks" / "results").glob("*.png")}
    assert pictures <= {load.rpartition("/")[2] for load in pages[book / "benchmarks.html"].loads}
    assert "CIFAR-10" in (book / "zoo" / "mobilenet_v2_cifar10.html").read_text(encoding="utf-8")
    assert "stepper.html" in pages[book / "step.html"].loads
    assert "stepper.html" in pages[book / "step.html"].links


# In a browser


@pytest.fixture
def tab(tab: Any) -> Any:
    """Return a view of a telephone's width."""
    return tab(viewport={"width": 400, "height": 800}, color_scheme="dark")


def test_every_page_opens_and_fits_a_narrow_screen(book: Path, pages: dict[Path, Page], tab: Any) -> None:
    wide = []
    for file in pages:
        if "_modules" not in file.parts:
            tab.goto(file.as_uri())
            if tab.evaluate("document.documentElement.scrollWidth > innerWidth"):
                wide.append(file.name)
    assert wide == []


def test_the_interactive_page_runs_inside(book: Path, tab: Any) -> None:
    tab.goto((book / "step.html").as_uri())
    inner = tab.frame_locator("iframe.stepper")
    inner.get_by_role("button", name="Play").wait_for()
    assert inner.locator(".output td").count() > 0


def test_a_search_finds(book: Path, tab: Any) -> None:
    tab.goto((book / "search.html").as_uri() + "?q=depthwise")
    tab.locator("#search-results li a").first.wait_for()


def test_a_formula_is_drawn(book: Path, tab: Any) -> None:
    tab.goto((book / "notebooks" / f"{NOTEBOOKS[0].stem}.html").as_uri())
    sizes = tab.evaluate(
        "[...document.querySelectorAll('math')].map((m) => [m.getBoundingClientRect().width, m.getBoundingClientRect().height])"
    )
    assert sizes
    assert all(width > 3 and height > 3 for width, height in sizes)
