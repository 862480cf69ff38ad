"""Tables that fit the width of the terminal without cutting any value."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import measure_renderables
from rich.table import Table
from rich.text import Text

from trainshed.cli.formatting import NOTHING, printable

_GAP = 2  # columns of the terminal between two columns of a table: the cell's padding, and the box's divider
_UNBOUNDED = 10_000
_LEAST_PROSE = 16  # columns to which prose is folded before another column is left out

Row = Mapping[str, RenderableType]
"""The cells of a row by the heads of their columns."""


def number(text: str | Text) -> Text:
    """Return a cell of a column of numbers or times, aligned to the right."""
    return Text.assemble(text, justify="right")


def prose(text: str | None) -> Text:
    """Return a cell that may take several lines: a name or an explanation, not an argument of commands."""
    return Text(printable(text or NOTHING), overflow="fold")


class FittedTable:
    """Rows with the same heads, laid out when the width is known; the first row decides the columns' look.

    If the rows are too wide, prose is folded; then optional columns are left out, one after the other, and a
    note below names them. If the rest is too wide, its last columns follow in a table below, after a copy of
    the first column.
    """

    def __init__(self, rows: Iterable[Row], optional: Sequence[str] = (), title: str = "") -> None:
        self._rows, self._optional, self._title = list(rows), optional, title

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table | Text]:
        def fits(heads: Sequence[str]) -> bool:
            return sum(widths[head] for head in heads) + _GAP * (len(heads) - 1) <= options.max_width

        unbounded = options.update(width=_UNBOUNDED)
        heads, missing = list(self._rows[0]) if self._rows else [], []
        widths = {head: self._least_width(head, console, unbounded) for head in heads}
        for head in (head for head in self._optional if head in heads):
            if fits(heads):
                break
            heads.remove(head)
            missing.append(head)
        while heads:
            part = next(heads[:end] for end in range(len(heads), 0, -1) if end <= 2 or fits(heads[:end]))
            yield self._table(part, fold_all=not fits(part))
            heads = [heads[0], *heads[len(part) :]] if len(part) < len(heads) else []
            yield from [Text()] if heads else []
        if missing:
            yield Text(f"Left out to fit: {', '.join(missing)} (see --json).", "dim")

    def _look(self, head: str) -> Text:
        """Return a cell that has the look of a column."""
        cell = self._rows[0][head]
        return cell if isinstance(cell, Text) else Text()

    def _least_width(self, head: str, console: Console, unbounded: ConsoleOptions) -> int:
        cells = [Text(head), *(row[head] for row in self._rows)]
        width = measure_renderables(console, unbounded, cells).maximum
        return min(width, _LEAST_PROSE) if self._look(head).overflow == "fold" else width

    def _table(self, heads: Sequence[str], *, fold_all: bool) -> Table:
        table = Table(
            box=SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            padding=(0, _GAP - 1, 0, 0),
            title=self._title or None,
            title_justify="left",
        )
        for head in heads:
            look = self._look(head)
            is_whole = look.overflow != "fold" and not fold_all
            justify = look.justify or "left"
            table.add_column(Text(printable(head)), justify=justify, overflow="fold", no_wrap=is_whole)
        for row in self._rows:
            table.add_row(*(row[head] for head in heads))
        return table
