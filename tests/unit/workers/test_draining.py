"""A worker that drains leaves messages at the broker, and keeps what it has already requested."""

from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace

import pytest
from kombu import Connection, Producer, Queue

from tests.support.servers import RedisServer
from workers.draining import DrainStep

QUEUE = Queue("jobs", routing_key="jobs")


class Worker:
    """The broker connection of a worker, with the drain step, and the messages that it has consumed."""

    def __init__(self, connection: Connection) -> None:
        self.received: list[str] = []
        self._connection = connection
        consumer = connection.Consumer(QUEUE, callbacks=[self._receive], no_ack=True)
        consumer.consume()
        celery_consumer = SimpleNamespace(task_consumer=consumer, steps=[])
        DrainStep(celery_consumer).start(celery_consumer)

    def poll(self, timeout: float) -> list[str]:
        """Wait for a message until the timeout; return all that were consumed so far."""
        with suppress(TimeoutError):
            self._connection.drain_events(timeout=timeout)
        return self.received

    def _receive(self, body: str, _message: object) -> None:
        self.received.append(body)


@pytest.fixture
def url(redis: RedisServer) -> str:
    return redis.url.replace("unix://", "redis+socket://")


@pytest.fixture
def worker(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """A worker that does not drain yet; a request to Redis stays pending for longer than a test takes."""
    monkeypatch.setattr(DrainStep, "draining", False)
    with Connection(url, transport_options={"brpop_timeout": 60}) as connection:
        yield Worker(connection)


def send(url: str, body: str) -> None:
    with Connection(url) as connection:
        Producer(connection).publish(body, routing_key="jobs", declare=[QUEUE])


def test_a_worker_that_does_not_drain_consumes_messages(worker: Worker, url: str) -> None:
    send(url, "first")
    assert worker.poll(timeout=60) == ["first"]


def test_a_draining_worker_leaves_messages_until_it_is_undrained(worker: Worker, url: str) -> None:
    DrainStep.draining = True
    send(url, "first")
    assert worker.poll(timeout=0.1) == []
    DrainStep.draining = False
    assert worker.poll(timeout=60) == ["first"]


def test_a_message_that_was_requested_before_draining_is_consumed(worker: Worker, url: str) -> None:
    assert worker.poll(timeout=0.1) == []
    DrainStep.draining = True
    for body in ("first", "second"):
        send(url, body)
    assert worker.poll(timeout=60) == ["first"]
    assert worker.poll(timeout=0.1) == ["first"]
