"""Waiting for a condition, which tests do instead of sleeping."""

from collections.abc import Callable
from threading import Event
from time import monotonic
from typing import TypeVar

T = TypeVar("T")

_INTERVAL_S = 0.02


def wait_until(predicate: Callable[[], T | None], description: str, timeout: float = 10.0) -> T:
    """Call `predicate` until its result is true, and return that result.

    Raises:
        AssertionError: it was not within `timeout` seconds; the message contains the description.
    """
    pause = Event()
    deadline = monotonic() + timeout
    while True:
        if result := predicate():
            return result
        if monotonic() > deadline:
            raise AssertionError(f"after {timeout:g} s it was still not true that {description}")
        pause.wait(_INTERVAL_S)
