"""RQ on Redis, with its worker that does not fork a process for each job. Not durable.

python -m bench.peers.rq_app REDIS_SOCKET
"""

import sys
from time import perf_counter

from redis import Redis
from rq import Queue

from bench.peers.lines import milliseconds, running, serve


def nothing() -> None:
    """Do nothing."""


def main() -> None:
    """Run a worker, and serve commands."""
    socket = sys.argv[1]
    queue = Queue("peer", connection=Redis(unix_socket_path=socket))

    def roundtrip() -> float:
        started_at = perf_counter()
        job = queue.enqueue("bench.peers.rq_app.nothing")
        assert job.latest_result(timeout=30) is not None
        return perf_counter() - started_at

    def latencies(count: int) -> list[float]:
        return milliseconds([roundtrip() for _ in range(count)])

    options = ["--url", f"unix://{socket}", "--worker-class", "rq.worker.SimpleWorker", "--quiet"]
    with running("rq.cli", "worker", "peer", *options):
        roundtrip()
        serve(latencies=latencies)


if __name__ == "__main__":
    main()
