"""Idempotency keys: a request that is repeated with its key submits nothing again.

Each caller has keys of its own. A key belongs to the request: it remains when the submitted job is deleted.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import JSON, Text, bindparam, cast, column, delete, func, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningInsert

from shared.db.tables import Base, IdempotencyKey, Job
from shared.db.upserts import insert_new
from shared.errors import IdempotencyKeyReused, SubmissionDeleted

_KEYS, _JOBS = (Base.metadata.tables[mapped.__tablename__] for mapped in (IdempotencyKey, Job))
_KEYS_LOCK = 0x7261696F  # advisory lock space of key hashes; not that of `event_positions`

# built once, because building it takes as long as executing it
_OF_OLD_VERSIONS = (
    select(_KEYS.c.key, _JOBS.c.api_key_id, _KEYS.c.request_sha256, _KEYS.c.job_id)
    .join(_JOBS, _JOBS.c.id == _KEYS.c.job_id)
    .where(_KEYS.c.key.in_(bindparam("keys", expanding=True)))
)


@dataclass(frozen=True)
class Idempotency:
    """An idempotency key and the request that it stands for.

    Attributes:
        key: the key as the client sent it.
        request_sha256: the hash of the request, to detect a key that is used for different requests.
        api_key_id: the API key of the caller. Callers without one, who are administrators, share their keys.
    """

    key: str
    request_sha256: str
    api_key_id: UUID | None = None

    @classmethod
    def of(cls, key: str | None, request: str, api_key_id: UUID | None = None) -> "Idempotency | None":
        """Return the idempotency of a request, given as text, or None if the client sent no key."""
        return None if key is None else cls(key, sha256(request.encode()).hexdigest(), api_key_id)

    @property
    def stored_key(self) -> str:
        """The key as it is stored: after the caller's id and a space, which no client's key contains."""
        return self.key if self.api_key_id is None else f"{self.api_key_id} {self.key}"


class KeyOwner(NamedTuple):
    """The request that an idempotency key stands for, and the jobs that it stored.

    Attributes:
        job_id: the first job, which may have been deleted since.
        sweep_id: the sweep of the jobs; None if they have none, or if a version before 0.2 stored the key.
    """

    request_sha256: str
    job_id: UUID
    sweep_id: UUID | None = None


def find_replay(session: Session, idempotency: Idempotency) -> KeyOwner | None:
    """Return the owner of an idempotency key, or None if no earlier request used the key.

    Raises:
        IdempotencyKeyReused: the key was used for a different request.
    """
    owner = find_owners(session, [idempotency]).get(idempotency.stored_key)
    if owner is not None and owner.request_sha256 != idempotency.request_sha256:
        raise reused(idempotency.key)
    return owner


def find_owners(session: Session, requests: Collection[Idempotency]) -> dict[str, KeyOwner]:
    """Return the owners of those keys of the requests that are stored, by `stored_key`."""
    return _of_old_versions(session, requests) | _owners(session, [each.stored_key for each in requests])


def claim_keys(
    session: Session, requests: Sequence[tuple[Idempotency, KeyOwner]], at: datetime, *, waits: bool = True
) -> dict[str, KeyOwner]:
    """Store the idempotency keys that are new, and return the owner of each key of the requests.

    Args:
        requests: the idempotency of each request, and the owner that its key gets if the key is new.
        at: the time of the submission.
        waits: whether to wait for keys that other transactions are storing; otherwise these are left out.

    Returns:
        The owners, by `stored_key`.
    """
    owners: dict[str, KeyOwner] = {}
    for idempotency, owner in requests:
        owners.setdefault(idempotency.stored_key, owner)
    earlier = _of_old_versions(session, [idempotency for idempotency, _ in requests])
    unclaimed = owners.keys() - earlier.keys()
    # in the same order in all transactions, which could otherwise deadlock on each other's keys
    rows = [{"key": key, **owners[key]._asdict(), "created_at": at} for key in sorted(unclaimed)]
    if rows:
        unclaimed -= _insert_free(session, rows) if not waits else _insert(session, rows)
    if unclaimed:
        earlier |= _owners(session, unclaimed)
    return {key: owner for key, owner in owners.items() if key not in unclaimed} | earlier


def _insert(session: Session, rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Insert the keys that are new; return them."""
    return {row.key for row in insert_new(session, IdempotencyKey, rows)}


def _insert_free(session: Session, rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Insert the keys that are new and that no other transaction is inserting; return them."""
    if session.get_bind().dialect.name == "sqlite":  # SQLite has one writer at a time
        return _insert(session, rows)
    document = json.dumps(rows, default=str)
    return set(session.connection().scalars(_insert_of_free(), {"rows": document}))


@cache
def _insert_of_free() -> ReturningInsert[str]:
    """Return the INSERT of those rows, given as JSON, whose keys it can lock without waiting.

    It locks each key before the insertion. Otherwise it would wait for another transaction that inserts the
    same key, to learn whether that transaction stores it.
    """
    typed = [column(name, _KEYS.c[name].type) for name in _KEYS.c.keys()]  # noqa: SIM118 (not a mapping)
    document = cast(bindparam("rows", type_=Text()), JSON)
    rows = func.json_to_recordset(document).table_valued(*typed, name="r").render_derived(with_types=True)
    is_free = func.pg_try_advisory_xact_lock(_KEYS_LOCK, func.hashtext(rows.c.key))
    free = select(*(rows.c[each.name] for each in typed)).where(is_free)
    insert = postgresql.insert(_KEYS).from_select([each.name for each in typed], free)
    return insert.on_conflict_do_nothing().returning(_KEYS.c.key)


def release_keys(session: Session, requests: Iterable[Idempotency]) -> None:
    """Delete keys that this transaction has claimed, since nothing was stored with them."""
    keys = [idempotency.stored_key for idempotency in requests]
    if keys:
        session.execute(delete(IdempotencyKey).where(IdempotencyKey.key.in_(keys)))


def _owners(session: Session, keys: Collection[str]) -> dict[str, KeyOwner]:
    """Return the owner of each of these keys that is stored."""
    key, *owner = (getattr(IdempotencyKey, name) for name in ("key", *KeyOwner._fields))
    return {row[0]: KeyOwner(*row[1:]) for row in session.execute(select(key, *owner).where(key.in_(keys)))}


def _of_old_versions(session: Session, requests: Iterable[Idempotency]) -> dict[str, KeyOwner]:
    """Return the owners of those keys that a version before 0.2 has stored, by `stored_key`.

    Such a version stored a key as the client sent it, without the caller, whose API key is in the job's row.
    """
    wanted = {(each.key, each.api_key_id): each for each in requests if each.api_key_id is not None}
    if not wanted:
        return {}
    rows = session.connection().execute(_OF_OLD_VERSIONS, {"keys": [*{key for key, _ in wanted}]}).all()
    return {
        wanted[row.key, row.api_key_id].stored_key: KeyOwner(row.request_sha256, row.job_id)
        for row in rows
        if (row.key, row.api_key_id) in wanted
    }


def reused(key: str) -> IdempotencyKeyReused:
    """Return the error of a request whose key was used for a different request."""
    return IdempotencyKeyReused(f"idempotency key {key!r} was used for a different request: send a new key")


def deleted(noun: str) -> SubmissionDeleted:
    """Return the error of a key whose submission, such as a `job`, was deleted since."""
    return SubmissionDeleted(
        f"the {noun} that was submitted with this idempotency key was deleted: send a new key to submit it "
        "again"
    )
