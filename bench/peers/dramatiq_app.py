"""Dramatiq on Redis: one process with one thread, results in Redis. Not durable.

python -m bench.peers.dramatiq_app [REDIS_SOCKET]
"""

import os
import sys
from time import perf_counter

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from bench.peers.lines import milliseconds, running, serve

_URL = f"unix://{os.environ.setdefault('PEER_REDIS', sys.argv[1])}"  # the worker has other arguments

broker = RedisBroker(url=_URL)
broker.add_middleware(Results(backend=RedisBackend(url=_URL)))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def nothing() -> int:
    """Do nothing."""
    return 0


def latencies(count: int) -> list[float]:
    """Return the milliseconds from `send` to the result, one message after another."""
    return milliseconds([_roundtrip() for _ in range(count)])


def _roundtrip() -> float:
    started_at = perf_counter()
    nothing.send().get_result(block=True, timeout=30_000)
    return perf_counter() - started_at


def main() -> None:
    """Run a worker, and serve commands."""
    with running("dramatiq", "bench.peers.dramatiq_app", "--processes", "1", "--threads", "1"):
        _roundtrip()
        serve(latencies=latencies)


if __name__ == "__main__":
    main()
