"""API keys and their scopes."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import Field, Strict

from shared.schemas.base import PARTIAL_UPDATE, MaxRunning, Request, Response, StrictNumber
from shared.texts import PRINTABLE


class Scope(StrEnum):
    """What an API key permits; each scope includes those before it."""

    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"

    def includes(self, needed: "Scope") -> bool:
        """Return whether this scope permits what `needed` does."""
        order = list(Scope)
        return order.index(self) >= order.index(needed)


_Weight = Annotated[
    float,
    Field(
        ge=0.01,
        le=100,
        description="How many seconds of the slots it gets for one of a key of weight 1 while both wait.",
    ),
    StrictNumber,
]


_Team = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=64,
        pattern=PRINTABLE,
        description="The keys of a team may change each other's jobs, sweeps and models; null: only its own.",
    ),
]
_MayUrgent = Annotated[
    bool,
    Strict(),
    Field(
        description="Whether it may give jobs the priority `urgent`; keys of the scope `admin` always may."
    ),
]


class ApiKeyCreate(Request):
    """A request to create an API key."""

    name: str = Field(
        min_length=1, max_length=200, pattern=PRINTABLE, description="The person or program that will use it."
    )
    scope: Scope = Scope.READ
    expires_in_s: Annotated[float, Field(ge=1, le=10 * 365 * 86_400), StrictNumber] | None = Field(
        default=None, description="Seconds until the key expires; null: it does not expire."
    )
    weight: _Weight = 1.0
    max_running: MaxRunning = None
    team: _Team = None
    may_urgent: _MayUrgent = False


class ApiKeyUpdate(Request):
    """A change of an API key; an omitted field stays as it is."""

    model_config = PARTIAL_UPDATE

    weight: _Weight = 1.0
    max_running: MaxRunning = None
    team: _Team = None
    may_urgent: _MayUrgent = False


class ApiKey(Response):
    """An API key, without its secret."""

    id: UUID
    name: str
    scope: Scope
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    weight: float = 1.0
    max_running: int | None = None
    team: str | None = None
    may_urgent: bool = False


class CreatedApiKey(ApiKey):
    """A newly created API key with its secret.

    Attributes:
        key: the value for `Authorization: Bearer`; no later response contains it.
    """

    key: str = Field(repr=False)


WITHOUT_KEY = "anyone on this host"
"""The name of who needs no key."""


class Me(Response):
    """The identity and scope of the client that made the request.

    Attributes:
        name: of the key; `WITHOUT_KEY` if none is required.
        key_id: None if no key is required, or the key is one of the setting `API_KEYS`.
        team: of the key.
        may_urgent: whether it may give jobs the priority `urgent`.
    """

    key_id: UUID | None
    name: str
    scope: Scope
    expires_at: datetime | None
    team: str | None = None
    may_urgent: bool = False
