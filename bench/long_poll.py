"""Benchmark of long polling: the time from the commit of a job's change to the response of a waiting client.

    python -m bench.long_poll [--waiters 50] [--changes 500]

The API has its own process; the clients and the writer that changes jobs share another. Each client waits for
its own job, and the jobs are changed in turn while all others wait. The time starts after the commit, and
ends when the response has been read. The time is measured with Redis and without Redis, where the API polls
the database every 250 ms.
"""

import argparse
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from threading import Thread
from time import perf_counter
from uuid import UUID

import httpx
from sqlalchemy.orm import Session

from bench.databases import database_urls
from bench.servers import serving
from bench.timing import machine
from shared.db.engine import Database
from shared.lifecycle import JobState, Phase
from shared.settings import Settings
from shared.store import attempts
from shared.store.change_feed import ChangePublisher
from shared.store.transitions import AttemptId
from tests.support import factories, queue_driver
from tests.support.servers import running_redis


def main() -> None:
    """Run the benchmark and print its table."""
    options = _options()
    print(machine())
    print(f"{options.waiters} clients wait; {options.changes} changes, a tenth as many without Redis")
    print(f"{'ms from commit to response':28}{'median':>10}{'p99':>10}{'max':>10}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
        redis = stack.enter_context(running_redis()).url
        no_redis = f"unix://{folder / 'no-redis.sock'}"
        for name, database_url in stack.enter_context(database_urls(folder)).items():
            for suffix, redis_url, changes in (
                ("", redis, options.changes),
                (", no Redis", no_redis, options.changes // 10),
            ):
                settings = Settings(data_dir=folder, database_url=database_url, redis_url=redis_url)
                _report(name + suffix, _measure(settings, options.waiters, changes))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time from a job's change to the response of a long poll.")
    parser.add_argument("--waiters", type=int, default=50)
    parser.add_argument("--changes", type=int, default=500)
    return parser.parse_args()


def _report(name: str, seconds: list[float]) -> None:
    ordered = sorted(1_000 * time for time in seconds)
    columns = (ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)], ordered[-1])
    print(f"{name:28}" + "".join(f"{time:10.1f}" for time in columns))


def _measure(settings: Settings, waiters: int, changes: int) -> list[float]:
    publisher, committed_at = ChangePublisher(settings), list[float]()

    def committed(session: Session) -> None:
        committed_at.append(perf_counter())
        publisher(session)

    database = Database(settings.effective_database_url, committed=committed)
    database.migrate()
    with serving(settings) as url:
        clients = [_Client(url, queue_driver.running(database)) for _ in range(waiters)]
        seconds = []
        for _, client in zip(range(changes + waiters), cycle(clients), strict=False):
            client.change(database)
            seconds.append(client.response_times.get() - committed_at[-1])
        for client in clients:
            client.stop(database)
    publisher.close()
    database.dispose()
    return seconds[waiters:]  # the first request of each client also opens its connection


class _Client:
    """A client that waits for one change of a job after another, in its own thread.

    Attributes:
        response_times: when the response to each change was read, by `perf_counter`.
    """

    def __init__(self, url: str, attempt: AttemptId) -> None:
        self.response_times: SimpleQueue[float] = SimpleQueue()
        self._attempt = attempt
        self._phases = cycle([Phase.TRAINING, Phase.EVALUATING])
        self._etag = _etag(url, attempt.job_id)
        self._thread = Thread(target=self._wait, args=(url,), daemon=True)
        self._thread.start()

    def change(self, database: Database) -> None:
        queue_driver.record_progress(database, self._attempt, factories.make_progress(next(self._phases)))

    def stop(self, database: Database) -> None:
        database.write(lambda session: attempts.cancel_attempt(session, self._attempt))
        self._thread.join()

    def _wait(self, url: str) -> None:
        with httpx.Client(base_url=url, timeout=40) as http:
            state = JobState.RUNNING
            while state == JobState.RUNNING:
                response = http.get(
                    f"/v1/jobs/{self._attempt.job_id}",
                    params={"wait": 30},
                    headers={"If-None-Match": self._etag},
                )
                if response.status_code == httpx.codes.OK:
                    self.response_times.put(perf_counter())
                    self._etag, state = response.headers["ETag"], JobState(response.json()["state"])


def _etag(url: str, job_id: UUID) -> str:
    return str(httpx.get(f"{url}/v1/jobs/{job_id}").headers["ETag"])


if __name__ == "__main__":
    main()
