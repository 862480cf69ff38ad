"""Waiting for a condition: what tests do instead of sleeping."""

from collections.abc import Callable
from threading import Event
from time import monotonic
from typing import TypeVar

T = TypeVar("T")

_INTERVAL_S = 0.02


def wait_until(predicate: Callable[[], T | None], description: str, timeout: float = 10.0) -> T:
    """Call `predicate` until it gives something true, and return that.

    Raises:
        AssertionError: it did not within `timeout` seconds; the message has the description.
    """
    pause = Event()
    deadline = monotonic() + timeout
    while True:
        if result := predicate():
            return result
        if monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s in vain until {description}")
        pause.wait(_INTERVAL_S)
