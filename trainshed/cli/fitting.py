"""Tables that fit the width where they are shown, and in which no value is ever cut."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from trainshed.cli.formatting import NOTHING, printable

_UNBOUNDED = 10_000
_LEAST_PROSE = 16  # to which prose is folded before another column is left out

Row = Mapping[str, RenderableType]
"""The cells of a row by the heads of their columns."""


def number(text: str | Text) -> Text:
    """Return a cell of a column of numbers or times, aligned to the right."""
    return Text.assemble(text, justify="right")


def prose(text: str | None) -> Text:
    """Return a cell that may take several lines: a name or an explanation, nothing that commands take."""
    return Text(printable(text or NOTHING), overflow="fold")


class FittedTable:
    """Rows with the same heads, laid out when the width is known; the first one says how columns look.

    Where they are too wide, prose is folded; then the optional columns are left out, one after the other,
    which a note below names. Others without room follow in a table below, which begins with the first column.
    """

    def __init__(self, rows: Iterable[Row], optional: Sequence[str] = (), title: str = "") -> None:
        self._rows, self._optional, self._title = list(rows), optional, title

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table | Text]:
        def fits(heads: Sequence[str]) -> bool:
            table = self._table(heads, most=_LEAST_PROSE)
            return Measurement.get(console, unbounded, table).maximum <= options.max_width

        unbounded = options.update(width=_UNBOUNDED)
        heads, missing = list(self._rows[0]) if self._rows else [], []
        for head in (head for head in self._optional if head in heads):
            if fits(heads):
                break
            heads.remove(head)
            missing.append(head)
        while heads:
            part = next(heads[:end] for end in range(len(heads), 0, -1) if end <= 2 or fits(heads[:end]))
            yield self._table(part, fits=fits(part))
            heads = [heads[0], *heads[len(part) :]] if len(part) < len(heads) else []
            yield from [Text()] if heads else []
        if missing:
            yield Text(f"Left out to fit: {', '.join(missing)} (see --json).", "dim")

    def _table(self, heads: Sequence[str], *, most: int | None = None, fits: bool = True) -> Table:
        """Return a table of these columns, with `most` columns of prose; all are folded unless it fits."""
        table = Table(
            box=SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            padding=(0, 1, 0, 0),
            title=self._title or None,
            title_justify="left",
        )
        for head in heads:
            cell = self._rows[0][head]
            format = cell if isinstance(cell, Text) else Text()
            folds = format.overflow == "fold"
            table.add_column(
                Text(printable(head)),
                justify=format.justify or "left",
                overflow="fold",
                no_wrap=fits and not folds,
                max_width=most if folds else None,
            )
        for row in self._rows:
            table.add_row(*(row[head] for head in heads))
        return table
