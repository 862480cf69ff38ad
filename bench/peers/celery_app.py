"""Celery on Redis: prefork, acknowledged early, the default prefetch, results in Redis. Not durable.

python -m bench.peers.celery_app [REDIS_SOCKET] [PROCESSES]
"""

import os
import sys
from time import perf_counter, sleep

from celery import Celery
from redis import Redis

from bench.peers.lines import milliseconds, running, serve

_SOCKET = os.environ.setdefault("PEER_REDIS", sys.argv[1])  # the worker, a child process, has other arguments
_QUEUE = "peer"
_TIMEOUT_S = 300.0
_RESULTS = 1  # the Redis database that has only the results

app = Celery(
    "peer", broker=f"redis+socket://{_SOCKET}", backend=f"redis+socket://{_SOCKET}?virtual_host={_RESULTS}"
)
app.conf.task_default_queue = _QUEUE
_redis = Redis(unix_socket_path=_SOCKET, db=_RESULTS)


@app.task(name="nothing")
def nothing() -> None:
    """Do nothing."""


def latencies(count: int) -> list[float]:
    """Return the milliseconds from `delay` to the result, one task after another."""
    return milliseconds([_roundtrip() for _ in range(count)])


def _roundtrip() -> float:
    started_at = perf_counter()
    nothing.delay().get(timeout=30)
    return perf_counter() - started_at


def drain(jobs: int) -> float:
    """Return the jobs a second of a warm worker that starts with this many in its queue."""
    app.control.cancel_consumer(_QUEUE, reply=True, limit=1, timeout=10)
    _redis.flushdb()
    with app.producer_or_acquire() as producer:
        for _ in range(jobs):
            nothing.apply_async(producer=producer)
    started_at = perf_counter()
    app.control.add_consumer(_QUEUE)
    while _redis.dbsize() < jobs:
        assert perf_counter() - started_at < _TIMEOUT_S, "the jobs are not finished"
        sleep(0.01)
    return jobs / (perf_counter() - started_at)


def main() -> None:
    """Run a worker, and serve commands."""
    options = ["--without-gossip", "--without-mingle", "--without-heartbeat", "-c", sys.argv[2]]
    with running("celery", "-A", "bench.peers.celery_app", "worker", *options):
        nothing.delay().get(timeout=60)
        serve(latencies=latencies, drain=drain)


if __name__ == "__main__":
    main()
