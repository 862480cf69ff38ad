"""Error responses."""

from typing import Any

from pydantic import BaseModel


class Problem(BaseModel):
    """An error response, in the format of RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None
    request_id: str | None = None
    errors: list[dict[str, Any]] | None = None
