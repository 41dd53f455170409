"""Tables for people, on any stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from streamsr.display.words import printable


def show_table(stream: TextIO, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Without `columns` the rows are names and values. Cells are wrapped on a terminal, never cut."""
    from rich.console import Console  # 50 ms, and most programs show no table
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, width=None if stream.isatty() else 500)
    table = Table(title=title, title_justify="left", box=None, show_header=bool(columns), pad_edge=False)
    for name in columns or ("", ""):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    with console.capture() as drawn:
        console.print(table)
    stream.write("".join(f"{line.rstrip()}\n" for line in drawn.get().splitlines()))
