"""The callers of requests: identified by their API keys, and remembered to save reads of the database.

A caller is remembered for a second. After a change through another process, a revoked key is therefore
accepted for up to a second, and so are requests without a key after the first key was created.
"""

import asyncio
from base64 import urlsafe_b64decode, urlsafe_b64encode
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache, partial
from hashlib import sha256
from time import monotonic
from uuid import UUID

from anyio import to_thread
from sqlalchemy.orm import Session
from starlette.types import Scope as RequestScope

from api.http.cross_site import SAFE_METHODS, is_from_own_page
from api.http.headers import first_header
from shared.addresses import is_loopback
from shared.db.engine import Database
from shared.schemas import WITHOUT_KEY, Scope
from shared.settings import Settings
from shared.store import api_keys
from shared.store.rights import LOCAL, Actor

REMEMBERED_S = 1.0
"""Seconds for which a caller is remembered, unless its key expires earlier."""

_MAX_CALLERS = 10_000  # callers remembered at the same time

_Key = tuple[bytes, bool]  # the SHA-256 of the key that was sent, and whether the caller is on this host


@dataclass(frozen=True)
class Caller:
    """The sender of a request, as identified by its API key.

    Attributes:
        key_id: None for a key of the settings, and while no key is needed.
        number: the position, from 1, of a key of the settings among those of its kind; 0 for other callers.
        team: the key's team; None if it has none.
        may_urgent: whether the caller may give jobs the priority `urgent`.
    """

    name: str
    scope: Scope
    key_id: UUID | None = None
    expires_at: datetime | None = None
    number: int = 0
    team: str | None = None
    may_urgent: bool = False

    @cached_property
    def actor(self) -> Actor:
        """The caller as the store's functions know it, with its rights to change something."""
        if self is LOCAL_CALLER:
            return LOCAL
        name = self.name if self.key_id else self.limited_as
        return Actor(name, self.key_id, self.scope is Scope.ADMIN, self.may_urgent)

    @cached_property
    def may_read(self) -> bool:
        """Whether the caller's scope includes `read`."""
        return self.scope.includes(Scope.READ)

    @cached_property
    def limited_as(self) -> str:
        """The caller's name for the rate limit."""
        if self.key_id is None:
            return self.name.replace("a key", f"key {self.number}")
        return f"key {self.key_id}"


LOCAL_CALLER = Caller(WITHOUT_KEY, Scope.ADMIN, may_urgent=True)
"""The caller of a request that needs no key."""

KEY_COOKIE = b"trainshed_key"
"""The name of the cookie that holds the API key of someone who has signed in on a page."""

_FORWARDING_HEADERS = frozenset({b"forwarded", b"x-forwarded-for"})


