"""Formatting of the values that the command line shows: cells, times, ids, numbers."""

import shutil
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from math import inf
from uuid import UUID

from rich.text import Text

from shared.lifecycle import JobState

NOTHING = "-"

_SHORT_ID_LENGTH = 8
_MAX_METRICS = 8  # on one line
_AGE_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))
_STATE_STYLES = {
    JobState.QUEUED: "yellow",
    JobState.RUNNING: "cyan",
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "bold red",
    JobState.CANCELLED: "magenta",
}


def program() -> str:
    """Return the command to type: `trainshed`, or its path if it is not on PATH."""
    return "trainshed" if shutil.which("trainshed") else sys.argv[0]


def cell(text: str | None) -> Text:
    """Return the text of a table's cell: on one line, and without control characters."""
    return Text(printable(text or NOTHING))


def printable(text: str, allowed: str = "") -> str:
    """Return text with each control character replaced by `?`, except for the allowed characters."""
    return "".join(char if char.isprintable() or char in allowed else "?" for char in text)


def state(job_state: JobState, text: str = "") -> Text:
    """Return a text, by default the name of the state, in the colour of a job's state."""
    return Text(text or job_state, style=_STATE_STYLES[job_state])


def short_id(job_id: UUID) -> str:
    """Return the end of a job's id, which every command accepts in place of the whole id."""
    return str(job_id)[-_SHORT_ID_LENGTH:]  # a UUIDv7 begins with the time, so its end tells jobs apart


def decimal(value: float | None) -> str:
    """Return a loss, an accuracy or a probability with four decimals, or a dash for None."""
    return NOTHING if value is None else f"{value:.4f}"


def metric(value: float | None) -> str:
    """Return a metric's value: four decimals, or four significant digits if it is very small or large."""
    is_usual = not value or 1e-3 <= abs(value) < 1e7
    return decimal(value) if is_usual else f"{value:.4g}"


def metrics_line(values: Mapping[str, float | None]) -> str:
    """Return the values of metrics on one line: the first `_MAX_METRICS`, and the number of the others."""
    shown = [f"{name} {metric(value)}" for name, value in islice(values.items(), _MAX_METRICS)]
    more = len(values) - len(shown)
    return "  ".join([*shown, *([f"and {more:,} more"] if more else [])])


def minute(at: datetime) -> str:
    """Return a time to the minute, in this host's time zone and with the zone's name."""
    return f"{at.astimezone():%Y-%m-%d %H:%M %Z}"


def second(at: datetime) -> str:
    """Return a time to the second, as `minute` does."""
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S %Z}"


def millisecond(at: datetime) -> str:
    """Return a time to the millisecond, as `minute` does."""
    local = at.astimezone()
    return f"{local:%Y-%m-%d %H:%M:%S}.{local.microsecond // 1_000:03} {local:%Z}"


def seconds_since(at: datetime) -> float:
    """Return the seconds since a time of the server's, by this host's clock; negative for a future time."""
    # only shown: no decision depends on it
    return (datetime.now(UTC) - at).total_seconds()  # noqa: TID251


def seconds_until(at: datetime | None) -> float:
    """Return the seconds until a time of the server's: negative if it is past, infinity for None (never)."""
    return inf if at is None else -seconds_since(at)


def duration(seconds: float) -> str:
    """Return a duration as `0:05`, `1:05` or `1:00:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def took(started_at: datetime, finished_at: datetime | None) -> str:
    """Return the seconds from a start to its end, such as `1,204.5`; `NOTHING` if it has not ended."""
    return f"{(finished_at - started_at).total_seconds():,.1f}" if finished_at else NOTHING


def age(seconds: float) -> str:
    """Return a duration in its largest unit, such as `58 min`."""
    size, unit = next((unit for unit in _AGE_UNITS if seconds >= unit[0]), (1, "s"))
    return f"{seconds // size:,.0f} {unit}"


def ago(seconds: float) -> str:
    """Return how long ago something was, in the largest unit, such as `58 min ago`."""
    return f"{age(seconds)} ago"
