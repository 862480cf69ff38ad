"""A worker's transport from Redis: validates messages, and treats a refused command as an outage of Redis.

kombu and Celery obey a message. It may name any registered task, delay it for a year or limit its time. A
message that they cannot decode ends the worker, which puts it back for the next worker. So only the arguments
of a message are kept here, and a message that is not one of ours is rejected with a line in the log. Messages
are wake-ups, which may be lost: none is stored until it is acknowledged, and none is restored.
"""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal
from uuid import uuid4

from kombu.transport import TRANSPORT_ALIASES, redis
from pydantic import Base64Bytes, BaseModel, Field, TypeAdapter, ValidationError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from shared import log, redis_check
from shared.broker import RUN_JOBS

_log = log.get_logger(__name__)

_MAX_BYTES = 10_000  # largest message; ours have less than 1,000 bytes

Argument = Annotated[str, Field(max_length=200)]


class _Headers(BaseModel):
    task: str


class _Properties(BaseModel):
    body_encoding: Literal["base64"]


class _Message(BaseModel):
    """The part of a Celery message that says whether it is one of ours."""

    headers: _Headers
    properties: _Properties
    body: Base64Bytes


# positional arguments, keyword arguments and the tasks that Celery would run afterwards
_BODY: TypeAdapter[tuple[list[Argument], dict[str, Any], Any]] = TypeAdapter(
    tuple[list[Argument], Annotated[dict[str, Any], Field(max_length=0)], Any]
)


def read_arguments(item: bytes) -> list[str]:
    """Return the task's arguments in an item of a Redis list.

    Raises:
        ValueError: the item is not one of our messages; the text says why without quoting it.
    """
    if len(item) > _MAX_BYTES:
        raise ValueError(f"longer than {_MAX_BYTES:,} bytes")
    try:
        message = _Message.model_validate_json(item)
        arguments, _, _ = _BODY.validate_json(message.body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        raise ValueError(": ".join([".".join(map(str, first["loc"])), first["msg"]]).lstrip(": ")) from None
    if message.headers.task != RUN_JOBS:
        raise ValueError(f"another task than {RUN_JOBS}")
    return arguments


def accept(reply: Sequence[bytes] | None) -> tuple[bytes, bytes] | None:
    """Turn a reply to BRPOP into a message that has only the arguments of the item.

    Returns:
        The name of the list and the message, or None if there is no item or it is rejected.
    """
    if not reply:
        return None
    name, item = reply
    try:
        arguments = read_arguments(item)
    except ValueError as error:
        _log.warning("message rejected", list=name.decode(), bytes=len(item), reason=str(error))
        return None
    return name, json.dumps(_message(name.decode(), arguments)).encode()


def _message(list_name: str, arguments: list[str]) -> dict[str, Any]:
    """Return a message in the form of Celery's protocol, without the sender's id and options."""
    id_ = str(uuid4())
    return {
        "body": json.dumps([arguments, {}, {}]),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"lang": "py", "task": RUN_JOBS, "id": id_},
        "properties": {
            "delivery_tag": id_,
            "delivery_info": {"exchange": "", "routing_key": list_name},
        },
    }


class Channel(redis.Channel):
    """Consumes the lists of a worker, without writing to Redis."""

    ack_emulation = False  # else each message is written to a hash and a sorted set, and deleted again
    do_restore = False  # no message goes back when the channel is closed
    from_transport_options = (*redis.Channel.from_transport_options, "lists")
    lists: Sequence[str] = ()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Connect; raises RedisError."""
        super().__init__(*arguments, **options)
        self.client.set_response_callback("BRPOP", accept)

    def check(self) -> None:
        """Check that wake-ups can be taken; raises RedisError if not."""
        redis_check.check_taking(self.client, self.lists)

    def _restore(self, *_: object, **__: object) -> None:
        """Put no message back; kombu would put back a message that arrives while the worker stops."""

    def _queue_bind(self, *_: object) -> None:
        """Store no binding: each list has the name of its routing key."""

    def _size(self, _queue: str) -> int:
        """Return 0: only a declaration asks, and ignores it; a real size needs a transaction, thus memory."""
        return 0

    def _lookup(self, _exchange: str, routing_key: str, _default: str | None = None) -> list[str]:
        return [routing_key]


class Transport(redis.Transport):
    """Redis as Celery's broker; a Redis that refuses a command counts as unavailable.

    Celery then logs the error and connects again, after 2 to 30 s, until Redis can be used.
    """

    Channel = Channel
    connection_errors = (*redis.Transport.connection_errors, ResponseError)

    def establish_connection(self) -> Any:
        """Connect, and check that wake-ups can be taken.

        Raises:
            redis.exceptions.ConnectionError: wake-ups cannot be taken; the text says what to do.
        """
        try:
            transport: Any = super().establish_connection()  # returns `self`, its own connection
            transport.channels[-1].check()
        except Exception as error:
            # any error of the client, also of its parser if another server replies
            self.close_connection(self)  # type: ignore[arg-type]
            raise RedisConnectionError(redis_check.explain(error)) from error
        return transport


def install() -> None:
    """Have kombu use this transport for every URL of Redis in this process."""
    # not Celery's setting `broker_transport`, which the URL of a UNIX socket overrides
    TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), f"{__name__}:{Transport.__name__}"))
