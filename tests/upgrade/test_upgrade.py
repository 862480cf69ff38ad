"""Versions are exchanged under load, in either order and back, and nobody who uses the API notices.

What each order shows: no request fails, each job succeeds once, without a lost attempt, with the epochs of an
uninterrupted run, bit for bit, and all of its events are seen by those who follow it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import create_engine, text

from shared.db.floor import own_version
from shared.lifecycle import EventType, JobState
from tests.faults.cluster import Cluster
from tests.faults.programs import Api, Program
from tests.support import stored
from tests.support.paths import ROOT
from tests.support.servers import NO_TLS
from tests.support.waiting import wait_until
from tests.upgrade.load import EPOCHS, Load
from tests.upgrade.rollout import Rollout, readiness
from tests.upgrade.versions import NEXT_SCHEMA, NEXT_VERSION

pytestmark = [pytest.mark.upgrade, pytest.mark.timeout(600)]

JOBS = 4  # that end under each mixture of versions
TRIES = 3  # how often a migration says for whom it waits


@contextmanager
def load(cluster: Cluster, rollout: Rollout) -> Iterator[Load]:
    """Users of the API in this block, after which all that they did is checked."""
    with Load(rollout.switch.url) as users:
        users.wait_for_more(JOBS)
        yield users
        users.wait_for_more(JOBS)
        users.finish()
    stored = cluster.expect_stored_jobs()
    assert sorted(stored) == sorted(users.accepted)
    cluster.verify()
    check_events(cluster, users)


def check_events(cluster: Cluster, users: Load) -> None:
    by_job = {job_id: cluster.events(job_id) for job_id in users.accepted}
    for job_id, events in by_job.items():
        assert users.followed[job_id] == [(event.seq, event.type) for event in events], job_id
    assert len(users.streamed) == len(set(users.streamed))
    assert set(users.streamed) == {
        (job_id, event.seq) for job_id, events in by_job.items() for event in events
    }


def interrupted(cluster: Cluster) -> int:
    """How often a worker that was replaced has given a job back; none was lost."""
    job_ids = stored.job_ids(cluster.database)
    assert sum(map(cluster.lost, job_ids)) == 0
    types = [type_ for job_id in job_ids for type_ in stored.event_types(cluster.database, job_id)]
    return types.count(EventType.RELEASED)


def test_a_rolling_restart(cluster: Cluster, rollout: Rollout) -> None:
    rollout.migrate(ROOT)
    rollout.start(ROOT)
    with load(cluster, rollout):
        rollout.replace_apis(ROOT)
        rollout.replace_workers(ROOT)
    assert interrupted(cluster) > 0


def test_an_upgrade_of_schema_then_apis_then_workers_and_the_way_back(
    cluster: Cluster, rollout: Rollout, release: Path, next_release: Path
) -> None:
    rollout.migrate(release)
    rollout.start(release)
    with load(cluster, rollout) as users:
        assert "The database is up to date." in rollout.migrate(next_release)
        users.wait_for_more(JOBS)  # the last release runs on the next one's schema
        rollout.replace_apis(next_release)
        users.wait_for_more(JOBS)
        rollout.replace_workers(next_release)
        users.wait_for_more(JOBS)

        rollout.replace_workers(release)
        users.wait_for_more(JOBS)
        rollout.replace_apis(release)
        assert f"of a newer version ({NEXT_SCHEMA}, " in rollout.migrate(release)
    assert interrupted(cluster) > 0


def test_an_upgrade_of_workers_then_apis_on_a_schema_that_is_not_migrated_yet(
    cluster: Cluster, rollout: Rollout, release: Path, next_release: Path
) -> None:
    rollout.migrate(release)
    rollout.start(release)
    with load(cluster, rollout) as users:
        worker, api = rollout.start_worker(next_release), rollout.start_api(next_release)
        outdated = "the schema is that of an older version: run `trainshed migrate`"
        wait_until(lambda: readiness(api) == (503, outdated), "the API says what it lacks", timeout=60)
        wait_until(
            lambda: says(worker, "run `trainshed migrate`"), "the worker says what it lacks", timeout=60
        )
        users.wait_for_more(JOBS)  # the last release goes on

        rollout.migrate(next_release)
        rollout.wait_for(worker)
        rollout.admit(api)
        rollout.replace_workers(next_release)
        rollout.replace_apis(next_release)
    assert interrupted(cluster) > 0


def test_a_backup_beside_the_migration_fails_no_request(
    cluster: Cluster, rollout: Rollout, next_release: Path
) -> None:
    rollout.migrate(ROOT)
    rollout.start(ROOT)
    with load(cluster, rollout) as users:
        with backup(cluster) as pid:
            migration = rollout.start_migrating(next_release)
            wait_until(
                lambda: (
                    migration.logged(f"waits for a lock of pid {pid} (pg_dump") >= TRIES
                    or migration.code is not None
                ),
                "the migration has tried to get its locks again and again",
                timeout=120,
            )
            users.wait_for_more(JOBS)
            assert migration.code is None, migration.log.read_text()
        assert migration.wait(120) == 0, migration.log.read_text()
        users.wait_for_more(JOBS)
    assert interrupted(cluster) == 0


def test_versions_below_the_floor_give_their_jobs_back_and_refuse_everything(
    cluster: Cluster, rollout: Rollout, next_release: Path
) -> None:
    rollout.migrate(next_release)
    worker, api = rollout.start_worker(ROOT), rollout.start_api(ROOT)
    rollout.wait_for(worker)
    rollout.admit(api)
    job_id = cluster.submit(epochs=EPOCHS)
    cluster.wait_for_epoch(job_id, 2)

    raise_floor(cluster)
    needs = f"the database needs Trainshed {NEXT_VERSION} or later, and this is {own_version()}: install that"
    assert worker.wait(60) == 14
    assert says(worker, needs)
    assert cluster.job(job_id).state == JobState.QUEUED
    assert interrupted(cluster) == 1
    assert readiness(api) == (503, needs)
    wait_until(lambda: listed(api).status_code == 503, "requests are refused", timeout=30)
    assert listed(api).json()["type"] == "/problems/version-outdated"
    for command, code in (("api", 2), ("migrate", 2), ("worker", 14)):
        assert needs in rollout.run(command, code=ROOT, exit_code=code)

    rollout.wait_for(rollout.start_worker(next_release))
    cluster.wait_for(job_id, JobState.SUCCEEDED)
    cluster.verify()


@contextmanager
def backup(cluster: Cluster) -> Iterator[int]:
    """In this block a session reads `jobs`, as `pg_dump` does for its whole run; yields its pid."""
    url = cluster.database.engine.url.update_query_dict({"application_name": "pg_dump"})
    engine = create_engine(url)
    with engine.connect() as reader:
        for limit in ("transaction_timeout", "idle_in_transaction_session_timeout"):
            reader.execute(text(f"SET LOCAL {limit} = 0"))
        reader.execute(text("LOCK TABLE jobs IN ACCESS SHARE MODE"))
        yield reader.scalar(text("SELECT pg_backend_pid()")) or 0
    engine.dispose()


def says(worker: Program, text: str) -> bool:
    """Whether a worker has logged once that it cannot work, and why."""
    return worker.logged("cannot work: ") == 1 and worker.logged(text) == 1


def listed(api: Api) -> httpx.Response:
    return httpx.get(f"{api.url}/v1/jobs", verify=NO_TLS)


def raise_floor(cluster: Cluster) -> None:
    """Do what a migration does that removes something."""
    with cluster.database.engine.begin() as connection:
        connection.execute(text("UPDATE version_floor SET version = :version"), {"version": NEXT_VERSION})
