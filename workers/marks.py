"""The file that a pool process and its parent share, with the process's mark and the parent's orders.

Each is a text of a fixed size with a checksum, by which a reader recognizes a partly written text and reads
again later. Times are those of CLOCK_MONOTONIC, which the processes of a machine share.
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
"""The maximum number of attempts that a process holds at once."""

_SIZE = 4_096  # bytes of each text; 16 attempts take 2.5 kB at most
_MARK_AT, _ORDERS_AT = 0, _SIZE


@dataclass(frozen=True)
class Mark:
    """A pool process's statement about its attempts.

    Attributes:
        attempts: the attempts that the process holds.
        current: the index of the running attempt; None if none has begun.
        max_runtime_s: the time limit of the running attempt.
        deadline: the time at which the limit is reached.
        stepped_at: when the running attempt finished its last step, or began.
        is_reporting: whether the attempts are being reported, so that no more steps follow.
    """

    attempts: tuple[AttemptId, ...] = ()
    current: int | None = None
    max_runtime_s: float | None = None
    deadline: float | None = None
    stepped_at: float = 0.0
    is_reporting: bool = False

    @property
    def attempt(self) -> AttemptId | None:
        """The running attempt; None if none has begun."""
        return None if self.current is None else self.attempts[self.current]

    def exceeded(self) -> MaxRuntimeExceeded:
        """Return the error of an attempt that runs after its deadline."""
        return MaxRuntimeExceeded(
            f"the attempt ran for longer than max_runtime_s, {self.max_runtime_s:g}: "
            "give the job more time, or less to do"
        )


@dataclass(frozen=True)
class Orders:
    """A parent's orders to a pool process about its attempts.

    Attributes:
        renewed_at: when the last renewal of the leases of all attempts of the process began.
        cancelled: attempts whose cancel a user has requested.
        stale: attempts that have ended: their jobs no longer run under them.
        preempted: the preempted attempts, each with the urgent job that gets its slot.
    """

    renewed_at: float = 0.0
    cancelled: frozenset[AttemptId] = frozenset()
    stale: frozenset[AttemptId] = frozenset()
    preempted: frozenset[tuple[AttemptId, UUID]] = frozenset()


def allocate(file: int) -> None:
    """Allocate the space for both texts, so that a full disk refuses neither of them later."""
    with suppress(OSError):
        os.pwrite(file, bytes(2 * _SIZE), 0)


def write_mark(file: int, mark: Mark) -> None:
    """Write a pool process's mark."""
    own = vars(mark) | {"attempts": [_fields(attempt) for attempt in mark.attempts]}
    _write(file, _MARK_AT, own)


def read_mark(file: int) -> Mark | None:
    """Return a pool process's mark; None if it is being written."""
    text = os.pread(file, _SIZE, _MARK_AT)
    if not text.strip(b"\0"):
        return Mark()
    fields = _parsed(text)
    if fields is None:
        return None
    return Mark(**fields | {"attempts": tuple(_attempt(each) for each in fields["attempts"])})


def write_orders(file: int, orders: Orders) -> None:
    """Write a parent's orders."""
    texts: dict[str, Any] = {"renewed_at": orders.renewed_at}
    texts["cancelled"] = [_fields(attempt) for attempt in orders.cancelled]
    texts["stale"] = [_fields(attempt) for attempt in orders.stale]
    texts["preempted"] = [[*_fields(attempt), str(urgent)] for attempt, urgent in orders.preempted]
    _write(file, _ORDERS_AT, texts)


class OrdersReader:
    """A reader of a parent's orders that parses only changed ones, since a process reads after each step."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._text = b""
        self._orders = Orders()

    def read(self) -> Orders:
        """Return the parent's orders; the previous ones if new ones are being written."""
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
    with suppress(OSError):  # a full disk, on a copy-on-write file system
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
