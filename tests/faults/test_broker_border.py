"""Whatever is on its Redis list, and whatever Redis refuses, a worker lives and runs the next job."""

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from itertools import islice
from random import Random
from typing import Any

import pytest
from redis import Redis

from shared.broker import RUN_JOBS, celery_app
from shared.lifecycle import EventType, JobState
from tests.faults.cluster import Cluster
from tests.faults.conftest import KILLS_ON_SQLITE
from tests.faults.programs import Program
from tests.support.servers import RedisServer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.faults

LIST = "default"
ITEMS = 10_000


@pytest.fixture
def client(redis: RedisServer) -> Iterator[Redis]:
    with redis.client() as client:
        yield client


def pids(worker: Program) -> list[int]:
    """The process ids of a worker and its pool, after which it is seen whether it has lived on."""
    return [worker.pid, *sorted(process.pid for process in worker.pool())]


def runs_the_next_job(cluster: Cluster, worker: Program) -> bool:
    """Submit a job that only this worker can run, and wait until it is done."""
    job_id = cluster.submit(epochs=1)
    cluster.wait_for(job_id, JobState.SUCCEEDED, timeout=60)
    return worker.code is None and cluster.count(job_id, EventType.CLAIMED) == 1


def real_message(cluster: Cluster, client: Redis) -> dict[str, Any]:
    """A message as the broker sends it, of an unknown job."""
    cluster.wake()
    message: dict[str, Any] = json.loads(str(client.rpop(LIST)))
    return message


class Garbage:
    """Items of a list that no sender sends: bytes, JSON, and damaged copies of a real message."""

    def __init__(self, seed: int, message: dict[str, Any]) -> None:
        self._random = Random(seed)
        self._message = message
        self._text = json.dumps(message).encode()

    def __iter__(self) -> Iterator[bytes]:
        # an accepted item takes a pool process and the database, so that most are others
        often = (self._bytes, self._cut, self._json)
        kinds = (*often, *often, self._deep, self._flipped, self._changed)
        while True:
            yield self._random.choice(kinds)()

    def _bytes(self) -> bytes:
        return self._random.randbytes(self._random.choice((1, 10, 1_000)))

    def _cut(self) -> bytes:
        return self._text[: self._random.randrange(len(self._text))]

    def _flipped(self) -> bytes:
        damaged = bytearray(self._text)
        for _ in range(self._random.randint(1, 3)):
            damaged[self._random.randrange(len(damaged))] = self._random.randrange(256)
        return bytes(damaged)

    def _json(self) -> bytes:
        return json.dumps(self._value(3)).encode()

    def _deep(self) -> bytes:
        depth = self._random.choice((10, 1_000, 20_000))
        return self._random.choice((b"[", b'{"headers":', b'{"a":[')) * depth

    def _changed(self) -> bytes:
        """A real message of which one field has another value, or is missing."""
        message = json.loads(self._text)
        part = self._random.choice(
            [message, message["headers"], message["properties"], message["properties"]["delivery_info"]]
        )
        field = self._random.choice([*part, "eta", "expires", "timelimit", "retries", "task", "__type__"])
        if self._random.random() < 0.2:
            part.pop(field, None)
        else:
            part[field] = self._body() if field == "body" else self._value(2)
        return json.dumps(message).encode()

    def _body(self) -> str:
        return b64encode(json.dumps(self._value(4)).encode()).decode()

    def _value(self, depth: int) -> object:
        scalars = [None, True, 5, -1, 10**400, 1e308, float("nan"), "", "celery.backend_cleanup", RUN_JOBS]
        scalars += ["\ud800", "\x00", "2999-01-01T00:00:00", "a" * 2_000]
        if depth == 0 or self._random.random() < 0.4:
            return self._random.choice(scalars)
        values = [self._value(depth - 1) for _ in range(self._random.randrange(4))]
        if self._random.random() < 0.5:
            return values
        return {str(self._random.choice(["args", "kwargs", "task", "id", 1])): value for value in values}


@pytest.mark.timeout(300)
def test_a_worker_that_is_fed_ten_thousand_items_of_garbage_runs_the_next_job(
    sqlite_cluster: Cluster, client: Redis
) -> None:
    garbage = Garbage(20, real_message(sqlite_cluster, client))
    worker = sqlite_cluster.worker(slots=2)
    before = pids(worker)
    with client.pipeline(transaction=False) as pipeline:
        for item in islice(garbage, ITEMS):
            pipeline.lpush(LIST, item)
        pipeline.execute()
    wait_until(lambda: client.llen(LIST) == 0, "every item is taken", timeout=240)
    assert runs_the_next_job(sqlite_cluster, worker)
    assert pids(worker) == before
    assert worker.logged('"message rejected"') > ITEMS / 2
    assert client.exists("unacked", "unacked_index") == 0


@KILLS_ON_SQLITE
def test_jobs_run_once_each_whatever_else_is_on_the_list(cluster: Cluster, client: Redis) -> None:
    garbage = Garbage(21, real_message(cluster, client))
    job_ids = [cluster.submit(epochs=1, train_size=2) for _ in range(40)]
    for job_id in job_ids[::2]:
        cluster.cancel(job_id)  # its message is stale
    sent: list[Any] = list(client.lrange(LIST, 0, -1))
    # every other message is lost, the others are there five times: more than twice as many as jobs
    items = [*sent[::2] * 5, *islice(garbage, 500)]
    Random(21).shuffle(items)
    client.delete(LIST)
    client.lpush(LIST, *items)
    workers = cluster.workers(2, slots=2)
    cluster.wait_for_all()
    wait_until(lambda: client.llen(LIST) == 0, "every item is taken", timeout=30)
    assert [cluster.count(job_id, EventType.CLAIMED) for job_id in job_ids] == [0, 1] * 20
    assert all(runs_the_next_job(cluster, worker) for worker in workers)


