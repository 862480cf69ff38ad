"""What a pool process and its parent write into the file that they share: a mark, and orders.

Each is a text of a fixed size with a checksum. A reader that meets a torn one gets None and comes again.
Times are those of CLOCK_MONOTONIC, which the processes of a machine share.
"""

import json
import os
import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from shared.errors import MaxRuntimeExceeded
from shared.store.transitions import AttemptId

MAX_ATTEMPTS = 16
"""That a process holds at once."""

_SIZE = 4_096  # of each text: 16 attempts have 2.5 kB at most
_MARK_AT, _ORDERS_AT = 0, _SIZE


@dataclass(frozen=True)
class Mark:
    """What a pool process says of its attempts.

    Attributes:
        attempts: those that it holds.
        current: the index of the one that runs; None: none has begun.
        max_runtime_s: for how long that one may run.
        deadline: when that time is over.
        stepped_at: when it finished its last step, or began.
        is_reporting: it takes no more steps.
    """

    attempts: tuple[AttemptId, ...] = ()
    current: int | None = None
    max_runtime_s: float | None = None
    deadline: float | None = None
    stepped_at: float = 0.0
    is_reporting: bool = False

    @property
    def attempt(self) -> AttemptId | None:
        """The attempt that has begun; None: none has."""
        return None if self.current is None else self.attempts[self.current]

    def exceeded(self) -> MaxRuntimeExceeded:
        """Return the error of an attempt that runs after its deadline."""
        return MaxRuntimeExceeded(
            f"the attempt ran for longer than max_runtime_s, {self.max_runtime_s:g}: "
            "give the job more time, or less to do"
        )


@dataclass(frozen=True)
class Orders:
    """What a parent says to a pool process about its attempts.

    Attributes:
        renewed_at: when the last renewal of the leases of all that the process held began.
        cancelled: attempts whose cancel a user has requested.
        stale: attempts that have ended: their jobs no longer run under them.
        preempted: for attempts that are preempted, the urgent job that gets the slot.
    """

    renewed_at: float = 0.0
    cancelled: frozenset[AttemptId] = frozenset()
    stale: frozenset[AttemptId] = frozenset()
    preempted: frozenset[tuple[AttemptId, UUID]] = frozenset()


def allocate(file: int) -> None:
    """Take the room that the texts need, so that a full disk refuses none of them later."""
    with suppress(OSError):
        os.pwrite(file, bytes(2 * _SIZE), 0)


def write_mark(file: int, mark: Mark) -> None:
    """Write what a pool process says."""
    own = vars(mark) | {"attempts": [_fields(attempt) for attempt in mark.attempts]}
    _write(file, _MARK_AT, own)


def read_mark(file: int) -> Mark | None:
    """Return what a pool process says; None if that is being written."""
    text = os.pread(file, _SIZE, _MARK_AT)
    if not text.strip(b"\0"):
        return Mark()
    fields = _parsed(text)
    if fields is None:
        return None
    return Mark(**fields | {"attempts": tuple(_attempt(each) for each in fields["attempts"])})


def write_orders(file: int, orders: Orders) -> None:
    """Write what a parent says."""
    texts: dict[str, Any] = {"renewed_at": orders.renewed_at}
    texts["cancelled"] = [_fields(attempt) for attempt in orders.cancelled]
    texts["stale"] = [_fields(attempt) for attempt in orders.stale]
    texts["preempted"] = [[*_fields(attempt), str(urgent)] for attempt, urgent in orders.preempted]
    _write(file, _ORDERS_AT, texts)


class OrdersReader:
    """What a parent says, parsed again only when it has changed: a process looks after each step."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._text = b""
        self._orders = Orders()

    def read(self) -> Orders:
        """Return what the parent says; what it said before, if that is being written."""
        text = os.pread(self._file, _SIZE, _ORDERS_AT)
        if text != self._text and (fields := _parsed(text)) is not None:
            self._text = text
            self._orders = Orders(
                renewed_at=fields["renewed_at"],
                cancelled=frozenset(_attempt(each) for each in fields["cancelled"]),
                stale=frozenset(_attempt(each) for each in fields["stale"]),
                preempted=frozenset((_attempt(each), UUID(each[2])) for each in fields["preempted"]),
            )
        return self._orders


def _write(file: int, offset: int, fields: dict[str, Any]) -> None:
    text = json.dumps(fields).encode()
    with suppress(OSError):  # a full disk, where a file is copied to be changed
        os.pwrite(file, (b"%08x" % zlib.crc32(text) + text).ljust(_SIZE), offset)


def _parsed(text: bytes) -> dict[str, Any] | None:
    checksum, text = text[:8], text[8:].rstrip()
    if checksum != b"%08x" % zlib.crc32(text):
        return None
    fields: dict[str, Any] = json.loads(text)
    return fields


def _fields(attempt: AttemptId) -> list[Any]:
    return [str(attempt.job_id), attempt.number]


def _attempt(fields: list[Any]) -> AttemptId:
    return AttemptId(UUID(fields[0]), fields[1])
