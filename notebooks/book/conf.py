"""How the book is built: `sphinx-build -W notebooks/book build/book`, with the extra `book` installed.

Only this file, `index.md`, `step.md` and `static/` are written by hand. Everything else in this folder is put there, before Sphinx
looks for pages, from the places where it is kept: the notebooks with their stored outputs, README's errata and table of
rooms, the benchmarks, the model's card, and the interactive page. The pages load nothing from any network: formulas
become MathML, which browsers draw themselves.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError
from sphinx.util.nodes import make_refnode

BOOK = Path(__file__).resolve().parent
ROOT = BOOK.parents[1]
BY_HAND = {"conf.py", "index.md", "step.md", "static"}

sys.path.insert(0, str(ROOT))
os.environ["NUMBA_DISABLE_JIT"] = "1"  # compiled functions hide their docstrings

project = "convlab"
author = "the convlab authors"
copyright = author
html_title = "convlab"
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["book.css"]
pygments_style, pygments_dark_style = "friendly", "github-dark"
html_copy_source = False
html_show_search_summary = False  # would fetch the pages, which a browser forbids to pages opened from disk
html_math_renderer = "mathml"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
suppress_warnings = ["myst.header"]  # exercises are headings of the third level, wherever they stand

nb_execution_mode = "off"  # the stored outputs are what `notebooks/refresh.py --check` holds true
myst_enable_extensions = ["amsmath", "dollarmath"]

viewcode_follow_imported_members = False
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "ignore-module-all": True, "exclude-members": "set"}  # matplotlib gives its heirs a `set`
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_preprocess_types = True
napoleon_type_aliases = {"dtype": "numpy.dtype"}
python_maximum_signature_line_length = 100
default_role = "py:obj"
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!convlab\.).*|.*\.[A-Z]")]  # other projects' pages lie in the network; type variables have none


# The pages that are kept elsewhere


def section(name: str) -> str:
    """Return the text of one of README's sections."""
    found = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", readme(), re.MULTILINE | re.DOTALL)
    if found is None:
        raise ExtensionError(f"README.md has no section {name!r}")
    return found[1]


def readme() -> str:
    """Return README's text."""
    return (ROOT / "README.md").read_text(encoding="utf-8")


def rooms() -> list[tuple[str, str, str]]:
    """Return README's table of rooms: file or folder, purpose, needs."""
    found = re.findall(r"^\| `([\w/.]+)` \| (.*?) \| *(.*?) *\|$", section("The rooms"), re.MULTILINE)
    if not found:
        raise ExtensionError("README.md has no table of rooms")
    return found


def modules(room: str) -> list[str]:
    """Return the names of a room's modules, a package before what is in it."""
    place = ROOT / "convlab" / room
    packages = sorted(found.parent for found in place.rglob("__init__.py")) if room.endswith("/") else []
    files = [file for package in packages for file in (package / "__init__.py", *sorted(package.glob("[a-z]*.py")))] or [place]
    parts = [file.relative_to(ROOT).with_suffix("").parts for file in files]
    return [".".join(part[:-1] if part[-1] == "__init__" else part) for part in parts]


def api() -> dict[str, str]:
    """Return the reference: an index, and a page for each room."""
    import convlab

    pages, names, lines = {}, [], []
    for room, purpose, needs in rooms():
        name = modules(room)[0].removeprefix("convlab.")
        directives = "\n".join(f".. automodule:: {module}\n" for module in modules(room))
        needed = f" Needs {needs}." if needs else ""
        pages[f"api/{name}.md"] = f"# {name}\n\n`{room}`: {purpose}.{needed}\n\n```{{eval-rst}}\n{directives}```\n"
        names.append(name)
        lines.append(f"| [{name}]({name}.md) | {purpose} |")
    front = []
    for name in convlab.__all__:
        value = getattr(convlab, name)
        if callable(value) and value.__module__ != "convlab":
            said = (value.__doc__ or "").partition("\n")[0]
            front.append(f"| {{py:obj}}`cl.{name} <{value.__module__}.{value.__qualname__}>` | {said} |")
    pages["api/index.md"] = "\n".join(
        [
            "# Reference",
            "",
            "What `import convlab as cl` brings, then every room of the house. A room uses only those above it.",
            "",
            "| name | |",
            "|---|---|",
            *front,
            "",
            "```{eval-rst}\n.. autofunction:: convlab.check\n```",
            "",
            "## The rooms",
            "",
            "| room | purpose |",
            "|---|---|",
            *lines,
            "",
            "```{toctree}\n:hidden:\n",
            *names,
            "```",
            "",
        ]
    )
    return pages


