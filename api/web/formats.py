"""Formats of values on pages: times, durations, numbers, words for states. The filters of the templates."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from api.web.metrics import headline
from shared.lifecycle import JobState, Phase, WorkerState
from shared.schemas import WaitingFor

NOTHING = "\N{EN DASH}"

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_AGES = ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min"), (1, "s"))

_WORDS: dict[Any, str] = {
    **{state: state.value.capitalize() for state in (*JobState, *WorkerState)},
    **{phase: phase.value.replace("_", " ").capitalize() for phase in Phase},
}
_REASONS = {
    WaitingFor.PAUSED: "its queue is paused",
    WaitingFor.PREDECESSORS: "it runs after another job",
    WaitingFor.NO_WORKER_ONLINE: "no worker of its queue is online",
    WaitingFor.SCHEDULED: "it starts later",
    WaitingFor.QUEUE_LIMIT: "as many jobs of its queue run as may",
    WaitingFor.KEY_LIMIT: "as many jobs of its key run as may",
    WaitingFor.ALL_BUSY: "all workers of its queue are busy",
}


def moment(time: datetime) -> str:
    """Return an exact moment in UTC, such as `2026-01-02 03:04:05 UTC`."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def clock(time: datetime) -> str:
    """Return the time of day in UTC, to the millisecond: `03:04:05.678`."""
    return f"{time.astimezone(UTC):%H:%M:%S.%f}"[:-3]


def ago(time: datetime, now: datetime) -> str:
    """Return the time since a moment, or until it, in the largest unit: `3 min ago`, `in 2 h`."""
    seconds = int((now - time).total_seconds())
    for unit, name in _AGES:
        if abs(seconds) >= unit:
            text = f"{abs(seconds) // unit} {name}"
            return f"{text} ago" if seconds > 0 else f"in {text}"
    return "now"


def duration(seconds: float | None) -> str:
    """Return a duration with about three digits: `0.42 s`, `12 s`, `3 min 05 s`, `2 h 03 min`, `1 d 02 h`."""
    if seconds is None:
        return NOTHING
    if seconds < 9.995:
        return f"{max(seconds, 0.0):.2g} s" if seconds < 0.995 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR:02} h"


def number(value: float | None) -> str:
    """Return a count with separated thousands."""
    return NOTHING if value is None else f"{value:,.0f}"


def decimal(value: float | None) -> str:
    """Return a number with four decimals, or four digits and its exponent if it is very small or great."""
    if value is None:
        return NOTHING
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e7 else f"{value:.4g}"


def percent(value: float | None) -> str:
    """Return a share of 0 to 1 in percent with two decimals."""
    return NOTHING if value is None else f"{100 * value:.2f} %"


def setting(value: Any) -> str:
    """Return a value of a specification: numbers with four significant digits."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def metric(value: float | None, name: str) -> str:
    """Return the value of a metric by its name: an accuracy of 0 to 1 in percent, others with decimals."""
    is_share = name.endswith("accuracy") and value is not None and 0 <= value <= 1
    return percent(value) if is_share else decimal(value)


def size(count: int | None) -> str:
    """Return a number of bytes in kB, MB or GB: `24 kB`, `1.3 MB`, `1.9 GB`."""
    if count is None:
        return NOTHING
    if count < 999_500:
        return f"{count / 1e3:.0f} kB"
    return f"{count / 1e6:.1f} MB" if count < 999_950_000 else f"{count / 1e9:.1f} GB"


def word(value: Any) -> str:
    """Return the word for a state or a phase, or a metric or any other text in words with a capital."""
    if (known := _WORDS.get(value)) is not None:
        return known
    text = str(value).replace("_", " ")
    text = f"validation {text.removeprefix('val ')}" if text.startswith("val ") else text
    return text[:1].upper() + text[1:]


def reason(waiting_for: WaitingFor | None) -> str:
    """Return the reason why a queued job waits."""
    return "it starts within seconds" if waiting_for is None else _REASONS[waiting_for]


def short_id(value: object) -> str:
    """Return the end of an id, which every command accepts in place of the whole."""
    return str(value)[-8:]


def sparkline(values: Sequence[float], width: float = 96.0, height: float = 20.0) -> str:
    """Return the points of an SVG polyline through values at equal distances, scaled to their range."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    span, last = (high - low) or 1.0, max(len(values) - 1, 1)
    points = (
        (1 + (width - 2) * index / last, 1 + (height - 2) * (1 - (value - low) / span))
        for index, value in enumerate(values)
    )
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


FILTERS = {
    function.__name__: function
    for function in (
        moment,
        clock,
        ago,
        duration,
        number,
        decimal,
        percent,
        size,
        setting,
        metric,
        headline,
        word,
        reason,
        short_id,
        sparkline,
    )
}
"""The filters of the templates, by name."""
