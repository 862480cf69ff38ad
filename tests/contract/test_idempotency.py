"""An idempotency key creates one job, however many requests with it are concurrent."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import httpx

from shared.db.engine import Database
from shared.db.tables import Job

MANY = 50


def test_of_fifty_submits_at_once_with_one_key_one_makes_the_job(
    api: httpx.Client, database: Database
) -> None:
    together = Barrier(MANY)

    def submit(_number: int) -> httpx.Response:
        with httpx.Client(base_url=api.base_url, timeout=60) as client:
            together.wait(60)
            return client.post("/v1/jobs", json={"kind": "train"}, headers={"Idempotency-Key": "one"})

    with ThreadPoolExecutor(MANY) as threads:
        answers = list(threads.map(submit, range(MANY)))

    assert {answer.status_code for answer in answers} == {202}
    (job_id,) = {answer.json()["id"] for answer in answers}
    assert {answer.headers["Location"] for answer in answers} == {f"/v1/jobs/{job_id}"}
    assert [answer.headers.get("Idempotency-Replayed") for answer in answers].count("true") == MANY - 1
    assert database.read(lambda session: session.query(Job).count()) == 1
