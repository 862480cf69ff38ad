"""The broker on a real Redis, and without one."""

import json
import socket
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
from tests.support.servers import RedisServer

# what a submit may take while Redis is away, with room for everything else that it does
_PATIENCE_S = 3.0


def _hint(queue: str = "default", priority: str = "normal") -> Hint:
    return Hint(uuid7(), queue, priority)


def _consumed(settings: Settings, count: int) -> list[UUID]:
    """The jobs of the next so many messages, in the order in which a worker gets them."""
    app, received = celery_app(settings), []

    def receive(body: Any, message: Any) -> None:
        received.append(UUID(body[0][0]))
        message.ack()

    with app.connection() as connection:
        queues = list(app.amqp.queues.consume_from.values())
        # one at a time, as a worker that takes a message only when a process is free
        with Consumer(connection.channel(), queues, callbacks=[receive], prefetch_count=1):
            for _ in range(count):
                connection.drain_events(timeout=5)
    app.close()
    return received


@pytest.fixture
def unanswering() -> Iterator[str]:
    """A Redis that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


@pytest.fixture
def refusing() -> str:
    """A Redis that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"redis://127.0.0.1:{port}/0"


@pytest.fixture
def gone(tmp_path: Path) -> str:
    """A Redis whose socket is gone."""
    return f"unix://{tmp_path / 'redis.sock'}"


@pytest.mark.parametrize("priority", list(Priority))
def test_a_hint_is_a_message_with_nothing_but_the_jobs_id(
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


def test_nothing_is_left_in_redis_but_the_message(broker: Broker, redis: RedisServer) -> None:
    # no result, no reply queue: Celery's own states are never read
    broker.send(_hint())
    with redis.client() as client:
        keys = {str(key) for key in client.scan_iter()}
    assert {key for key in keys if not key.startswith("_kombu.")} == {list_name("default", "normal")}


def test_higher_priorities_go_first_and_within_one_the_first_come(
    broker: Broker, redis: RedisServer, settings: Settings
) -> None:
    hints = [_hint(priority=priority) for priority in ("low", "normal", "high") for _ in range(3)]
    for hint in hints:
        broker.send(hint)
    order = [hint.job_id for priority in Priority for hint in hints if hint.priority == priority]
    live = settings.model_copy(update={"redis_url": redis.url})
    assert _consumed(live, len(hints)) == order


def test_a_high_priority_goes_first_in_whatever_queue(
    broker: Broker, redis: RedisServer, settings: Settings
) -> None:
    low, high = _hint("alpha", "low"), _hint("zulu", "high")
    broker.send(low)
    broker.send(high)
    live = settings.model_copy(update={"redis_url": redis.url, "queues": ("alpha", "zulu")})
    assert _consumed(live, 2) == [high.job_id, low.job_id]


def test_a_worker_takes_only_what_is_in_its_queues(
    broker: Broker, redis: RedisServer, settings: Settings
) -> None:
    other, own = _hint("gpu"), _hint("default")
    broker.send(other)
    broker.send(own)
    live = settings.model_copy(update={"redis_url": redis.url})
    assert _consumed(live, 1) == [own.job_id]
    assert broker.waiting(["gpu"]) == 1


def test_the_messages_that_wait_are_counted_by_queue(broker: Broker) -> None:
    for priority in Priority:
        broker.send(_hint("default", priority))
    broker.send(_hint("gpu"))
    assert broker.waiting(["default"]) == 3
    assert broker.waiting(["default", "gpu"]) == 4
    assert broker.waiting(["other"]) == 0


def test_the_names_of_lists_sort_by_priority() -> None:
    names = list_names("default")
    assert names == sorted(names)
    assert len(set(names)) == len(Priority)


def test_a_redis_that_answers_is_noticed(broker: Broker) -> None:
    broker.ping()


@pytest.mark.parametrize("away", ["unanswering", "refusing", "gone"])
@pytest.mark.parametrize(
    "use",
    [lambda broker: broker.send(_hint()), lambda broker: broker.waiting(["default"]), Broker.ping],
    ids=["send", "waiting", "ping"],
)
def test_a_redis_that_is_away_is_noticed_in_time(
    settings: Settings, request: pytest.FixtureRequest, away: str, use: Callable[[Broker], object]
) -> None:
    broker = Broker(settings.model_copy(update={"redis_url": request.getfixturevalue(away)}))
    started = monotonic()
    with pytest.raises(BrokerUnavailable):
        use(broker)
    assert monotonic() - started < _PATIENCE_S
    broker.close()


def test_it_works_again_once_redis_is_back(broker: Broker, redis: RedisServer) -> None:
    broker.send(_hint())
    redis.stop()
    with pytest.raises(BrokerUnavailable):
        broker.send(_hint())
    redis.start()
    broker.ping()
    broker.send(_hint())
    assert broker.waiting(["default"]) == 1  # it came back empty


def test_a_socket_in_a_folder_with_a_blank_is_found(redis: RedisServer) -> None:
    with TemporaryDirectory(prefix="a b ") as folder:
        settings = Settings(data_dir=Path(folder))
        settings.redis_socket.symlink_to(redis.socket)
        broker = Broker(settings)
        broker.ping()
        hint = _hint()
        broker.send(hint)
        assert _consumed(settings, 1) == [hint.job_id]
        broker.close()
