"""Writes of the event log: each change of a job is recorded in the transaction that makes it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from shared.db.statements import insert_rows
from shared.db.tables import Base, JobEvent
from shared.lifecycle import EventType

_EVENTS = Base.metadata.tables[JobEvent.__tablename__]
_CHANGED = "changed jobs"  # key of `Session.info`


@dataclass(frozen=True)
class NewEvent:
    """An event that is to be recorded.

    Attributes:
        data: the details of the event.
        age_s: seconds from the event until it is written.
        gathered: items of lists in the details, in order: the name of the list, the item, to which its time
            is added as `at`, and the seconds from that time until the event is written.
    """

    type: EventType
    data: dict[str, Any] = field(default_factory=dict)
    age_s: float = 0.0
    gathered: Sequence[tuple[str, Mapping[str, Any], float]] = ()


def record(session: Session, changed: Sequence[tuple[Any, Sequence[NewEvent]]]) -> None:
    """Insert the events of changed jobs, and have these jobs announced after the commit.

    Args:
        changed: for each job the row that its UPDATE (`shared.store.transitions.update_of`) has returned, and
            its events.
    """
    insert_rows(session, _EVENTS, [row for job, events in changed for row in _rows(events, job)])
    note_changed(session, [job.id for job, _ in changed])


def _rows(events: Sequence[NewEvent], changed: Any) -> list[dict[str, Any]]:
    """Return the rows of a job's events; their times never decrease unless the database's clock does."""
    now: datetime = changed.now
    latest = changed.last_event_at or datetime.min.replace(tzinfo=UTC)

    def moment(age_s: float) -> datetime:
        nonlocal latest
        latest = max(latest, now - timedelta(seconds=age_s))
        return min(latest, now)

    rows = []
    for seq, event in enumerate(events, changed.version - len(events) + 1):
        lists = defaultdict(list)
        for name, item, age_s in event.gathered:
            lists[name].append({**item, "at": f"{moment(age_s):%Y-%m-%dT%H:%M:%S.%fZ}"})
        row = {"job_id": changed.id, "seq": seq, "at": moment(event.age_s), "type": event.type}
        rows.append({**row, "attempt": changed.attempt, "data": event.data | lists})
    return rows


def log_submitted(session: Session, jobs: Mapping[UUID, Mapping[str, Any]], at: datetime) -> None:
    """Insert the first event of each new job.

    Args:
        jobs: the data of each job's event, by the job's id.
        at: the time of the events.
    """
    first = {"seq": 1, "type": EventType.SUBMITTED, "attempt": 0, "at": at}
    note_changed(session, jobs)
    rows = [{"job_id": job_id, "data": data, **first} for job_id, data in jobs.items()]
    insert_rows(session, _EVENTS, rows)


def note_changed(session: Session, job_ids: Iterable[UUID]) -> None:
    """Have these jobs announced as changed after the commit. Recording an event does so anyway."""
    session.info.setdefault(_CHANGED, set()).update(job_ids)


def changed_jobs(session: Session) -> frozenset[UUID]:
    """Return the ids of the jobs that this session has changed or deleted."""
    return frozenset(session.info.get(_CHANGED, ()))
