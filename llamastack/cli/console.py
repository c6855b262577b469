"""What the commands print: tables on stdout, notes on stderr."""

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

UNBOUNDED = 10_000

output = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else UNBOUNDED)
notes = Console(stderr=True, highlight=False, soft_wrap=True)


def warn(text: str) -> None:
    notes.print(f"[yellow]Warning:[/yellow] {escape(text)}")


def say(text: str) -> None:
    """A line about what is being done. Rich's markup in it holds: escape what others wrote."""
    output.print(text)


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Whole lines where a program reads them; on a terminal the columns after the second fold."""
    built = Table(*headings, box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(built.columns):
        column.no_wrap, column.overflow = index < 2, "fold"
    for row in rows:
        built.add_row(*(escape(str(cell)) for cell in row))
    output.print(built, soft_wrap=False)
