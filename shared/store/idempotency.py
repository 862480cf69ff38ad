"""Idempotency keys: a request that is repeated with its key submits nothing again."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared.db.tables import IdempotencyKey
from shared.db.upserts import insert_new
from shared.errors import IdempotencyKeyReused


@dataclass(frozen=True)
class Idempotency:
    """An idempotency key and the request that it stands for.

    Attributes:
        key: the client's.
        request_sha256: of the request, to notice a key that is used for two things.
    """

    key: str
    request_sha256: str

    @classmethod
    def of(cls, key: str | None, request: str) -> "Idempotency | None":
        """Return the idempotency of a request, given as text; None if the client sent no key."""
        return None if key is None else cls(key, sha256(request.encode()).hexdigest())


class KeyOwner(NamedTuple):
    """The request that an idempotency key stands for, and the job that it stored."""

    request_sha256: str
    job_id: UUID


def find_replay(session: Session, idempotency: Idempotency) -> UUID | None:
    """Return the first job that an earlier request with the same idempotency key has stored; None: none has.

    Raises:
        IdempotencyKeyReused: the key was used for a different request.
    """
    owner = _owners(session, [idempotency.key]).get(idempotency.key)
    if owner is not None and owner.request_sha256 != idempotency.request_sha256:
        raise reused(idempotency.key)
    return owner and owner.job_id


def claim_keys(
    session: Session, requests: Sequence[tuple[Idempotency, UUID]], at: datetime
) -> dict[str, KeyOwner]:
    """Store the idempotency keys that are new, and return who owns each key of the requests.

    Args:
        requests: the idempotency of each, and the job that it is to store.
        at: the time of the submission.
    """
    owners: dict[str, KeyOwner] = {}
    for idempotency, job_id in requests:
        owners.setdefault(idempotency.key, KeyOwner(idempotency.request_sha256, job_id))
    unclaimed = set(owners)
    while unclaimed:  # again if a key was deleted with its job after it was found to be used
        # in one order in all transactions, which could otherwise wait for each other's keys
        rows = [{"key": key, **owners[key]._asdict(), "created_at": at} for key in sorted(unclaimed)]
        unclaimed -= {row.key for row in insert_new(session, IdempotencyKey, rows)}
        earlier = _owners(session, unclaimed) if unclaimed else {}
        owners |= earlier
        unclaimed -= earlier.keys()
    return owners


def _owners(session: Session, keys: Collection[str]) -> dict[str, KeyOwner]:
    """Return who owns each of the keys that are stored."""
    columns = IdempotencyKey.key, IdempotencyKey.request_sha256, IdempotencyKey.job_id
    rows = session.execute(select(*columns).where(IdempotencyKey.key.in_(keys)))
    return {row.key: KeyOwner(row.request_sha256, row.job_id) for row in rows}


def reused(key: str) -> IdempotencyKeyReused:
    """Return the error that a key was used for a different request."""
    return IdempotencyKeyReused(f"idempotency key {key!r} was used for a different request: send a new key")
