"""A transaction holds a job's row and does not end: others' submissions are as fast as before."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from statistics import median
from time import monotonic
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from tests.faults.cluster import Cluster
from tests.faults.conftest import NewCluster
from tests.faults.programs import Api, training
from tests.support.servers import RedisServer

pytestmark = [pytest.mark.faults, pytest.mark.timeout(120)]

ANSWERED_S = 3.0
SUBMITS = 40


@pytest.fixture
def cluster(postgresql_url: str, redis: RedisServer, new_cluster: NewCluster) -> Iterator[Cluster]:
    """A cluster on PostgreSQL: SQLite has no locks of rows."""
    with new_cluster(postgresql_url, redis.url) as cluster:
        yield cluster


@contextmanager
def locked(cluster: Cluster, job_id: str) -> Iterator[None]:
    """Another transaction, such as that of a stopped worker, has locked a job."""
    with cluster.database.engine.connect() as connection:
        connection.execute(text("SELECT 1 FROM jobs WHERE id = :id FOR NO KEY UPDATE"), {"id": job_id})
        yield


def submit(api: Api, **options: Any) -> tuple[httpx.Response, float]:
    """Submit a job; return the answer, and the seconds until it came."""
    began_at = monotonic()
    body = {"kind": "train", "spec": training().model_dump(mode="json"), **options}
    return api.post("jobs", body), monotonic() - began_at


def submits(api: Api) -> float:
    """Submit jobs one after another; return how many seconds each took, in the median."""
    answers = [submit(api) for _ in range(SUBMITS)]
    assert {answer.status_code for answer, _ in answers} == {202}
    return median(seconds for _, seconds in answers)


def test_one_that_names_a_locked_job_holds_up_no_other(cluster: Cluster) -> None:
    api = cluster.api()
    first = submit(api)[0].json()["id"]
    before_s = submits(api)
    with ThreadPoolExecutor(8) as threads:
        with locked(cluster, first):
            waiting = [threads.submit(submit, api, after=[first]) for _ in range(7)]
            meanwhile_s = submits(api)
            refused = [each.result() for each in waiting]
            last = threads.submit(submit, api, after=[first])
        stored = last.result()[0]

    assert meanwhile_s < 3 * before_s + 0.02
    for answer, seconds in refused:
        assert (answer.status_code, seconds < ANSWERED_S) == (503, True)
        assert f"another transaction has locked job {first}" in answer.json()["detail"]
    assert stored.status_code == 202
    job_ids = cluster.expect_stored_jobs()
    assert len(job_ids) == 2 + 2 * SUBMITS
    assert UUID(stored.json()["id"]) in job_ids
    for job_id in job_ids:
        cluster.cancel(job_id)
