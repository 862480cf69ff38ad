"""Environments: the software versions of attempts, each combination stored once under its hash."""

import json
from collections.abc import Mapping
from hashlib import sha256

from sqlalchemy.orm import Session

from shared.db.clock import Now, database_now
from shared.db.tables import Environment
from shared.db.upserts import insert_or_ignore


def key(versions: Mapping[str, str]) -> bytes:
    """Return the hash of an environment: the SHA-256 of its versions as JSON, with sorted names."""
    return sha256(json.dumps(versions, sort_keys=True).encode()).digest()


def store(session: Session, versions: Mapping[str, str], *, now: Now = database_now) -> None:
    """Insert an environment unless it exists."""
    row = {"sha256": key(versions), "versions": dict(versions), "first_seen_at": now()}
    insert_or_ignore(session, Environment, row)
