"""Events as they are read: of one job by their numbers, of all jobs by their positions, each once."""

import re
from functools import partial
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import bindparam, func, select, text, tuple_
from sqlalchemy.orm import Session

from shared import schemas
from shared.db import tables
from shared.db.engine import Database
from shared.db.event_positions import WRITERS_LOCK
from shared.errors import JobNotFound
from shared.lifecycle import JobState

CURSOR_PATTERN = r"^([0-9]{1,18})(?:-([0-9a-f]{32})-([0-9]{1,9}))?$"

_WRITERS = text(
    "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 "
    "AND classid = :space AND objid = :number "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def page(session: Session, job_id: UUID, *, after: int = 0, limit: int) -> list[schemas.JobEvent]:
    """A job's events with a number greater than `after`, in order.

    Raises:
        JobNotFound: there is no such job.
    """
    return page_and_state(session, job_id, after=after, limit=limit)[0]


def page_and_state(
    session: Session, job_id: UUID, *, after: int, limit: int
) -> tuple[list[schemas.JobEvent], JobState]:
    """The same, and the state that the job is in.

    Raises:
        JobNotFound: there is no such job.
    """
    now = job_state(session, job_id)
    table = tables.JobEvent
    numbered = select(table).where(table.job_id == job_id, table.seq > after).order_by(table.seq).limit(limit)
    return [schemas.JobEvent.model_validate(row) for row in session.scalars(numbered)], now


def job_state(session: Session, job_id: UUID) -> JobState:
    """The state that a job is in.

    Raises:
        JobNotFound: there is no such job.
    """
    found = session.scalar(select(tables.Job.state).where(tables.Job.id == job_id))
    if found is None:
        raise JobNotFound(f"there is no job {job_id}")
    return JobState(found)


class Cursor(NamedTuple):
    """A place among all jobs' events: right behind one of them, or behind all of a position."""

    position: int
    job_id: UUID = UUID(int=2**128 - 1)
    seq: int = 2**31 - 1

    def __str__(self) -> str:
        if self == Cursor(self.position):
            return str(self.position)
        return f"{self.position}-{self.job_id.hex}-{self.seq}"

    @classmethod
    def parse(cls, written: str) -> "Cursor":
        """The cursor that `str` wrote.

        Raises:
            ValueError: it did not write this.
        """
        match = re.fullmatch(CURSOR_PATTERN, written)
        if match is None:
            raise ValueError("is not the id of an event of this stream")
        position, job_id, seq = match.groups()
        return cls(int(position)) if job_id is None else cls(int(position), UUID(job_id), int(seq))


class Horizon:
    """Up to which position no event can appear any more.

    Of a position that was seen, each lower one was drawn before, by a writer that has ended or holds the
    lock of `shared.db.event_positions` still. So once all that held it then have ended, everything up to
    there is there, or never will be.

    Attributes:
        settled: that position; None before the first look is settled.
    """

    def __init__(self) -> None:
        self.settled: int | None = None
        self._seen: int | None = None
        self._awaited: frozenset[str] = frozenset()

    @property
    def pending(self) -> bool:
        """Whether more was seen than is settled, so that it is worth to look again soon."""
        return bool(self._awaited)

    def advance(self, seen: int, writers: frozenset[str]) -> None:
        """Take note of a look.

        Args:
            seen: the greatest position in a snapshot.
            writers: who held the lock at a moment after that snapshot was taken.
        """
        if self._awaited.isdisjoint(writers):
            self.settled, self._seen, self._awaited = self._seen, seen, writers
        if not self._awaited:
            self.settled = self._seen


class Tail:
    """All jobs' events as they happen: each once, a job's in order. For one reader at a time."""

    def __init__(self, database: Database, after: Cursor | None = None) -> None:
        """Prepare to read.

        Args:
            database: where the events are.
            after: the place to begin at; None: where the end is when `read` first finds it.
        """
        self.cursor = after
        self._database = database
        self._horizon = Horizon()

    @property
    def pending(self) -> bool:
        """Whether events may be there that could not be returned yet: to be asked again soon."""
        return self._horizon.pending

    def read(self, limit: int) -> list[tuple[Cursor, schemas.JobEvent]]:
        """The next events, with the place behind each; fewer than `limit` are all there are."""
        self._horizon.advance(*self._database.read(_look))
        if self._horizon.settled is None:
            return []
        settled = Cursor(self._horizon.settled)
        if self.cursor is None:
            self.cursor = settled
            return []
        found = self._database.read(partial(_between, after=self.cursor, to=settled, limit=limit))
        self.cursor = found[-1][0] if found else self.cursor
        return found


def newest_position(session: Session) -> int:
    """The greatest position that is to be seen; 0 if there is none."""
    return session.scalar(select(func.max(tables.JobEvent.position))) or 0


def _look(session: Session) -> tuple[int, frozenset[str]]:
    seen = newest_position(session)
    if session.get_bind().dialect.name == "sqlite":
        return seen, frozenset()
    space, number = WRITERS_LOCK
    return seen, frozenset(session.scalars(_WRITERS, {"space": space, "number": number}))


def _between(
    session: Session, after: Cursor, to: Cursor, limit: int
) -> list[tuple[Cursor, schemas.JobEvent]]:
    table = tables.JobEvent
    place = (table.position, table.job_id, table.seq)
    bounds = [
        tuple_(*(bindparam(None, value, column.type) for value, column in zip(cursor, place, strict=True)))
        for cursor in (after, to)
    ]
    rows = session.scalars(
        select(table)
        .where(tuple_(*place) > bounds[0], tuple_(*place) <= bounds[1])
        .order_by(*place)
        .limit(limit)
    )
    return [
        (Cursor(row.position or 0, row.job_id, row.seq), schemas.JobEvent.model_validate(row)) for row in rows
    ]
