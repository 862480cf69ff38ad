"""Texts that both databases can store: texts from users are checked, and texts from programs are changed.

PostgreSQL stores no NUL, and neither database stores a lone surrogate, half of a character in UTF-16.
"""

from collections.abc import Collection
from difflib import get_close_matches

MAX_MESSAGE_CHARS = 4_000
"""The maximum length of the message of an error or of a log line."""

STORABLE = r"^[^\x00]*$"
"""Pattern of texts that users send; pydantic itself refuses lone surrogates."""

PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
"""Pattern of names and tags: a newline would break lists in a terminal."""


def storable(text: str, max_chars: int = MAX_MESSAGE_CHARS) -> str:
    """Return a text with `?` for each character that cannot be stored, cut with `...` if it is too long."""
    if len(text) > max_chars:
        text = f"{text[: max_chars - 3]}..."
    return text.replace("\x00", "?").encode("utf-8", "replace").decode("utf-8")


def advice(name: str, known: Collection[str], plural: str = "known ones") -> str:
    """Return advice about an unknown name: the nearest known name, or else all known names."""
    nearest = get_close_matches(name, known, n=1)
    if nearest:
        return f"did you mean `{nearest[0]}`?"
    return f"the {plural} are {', '.join(known) or '(none yet)'}"
