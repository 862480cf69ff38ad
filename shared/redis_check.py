"""Checks whether Redis can carry wake-ups, and explains its errors.

A Redis that responds may still refuse commands: it may be a demoted master or out of memory, or a key may
have another type.
"""

from collections.abc import Iterable

from redis import Redis
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    InvalidResponse,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)

_UNUSED_LIST = "trainshed:unused"  # never exists, so that writing to it changes nothing
_MAX_REPLY = 200  # characters of a reply that are quoted

_REFUSED_LOGIN = (AuthenticationError, AuthorizationError, NoPermissionError)
_LOGIN_CODES = ("NOAUTH", "WRONGPASS", "NOPERM")
# errors that the client raises, besides its own, if a reply does not follow Redis's protocol
PARSER_ERRORS = (InvalidResponse, ValueError, AttributeError, TypeError, LookupError)


def check_taking(client: Redis, lists: Iterable[str]) -> None:
    """Check that wake-ups can be taken from these lists, in one round trip and without changing anything.

    Raises:
        RedisError: Redis is unavailable, or refuses a command.
    """
    _try_commands(client, lists, sends=False)


def check_sending(client: Redis, lists: Iterable[str]) -> None:
    """Check that wake-ups can be sent to these lists, which needs free memory too; like `check_taking`.

    Raises:
        RedisError: Redis is unavailable, or refuses a command.
    """
    _try_commands(client, lists, sends=True)


def _try_commands(client: Redis, lists: Iterable[str], *, sends: bool) -> None:
    with client.pipeline(transaction=False) as pipeline:
        for name in lists:
            pipeline.llen(name)
        if sends:
            pipeline.lpushx(_UNUSED_LIST, "")
        else:
            pipeline.rpop(_UNUSED_LIST)
        pipeline.execute()


def explain(error: BaseException) -> str:
    """Return the meaning of an error of Redis and its remedy, without any secret."""
    reply = str(error)[:_MAX_REPLY]
    if isinstance(error, _REFUSED_LOGIN) or reply.startswith(_LOGIN_CODES):
        return "Redis refuses the user or password in TRAINSHED_REDIS_URL: correct it"
    if isinstance(error, ReadOnlyError):
        return "Redis is a read-only replica: set TRAINSHED_REDIS_URL to its master, or promote it"
    if isinstance(error, OutOfMemoryError):
        return "Redis has reached `maxmemory`: raise it, or delete keys of other programs"
    if "WRONGTYPE" in reply:
        return f"a key in Redis is no list: delete it ({reply})"
    if isinstance(error, ResponseError):
        return f"Redis refuses a command: {reply}"
    if isinstance(error, PARSER_ERRORS):
        return "what responds is no Redis: correct TRAINSHED_REDIS_URL"
    return "Redis is unavailable: start it, or correct TRAINSHED_REDIS_URL"
