"""API keys, and what they allow."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import Field

from shared.schemas.base import A_NUMBER, PRINTABLE, Request, Response


class Scope(StrEnum):
    """What the holder of an API key may do; each includes the ones before it."""

    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"

    def includes(self, needed: "Scope") -> bool:
        """Whether what `needed` allows is allowed."""
        order = list(Scope)
        return order.index(self) >= order.index(needed)


class ApiKeyCreate(Request):
    """A request for an API key."""

    name: str = Field(
        min_length=1, max_length=200, pattern=PRINTABLE, description="Who or what it is given to."
    )
    scope: Scope = Scope.READ
    expires_in_s: Annotated[float, Field(ge=1, le=10 * 365 * 86_400), A_NUMBER] | None = Field(
        default=None, description="Seconds for which it holds; None: for ever."
    )


class ApiKey(Response):
    """An API key, without its secret."""

    id: UUID
    name: str
    scope: Scope
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class CreatedApiKey(ApiKey):
    """An API key that was just made.

    Attributes:
        key: what its holder sends as `Authorization: Bearer`; it is shown here and never again.
    """

    key: str = Field(repr=False)


class ApiKeyList(Response):
    """The API keys, newest first; those that were revoked or have expired too."""

    data: tuple[ApiKey, ...]


class Me(Response):
    """Who the API takes the client for.

    Attributes:
        key_id: None where no key is needed, or the key is one of the setting `API_KEYS`.
    """

    key_id: UUID | None
    name: str
    scope: Scope
    expires_at: datetime | None
