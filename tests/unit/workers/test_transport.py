"""What a worker takes from its Redis lists: our messages without the sender's options, and nothing else."""

import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu import Connection, Consumer, Queue
from kombu.message import Message
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from structlog.testing import capture_logs

from shared.broker import RUN_JOBS, celery_app
from shared.settings import Settings
from tests.support.servers import RedisServer
from workers.transport import Channel, Transport, accept, read_arguments

_LIST = "jobs"


def _sent(settings: Settings, task: str = RUN_JOBS, *arguments: object, **options: Any) -> dict[str, Any]:
    """Return the message that Celery itself sends."""
    app = celery_app(settings)
    app.conf.update(broker_url="memory://", broker_transport_options={})
    app.send_task(task, arguments, queue=app.conf.task_default_queue, **options)
    with app.connection() as connection:
        channel: Any = connection.channel()
        message: dict[str, Any] = channel._get(app.conf.task_default_queue)
    app.close()
    return message


def _with_body(body: object) -> dict[str, Any]:
    text = b64encode(json.dumps(body).encode()).decode()
    return {"headers": {"task": RUN_JOBS}, "properties": {"body_encoding": "base64"}, "body": text}


def _accepted(message: object) -> Any:
    reply = accept((_LIST.encode(), json.dumps(message).encode()))
    assert reply is not None
    assert reply[0] == _LIST.encode()
    return json.loads(reply[1])


def test_a_message_that_celery_sends_is_accepted_with_its_arguments(settings: Settings) -> None:
    accepted = _accepted(_sent(settings, RUN_JOBS, "one", "two"))
    assert json.loads(accepted["body"]) == [["one", "two"], {}, {}]
    assert accepted["headers"]["task"] == RUN_JOBS


def test_nothing_of_a_message_is_kept_but_its_arguments(settings: Settings) -> None:
    options = {"eta": "2999-01-01T00:00:00", "expires": 1, "time_limit": 1, "priority": 9, "retries": 5}
    sent = _sent(settings, RUN_JOBS, "one", link=celery_app(settings).signature("celery.map"), **options)
    assert sent["headers"]["eta"]  # the options were sent
    plain, accepted = _accepted(_with_body([["one"], {}, {}])), _accepted(sent)
    ids = {accepted["headers"].pop("id"), accepted["properties"].pop("delivery_tag")}
    assert len(ids) == 1
    assert sent["headers"]["id"] not in ids
    del plain["headers"]["id"], plain["properties"]["delivery_tag"]
    assert accepted == plain


@pytest.mark.parametrize("task", ["celery.backend_cleanup", "celery.chain", "celery.map", "another", ""])
def test_every_other_task_is_rejected(settings: Settings, task: str) -> None:
    message = json.dumps(_sent(settings, task, "one")).encode()
    with pytest.raises(ValueError, match=f"another task than {RUN_JOBS}"):
        read_arguments(message)


@pytest.mark.parametrize(
    "item",
    [
        b"",
        b"5",
        b"[]",
        b"null",
        b"{}",
        b"no message",
        b"\x80\x04K\x05.",
        b"\xff\xfe",
        b"[" * 5_000,
        b'{"a":' * 1_500,
        b" " * 10_001,
        json.dumps(_with_body(5)).encode(),
        json.dumps(_with_body([[5], {}, {}])).encode(),
        json.dumps(_with_body([["\ud800"], {}, {}])).encode(),
        json.dumps(_with_body([["x" * 201], {}, {}])).encode(),
        json.dumps(_with_body([["one"], {"a": 1}, {}])).encode(),
        json.dumps({**_with_body([[], {}, {}]), "body": "not base64!"}).encode(),
        json.dumps({**_with_body([[], {}, {}]), "body": b64encode(b"[" * 2_000).decode()}).encode(),
        json.dumps({**_with_body([[], {}, {}]), "properties": {"body_encoding": None}}).encode(),
        json.dumps({**_with_body([[], {}, {}]), "headers": {"task": {}}}).encode(),
    ],
)
def test_what_is_no_message_is_rejected_with_one_line_that_does_not_quote_it(item: bytes) -> None:
    with capture_logs() as lines:
        assert accept((_LIST.encode(), item)) is None
    [line] = lines
    assert (line["event"], line["list"], line["bytes"]) == ("message rejected", _LIST, len(item))
    assert 10 < len(line["reason"]) < 200


def test_the_line_about_a_rejected_message_contains_nothing_of_it() -> None:
    secret = "hunter2"
    bodies = [{secret: secret}, [[secret * 100], {}, {}], [["one"], {secret: 1}, {}]]
    items = [json.dumps(_with_body(body)).encode() for body in bodies]
    items += [secret.encode(), json.dumps({"headers": secret, "body": {secret: 1}}).encode()]
    with capture_logs() as lines:
        assert [accept((_LIST.encode(), item)) for item in items] == [None] * len(items)
    assert secret not in repr(lines)


