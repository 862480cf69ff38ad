"""What is in the outbox is delivered by the loop, in turn for each receiver, until it is accepted."""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from functools import partial
from threading import Event
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import ColumnElement
from sqlalchemy.exc import OperationalError

from api.webhooks import delivering, sending, turns
from api.webhooks.delivering import Deliverer
from shared.db.clock import database_now
from shared.db.engine import Database
from shared.settings import Settings
from shared.store import outbox
from tests.support import registry, stored
from tests.support.queue_driver import cancelled
from tests.support.registry import webhook, webhook_test
from tests.support.webhook_receiver import Receiver, running_receiver

TIMEOUT_S = 40.0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivering, "_POLL_S", 0.02)
    monkeypatch.setattr(outbox, "RETRY_S", (0.01, 0.01))


def deliver_until(database: Database, condition: Callable[[], bool], *others: Deliverer) -> None:
    """Run one deliverer, or these, until the condition is true."""

    async def run() -> None:
        first, *more = others or (Deliverer(database, Settings(webhooks_allow_private=True)),)
        async with first.running():
            if more:
                async with more[0].running():
                    await wait()
            else:
                await wait()

    async def wait() -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while not await asyncio.to_thread(condition):
                with suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.Event().wait(), 0.02)

    asyncio.run(run())


def have_ended(database: Database) -> bool:
    return all(row.delivered_at or row.dead_at for row in stored.deliveries(database))


def test_every_job_that_ends_is_delivered_once(database: Database, receiver: Receiver) -> None:
    webhook(database, receiver.url)
    jobs = {str(cancelled(database)) for _ in range(10)}
    deliver_until(database, partial(have_ended, database))
    assert {request.event["data"]["id"] for request in receiver.received} == jobs
    assert len(receiver.received) == 10
    assert {row.attempts for row in stored.deliveries(database)} == {1}


def test_what_is_refused_is_sent_again_with_the_same_id_and_body(
    database: Database, receiver: Receiver
) -> None:
    receiver.statuses = [500, 503, 204]
    webhook(database, receiver.url)
    cancelled(database)
    deliver_until(database, partial(have_ended, database))
    assert len({(request.id, request.body) for request in receiver.received}) == 1
    (row,) = stored.deliveries(database)
    assert (row.attempts, row.last_error, row.dead_at) == (3, None, None)


def test_what_is_never_accepted_is_dead(database: Database, receiver: Receiver) -> None:
    receiver.statuses = [500]
    webhook(database, receiver.url)
    cancelled(database)
    deliver_until(database, partial(have_ended, database))
    (row,) = stored.deliveries(database)
    assert (row.attempts, row.last_error) == (3, "the answer is 500 Internal Server Error")
    assert row.dead_at is not None


def test_a_receiver_that_is_gone_is_sent_nothing_more(database: Database, receiver: Receiver) -> None:
    receiver.statuses = [410]
    webhook_id = webhook(database, receiver.url)
    cancelled(database)
    deliver_until(database, partial(have_ended, database))
    cancelled(database)
    assert len(receiver.received) == len(stored.deliveries(database)) == 1
    assert stored.webhook(database, webhook_id).disabled_at is not None


def test_a_receiver_that_does_not_answer_holds_up_no_other(database: Database, receiver: Receiver) -> None:
    with running_receiver() as slow:
        slow.may_answer.clear()
        slow_id = webhook(database, slow.url)
        for _ in range(20):
            webhook_test(database, slow_id)
        webhook_test(database, webhook(database, receiver.url))
        deliver_until(database, lambda: bool(receiver.received) and len(slow.received) >= 4)
        assert len(slow.received) == turns.MAX_SENT_TO_ONE
        slow.may_answer.set()


@pytest.mark.parametrize("hanging", [20, 100])
def test_receivers_that_do_not_answer_hold_up_no_quick_one(
    database: Database, receiver: Receiver, hanging: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "_TOTAL_S", 10 * TIMEOUT_S)
    # an answer on a busy host may take longer than a quick one's 0.5 s
    monkeypatch.setattr(turns, "QUICK_S", 1.5)
    with running_receiver() as slow:
        slow.may_answer.clear()
        for number in range(hanging):
            slow_id = webhook(database, slow.url)
            for _ in range(5 if number < 20 else 1):
                webhook_test(database, slow_id)
        quick = webhook(database, receiver.url)
        sent = {str(webhook_test(database, quick)) for _ in range(30)}
        deliver_until(database, lambda: {request.id for request in receiver.received} == sent)
        # it waited for the end of none of them
        assert {row.last_error for row in stored.deliveries(database)} == {None}
        assert slow.received
        slow.may_answer.set()


