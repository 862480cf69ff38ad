"""The broker with a real Redis, and while Redis is unavailable."""

import json
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any
from uuid import UUID

import pytest
from kombu import Consumer
from uuid_utils.compat import uuid7

from shared.broker import RUN_JOB, Broker, BrokerUnavailable, Hint, celery_app, list_name, list_names
from shared.schemas import Priority
from shared.settings import Settings
from tests.support.ports import closed_port, silent_port
from tests.support.servers import RedisServer

_SUBMIT_TIMEOUT_S = 3.0


def _hint(queue: str = "default", priority: str = "normal") -> Hint:
    return Hint(uuid7(), queue, priority)


def _consumed(settings: Settings, count: int) -> list[UUID]:
    """The jobs of the next `count` messages, in the order in which a worker receives them."""
    app, received = celery_app(settings), []

    def receive(body: Any, message: Any) -> None:
        received.append(UUID(body[0][0]))
        message.ack()

    with app.connection() as connection:
        queues = list(app.amqp.queues.consume_from.values())
        # like a worker, which receives a message only when a pool process is free
        with Consumer(connection.channel(), queues, callbacks=[receive], prefetch_count=1):
            for _ in range(count):
                connection.drain_events(timeout=5)
    app.close()
    return received


@pytest.fixture
def unresponsive() -> Iterator[str]:
    """URL of a Redis that accepts connections and never responds."""
    with silent_port() as port:
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture
def refusing() -> Iterator[str]:
    """URL of a port that refuses connections."""
    with closed_port() as port:
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture
def missing(tmp_path: Path) -> str:
    """URL of a socket that does not exist."""
    return f"unix://{tmp_path / 'redis.sock'}"


@pytest.mark.parametrize("priority", list(Priority))
def test_a_hint_is_sent_as_a_message_that_contains_only_the_job_id(
    broker: Broker, redis: RedisServer, priority: Priority
) -> None:
    hint = _hint("gpu", priority)
    broker.send(hint)
    with redis.client() as client:
        lists = [str(key) for key in client.scan_iter(_type="list")]
        assert lists == [list_name("gpu", priority)]
        [raw] = client.lrange(lists[0], 0, -1)
    message = json.loads(raw)
    arguments, options, _ = json.loads(b64decode(message["body"]))
    assert (arguments, options) == ([str(hint.job_id)], {})
    assert message["headers"]["task"] == RUN_JOB


def test_a_sent_hint_adds_only_its_message_to_redis(broker: Broker, redis: RedisServer) -> None:
    # no result, no reply queue: Celery's own states are never read
    broker.send(_hint())
    with redis.client() as client:
        keys = {str(key) for key in client.scan_iter()}
    assert {key for key in keys if not key.startswith("_kombu.")} == {list_name("default", "normal")}


def test_messages_are_consumed_by_priority_and_then_oldest_first(
    broker: Broker, redis: RedisServer, settings: Settings
) -> None:
    hints = [_hint(priority=priority) for priority in ("low", "normal", "high") for _ in range(3)]
    for hint in hints:
        broker.send(hint)
    order = [hint.job_id for priority in Priority for hint in hints if hint.priority == priority]
    live = settings.model_copy(update={"redis_url": redis.url})
    assert _consumed(live, len(hints)) == order


def test_priority_takes_precedence_over_the_order_of_queues(
    broker: Broker, redis: RedisServer, settings: Settings
) -> None:
    low, high = _hint("alpha", "low"), _hint("zulu", "high")
    broker.send(low)
    broker.send(high)
    live = settings.model_copy(update={"redis_url": redis.url, "queues": ("alpha", "zulu")})
    assert _consumed(live, 2) == [high.job_id, low.job_id]


def test_a_worker_consumes_messages_of_its_own_queues_only(
    broker: Broker, redis: RedisServer, settings: Settings
) -> None:
    other, own = _hint("gpu"), _hint("default")
    broker.send(other)
    broker.send(own)
    live = settings.model_copy(update={"redis_url": redis.url})
    assert _consumed(live, 1) == [own.job_id]
    assert broker.count_hints(["gpu"]) == 1


def test_hints_are_counted_by_queue(broker: Broker) -> None:
    for priority in Priority:
        broker.send(_hint("default", priority))
    broker.send(_hint("gpu"))
    assert broker.count_hints(["default"]) == 3
    assert broker.count_hints(["default", "gpu"]) == 4
    assert broker.count_hints(["other"]) == 0


def test_names_of_redis_lists_sort_by_priority() -> None:
    names = list_names("default")
    assert names == sorted(names)
    assert len(set(names)) == len(Priority)


def test_ping_succeeds_while_redis_responds(broker: Broker) -> None:
    broker.ping()


@pytest.mark.parametrize("outage", ["unresponsive", "refusing", "missing"])
@pytest.mark.parametrize(
    "use",
    [lambda broker: broker.send(_hint()), lambda broker: broker.count_hints(["default"]), Broker.ping],
    ids=["send", "count_hints", "ping"],
)
def test_an_unavailable_redis_raises_broker_unavailable_within_3_s(
    settings: Settings, request: pytest.FixtureRequest, outage: str, use: Callable[[Broker], object]
) -> None:
    broker = Broker(settings.model_copy(update={"redis_url": request.getfixturevalue(outage)}))
    started = monotonic()
    with pytest.raises(BrokerUnavailable):
        use(broker)
    assert monotonic() - started < _SUBMIT_TIMEOUT_S
    broker.close()


def test_the_broker_recovers_when_redis_is_restarted(broker: Broker, redis: RedisServer) -> None:
    broker.send(_hint())
    redis.stop()
    with pytest.raises(BrokerUnavailable):
        broker.send(_hint())
    redis.start()
    broker.ping()
    broker.send(_hint())
    assert broker.count_hints(["default"]) == 1  # Redis was empty after the restart


def test_a_socket_path_may_contain_spaces(redis: RedisServer) -> None:
    with TemporaryDirectory(prefix="a b ") as folder:
        settings = Settings(data_dir=Path(folder))
        settings.redis_socket.symlink_to(redis.socket)
        broker = Broker(settings)
        broker.ping()
        hint = _hint()
        broker.send(hint)
        assert _consumed(settings, 1) == [hint.job_id]
        broker.close()
