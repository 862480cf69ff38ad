"""Changes of jobs are told after the commit, and never at the cost of who made them."""

from collections.abc import Iterator
from time import monotonic
from uuid import UUID

import pytest
from redis.client import PubSub
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.settings import Settings
from shared.store import change_feed
from shared.store.change_feed import CHANNEL, ChangePublisher
from shared.store.submit import submit_job
from tests.support.factories import make_new_job, record, running, submitted
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind of database only: what is told does not depend on it."""
    return sqlite_url


@pytest.fixture
def announcer(live_settings: Settings) -> Iterator[ChangePublisher]:
    announcer = ChangePublisher(live_settings)
    yield announcer
    announcer.close()


@pytest.fixture
def telling(database_url: str, announcer: ChangePublisher) -> Iterator[Database]:
    """The database, with every change told."""
    database = Database(database_url, committed=announcer)
    yield database
    database.dispose()


@pytest.fixture
def channel(redis: RedisServer) -> Iterator[PubSub]:
    with redis.client() as client, client.pubsub() as channel:
        channel.subscribe(CHANNEL)
        wait_until(lambda: channel.get_message(timeout=1), "the subscription is confirmed")
        yield channel


def _told(channel: PubSub) -> frozenset[UUID]:
    message = wait_until(lambda: channel.get_message(timeout=1), "a change is told")
    return change_feed.parse_message(message["data"].encode())


def test_a_change_is_told_after_its_commit(telling: Database, channel: PubSub) -> None:
    job_id = submitted(telling)
    assert _told(channel) == {job_id}


def test_jobs_that_one_transaction_changes_are_told_together(
    announcer: ChangePublisher, database: Database, channel: PubSub
) -> None:

    pair = make_new_job(), make_new_job()
    with Session(database.engine) as session:
        for new in pair:
            submit_job(session, new)
        session.commit()
        announcer(session)
    assert _told(channel) == {new.id for new in pair}


def test_what_a_worker_writes_is_told(telling: Database, channel: PubSub) -> None:
    attempt = running(telling)
    record(telling, attempt, 2)
    assert _told(channel) == {attempt.job_id}


def test_what_was_not_committed_is_not_told(telling: Database, channel: PubSub) -> None:
    def refuse(session: Session) -> None:

        submit_job(session, make_new_job())
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        telling.write(refuse)
    job_id = submitted(telling)
    assert _told(channel) == {job_id}


def test_a_write_that_changes_no_job_tells_nothing(telling: Database, channel: PubSub) -> None:
    telling.write(lambda _: None)
    job_id = submitted(telling)
    assert _told(channel) == {job_id}


@pytest.mark.parametrize("away", ["stopped", "hanging"])
def test_a_commit_does_not_wait_for_redis(
    announcer: ChangePublisher, database: Database, redis: RedisServer, away: str
) -> None:
    {"stopped": redis.stop, "hanging": redis.hang}[away]()
    with Session(database.engine) as session:
        submit_job(session, make_new_job())
        session.commit()
        began = monotonic()
        for _ in range(1_000):
            announcer(session)
        assert monotonic() - began < 0.5  # one timeout of a connection, of a thousand
    announcer.close()


def test_changes_are_told_again_when_redis_is_back(telling: Database, redis: RedisServer) -> None:
    redis.stop()
    submitted(telling)
    redis.start()
    with redis.client() as client, client.pubsub() as channel:
        channel.subscribe(CHANNEL)
        wait_until(lambda: channel.get_message(timeout=1), "the subscription is confirmed")

        def tell() -> bool:
            submitted(telling)
            return channel.get_message(timeout=0.2) is not None

        wait_until(tell, "a change is told")


def test_closing_tells_what_is_left(live_settings: Settings, database_url: str, channel: PubSub) -> None:
    announcer = ChangePublisher(live_settings)
    database = Database(database_url, committed=announcer)
    job_id = submitted(database)
    announcer.close()
    database.dispose()
    assert _told(channel) == {job_id}


@pytest.mark.parametrize("message", [b"x", b"\xff", b"1 2"])
def test_a_message_that_is_not_ours_is_refused(message: bytes) -> None:
    with pytest.raises(ValueError, match=r"badly formed|codec"):
        change_feed.parse_message(message)
