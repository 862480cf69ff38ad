"""Tables that fit the width where they are shown, and in which no value is ever cut."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

_GAP = 2  # columns of the terminal between two columns of a table: the cell's padding, and the box's divider
_UNBOUNDED = 10_000
_LEAST_PROSE = 16  # to which prose is folded before another column is left out


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        leaves: where the table is too wide, columns with a greater number are left out before others, and of
            equal ones the last.
        folds: whether its values may take several lines before a column is left out: names and
            explanations, and nothing that commands take, since one copies a line.
    """

    name: str
    leaves: int = 0
    justify: Literal["left", "right"] = "left"
    folds: bool = False


def text(name: str, leaves: int = 0) -> Column:
    """Return a column of ids, states or words, which stay on one line."""
    return Column(name, leaves)


def prose(name: str, leaves: int = 0) -> Column:
    """Return a column of names or explanations, which may take several lines."""
    return Column(name, leaves, folds=True)


def number(name: str, leaves: int = 0) -> Column:
    """Return a column of numbers or times, aligned to the right."""
    return Column(name, leaves, justify="right")


class FittedTable:
    """A table that is laid out when its width is known.

    Where it is too wide, prose is folded; then columns are left out, which a note below names. With
    `continued`, columns are not left out: those without room follow in another table below, which begins
    with the first column again.
    """

    def __init__(
        self, *columns: Column, title: str = "", continued: bool = False, with_note: bool = True
    ) -> None:
        self._columns, self._title = columns, title
        self._continued, self._with_note = continued, with_note
        self._rows: list[Sequence[RenderableType]] = []

    def add_row(self, *cells: RenderableType) -> None:
        """Add a row, a cell for each column."""
        self._rows.append(cells)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table | Text]:
        natural = [self._width(index, console, options) for index in range(len(self._columns))]
        if self._continued:
            for number_of_part, part in enumerate(_parts(natural, options.max_width)):
                if number_of_part:
                    yield Text()
                yield self._table(part, natural, options.max_width)
            return
        if _total(natural) > options.max_width:  # each word of a head on a line of its own
            natural = [self._width(index, console, options, "\n") for index in range(len(self._columns))]
        shown = self._shown(natural, options.max_width)
        yield self._table(shown, natural, options.max_width)
        missing = [column.name for index, column in enumerate(self._columns) if index not in shown]
        if missing and self._with_note:
            yield Text(f"Left out to fit: {', '.join(missing)} (see --json).", "dim")

    def _width(self, index: int, console: Console, options: ConsoleOptions, space: str = " ") -> int:
        """Return the width of a column in which each value has one line, and its head where `space` is."""
        unbounded = options.update(width=_UNBOUNDED)
        cells = [Text(self._columns[index].name.replace(" ", space)), *(row[index] for row in self._rows)]
        return max(Measurement.get(console, unbounded, cell).maximum for cell in cells)

    def _shown(self, natural: Sequence[int], width: int) -> list[int]:
        """Return the columns for which there is room, those that leave last preferred; at least one."""
        shown: list[int] = []
        for index in sorted(range(len(natural)), key=lambda index: self._columns[index].leaves):
            needed = _total(self._least(each, natural) for each in [*shown, index])
            if needed <= width or not shown:
                shown.append(index)
        return sorted(shown)

    def _least(self, index: int, natural: Sequence[int]) -> int:
        return min(natural[index], _LEAST_PROSE) if self._columns[index].folds else natural[index]

    def _table(self, shown: Sequence[int], natural: Sequence[int], width: int) -> Table:
        table = Table(
            box=SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            padding=(0, _GAP - 1, 0, 0),
            title=self._title or None,
            title_justify="left",
        )
        widths = {index: natural[index] for index in shown}
        folding = [index for index in shown if self._columns[index].folds]
        while folding and _total(widths.values()) > width:
            widest = max(folding, key=lambda index: widths[index])
            if widths[widest] <= _LEAST_PROSE:
                break  # a terminal as narrow as this folds every column
            widths[widest] -= 1
        for index in shown:
            column = self._columns[index]
            table.add_column(column.name, justify=column.justify, overflow="fold", width=widths[index])
        for row in self._rows:
            table.add_row(*(row[index] for index in shown))
        return table


def _total(widths: Iterable[int]) -> int:
    every = tuple(widths)
    return sum(every) + _GAP * (len(every) - 1)


def _parts(natural: Sequence[int], width: int) -> Iterator[list[int]]:
    """Divide columns among tables that fit; each begins with the first column."""
    part = [0]
    for index in range(1, len(natural)):
        if len(part) > 1 and _total([natural[each] for each in [*part, index]]) > width:
            yield part
            part = [0]
        part.append(index)
    yield part
