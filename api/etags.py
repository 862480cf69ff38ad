"""Entity tags (RFC 9110, part 8.8.3): naming a version, and finding that the client has it."""


def etag(version: object) -> str:
    """The strong tag of a version."""
    return f'"{version}"'


def is_known(if_none_match: str | None, tag: str) -> bool:
    """Whether an If-None-Match header says that the client has what `tag` names; weakly, as it must be."""
    known = [part.strip().removeprefix("W/") for part in (if_none_match or "").split(",")]
    return "*" in known or tag in known