class Callers:
    """The lookup of callers by their API keys, with a cache. For one event loop.

    Only valid callers are remembered: an invalid key costs a read of the database each time.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._configured_keys = tuple(
            key.get_secret_value() for key in (*settings.api_keys, *settings.read_keys)
        )
        self._configured = [
            *(_configured("API_KEYS", Scope.ADMIN, number) for number, _ in enumerate(settings.api_keys, 1)),
            *(_configured("READ_KEYS", Scope.READ, number) for number, _ in enumerate(settings.read_keys, 1)),
        ]
        self._known: dict[_Key, tuple[Caller, float]] = {}  # each with the `monotonic` time of its expiry
        self._reads: dict[_Key, asyncio.Task[Caller | None]] = {}

    async def identify(self, request: RequestScope) -> Caller | None:
        """Return the caller of a request, or None if it needs a valid key and sent none.

        Raises:
            SQLAlchemyError: the database is unavailable.
        """
        return await self.identify_key(sent_key(request), request)

    async def identify_key(self, text: bytes, request: RequestScope) -> Caller | None:
        """Return the caller of a request by a key in any part of it, or None if the key is invalid.

        Raises:
            SQLAlchemyError: the database is unavailable.
        """
        key = (sha256(text).digest(), is_local(request))
        caller, until = self._known.get(key, (None, 0.0))
        if monotonic() < until:
            return caller
        if key not in self._reads:
            self._reads[key] = asyncio.create_task(self._read(key, text.decode("latin-1")))
        # a request that is cancelled must not cancel the read for the others
        return await asyncio.shield(self._reads[key])

    def forget(self) -> None:
        """Forget all callers after a change of keys; callers being read now are not remembered either."""
        self._known.clear()
        self._reads.clear()

    async def _read(self, key: _Key, text: str) -> Caller | None:
        began_at, this = monotonic(), asyncio.current_task()
        try:
            caller, seconds_left = await to_thread.run_sync(self._authenticate, text, key[1])
            if caller is not None and self._reads.get(key) is this:
                if len(self._known) >= _MAX_CALLERS:
                    self._known.clear()
                self._known[key] = caller, began_at + min(REMEMBERED_S, seconds_left)
        finally:
            if self._reads.get(key) is this:
                del self._reads[key]
        return caller

    def _authenticate(self, text: str, is_local: bool) -> tuple[Caller | None, float]:
        """Return the caller, or None, and the seconds for which at most it may be remembered."""
        # all keys are compared, so that the time taken reveals nothing
        same = [api_keys.same_secret(text, key) for key in self._configured_keys]
        if text and any(same):
            return self._configured[same.index(True)], REMEMBERED_S
        key = api_keys.parse(text)
        if self._configured_keys and key is None:
            return None, 0.0
        needs_key = bool(self._configured_keys) or not is_local
        return self._database.read(partial(_find, key=key, needs_key=needs_key))


def _configured(setting: str, scope: Scope, number: int) -> Caller:
    return Caller(f"a key of {setting}", scope, number=number, may_urgent=scope is Scope.ADMIN)


def sent_key(request: RequestScope) -> bytes:
    """Return the API key in the header `Authorization` or in the pages' cookie, or empty bytes.

    Browsers add the cookie to requests by themselves, so it allows changes only from this API's own pages.
    """
    sent = first_header(request, b"authorization")
    if sent is None:
        is_allowed = request["method"] in SAFE_METHODS or is_from_own_page(request)
        return cookie_key(request) if is_allowed else b""
    scheme, _, text = sent.partition(b" ")
    return text.strip() if scheme.lower() == b"bearer" else b""


def cookie_key(request: RequestScope) -> bytes:
    """Return the API key in the cookie of a signed-in user, or empty bytes if there is none."""
    cookies = first_header(request, b"cookie") or b""
    for cookie in cookies.split(b";"):
        name, _, value = cookie.strip().partition(b"=")
        if name == KEY_COOKIE:
            with suppress(ValueError):
                return urlsafe_b64decode(value)
    return b""


def as_cookie(key: bytes) -> str:
    """Return an API key as the value of the cookie."""
    return urlsafe_b64encode(key).decode()


def address(request: RequestScope) -> str:
    """Return the client's address, which behind an untrusted proxy is the proxy's."""
    return request["client"][0] if request["client"] else "a socket"


@lru_cache(maxsize=1_024)
def _is_loopback(host: str) -> bool:
    return is_loopback(host)


def is_local(request: RequestScope) -> bool:
    """Return whether a request comes from this host."""
    # a proxy on this host may forward requests from other hosts
    is_forwarded = any(name in _FORWARDING_HEADERS for name, _ in request["headers"])
    return not is_forwarded and (not request["client"] or _is_loopback(request["client"][0]))


def _find(
    session: Session, key: api_keys.NewApiKey | None, *, needs_key: bool
) -> tuple[Caller | None, float]:
    row = api_keys.find(session, key) if key else None
    if row is not None:
        scope = Scope(row.scope)
        caller = Caller(
            row.name,
            scope,
            row.id,
            row.expires_at,
            team=row.team,
            may_urgent=row.may_urgent or scope is Scope.ADMIN,
        )
        return caller, api_keys.seconds_left(session, row)
    return None if needs_key or api_keys.any_exists(session) else LOCAL_CALLER, REMEMBERED_S
