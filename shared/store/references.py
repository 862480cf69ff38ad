"""Short ids, looked up: the first or the last digits of an id stand for it while only one id has them."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import String, cast, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from shared.db.tables import ApiKey, Base, Job, Model, Sweep
from shared.errors import AmbiguousId, ApiKeyNotFound, JobNotFound, ModelNotFound, NotFound, SweepNotFound

_SEARCHED = 100_000  # newest ids of which the last digits are compared: 20 ms, without an index of them
_MAX_LISTED = 3
_DIGITS = 32  # of a whole id

_NOUNS: dict[type[Base], tuple[str, type[NotFound]]] = {
    Job: ("job", JobNotFound),
    Model: ("model", ModelNotFound),
    Sweep: ("sweep", SweepNotFound),
    ApiKey: ("API key", ApiKeyNotFound),
}


def find_job(session: Session, reference: UUID | str) -> UUID:
    """Return the id of the job that a reference stands for; an id stands for itself, without a statement.

    Raises:
        JobNotFound: no job's id begins with the reference, and none of the newest 100,000 ends with it.
        AmbiguousId: several do.
    """
    return _find(session, Job, reference)


def find_jobs(session: Session, references: Sequence[UUID | str]) -> tuple[UUID, ...]:
    """Return the ids of the jobs that references stand for, each id once; raises as `find_job` does."""
    return tuple(dict.fromkeys(find_job(session, reference) for reference in references))


def find_sweep(session: Session, reference: UUID | str) -> UUID:
    """Return the id of the sweep that a reference stands for; raises as `find_job` does."""
    return _find(session, Sweep, reference)


def find_key(session: Session, reference: UUID | str) -> UUID:
    """Return the id of the API key that a reference stands for; raises as `find_job` does."""
    return _find(session, ApiKey, reference)


def find_model(session: Session, reference: UUID | str) -> UUID:
    """Return the id of the model that a reference stands for; raises as `find_job` does."""
    return _find(session, Model, reference)


def _find(session: Session, table: type[Job | Model | Sweep | ApiKey], reference: UUID | str) -> UUID:
    if isinstance(reference, UUID):
        return reference
    return _only(table, reference, _ids(session, table.id, reference))


def _ids(session: Session, column: InstrumentedAttribute[UUID], reference: str) -> set[UUID]:
    """Return some of the ids that begin or end with a reference, enough to tell whether it is only one."""
    digits = reference.replace("-", "").lower()
    if not 0 < len(digits) < _DIGITS:
        return set()
    first, last = (UUID(digits.ljust(_DIGITS, filler)) for filler in "0f")
    begin = select(column).where(column.between(first, last)).order_by(column.desc())
    newest = select(column.label("id")).order_by(column.desc()).limit(_SEARCHED).subquery()
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    # SQLite stores bytes, and its LIKE knows no case
    text = func.hex(newest.c.id) if is_sqlite else func.replace(cast(newest.c.id, String), "-", "")
    end = select(newest.c.id).where(text.like(f"%{digits}"))
    found: set[UUID] = set()
    for statement in (begin, end):
        found.update(session.scalars(statement.limit(_MAX_LISTED + 1)))
    return found


def _only(table: type[Base], reference: str, ids: set[UUID]) -> UUID:
    noun, not_found = _NOUNS[table]
    if len(ids) == 1:
        return next(iter(ids))
    if not ids:
        raise not_found(f"no {noun}'s id begins or ends with {reference}: give the whole id")
    shown = ", ".join(map(str, sorted(ids, reverse=True)[:_MAX_LISTED]))
    more = ", and others" if len(ids) > _MAX_LISTED else ""
    raise AmbiguousId(f"several {noun}s' ids begin or end with {reference}: {shown}{more}; give more digits")
