"""The broker with a real Redis, and while Redis is unavailable."""

import json
from base64 import b64decode
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

import pytest
from kombu import Consumer

from shared.broker import RUN_JOBS, Broker, BrokerUnavailable, celery_app
from shared.settings import Settings
from tests.support.ports import closed_port, garbled_port, silent_port
from tests.support.servers import RedisServer

_SUBMIT_TIMEOUT_S = 3.0


def _consumed(settings: Settings, count: int) -> list[str]:
    """The queues that the next `count` messages name, in the order in which a worker receives them."""
    app, received = celery_app(settings), []

    def receive(body: Any, message: Any) -> None:
        received.append(body[0][0])
        message.ack()

    with app.connection() as connection:
        queues = list(app.amqp.queues.consume_from.values())
        # like a worker, which receives a message only when a pool process is free
        with Consumer(connection.channel(), queues, callbacks=[receive], prefetch_count=1):
            for _ in range(count):
                connection.drain_events(timeout=5)
    app.close()
    return received


def _lengths(redis: RedisServer) -> dict[str, int]:
    """The number of messages in each list of Redis."""
    with redis.client() as client:
        return {str(key): int(str(client.llen(key))) for key in client.scan_iter(_type="list")}


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
def garbled() -> Iterator[str]:
    """URL of a port whose replies are not of Redis."""
    with garbled_port() as port:
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture
def missing(tmp_path: Path) -> str:
    """URL of a socket that does not exist."""
    return f"unix://{tmp_path / 'redis.sock'}"


def test_a_defect_of_the_caller_is_no_outage_of_redis(broker: Broker) -> None:
    with pytest.raises(TypeError):
        broker.wake({"default": Decimal(1)})  # type: ignore[dict-item]


def test_a_message_contains_only_the_name_of_the_queue(broker: Broker, redis: RedisServer) -> None:
    broker.wake({"gpu": 1})
    with redis.client() as client:
        [raw] = client.lrange("gpu", 0, -1)
    message = json.loads(raw)
    arguments, options, _ = json.loads(b64decode(message["body"]))
    assert (arguments, options) == (["gpu"], {})
    assert message["headers"]["task"] == RUN_JOBS


def test_a_message_is_all_that_waking_up_adds_to_redis(broker: Broker, redis: RedisServer) -> None:
    # no result, no reply queue: Celery's own states are never read
    broker.wake({"default": 1})
    with redis.client() as client:
        keys = {str(key) for key in client.scan_iter()}
    assert {key for key in keys if not key.startswith("_kombu.")} == {"default"}


def test_each_queue_has_a_list_with_a_message_for_each_job(broker: Broker, redis: RedisServer) -> None:
    broker.wake({"default": 2, "gpu": 1, "empty": 0})
    broker.wake({"default": 1})
    assert _lengths(redis) == {"default": 3, "gpu": 1}


def test_no_more_messages_wait_than_could_wake_a_process_up(broker: Broker, redis: RedisServer) -> None:
    broker.wake({"default": 99})
    broker.wake({"default": 1_000_000, "gpu": 1_000})
    broker.wake({"default": 1})
    assert _lengths(redis) == {"default": 100, "gpu": 100}


def test_messages_are_sent_in_two_round_trips(broker: Broker, redis: RedisServer) -> None:
    broker.wake({"default": 1, "gpu": 1})  # connects, and declares the queues
    with redis.client() as client:
        before = int(client.info("stats")["total_reads_processed"])
        broker.wake({"default": 3, "gpu": 3})
        # and one to ask
        assert int(client.info("stats")["total_reads_processed"]) - before <= 3


def test_a_worker_consumes_messages_of_its_own_queues_only(
    broker: Broker, redis: RedisServer, settings: Settings
) -> None:
    broker.wake({"gpu": 1, "default": 1, "other": 1})
    live = settings.model_copy(update={"redis_url": redis.url, "queues": ("default", "other")})
    assert sorted(_consumed(live, 2)) == ["default", "other"]
    assert _lengths(redis) == {"gpu": 1}


def test_the_check_succeeds_while_redis_works(broker: Broker) -> None:
    broker.check()


@pytest.mark.parametrize("outage", ["unresponsive", "refusing", "garbled", "missing"])
@pytest.mark.parametrize(
    "use",
    [lambda broker: broker.wake({"default": 1}), Broker.check],
    ids=["wake", "check"],
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
    broker.wake({"default": 1})
    redis.stop()
    with pytest.raises(BrokerUnavailable):
        broker.wake({"default": 1})
    redis.start()
    broker.check()
    broker.wake({"default": 1})
    assert _lengths(redis) == {"default": 1}  # Redis was empty after the restart


def test_a_connection_that_was_lost_unnoticed_is_replaced(broker: Broker, redis: RedisServer) -> None:
    broker.wake({"default": 1})
    redis.stop()
    redis.start()
    broker.wake({"default": 1})
    assert _lengths(redis) == {"default": 1}


@pytest.mark.parametrize("command", [("SET", "default", "no list"), ("CONFIG", "SET", "maxmemory", "1")])
def test_a_redis_that_refuses_a_message_is_unavailable(
    broker: Broker, redis: RedisServer, command: tuple[str, ...]
) -> None:
    with redis.client() as client:
        client.execute_command(*command)
        with pytest.raises(BrokerUnavailable):
            broker.wake({"default": 1})
        client.config_set("maxmemory", "0")


def test_a_socket_path_may_contain_spaces(redis: RedisServer) -> None:
    with TemporaryDirectory(prefix="a b ") as folder:
        settings = Settings(data_dir=Path(folder))
        settings.redis_socket.symlink_to(redis.socket)
        broker = Broker(settings)
        broker.check()
        broker.wake({"default": 1})
        assert _consumed(settings, 1) == ["default"]
        broker.close()
