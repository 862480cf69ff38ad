"""An idempotency key creates one job, however many requests with it are concurrent."""

import asyncio

import httpx

from shared.db.engine import Database
from shared.db.tables import Job

MANY = 1_000


def test_of_a_thousand_submits_at_once_with_one_key_one_makes_the_job(
    api: httpx.Client, database: Database
) -> None:
    async def submit_all() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=MANY)
        async with httpx.AsyncClient(base_url=api.base_url, timeout=60, limits=limits) as client:
            request = {"url": "/v1/jobs", "json": {"kind": "train"}, "headers": {"Idempotency-Key": "one"}}
            return await asyncio.gather(*(client.post(**request) for _ in range(MANY)))  # type: ignore[arg-type]

    answers = asyncio.run(submit_all())

    assert {answer.status_code for answer in answers} == {202}
    (body,) = {answer.text for answer in answers}
    job_id = httpx.Response(200, text=body).json()["id"]
    assert {answer.headers["Location"] for answer in answers} == {f"/v1/jobs/{job_id}"}
    assert {answer.headers["ETag"] for answer in answers} == {'"1"'}
    assert [answer.headers.get("Idempotency-Replayed") for answer in answers].count("true") == MANY - 1
    assert database.read(lambda session: session.query(Job).count()) == 1