def linked(text: str, there: set[str]) -> str:
    """Return a Markdown text whose links to files that the book does not hold are words only."""

    def kept(found: re.Match[str]) -> str:
        target = found[2]
        return found[0] if target.startswith(("https://", "#")) or target in there else found[1]

    return re.sub(r"(?<!!)\[([^]]*)\]\(([^)]*)\)", kept, text)


def collected() -> dict[str, str | bytes]:
    """Return every page and picture that is not written by hand, by its place in the book."""
    pages: dict[str, str | bytes] = {**api()}
    for file in (ROOT / "notebooks").glob("[0-9]*.ipynb"):
        pages[f"notebooks/{file.name}"] = file.read_bytes()
    pages["errata.md"] = f"# Errata\n{linked(section('Errata'), set())}"
    pages["benchmarks.md"] = linked((ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8"), set())
    for file in (ROOT / "benchmarks" / "results").glob("*.png"):
        pages[f"results/{file.name}"] = file.read_bytes()
    cards = {file.relative_to(ROOT / "convlab" / "zoo").as_posix(): file for file in (ROOT / "convlab" / "zoo").rglob("*.md")}
    for name, file in cards.items():
        pages[f"zoo/{name}"] = linked(file.read_text(encoding="utf-8"), set(cards))
    return pages


def collect(app: Sphinx) -> None:
    """Put the pages in place and take away those of an earlier build; what has not changed keeps its date, so it is not built anew."""
    from convlab import cli

    pages = {BOOK / name: text.encode() if isinstance(text, str) else text for name, text in collected().items()}
    for old in sorted(BOOK.rglob("*"), reverse=True):
        if old.relative_to(BOOK).parts[0] not in BY_HAND and old not in pages:
            if old.is_file():
                old.unlink()
            elif not any(old.iterdir()):
                old.rmdir()
    for file, text in pages.items():
        if not file.is_file() or file.read_bytes() != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text)
    if cli.run(["step", "--out", str(app.outdir / "stepper.html")]) != 0:
        raise ExtensionError("the interactive page could not be written")


# Docstrings


def escape(app: Sphinx, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    """Keep signs as they are that reStructuredText would read as markup: docstrings are written for readers of the code."""
    for i, line in enumerate(lines):
        if line[:1] not in ("", " ", ">"):
            pieces = re.split(r"(`+[^`]*`+)", line)
            lines[i] = "".join(piece if k % 2 else re.sub(r"\||(?<=\w)_(?!\w)", r"\\\g<0>", piece) for k, piece in enumerate(pieces))


def resolve(app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, child: nodes.Element) -> nodes.reference | None:
    """Lead `convlab.conv2d`, a name that another module passes on, to where it is explained."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or not target.startswith("convlab."):
        return None
    domain = env.domains.python_domain
    last = target.rpartition(".")[2]
    found = [name for name, place in domain.objects.items() if name.endswith(f".{last}") and place.objtype in ("class", "data", "function")]
    if len(found) != 1:
        return None
    place = domain.objects[found[0]]
    return make_refnode(app.builder, node["refdoc"], place.docname, place.node_id, child, found[0])


# Formulas


def mathml(latex: str, display: str) -> str:
    """Return a formula as MathML."""
    made = convert(latex, display=display)
    unknown = re.search(r"\\[a-zA-Z]+", made)
    if unknown is not None:
        raise ExtensionError(f"no MathML for {unknown[0]} in {latex!r}")
    return made


def visit_math(self: Any, node: nodes.math) -> None:
    """Write a formula in a line."""
    self.body.append(mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def visit_math_block(self: Any, node: nodes.math_block) -> None:
    """Write a formula on lines of its own."""
    self.body.append(f'<div class="formula">{mathml(node.astext(), "block")}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Tell Sphinx."""
    app.connect("builder-inited", collect)
    app.connect("autodoc-process-docstring", escape, priority=100)  # before napoleon
    app.connect("missing-reference", resolve)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
