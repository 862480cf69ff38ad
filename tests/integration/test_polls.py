"""Polls of jobs that change meanwhile, on each database, with a real Redis."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from threading import Event

import httpx
import pytest

from api.app import create_app
from api.jobs import rendered
from shared.db.engine import Database
from shared.settings import Settings
from tests.support import queue_driver
from tests.support.fakes import MonotonicClock
from tests.support.servers import NO_TLS, running_app
from tests.support.waiting import wait_until

POLLERS = 4
CHANGES = 40


@pytest.fixture
def apis(live_settings: Settings) -> Iterator[list[httpx.Client]]:
    """Clients of two API processes' worth of apps, on one database and one Redis."""
    with ExitStack() as servers:
        yield [servers.enter_context(running_app(create_app(live_settings))) for _ in range(2)]


def test_redis_announces_what_another_process_has_changed(
    apis: list[httpx.Client], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendered, "monotonic", MonotonicClock())  # nothing is compared with the database
    path, (here, there), numbers = f"/v1/jobs/{queue_driver.failed(database)}", apis, count()
    assert here.get(path).json()["name"] is None

    def change_and_poll() -> bool:  # again until this process has subscribed
        there.patch(path, json={"name": f"name {next(numbers)}"})
        return here.get(path).json()["name"] is not None

    wait_until(change_and_poll, "the change is seen")
    there.delete(path)
    wait_until(lambda: here.get(path).status_code == 404, "the deletion is seen")


def test_no_poll_after_a_change_returns_what_was_before(apis: list[httpx.Client], database: Database) -> None:
    """Others poll all the time, so that responses are rendered while the job changes."""
    path, api, stop = f"/v1/jobs/{queue_driver.failed(database)}", apis[0], Event()

    def poll() -> int:
        versions = [0]
        with httpx.Client(base_url=api.base_url, verify=NO_TLS) as client:
            while not stop.is_set():
                versions.append(client.get(path).json()["version"])
        assert versions == sorted(versions)
        return len(versions)

    with ThreadPoolExecutor(POLLERS) as threads:
        pollers = [threads.submit(poll) for _ in range(POLLERS)]
        try:
            for number in range(CHANGES):
                changed = api.patch(path, json={"name": f"name {number}"}).json()
                polled = api.get(path).json()
                assert (polled["name"], polled["version"]) == (changed["name"], changed["version"])
        finally:
            stop.set()
        assert all(poller.result() > CHANGES for poller in pollers)


def test_client_reads_its_own_change_through_either_process(
    apis: list[httpx.Client], database: Database
) -> None:
    path = f"/v1/jobs/{queue_driver.failed(database)}"
    for number in range(CHANGES):
        writer, reader = apis if number % 2 else reversed(apis)
        assert reader.get(path).status_code == 200
        tag = writer.patch(path, json={"name": f"name {number}"}).headers["ETag"]

        answer = reader.get(path, headers={"If-None-Match": tag})

        assert (answer.status_code, answer.headers["ETag"]) == (304, tag)