def test_a_reply_without_an_item_is_nothing() -> None:
    with capture_logs() as lines:
        assert accept(None) is None
    assert lines == []


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
)
_PARTS = st.fixed_dictionaries(
    {},
    optional={
        "headers": st.just({"task": RUN_JOBS}) | _JSON,
        "properties": st.just({"body_encoding": "base64"}) | _JSON,
        "body": _JSON.map(lambda body: b64encode(json.dumps(body).encode()).decode()) | _JSON,
        "content-type": _JSON,
    },
)


@given(
    st.binary() | _JSON.map(lambda value: json.dumps(value).encode()) | _PARTS.map(json.dumps).map(str.encode)
)
def test_whatever_is_accepted_is_a_message_that_kombu_decodes(item: bytes) -> None:
    reply = accept((_LIST.encode(), item))
    if reply is not None:
        message = json.loads(reply[1])
        decoded = Message(
            body=message["body"],
            content_type=message["content-type"],
            content_encoding=message["content-encoding"],
            accept=["json"],
        ).payload
        assert all(isinstance(argument, str) for argument in decoded[0])


class _Worker:
    """Consumes a list through the transport, as a worker does."""

    def __init__(self, connection: Connection) -> None:
        self.received: list[list[str]] = []
        self.channel: Any = connection.channel()
        self._connection = connection
        self.consumer = Consumer(self.channel, [Queue(_LIST, routing_key=_LIST)], callbacks=[self._receive])
        self.consumer.consume()

    def poll(self) -> list[list[str]]:
        with suppress(TimeoutError):
            self._connection.drain_events(timeout=0.5)
        return self.received

    def _receive(self, body: Any, _message: object) -> None:
        self.received.append(body[0])  # not acknowledged


def _connect(redis: RedisServer) -> Connection:
    url = redis.url.replace("unix://", "redis+socket://")
    connection = Connection(url, transport_options={"lists": [_LIST]})
    vars(connection).update(transport_cls=Transport)
    return connection


@pytest.fixture
def connection(redis: RedisServer) -> Iterator[Connection]:
    with _connect(redis) as connection:
        yield connection


def test_messages_are_consumed_and_others_dropped_without_a_trace_in_redis(
    connection: Connection, redis: RedisServer
) -> None:
    worker = _Worker(connection)
    assert isinstance(worker.channel, Channel)
    with redis.client() as client:
        for item in ("5", "no message", json.dumps(_with_body([["one"], {}, {}]))):
            client.lpush(_LIST, item)
        assert worker.poll() == [["one"]]
        assert list(client.scan_iter()) == []


def test_a_message_that_is_not_acknowledged_is_not_restored(redis: RedisServer) -> None:
    with redis.client() as client:
        client.lpush(_LIST, json.dumps(_with_body([["one"], {}, {}])))
        with _connect(redis) as connection:
            assert _Worker(connection).poll() == [["one"]]
        assert list(client.scan_iter()) == []


def test_a_message_that_arrives_while_the_worker_stops_is_not_restored(redis: RedisServer) -> None:
    with redis.client() as client:
        with _connect(redis) as connection:
            worker = _Worker(connection)
            assert worker.poll() == []  # its request to Redis is pending
            worker.consumer.cancel()
            client.lpush(_LIST, json.dumps(_with_body([["one"], {}, {}])))
            worker.channel.close()
        assert worker.received == []
        assert list(client.scan_iter()) == []


def test_a_list_of_another_type_is_a_connection_error(connection: Connection, redis: RedisServer) -> None:
    worker = _Worker(connection)
    with redis.client() as client:
        client.set(_LIST, "text")
        with pytest.raises(connection.connection_errors) as caught:
            worker.poll()
        assert isinstance(caught.value, ResponseError)
        with _connect(redis) as other, pytest.raises(RedisConnectionError, match="is no list: delete it"):
            other.transport.establish_connection()
        client.delete(_LIST)
        with _connect(redis) as other:
            other.transport.establish_connection()


def test_a_read_only_redis_cannot_be_connected_to(redis: RedisServer) -> None:
    with redis.client() as client:
        client.replicaof("127.0.0.1", "1")
        with _connect(redis) as connection, pytest.raises(RedisConnectionError, match="read-only replica"):
            connection.transport.establish_connection()


def test_a_full_redis_can_be_connected_to_since_taking_needs_no_memory(redis: RedisServer) -> None:
    with redis.client() as client:
        client.lpush(_LIST, json.dumps(_with_body([["one"], {}, {}])))
        client.config_set("maxmemory", "1")
        with _connect(redis) as connection:
            assert _Worker(connection).poll() == [["one"]]