@pytest.mark.kills
@pytest.mark.parametrize("task", ["celery.backend_cleanup", "another.task"])
def test_no_task_but_our_own_is_run(sqlite_cluster: Cluster, task: str) -> None:
    worker = sqlite_cluster.worker()
    celery_app(sqlite_cluster.settings).send_task(task, args=["one"], queue=LIST)
    wait_until(lambda: worker.logged('"message rejected"'), "the message is rejected")
    assert not worker.logged("Received unregistered task")
    assert runs_the_next_job(sqlite_cluster, worker)


def test_a_message_cannot_delay_or_limit_or_chain_a_job(sqlite_cluster: Cluster) -> None:
    worker = sqlite_cluster.worker()
    before = pids(worker)
    job_id = sqlite_cluster.submit(epochs=3, send=False)
    app = celery_app(sqlite_cluster.settings)
    options: dict[str, Any] = {"eta": "2999-01-01T00:00:00", "expires": -1, "time_limit": 1, "retries": 9}
    link = app.signature("celery.backend_cleanup")
    app.send_task(RUN_JOBS, [str(job_id)], queue=LIST, link=link, **options)
    assert sqlite_cluster.wait_for(job_id, JobState.SUCCEEDED, timeout=10).attempt == 1
    assert pids(worker) == before


Act = Callable[[Redis], object]


@pytest.mark.parametrize(
    ("spoil", "mend", "advice"),
    [
        (lambda redis: redis.set(LIST, "text"), lambda redis: redis.delete(LIST), "is no list: delete it"),
        (
            lambda redis: redis.hset("default", "a", "b"),
            lambda redis: redis.flushall(),
            "is no list: delete it",
        ),
        (
            lambda redis: redis.replicaof("127.0.0.1", "1"),
            lambda redis: redis.replicaof("NO", "ONE"),
            "read-only replica",
        ),
    ],
    ids=["the list is a text", "a list is a hash", "a replica"],
)
def test_a_worker_waits_until_a_redis_that_refuses_is_mended(
    sqlite_cluster: Cluster, client: Redis, spoil: Act, mend: Act, advice: str
) -> None:
    worker = sqlite_cluster.worker()
    running = sqlite_cluster.submit(epochs=20)
    sqlite_cluster.wait_for_epoch(running, 1)
    before = pids(worker)
    spoil(client)
    sqlite_cluster.wait_for(running, JobState.SUCCEEDED)  # an outage of Redis disturbs no job
    wait_until(lambda: worker.logged(f"{advice}"), "the worker says what to do", timeout=30)
    mend(client)
    assert runs_the_next_job(sqlite_cluster, worker)
    assert pids(worker) == before
    assert worker.logged("Connection to broker lost") <= 2, "it reconnects again and again"


def test_keys_that_kombu_would_use_may_hold_anything(sqlite_cluster: Cluster, client: Redis) -> None:
    for name in ("unacked", "unacked_index", "unacked_mutex", f"_kombu.binding.{LIST}"):
        client.set(name, "text")
    worker = sqlite_cluster.worker()
    job_id = sqlite_cluster.submit(epochs=1, send=False)
    body = b64encode(json.dumps([[str(job_id)], {}, {}]).encode()).decode()
    message = {"headers": {"task": RUN_JOBS}, "properties": {"body_encoding": "base64"}, "body": body}
    client.lpush(LIST, json.dumps(message))
    sqlite_cluster.wait_for(job_id, JobState.SUCCEEDED)
    assert worker.logged("Connection to broker lost") == 0


def test_a_worker_runs_jobs_again_after_redis_was_full(sqlite_cluster: Cluster, client: Redis) -> None:
    worker = sqlite_cluster.worker()
    before = pids(worker)
    client.config_set("maxmemory", "1")
    job_id = sqlite_cluster.submit(epochs=1)
    wait_until(lambda: worker.logged("has reached `maxmemory`"), "the reconciler says what to do")
    late = sqlite_cluster.worker()  # one that starts now connects too
    client.config_set("maxmemory", "0")
    sqlite_cluster.wait_for(job_id, JobState.SUCCEEDED)
    assert pids(worker) == before
    assert [program.logged("Connection to broker lost") for program in (worker, late)] == [0, 0]


def test_an_api_submits_and_answers_while_redis_refuses(sqlite_cluster: Cluster, client: Redis) -> None:
    api = sqlite_cluster.api()
    spoils: list[tuple[Act, Act]] = [
        (lambda redis: redis.config_set("maxmemory", "1"), lambda redis: redis.config_set("maxmemory", "0")),
        (lambda redis: redis.replicaof("127.0.0.1", "1"), lambda redis: redis.replicaof("NO", "ONE")),
        (lambda redis: redis.set(LIST, "text"), lambda redis: redis.delete(LIST)),
    ]
    for spoil, mend in spoils:
        spoil(client)
        assert api.submit(epochs=1).status_code == 202
        mend(client)
    sqlite_cluster.worker()
    sqlite_cluster.expect_stored_jobs()
    sqlite_cluster.wait_for_all()
    assert not api.program.logged("Traceback")
