"""A table to read: plain text where it is printed, HTML in a notebook."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence

from .files import plain


class Table:
    """A table to read: plain text where it is printed, HTML in a notebook.

    Attributes
    ----------
    title : str
    head : tuple of str
    rows : list of tuple of str
    words : int
        How many of the first columns are words; the others are numbers.
    """

    def __init__(self, title: str, head: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> None:
        # Layers are named by whoever made the file: a name must neither break a line nor reach a terminal as a code.
        self.title, self.head, self.rows = plain(title), tuple(map(plain, head)), [tuple(map(plain, row)) for row in rows]
        self.words = words

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        return iter(self.rows)

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.head, *self.rows, strict=True)]

        def line(row: tuple[str, ...]) -> str:
            cells = [cell.ljust(w) if i < self.words else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))]
            return "  ".join(cells).rstrip()

        return "\n".join([self.title, line(self.head), "-" * (sum(widths) + 2 * len(widths) - 2), *map(line, self.rows)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        def line(row: tuple[str, ...], tag: str) -> str:
            sides = ["left" if i < self.words else "right" for i in range(len(row))]
            cells = (f'<{tag} style="text-align:{side}">{html.escape(cell)}</{tag}>' for cell, side in zip(row, sides, strict=True))
            return f"<tr>{''.join(cells)}</tr>"

        body = "".join(line(row, "td") for row in self.rows)
        return f"<table><caption>{html.escape(self.title)}</caption><thead>{line(self.head, 'th')}</thead><tbody>{body}</tbody></table>"
