"""Tables as text and as HTML."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from convlab.tables import Table

TABLE = Table("A title", ("layer", "kind", "MACs"), [("stem", "standard", "10,838,016"), ("x", "depthwise", "7")], words=2)


class Cells(HTMLParser):
    """Collects the text of each cell, and which tags were open around it."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[tuple[str, str]] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.open.append(tag)
        self.seen.add(tag)
        if tag in ("td", "th"):
            self.cells.append((tag, ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1] in ("td", "th"):
            tag, text = self.cells.pop()
            self.cells.append((tag, text + data))


def parse(table: Table) -> Cells:
    parser = Cells()
    parser.feed(table._repr_html_())
    parser.close()
    assert parser.open == []
    return parser


def test_text_is_aligned_words_left_and_numbers_right() -> None:
    assert str(TABLE).splitlines() == [
        "A title",
        "layer  kind             MACs",
        "----------------------------",
        "stem   standard   10,838,016",
        "x      depthwise           7",
    ]
    assert repr(TABLE) == str(TABLE)


def test_a_table_without_rows_shows_its_head() -> None:
    assert str(Table("none", ("a", "bc"), [])).splitlines() == ["none", "a  bc", "-----"]
    assert parse(Table("none", ("a", "bc"), [])).cells == [("th", "a"), ("th", "bc")]


def test_iterating_gives_the_rows() -> None:
    assert list(TABLE) == TABLE.rows == [("stem", "standard", "10,838,016"), ("x", "depthwise", "7")]


def test_html_has_every_cell_in_order() -> None:
    parsed = parse(TABLE)
    assert parsed.seen == {"table", "caption", "thead", "tbody", "tr", "th", "td"}
    assert parsed.cells == [("th", cell) for cell in TABLE.head] + [("td", cell) for row in TABLE.rows for cell in row]


def test_html_is_escaped() -> None:
    evil = '<script>alert("1")</script> & "quotes"'
    table = Table(evil, ("<b>", "k"), [(evil, "a < b")])
    html = table._repr_html_()
    assert "<script" not in html
    assert "<b>" not in html
    parsed = parse(table)
    assert parsed.seen == {"table", "caption", "thead", "tbody", "tr", "th", "td"}
    assert parsed.cells == [("th", "<b>"), ("th", "k"), ("td", evil), ("td", "a < b")]


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        str(Table("t", ("a", "b"), [("1",)]))


def test_a_table_says_how_many_of_its_columns_are_words() -> None:
    rows = [("a", "b", "1"), ("long", "longer", "10")]
    one, two = Table("t", ("x", "y", "z"), rows), Table("t", ("x", "y", "z"), rows, words=2)
    assert str(one).splitlines()[3:] == ["a          b   1", "long  longer  10"]
    assert str(two).splitlines()[3:] == ["a     b        1", "long  longer  10"]
    assert one._repr_html_().count("left") == 3 * one.words
    assert two._repr_html_().count("left") == 3 * two.words
