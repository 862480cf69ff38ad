"""Ids in requests: the whole id, or the first or the last digits of one, as lists show them."""

import re
from contextlib import suppress
from typing import Annotated, Any
from uuid import UUID

from pydantic import BeforeValidator, Field

PART_OF_ID = r"^[0-9a-fA-F-]{4,35}$"
"""Pattern of a short id: at least four digits, with or without the hyphens between them."""


def parse_id(value: Any) -> UUID | str | None:
    """Return a text as an id, or as it is if it is a part of one; None if it is neither."""
    text = str(value)
    with suppress(ValueError):
        return value if isinstance(value, UUID) else UUID(text)
    return text if re.fullmatch(PART_OF_ID, text) else None


def is_part(text: str, some_id: UUID) -> bool:
    """Return whether an id begins or ends with a text, which may also be another name."""
    digits = text.replace("-", "").lower()
    begins_or_ends = some_id.hex.startswith(digits) or some_id.hex.endswith(digits)
    return begins_or_ends and re.fullmatch(PART_OF_ID, text) is not None


def _parse(value: Any) -> UUID | str:
    parsed = parse_id(value)
    if parsed is None:
        raise ValueError("must be an id, or at least 4 of its first or last digits")
    return parsed


IdReference = Annotated[UUID | Annotated[str, Field(pattern=PART_OF_ID)], BeforeValidator(_parse)]
"""An id, or a part of one, which `shared.store.references` looks up."""
