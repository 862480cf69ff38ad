"""The keys with which clients show who they are, and what each may do.

A key is `ts_<id>_<secret>`. Only the secret's SHA-256 is stored: the secret is random and long, so that a
slow hash would protect nothing more.
"""

import hmac
import secrets
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from shared.db.clock import Now, database_now
from shared.db.tables import ApiKey
from shared.errors import ApiKeyNotFound
from shared.schemas import Scope

_PREFIX = "ts"
_SECRET_BYTES = 32


@dataclass(frozen=True)
class NewApiKey:
    """A key that was just drawn, and is to be shown once.

    Attributes:
        id: names it, in public.
        secret: proves that its holder was given it.
    """

    id: UUID
    secret: str

    @classmethod
    def draw(cls) -> "NewApiKey":
        """One that nobody can guess: 256 random bits."""
        return cls(uuid7(), secrets.token_hex(_SECRET_BYTES))

    def __str__(self) -> str:
        return f"{_PREFIX}_{self.id.hex}_{self.secret}"

    def __repr__(self) -> str:
        return f"NewApiKey(id={self.id}, secret=...)"


def parse(text: str) -> NewApiKey | None:
    """The two parts of a key that a client showed; None if it has not a key's form."""
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
    now: Now = database_now,
) -> ApiKey:
    """Store a key, without its secret; storing it twice is storing it once.

    Args:
        name: what people call it.
        lifetime_s: seconds until it expires; None: it never does.
    """
    stored = session.get(ApiKey, key.id)
    if stored is None:
        stored = ApiKey(
            id=key.id,
            name=name,
            sha256=_sha256(key.secret),
            scopes=[scope],
            created_at=now(),
            expires_at=None if lifetime_s is None else now(lifetime_s),
        )
        session.add(stored)
        session.flush()
        session.refresh(stored)
    return stored


def every(session: Session) -> list[ApiKey]:
    """All keys, revoked and expired ones too, newest first."""
    return list(session.scalars(select(ApiKey).order_by(ApiKey.created_at.desc(), ApiKey.id.desc())))


def revoke(session: Session, key_id: UUID, *, now: Now = database_now) -> None:
    """End a key for good; doing it twice is doing it once.

    Raises:
        ApiKeyNotFound: there is no such key.
    """
    revoked_at = func.coalesce(ApiKey.revoked_at, now())
    changed = session.execute(
        update(ApiKey).where(ApiKey.id == key_id).values(revoked_at=revoked_at).returning(ApiKey.id)
    ).one_or_none()
    if changed is None:
        raise ApiKeyNotFound(f"there is no API key {key_id}")


def find(session: Session, shown: NewApiKey, *, now: Now = database_now) -> ApiKey | None:
    """The stored key that a client showed; None if it is unknown, wrong, revoked or expired."""
    unexpired = or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now())
    valid = select(ApiKey).where(ApiKey.id == shown.id, ApiKey.revoked_at.is_(None), unexpired)
    stored = session.scalars(valid).one_or_none()
    if stored is None or not hmac.compare_digest(stored.sha256, _sha256(shown.secret)):
        return None
    return stored


def any_exists(session: Session) -> bool:
    """Whether a key was made that is not revoked. An expired one counts: its end must open no door."""
    return session.scalar(select(ApiKey.id).where(ApiKey.revoked_at.is_(None)).limit(1)) is not None


def same_secret(one: str, other: str) -> bool:
    """Whether two secrets are equal, in a time that tells nothing about them."""
    return hmac.compare_digest(_sha256(one), _sha256(other))


def _sha256(secret: str) -> str:
    return sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
