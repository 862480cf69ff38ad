"""Reads of events: one job's by sequence number, all jobs' by position, without a gap or a duplicate."""

import re
from functools import partial
from threading import Lock
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import and_, bindparam, func, select, text, tuple_
from sqlalchemy.orm import Session

from shared import schemas
from shared.db import tables
from shared.db.engine import Database
from shared.db.event_positions import WRITERS_LOCK
from shared.db.tables import STEP_COUNT, Epoch, Job
from shared.formats.epochs import count_steps
from shared.lifecycle import JobState
from shared.store import job_queries

CURSOR_PATTERN = r"^([0-9]{1,18})(?:-([0-9a-f]{32})-([0-9]{1,9}))?$"

_WRITERS = text(
    "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 "
    "AND classid = :space AND objid = :number "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


class JobEvents(NamedTuple):
    """Some events of a job, in order, and the state and version that it had when they were read."""

    events: list[schemas.JobEvent]
    state: JobState
    version: int


def page(session: Session, job_id: UUID, *, after: int = 0, limit: int) -> JobEvents:
    """Return up to `limit` of a job's events whose `seq` is greater than `after`.

    Raises:
        JobNotFound: there is no such job.
    """
    state, version = job_queries.state_and_version(session, job_id)
    table = tables.JobEvent
    events = select(table).where(table.job_id == job_id, table.seq > after).order_by(table.seq).limit(limit)
    rows = session.scalars(events)
    return JobEvents([schemas.JobEvent.model_validate(row) for row in rows], state, version)


def steps_so_far(session: Session, job_id: UUID) -> schemas.StreamSteps | None:
    """Return the steps so far of the epoch that a job's last attempt has begun, or None before the first."""
    begun = select(Epoch.attempt, Epoch.epoch, STEP_COUNT.label("header")).join(
        Job, and_(Job.id == Epoch.job_id, Job.next_epoch == Epoch.epoch, Job.attempt == Epoch.attempt)
    )
    row = session.execute(begun.where(Job.id == job_id)).one_or_none()
    return row and schemas.StreamSteps(
        job_id=job_id, attempt=row.attempt, epoch=row.epoch, steps=count_steps(row.header)
    )


class Cursor(NamedTuple):
    """A point in the order of all jobs' events: after one event, or after all events of a position."""

    position: int
    job_id: UUID = UUID(int=2**128 - 1)
    seq: int = 2**31 - 1

    def __str__(self) -> str:
        if self == Cursor(self.position):
            return str(self.position)
        return f"{self.position}-{self.job_id.hex}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Parse the text form of a cursor.

        Raises:
            ValueError: the text is not a cursor.
        """
        match = re.fullmatch(CURSOR_PATTERN, text)
        if match is None:
            raise ValueError("is not the id of an event of this stream")
        position, job_id, seq = match.groups()
        return cls(int(position)) if job_id is None else cls(int(position), UUID(job_id), int(seq))


class Watermark:
    """The position up to which all events are visible: no event at or below it can appear later.

    Every position below a visible one was drawn before it, by a writer that has ended or still holds the
    writers' lock (`shared.db.event_positions`). So once all writers have ended that held the lock when the
    position was seen, each event up to that position is visible or was rolled back.

    Attributes:
        settled: the position; None until the first one is known.
    """

    def __init__(self) -> None:
        self.settled: int | None = None
        self._newest: int | None = None
        self._awaited: frozenset[str] = frozenset()

    @property
    def pending(self) -> bool:
        """Whether events above the watermark are visible, so that it is worth reading again soon."""
        return bool(self._awaited)

    def advance(self, newest: int, writers: frozenset[str]) -> None:
        """Raise the watermark as far as an observation allows.

        Args:
            newest: the greatest position in a snapshot.
            writers: the transactions that held the writers' lock after that snapshot was taken.
        """
        if self._awaited.isdisjoint(writers):
            self.settled, self._newest, self._awaited = self._newest, newest, writers
        if not self._awaited:
            self.settled = self._newest


class Feed:
    """A stream of all jobs' committed events: each event once, and those of a job in order. Thread-safe."""

    def __init__(self, database: Database) -> None:
        """Prepare to read the events of this database."""
        self._database = database
        self._watermark = Watermark()
        self._observing = Lock()  # an older observation must not follow a newer one

    @property
    def pending(self) -> bool:
        """Whether there may be events that `read` could not return yet."""
        return self._watermark.pending

    def read(self, after: Cursor, limit: int) -> list[tuple[Cursor, schemas.JobEvent]]:
        """Return up to `limit` events after a cursor, each with its own cursor; fewer if no more exist."""
        with self._observing:
            settled = end(self._database, self._watermark)
        if settled is None or settled <= after:
            return []
        return self._database.read(partial(_between, after=after, to=settled, limit=limit))


def end(database: Database, watermark: Watermark) -> Cursor | None:
    """Raise a watermark as far as possible now, and return the cursor after the events up to it.

    Returns:
        The cursor; None if no watermark is known yet, because a transaction that writes events is still open.
    """
    watermark.advance(*database.read(_observe))
    return None if watermark.settled is None else Cursor(watermark.settled)


def newest_position(session: Session) -> int:
    """Return the greatest visible position, or 0 if there is none."""
    return session.scalar(select(func.max(tables.JobEvent.position))) or 0


def _observe(session: Session) -> tuple[int, frozenset[str]]:
    newest = newest_position(session)
    if session.get_bind().dialect.name == "sqlite":
        return newest, frozenset()
    space, number = WRITERS_LOCK
    return newest, frozenset(session.scalars(_WRITERS, {"space": space, "number": number}))


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
