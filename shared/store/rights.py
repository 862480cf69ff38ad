"""Rights: who may change a job, a sweep or a model, and how events name who did.

Each of them belongs to the API key that submitted it. That key, the keys of its team and those of the scope
`admin` may change it; reading is open to all. Who submitted something never changes.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, false, select, true
from sqlalchemy.orm import InstrumentedAttribute, Session

from shared.db.tables import ApiKey, Job
from shared.errors import JobNotFound, NotPermitted

KeyColumn = ColumnElement[UUID | None] | InstrumentedAttribute[UUID | None] | InstrumentedAttribute[UUID]
"""SQL for the id of an API key."""

NONE = "none"
"""What stands for no key in the filter `submitted_by`."""


@dataclass(frozen=True)
class Actor:
    """Who submits or changes something.

    Attributes:
        name: of the API key; `local` where none is needed.
        key_id: None for a key of the setting `API_KEYS`, and without a key.
        is_admin: whether it changes everybody's.
        may_urgent: whether it may give jobs the priority `urgent`.
    """

    name: str
    key_id: UUID | None = None
    is_admin: bool = False
    may_urgent: bool = False

    @property
    def by(self) -> dict[str, Any]:
        """The member of an event's data that names who caused it."""
        return {"by": {"name": self.name, "key_id": None if self.key_id is None else str(self.key_id)}}

    def may_change(self, owner: KeyColumn) -> ColumnElement[bool]:
        """SQL for whether it may change what a key has submitted, given as a column of keys' ids."""
        if self.is_admin:
            return true()
        if self.key_id is None:
            return false()
        # not the team that the key had when the request came: another process may have changed it since
        own_team = select(ApiKey.team).where(ApiKey.id == self.key_id).scalar_subquery()
        of_team = select(ApiKey.id).where(ApiKey.team == own_team)
        return owner.is_not(None) & ((owner == self.key_id) | owner.in_(of_team))


LOCAL = Actor("local", is_admin=True, may_urgent=True)
"""Whoever needs no key: programs on this host while no key exists, and those that use the database."""


def lock_job(session: Session, job_id: UUID, actor: Actor, *, key_share: bool = False) -> Job:
    """Return a job that is to be changed, locked until the end of the transaction.

    Args:
        key_share: whether others may refer to it meanwhile.

    Raises:
        JobNotFound: there is no such job.
        NotPermitted: it belongs to others.
    """
    found = select(Job, actor.may_change(Job.api_key_id)).where(Job.id == job_id)
    lock = found.with_for_update(of=Job, key_share=key_share).execution_options(populate_existing=True)
    row = session.execute(lock).one_or_none()
    if row is None:
        raise JobNotFound(f"there is no job {job_id}")
    job, is_permitted = row
    if not is_permitted:
        raise refusal(session, f"job {job_id}", job.api_key_id, actor)
    return job


def refusal(session: Session, what: str, owner: UUID | None, actor: Actor) -> NotPermitted:
    """Return the error that something belongs to others, which says whose it is and who may change it."""
    key = session.get(ApiKey, owner) if owner is not None else None
    if key is None:
        may = "belongs to no API key, so only keys with the scope `admin` may change it"
    elif key.team is None:
        may = f"belongs to the key {key.name!r}: it and keys with the scope `admin` may change it"
    else:
        may = (
            f"belongs to the key {key.name!r} of the team {key.team!r}: keys of that team and with the scope "
            "`admin` may change it"
        )
    return NotPermitted(f"{what} {may}, and the key {actor.name!r} may not")


def require_urgent(actor: Actor) -> None:
    """Check that someone may give a job the priority `urgent`.

    Raises:
        NotPermitted: not with this key.
    """
    if not actor.may_urgent:
        raise NotPermitted(
            f"the key {actor.name!r} may not give jobs the priority `urgent`, which stops others' jobs: use "
            "`high`, or ask an administrator for `trainshed keys change KEY --urgent`"
        )


def changeable(session: Session, actor: Actor, owners: Collection[UUID | None]) -> frozenset[UUID | None]:
    """Return those of some keys, None for no key, of which someone may change the jobs, sweeps and models."""
    if actor.is_admin or not owners:
        return frozenset(owners)
    permitted = select(ApiKey.id).where(ApiKey.id.in_(owners), actor.may_change(ApiKey.id))
    return frozenset(session.scalars(permitted))


def names(session: Session, key_ids: Collection[UUID | None]) -> dict[UUID | None, str]:
    """Return the names of some API keys."""
    ids = {key_id for key_id in key_ids if key_id is not None}
    if not ids:
        return {}
    return dict(session.execute(select(ApiKey.id, ApiKey.name).where(ApiKey.id.in_(ids))).all())


def keys_named(session: Session, submitted_by: str) -> list[UUID | None]:
    """Return the ids of the API keys with an id or a name; None for no key, if it is `NONE`."""
    if submitted_by == NONE:
        return [None]
    try:
        return [UUID(submitted_by)]
    except ValueError:
        return list(session.scalars(select(ApiKey.id).where(ApiKey.name == submitted_by)))


def is_one_of(column: KeyColumn, keys: Sequence[UUID | None]) -> ColumnElement[bool]:
    """SQL for whether a column is one of these ids of keys, which are what `keys_named` returned."""
    return column.is_(None) if list(keys) == [None] else column.in_(keys)


def of_jobs_by(session: Session, submitted_by: str, column: InstrumentedAttribute[Any]) -> Select[Any]:
    """Select a column of the jobs that keys with this id or name, or `NONE`, have submitted."""
    is_by = is_one_of(Job.api_key_id, keys_named(session, submitted_by))
    return select(column).where(is_by, column.is_not(None))