def test_names_that_are_not_resolved_hold_up_no_other_receiver(
    database: Database, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up, may_answer = socket.getaddrinfo, Event()

    def getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
        if str(host).startswith("hangs"):
            may_answer.wait(20)
            raise OSError("there was no answer")
        return look_up(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    for number in range(40):
        webhook_test(database, webhook(database, f"http://hangs-{number}.example/"))
    webhook_test(database, webhook(database, receiver.url))
    try:
        deliver_until(database, lambda: bool(receiver.received))
    finally:
        may_answer.set()
    assert {row.last_error for row in stored.deliveries(database)} <= {None}


def test_two_processes_share_the_deliveries(database: Database, receiver: Receiver) -> None:
    webhook_id = webhook(database, receiver.url)
    ids = {str(webhook_test(database, webhook_id)) for _ in range(20)}
    settings = Settings(webhooks_allow_private=True)
    both = [Deliverer(database, settings) for _ in range(2)]
    deliver_until(database, partial(have_ended, database), *both)
    assert sorted(request.id for request in receiver.received) == sorted(ids)


def test_what_a_killed_process_had_claimed_is_sent_after_its_lease(
    database: Database, receiver: Receiver
) -> None:
    webhook_id = webhook(database, receiver.url)
    delivery_id = webhook_test(database, webhook_id)
    database.write(lambda session: outbox.claim(session, webhook_id, limit=1))  # and is killed
    registry.set_deliveries(database, next_at=database_now())
    deliver_until(database, partial(have_ended, database))
    assert [request.id for request in receiver.received] == [str(delivery_id)]
    assert stored.deliveries(database)[0].attempts == 2


def test_it_goes_on_after_the_database_has_failed(
    database: Database, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: Iterator[Exception] = iter(
        [*(OperationalError("", {}, Exception("down")) for _ in range(2)), RuntimeError("a defect")]
    )
    works = outbox.due

    def fail_at_first(*args: Any, **options: Any) -> list[UUID]:
        for failure in failures:
            raise failure
        return works(*args, **options)

    monkeypatch.setattr(outbox, "due", fail_at_first)
    webhook_test(database, webhook(database, receiver.url))
    quick = Database(str(database.engine.url.render_as_string(hide_password=False)), patience_s=0.0)
    deliver_until(quick, partial(have_ended, database))
    quick.dispose()
    assert len(receiver.received) == 1


def test_no_secret_and_no_url_is_logged(
    database: Database, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.statuses = [500, 500, 410]
    webhook_id = webhook(database, f"{receiver.url}?token=hidden")
    webhook_test(database, webhook_id)
    deliver_until(database, partial(have_ended, database))
    secret = stored.webhook(database, webhook_id).secret
    assert "delivery failed" in caplog.text
    assert str(webhook_id) in caplog.text
    assert secret[6:] not in caplog.text
    assert "token=hidden" not in caplog.text


def test_old_deliveries_are_deleted(database: Database, receiver: Receiver) -> None:
    def in_a_week(offset_s: float = 0.0, /) -> ColumnElement[datetime]:
        return database_now(offset_s + 7 * 86_400)

    webhook_id = webhook(database, receiver.url)
    webhook_test(database, webhook_id)
    deliver_until(database, partial(have_ended, database))
    kept = webhook_test(database, webhook_id)
    later = Deliverer(database, Settings(webhooks_allow_private=True), now=in_a_week)
    deliver_until(database, lambda: [row.id for row in stored.deliveries(database)] == [kept], later)


def test_what_came_of_attempts_is_counted(database: Database, receiver: Receiver) -> None:
    receiver.statuses = [500, 204, 500, 500, 500, 204, 410]
    hook, outcomes = webhook(database, receiver.url), Counter[outbox.Outcome]()
    for _ in range(4):
        webhook_test(database, hook)
        deliverer = Deliverer(database, Settings(webhooks_allow_private=True))
        deliver_until(database, partial(have_ended, database), deliverer)
        outcomes += deliverer.outcomes

    assert outcomes == {"accepted": 2, "failed": 5, "given_up": 2}
