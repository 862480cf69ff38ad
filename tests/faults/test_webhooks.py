"""A receiver is killed again and again, or the API that delivers: each job's end arrives, under one id."""

import asyncio
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event, Thread

import pytest

from api.webhooks import delivering
from api.webhooks.delivering import Deliverer
from shared.db.engine import Database
from shared.lifecycle import JobState
from shared.settings import Settings
from shared.store import outbox
from tests.faults.cluster import Cluster
from tests.faults.conftest import NewCluster
from tests.faults.programs import Program
from tests.support import stored
from tests.support.queue_driver import cancelled
from tests.support.registry import webhook
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until
from tests.support.webhook_receiver import running_receiver
from trainshed import Client
from trainshed.local.ports import find_free

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

KILLS = 100


@contextmanager
def running_deliverer(database: Database) -> Iterator[None]:
    """Deliver from a thread of this process."""
    stop = Event()

    async def deliver() -> None:
        async with Deliverer(database, Settings(webhooks_allow_private=True)).running():
            await asyncio.to_thread(stop.wait)

    thread = Thread(target=lambda: asyncio.run(deliver()))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def pending(database: Database) -> int:
    return sum(not (row.delivered_at or row.dead_at) for row in stored.deliveries(database))


def test_each_end_of_a_job_reaches_a_receiver_that_is_killed_a_hundred_times(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "RETRY_S", (0.05,) * 10_000)
    monkeypatch.setattr(delivering, "_POLL_S", 0.05)
    port, journal = find_free("127.0.0.1"), tmp_path / "journal"
    journal.touch()

    def start(*options: str) -> Program:
        command = ["tests.support.webhook_receiver", str(port), str(journal), *options]
        return Program(command, dict(os.environ), tmp_path / "receiver.log")

    def received() -> list[list[str]]:
        return [json.loads(line) for line in journal.read_text().splitlines()]

    def has_received_more(than: int) -> bool:
        return len(received()) > than

    webhook(database, f"http://127.0.0.1:{port}/hook")
    jobs = set()
    with running_deliverer(database):
        for number in range(KILLS):
            before = len(received())
            # every other one dies with a request that it has stored and not answered
            receiver = start(*["silent"] * (number % 2))
            jobs.add(str(cancelled(database)))
            wait_until(partial(has_received_more, before), "it receives a delivery", 30)
            receiver.kill()
        assert pending(database) > 0
        receiver = start()
        wait_until(lambda: not pending(database), "all are accepted", 60)
        receiver.kill()

    ids = defaultdict(set)
    for delivery_id, job_id in received():
        ids[job_id].add(delivery_id)
    assert set(ids) == jobs
    assert len(set().union(*ids.values())) == KILLS  # so each job has one
    assert len(received()) > KILLS


@pytest.fixture
def private_cluster(redis: RedisServer, database_url: str, new_cluster: NewCluster) -> Iterator[Cluster]:
    """A cluster whose webhooks may reach this host."""
    with new_cluster(database_url, redis.url, webhooks_allow_private=True) as cluster:
        yield cluster


def test_what_an_api_was_sending_when_it_was_killed_is_sent_after_its_lease(private_cluster: Cluster) -> None:
    cluster = private_cluster
    first = cluster.api()
    with running_receiver() as receiver, Client(first.url) as server:
        receiver.may_answer.clear()
        server.create_webhook(receiver.url)
        jobs = [cluster.submit(ends=JobState.CANCELLED, send=False) for _ in range(3)]
        for job_id in jobs:
            cluster.cancel(job_id)
        wait_until(lambda: len(receiver.received) >= 3, "all are being sent")
        first.program.kill()
        receiver.may_answer.set()
        began_with = len(receiver.received)
        cluster.api()

        wait_until(lambda: not pending(cluster.database), "all are accepted", outbox.LEASE_S + 30)

    assert len(receiver.received) >= began_with + 3
    assert {request.event["data"]["id"] for request in receiver.received} == set(map(str, jobs))
    assert len({request.id for request in receiver.received}) == 3
