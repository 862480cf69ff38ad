"""Formatting of the values that the command line shows: tables, cells, times, ids."""

from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from shared.lifecycle import JobState

NOTHING = "-"

_SHORT_ID_LENGTH = 8
_AGE_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))
_STATE_STYLES = {
    JobState.QUEUED: "yellow",
    JobState.RUNNING: "cyan",
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "bold red",
    JobState.CANCELLED: "magenta",
}


def new_table(*columns: str, left: int = 1) -> Table:
    """Return an empty table: the first `left` columns hold text, which may be truncated, the rest numbers."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for index, name in enumerate(columns):
        table.add_column(name, justify="left" if index < left else "right", no_wrap=index >= left)
    return table


def cell(text: str | None) -> Text:
    """Return the text of a table's cell: on one line, and truncated where the table is too wide."""
    return Text(printable(text or NOTHING), no_wrap=True, overflow="ellipsis")


def printable(text: str, allowed: str = "") -> str:
    """Return text with each control character replaced by `?`, except for the allowed characters."""
    return "".join(char if char.isprintable() or char in allowed else "?" for char in text)


def state(job_state: JobState, text: str = "") -> Text:
    """Return a text, by default the name of the state, in the colour of a job's state."""
    return Text(text or job_state, style=_STATE_STYLES[job_state])


def short_id(job_id: UUID) -> str:
    """Return the end of a job's id, which every command accepts in place of the whole."""
    return str(job_id)[-_SHORT_ID_LENGTH:]  # a UUIDv7 begins with the time, so its end tells jobs apart


def decimal(value: float | None) -> str:
    """Return a loss, an accuracy or a probability with four decimals, or a dash for None."""
    return NOTHING if value is None else f"{value:.4f}"


def metrics_line(values: Mapping[str, float]) -> str:
    """Return one epoch's metrics in one line."""
    return "  ".join(f"{name} {value:.4f}" for name, value in values.items())


def minute(moment: datetime) -> str:
    """Return a time in this host's time zone, to the minute."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"


def seconds_since(moment: datetime) -> float:
    """Return the seconds since a time of the server's, by this host's clock; at least 0."""
    # only shown: nothing is decided by it
    return max(0.0, (datetime.now(UTC) - moment).total_seconds())  # noqa: TID251


def duration(seconds: float) -> str:
    """Return a duration as `0:05`, `1:05` or `1:00:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def ago(seconds: float) -> str:
    """Return an age in its largest unit, such as `58 min ago`."""
    size, unit = next((unit for unit in _AGE_UNITS if seconds >= unit[0]), (1, "s"))
    return f"{seconds // size:,.0f} {unit} ago"
