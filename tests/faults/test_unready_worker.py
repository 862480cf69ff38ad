"""A worker without a database, a schema or Redis says so in one line, and works once all are there."""

import subprocess
import sys
from pathlib import Path
from signal import SIGTERM

import pytest

from shared.lifecycle import JobState
from shared.settings import Settings
from tests.faults.cluster import Cluster, fast_settings
from tests.faults.conftest import NewCluster
from tests.faults.programs import Program
from tests.support import stored
from tests.support.paths import ROOT
from tests.support.servers import RedisServer, running_postgres
from tests.support.waiting import wait_until

pytestmark = pytest.mark.faults


def is_silent_otherwise(worker: Program) -> bool:
    """Whether a worker that cannot work has logged one line, without a traceback, and takes no jobs."""
    log = worker.log.read_text()
    return log.count("cannot work") == 1 and not any(
        text in log for text in ("Traceback", "ready for jobs", "celery")
    )


@pytest.mark.kills
def test_worker_without_schema_and_redis_works_once_both_are_there(
    tmp_path: Path, redis: RedisServer
) -> None:
    redis.stop()
    urls = {"database_url": f"sqlite:///{tmp_path / 'trainshed.db'}", "redis_url": redis.url}
    with Cluster(tmp_path, Settings(**fast_settings(data_dir=tmp_path, **urls))) as cluster:
        worker = cluster.start_worker()
        wait_until(lambda: worker.logged("run `trainshed migrate`"), "it says what is missing", timeout=60)
        assert worker.logged("Redis is unavailable: start it, or correct TRAINSHED_REDIS_URL")
        assert is_silent_otherwise(worker)
        cluster.database.migrate()
        wait_until(lambda: worker.logged("cannot work: Redis"), "only Redis is missing", timeout=20)
        assert stored.worker_rows(cluster.database) == []
        job_id = cluster.submit(epochs=1)
        redis.start()
        cluster.wait_until_ready(worker)
        cluster.wait_for(job_id, JobState.SUCCEEDED)


def test_worker_whose_database_does_not_answer_says_so_until_it_is_stopped(
    tmp_path: Path, redis: RedisServer
) -> None:
    with running_postgres() as server:
        url = server.url()
    settings = Settings(**fast_settings(data_dir=tmp_path, database_url=url, redis_url=redis.url))
    with Cluster(tmp_path, settings) as cluster:
        worker = cluster.start_worker()
        wait_until(lambda: worker.logged("does not answer"), "it says what is missing", timeout=60)
        assert is_silent_otherwise(worker)
        worker.send(SIGTERM)
        assert worker.wait() == 10


def test_running_worker_that_loses_the_database_says_so_once(
    new_cluster: NewCluster, redis: RedisServer, sqlite_url: str
) -> None:
    with new_cluster(sqlite_url, redis.url) as cluster:
        worker = cluster.worker()
        with cluster.database.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE workers RENAME TO workers_away")
            connection.exec_driver_sql("ALTER TABLE alembic_version RENAME TO alembic_version_away")
        wait_until(lambda: worker.logged("cannot work"), "it says what is missing")
        with cluster.database.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE workers_away RENAME TO workers")
            connection.exec_driver_sql("ALTER TABLE alembic_version_away RENAME TO alembic_version")
        wait_until(lambda: worker.logged("nothing is missing any more"), "it works again")
        assert worker.logged("cannot work") == 1
        assert not worker.logged("Traceback")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "LOG_LEVEL",
            "LOUD",
            "TRAINSHED_LOG_LEVEL: must be DEBUG, INFO, WARNING, ERROR or CRITICAL, not LOUD",
        ),
        ("SLOTS", "many", "TRAINSHED_SLOTS: must be a whole number, not many"),
        ("DATASETS", "{", "TRAINSHED_DATASETS is not JSON: Expecting property name"),
        ("DATABASE_URL", "nonsense", "TRAINSHED_DATABASE_URL: Could not parse SQLAlchemy URL"),
        ("REDIS_URL", "nonsense", "TRAINSHED_REDIS_URL: Redis URL must specify one of the following schemes"),
    ],
)
def test_an_invalid_setting_is_one_line_and_exit_code_2(
    tmp_path: Path, name: str, value: str, message: str
) -> None:
    environment = {"TRAINSHED_DATA_DIR": str(tmp_path), f"TRAINSHED_{name}": value, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-m", "workers", "--check"], env=environment, capture_output=True, text=True
    )
    assert ended.stderr.startswith(f"Error: {message}")
    assert len(ended.stderr.splitlines()) == 1
    assert ended.returncode == 2
