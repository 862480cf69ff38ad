"""What attempts run with is stored once, whoever runs it, and stays readable where it is not stored."""

from collections.abc import Mapping
from typing import Any

from shared.db.engine import Database
from shared.store import environments
from shared.store.claims import claim
from tests.support import queue_driver, stored
from tests.support.factories import make_worker_info
from tests.support.fakes import FrozenClock


def _rows(database: Database) -> list[tuple[bytes, dict[str, str], Any]]:
    return [tuple(row) for row in database.read(stored.all_rows)["environments"]]


def _store(database: Database, versions: Mapping[str, str], clock: FrozenClock) -> None:
    database.write(lambda session: environments.store(session, versions, now=clock))


def test_an_environment_is_stored_once_whatever_the_order_of_its_versions(
    database: Database, clock: FrozenClock
) -> None:
    versions, first_seen_at = {"python": "3.11.7", "trainshed": "0.2.0"}, clock.moment
    _store(database, versions, clock)
    clock.advance(60)
    _store(database, dict(reversed(versions.items())), clock)
    assert _rows(database) == [(environments.key(versions), versions, first_seen_at)]
    _store(database, {**versions, "commit": "0123abcd"}, clock)
    assert len(_rows(database)) == 2


def test_attempts_of_all_workers_share_the_row_of_their_environment(database: Database) -> None:
    versions = {"python": "3.11.7"}
    for worker in ("worker-1", "worker-2"):
        job_id = queue_driver.submit(database)
        queue_driver.claim(database, job_id, worker=worker, versions=versions)
        [attempt] = stored.detail(database, job_id).attempts
        assert (attempt.worker, attempt.versions) == (worker, versions)
    assert len(_rows(database)) == 1


def test_an_attempt_is_claimed_and_read_although_its_environment_is_not_stored(database: Database) -> None:
    # as in a database that was restored from a backup while the worker ran on
    job_id, worker = queue_driver.submit(database), make_worker_info()
    claimed = database.write(
        lambda session: claim(session, ["default"], worker=worker, owner="worker-1/1", lease_s=30)
    )
    assert claimed is not None
    [attempt] = stored.detail(database, job_id).attempts
    assert (attempt.versions, attempt.dataset_sha256) == ({}, None)
