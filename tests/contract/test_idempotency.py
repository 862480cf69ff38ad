"""An idempotency key creates one job, however many requests with it are concurrent."""

import asyncio
import resource

import httpx

from shared.db.engine import Database
from tests.support import stored

MANY = 1_000
# of this process, in which the API runs too: each connection has a descriptor at either end
_DESCRIPTORS, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
AT_ONCE = min(MANY, (_DESCRIPTORS - 224) // 2)
REQUEST = b"""\
POST /v1/jobs HTTP/1.1\r
Host: 127.0.0.1\r
Content-Type: application/json\r
Content-Length: 16\r
Idempotency-Key: one\r
Connection: close\r
\r
{"kind":"train"}"""


def test_of_a_thousand_submits_at_once_with_one_key_one_makes_the_job(
    api: httpx.Client, database: Database
) -> None:
    may_connect = asyncio.Semaphore(AT_ONCE)

    async def submit() -> httpx.Response:
        # not by httpx, which takes as long for a thousand connections as the API does
        async with may_connect:
            reader, writer = await asyncio.open_connection(api.base_url.host, api.base_url.port)
            writer.write(REQUEST)
            head, _, body = (await asyncio.wait_for(reader.read(), 60)).decode().partition("\r\n\r\n")
            writer.close()
            await writer.wait_closed()
        status, *lines = head.split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        answer = httpx.Response(int(status.split()[1]), headers=headers, text=body)
        # on a busy machine some wait for longer than a submit may, and are to be sent again
        return await submit() if answer.status_code == 503 else answer

    async def submit_all() -> list[httpx.Response]:
        return await asyncio.gather(*(submit() for _ in range(MANY)))

    answers = asyncio.run(submit_all())

    assert {answer.status_code for answer in answers} == {202}
    (body,) = {answer.text for answer in answers}
    job_id = httpx.Response(200, text=body).json()["id"]
    assert {answer.headers["Location"] for answer in answers} == {f"/v1/jobs/{job_id}"}
    assert {answer.headers["ETag"] for answer in answers} == {'"1"'}
    replayed = [answer.headers.get("Idempotency-Replayed") for answer in answers].count("true")
    assert replayed >= MANY - 1  # all of them if the one that made the job was answered with 503
    assert stored.count_jobs(database) == 1
