"""The version floor: the oldest version of Trainshed that may use a database, which the database says itself.

A migration that removes what an older version needs raises it, in the same transaction. All versions read it.
"""

import re
from functools import cache
from importlib.metadata import version

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import SQLAlchemyError

_TABLE = "version_floor"
_FLOOR = text(f"SELECT version FROM {_TABLE}")


class VersionOutdated(SQLAlchemyError):
    """This version of Trainshed is too old for its database: for its users the same as an outage."""


@cache
def own_version() -> str:
    """Return the version of the code that runs, such as `0.1.0`."""
    return version("trainshed")


def refusal(connection: Connection, own: str | None = None) -> str:
    """Return why a version of Trainshed must not use a database, and what to do; empty if it may.

    Args:
        own: the version; None: that of the code that runs.
    """
    floor = connection.scalar(_FLOOR) if inspect(connection).has_table(_TABLE) else None
    own = own or own_version()
    if floor is None or _numbers(own) >= _numbers(floor):
        return ""
    return f"the database needs Trainshed {floor} or later, and this is {own}: install that"


def _numbers(release: str) -> list[int]:
    """Return the three numbers of a version; what follows them, as in `0.2.0.dev1`, does not count."""
    return [int(number) for number in re.findall(r"\d+", release)[:3]]
