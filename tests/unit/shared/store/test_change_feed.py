"""Changes of jobs are published after their commit, which does not wait for Redis."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread, current_thread
from time import monotonic
from uuid import UUID

import pytest
from redis.client import PubSub
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.settings import Settings
from shared.store import change_feed
from shared.store.change_feed import CHANNEL, ChangePublisher
from shared.store.job_edits import delete_job
from shared.store.submit import submit_job
from tests.support.databases import open_database
from tests.support.factories import make_new_job
from tests.support.ports import garbled_port
from tests.support.queue_driver import failed, record, running, submit
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite only: what is published does not depend on the database."""
    return sqlite_url


@pytest.fixture
def channel(redis: RedisServer) -> Iterator[PubSub]:
    """A subscription to the published changes."""
    with _subscribed(redis) as channel:
        yield channel


@contextmanager
def _subscribed(redis: RedisServer) -> Iterator[PubSub]:
    with redis.client() as client, client.pubsub() as channel:
        channel.subscribe(CHANNEL)
        wait_until(lambda: channel.get_message(timeout=1), "the subscription is confirmed")
        yield channel


def _published(channel: PubSub) -> frozenset[UUID]:
    message = wait_until(lambda: channel.get_message(timeout=1), "a change is published")
    return change_feed.parse_message(message["data"].encode())


def test_a_change_is_published_after_its_commit(publishing_database: Database, channel: PubSub) -> None:
    job_id = submit(publishing_database)
    assert _published(channel) == {job_id}


def test_a_deletion_is_published(database: Database, publishing_database: Database, channel: PubSub) -> None:
    job_id = failed(database)
    publishing_database.write(lambda session: delete_job(session, job_id))
    assert _published(channel) == {job_id}


def test_listeners_are_called_before_the_write_returns(
    publishing_database: Database, publisher: ChangePublisher
) -> None:
    heard: list[tuple[frozenset[UUID], Thread]] = []
    publisher.listen(lambda job_ids: heard.append((job_ids, current_thread())))
    publishing_database.write(lambda _: None)
    job_id = submit(publishing_database)
    assert heard == [(frozenset({job_id}), current_thread())]


def test_jobs_changed_by_one_transaction_are_published_in_one_message(
    publisher: ChangePublisher, database: Database, channel: PubSub
) -> None:
    pair = make_new_job(), make_new_job()
    with Session(database.engine) as session:
        for new in pair:
            submit_job(session, new)
        session.commit()
        publisher(session)
    assert _published(channel) == {new.id for new in pair}


def test_changes_written_by_a_worker_are_published(publishing_database: Database, channel: PubSub) -> None:
    attempt = running(publishing_database)
    record(publishing_database, attempt, 2)
    assert _published(channel) == {attempt.job_id}


def test_a_change_that_was_rolled_back_is_not_published(
    publishing_database: Database, channel: PubSub
) -> None:
    def submit_and_raise(session: Session) -> None:
        submit_job(session, make_new_job())
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        publishing_database.write(submit_and_raise)
    job_id = submit(publishing_database)
    assert _published(channel) == {job_id}


def test_a_write_that_changes_no_job_publishes_nothing(
    publishing_database: Database, channel: PubSub
) -> None:
    publishing_database.write(lambda _: None)
    job_id = submit(publishing_database)
    assert _published(channel) == {job_id}


@pytest.mark.parametrize("outage", ["stopped", "hanging"])
def test_a_commit_does_not_wait_for_redis(
    publisher: ChangePublisher, database: Database, redis: RedisServer, outage: str
) -> None:
    {"stopped": redis.stop, "hanging": redis.hang}[outage]()
    with Session(database.engine) as session:
        submit_job(session, make_new_job())
        session.commit()
        started_at = monotonic()
        for _ in range(1_000):
            publisher(session)
        assert monotonic() - started_at < 0.5  # one timeout of a connection, of a thousand
    publisher.close()


@pytest.mark.slow
def test_changes_are_published_again_when_redis_is_restarted(
    publishing_database: Database, redis: RedisServer
) -> None:
    redis.stop()
    submit(publishing_database)
    redis.start()
    with _subscribed(redis) as channel:

        def submit_until_published() -> bool:
            submit(publishing_database)
            return channel.get_message(timeout=0.2) is not None

        wait_until(submit_until_published, "a change is published")


def test_closing_publishes_pending_changes(
    live_settings: Settings, database_url: str, channel: PubSub
) -> None:
    publisher = ChangePublisher(live_settings)
    with open_database(database_url, committed=publisher) as database:
        job_id = submit(database)
    publisher.close()
    assert _published(channel) == {job_id}


def test_replies_that_are_not_of_redis_do_not_end_the_thread(settings: Settings, database_url: str) -> None:
    with garbled_port() as port:
        publisher = ChangePublisher(settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{port}"}))
        with open_database(database_url, committed=publisher) as database:
            submit(database)
        publisher.close()  # an error of the thread would fail this test as a warning


@pytest.mark.parametrize("message", [b"", b"x", b"\xff", b"1 2"])
def test_a_malformed_message_is_refused(message: bytes) -> None:
    with pytest.raises(ValueError, match=r"badly formed|codec|not enough"):
        change_feed.parse_message(message)
