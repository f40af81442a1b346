"""What the commands show at a terminal: tables, prose, bars, progress; plain text where the output goes to a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.progress_bar import ProgressBar
from rich.table import Table as RichTable
from rich.text import Text

from .compare import Comparison
from .cost import cost
from .files import plain, printable
from .layers import Network
from .ssd import Detection
from .tables import Table
from .units import percent


class Terminal(Console):
    """A console that shows texts as they are: not as rich's [markup] or :emoji:, and never as codes that the terminal obeys."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)

    def on_broken_pipe(self) -> None:
        """Leave it to the command line, which gives the exit code; rich would end the process with its own."""
        raise  # rich calls this where it has caught the error


def show(out: Console, table: Table) -> None:
    """Print a table; of its columns of words only the second may wrap.

    A table that is too wide even so runs over the edge: a number cut short would be another number.
    """
    rich = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for i, column in enumerate(zip(table.head, *table.rows, strict=True)):
        wraps = i == 1 < table.words
        width = max(len(part) for cell in column for part in (cell.split() if wraps else [cell]))
        rich.add_column(column[0], min_width=width, justify="left" if i < table.words else "right", no_wrap=not wraps)
    for row in table.rows:
        rich.add_row(*row, style="bold" if row[0] == "total" else None)
    needed = Measurement.get(out, out.options.update(width=10_000), rich)
    if needed.minimum > out.width:
        rich.width = needed.maximum
    out.print(rich, crop=False)


def say(out: Console, text: str) -> None:
    """Print prose, in lines short enough to read."""
    out.print(text, width=min(out.width, 88))


def bars(guesses: Sequence[tuple[str, float]]) -> RichTable:
    """Return labels, probabilities and bars side by side."""
    grid = RichTable(box=None, show_header=False, pad_edge=False)
    grid.add_column(overflow="fold")
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(no_wrap=True)
    for label, probability in guesses:
        grid.add_row(plain(label), percent(probability, 2), ProgressBar(total=1, completed=probability, width=24))
    return grid


def detections(found: Sequence[Detection]) -> Table:
    """Return the table of what a detector found."""
    rows = [
        (plain(label), f"{score:.2f}", *(f"{part:.0f}".replace("-0", "0") if abs(part) < 0.5 else f"{part:.0f}" for part in box))
        for label, score, box in found
    ]
    return Table("what is where, in pixels", ("found", "score", "x", "y", "width", "height"), rows or [("nothing", *[""] * 5)])


def waiting(err: Console, text: str, total: int | None = None) -> Progress:
    """Return a progress bar on stderr that leaves no trace, and shows nothing where nobody watches."""
    columns = [SpinnerColumn(), TextColumn("{task.description}", markup=False)]
    if total is not None and total > 1:
        columns += [BarColumn(), MofNCompleteColumn()]
    progress = Progress(*columns, console=err, transient=True, refresh_per_second=5, disable=not err.is_interactive)
    progress.add_task(text, total=total)
    return progress


def show_comparison(out: Console, comparison: Comparison) -> None:
    show(out, comparison.table)
    out.print()
    out.print(comparison.table.title, style="bold")


def show_kinds(out: Console, network: Network) -> None:
    """Print what each kind of layer adds to a network's parameters and MACs."""
    counted = cost(network)

    def share(part: int, whole: int) -> str:
        return percent(part / whole)

    rows = [
        (kind, f"{c.params:,}", share(c.params, counted.params), f"{c.macs:,}", share(c.macs, counted.macs))
        for kind, c in {**counted.by_kind(), "total": counted.total}.items()
        if c.params or c.macs  # a pool or a shortcut has neither
    ]
    show(out, Table(network.name, ("kind", "params", "share", "MACs", "share"), rows))
