"""API keys: create, list, change, revoke, find.

A key is `ts_<id>_<secret>`. Only the secret's SHA-256 is stored. The secret has 256 random bits, so a slow
hash would add no protection.
"""

import hmac
import secrets
from dataclasses import dataclass
from hashlib import sha256
from math import inf
from uuid import UUID

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from shared import schemas
from shared.db.clock import Now, database_now, seconds_between
from shared.db.tables import ApiKey
from shared.errors import ApiKeyNotFound
from shared.schemas import Scope
from shared.store import limits
from shared.store.keyset import CreationKey, newest_first

_PREFIX = "ts"
_SECRET_BYTES = 32


@dataclass(frozen=True)
class NewApiKey:
    """The id and the secret that make up the text of a key.

    Attributes:
        id: identifies the key; not secret.
        secret: authenticates its holder.
    """

    id: UUID
    secret: str

    @classmethod
    def draw(cls) -> "NewApiKey":
        """Return a new random key."""
        return cls(uuid7(), secrets.token_hex(_SECRET_BYTES))

    def __str__(self) -> str:
        return f"{_PREFIX}_{self.id.hex}_{self.secret}"

    def __repr__(self) -> str:
        return f"NewApiKey(id={self.id}, secret=...)"


def parse(text: str) -> NewApiKey | None:
    """Parse the text of a key. Return None if it is malformed."""
    prefix, _, rest = text.partition("_")
    key_id, _, secret = rest.partition("_")
    if prefix != _PREFIX or not secret:
        return None
    try:
        return NewApiKey(UUID(hex=key_id), secret)
    except ValueError:
        return None


def create(
    session: Session,
    key: NewApiKey,
    *,
    name: str,
    scope: Scope,
    lifetime_s: float | None = None,
    weight: float = 1.0,
    max_running: int | None = None,
    team: str | None = None,
    may_urgent: bool = False,
    now: Now = database_now,
) -> ApiKey:
    """Store a key with the hash of its secret. Idempotent.

    Args:
        lifetime_s: seconds until the key expires; None if it never does.
        weight: the weight of the key's tenant; a team has the greatest weight of its keys.
        max_running: the most jobs of the key that may run at the same time; None if not limited.
        team: the key's team, whose keys may change each other's jobs; None if it has none.
        may_urgent: whether the key may give jobs the priority `urgent`; one of the scope `admin` always may.
    """
    row = session.get(ApiKey, key.id)
    if row is None:
        row = ApiKey(
            id=key.id,
            name=name,
            sha256=_sha256(key.secret),
            scope=scope,
            weight=weight,
            max_running=max_running,
            team=team,
            may_urgent=may_urgent or scope is Scope.ADMIN,
            created_at=now(),
            expires_at=None if lifetime_s is None else now(lifetime_s),
        )
        session.add(row)
        session.flush()
        session.refresh(row)
    return row


def page(
    session: Session, *, after: CreationKey | None = None, limit: int
) -> list[tuple[CreationKey, schemas.ApiKey]]:
    """Return up to `limit` API keys with their sort keys, newest first, revoked and expired ones included."""
    rows = newest_first(session, select(ApiKey), ApiKey, after=after, limit=limit)
    return [(key, schemas.ApiKey.model_validate(row)) for key, row in rows]


def change(session: Session, key_id: UUID, changes: schemas.ApiKeyUpdate) -> schemas.ApiKey:
    """Change a key's weight, limit, team or rights. Idempotent.

    A new weight applies to jobs that start afterwards.

    Raises:
        ApiKeyNotFound: there is no such key.
    """
    row = session.get(ApiKey, key_id)
    if row is None:
        raise _not_found(key_id)
    if "max_running" in changes.model_fields_set:
        limits.lock_for_change(session)
    for name in changes.model_fields_set:
        setattr(row, name, getattr(changes, name))
    row.may_urgent |= row.scope == Scope.ADMIN
    session.flush()
    return schemas.ApiKey.model_validate(row)


def revoke(session: Session, key_id: UUID, *, now: Now = database_now) -> None:
    """Revoke a key permanently. Idempotent.

    Raises:
        ApiKeyNotFound: there is no such key.
    """
    revoked_at = func.coalesce(ApiKey.revoked_at, now())
    updated = session.execute(
        update(ApiKey).where(ApiKey.id == key_id).values(revoked_at=revoked_at).returning(ApiKey.id)
    ).one_or_none()
    if updated is None:
        raise _not_found(key_id)


def _not_found(key_id: UUID) -> ApiKeyNotFound:
    return ApiKeyNotFound(f"there is no API key {key_id}")


def find(session: Session, key: NewApiKey, *, now: Now = database_now) -> ApiKey | None:
    """Return the row of a key, or None if it is unknown, revoked or expired, or its secret is wrong."""
    unexpired = or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now())
    valid = select(ApiKey).where(ApiKey.id == key.id, ApiKey.revoked_at.is_(None), unexpired)
    row = session.scalars(valid).one_or_none()
    if row is None or not hmac.compare_digest(row.sha256, _sha256(key.secret)):
        return None
    return row


def seconds_left(session: Session, key: ApiKey, *, now: Now = database_now) -> float:
    """Return the seconds until a key expires, by the database's clock, or infinity if it never does."""
    if key.expires_at is None:
        return inf
    left = session.scalar(select(seconds_between(now(), ApiKey.expires_at)).where(ApiKey.id == key.id))
    return 0.0 if left is None else float(left)


def any_exists(session: Session) -> bool:
    """Return whether any key is not revoked. Expired keys count: expiry must not open the API to everyone."""
    return session.scalar(select(ApiKey.id).where(ApiKey.revoked_at.is_(None)).limit(1)) is not None


def same_secret(first: str, second: str) -> bool:
    """Return whether two secrets are equal, in a time that reveals nothing about them."""
    return hmac.compare_digest(_sha256(first), _sha256(second))


def _sha256(secret: str) -> str:
    return sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
