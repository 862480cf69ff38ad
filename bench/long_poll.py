"""From the commit of a job's change to the answer of a client that waits for it.

    python -m bench.long_poll [--waiters 50] [--changes 500]

The API is a process of its own; the clients and the one who changes jobs share another. Each client waits for
its own job, and the jobs are changed in turn, so that all others wait meanwhile. The clock starts when the
commit is done, and stops when the answer is read. Once with Redis, and once without: then a look at the table
every 250 ms finds the changes.
"""

import argparse
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from threading import Thread
from time import perf_counter
from uuid import UUID

import httpx
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.lifecycle import Phase
from shared.settings import Settings
from shared.store import attempts
from shared.store.change_feed import ChangePublisher
from shared.store.transitions import AttemptId
from tests.support import factories
from tests.support.servers import running_postgres, running_redis
from tests.support.waiting import wait_until


def main() -> None:
    """Run the benchmark and print its table."""
    options = _options()
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{options.waiters} clients wait; {options.changes} changes, a tenth as many without Redis")
    print(f"{'ms from commit to answer':28}{'median':>10}{'p99':>10}{'most':>10}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
        redis = stack.enter_context(running_redis()).url
        nowhere = f"unix://{folder / 'nowhere.sock'}"
        databases = {
            "SQLite": f"sqlite:///{folder / 'trainshed.db'}",
            "PostgreSQL": stack.enter_context(running_postgres()).url(),
        }
        for name, database_url in databases.items():
            for words, redis_url, changes in (
                ("", redis, options.changes),
                (", no Redis", nowhere, options.changes // 10),
            ):
                settings = Settings(data_dir=folder, database_url=database_url, redis_url=redis_url)
                _report(name + words, _measure(settings, options.waiters, changes))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How soon a long poll is answered.")
    parser.add_argument("--waiters", type=int, default=50)
    parser.add_argument("--changes", type=int, default=500)
    return parser.parse_args()


def _report(name: str, seconds: list[float]) -> None:
    ordered = sorted(1_000 * one for one in seconds)
    shown = (ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)], ordered[-1])
    print(f"{name:28}" + "".join(f"{one:10.1f}" for one in shown))


def _measure(settings: Settings, waiters: int, changes: int) -> list[float]:
    announcer, committed_at = ChangePublisher(settings), list[float]()

    def committed(session: Session) -> None:
        committed_at.append(perf_counter())
        announcer(session)

    database = Database(settings.effective_database_url, committed=committed)
    database.migrate()
    with _serving(settings) as url:
        clients = [_Client(url, factories.running(database)) for _ in range(waiters)]
        seconds = []
        for _, client in zip(range(changes + waiters), cycle(clients), strict=False):
            client.change(database)
            seconds.append(client.answered.get() - committed_at[-1])
        for client in clients:
            client.stop(database)
    announcer.close()
    database.dispose()
    return seconds[waiters:]  # the first of each opened its connection


class _Client:
    """Waits for a job's changes, one after another, in a thread.

    Attributes:
        answered: when each was told.
    """

    def __init__(self, url: str, attempt: AttemptId) -> None:
        self.answered: SimpleQueue[float] = SimpleQueue()
        self._attempt = attempt
        self._phases = cycle([Phase.TRAINING, Phase.EVALUATING])
        self._etag = _look(url, attempt.job_id)
        self._thread = Thread(target=self._wait, args=(url,), daemon=True)
        self._thread.start()

    def change(self, database: Database) -> None:
        database.write(lambda session: attempts.enter_phase(session, self._attempt, next(self._phases)))

    def stop(self, database: Database) -> None:
        database.write(lambda session: attempts.cancel_attempt(session, self._attempt))
        self._thread.join()

    def _wait(self, url: str) -> None:
        with httpx.Client(base_url=url, timeout=40) as http:
            state = "running"
            while state == "running":
                answer = http.get(
                    f"/v1/jobs/{self._attempt.job_id}",
                    params={"wait": 30},
                    headers={"If-None-Match": self._etag},
                )
                if answer.status_code == httpx.codes.OK:
                    self.answered.put(perf_counter())
                    self._etag, state = answer.headers["ETag"], answer.json()["state"]


def _look(url: str, job_id: UUID) -> str:
    return str(httpx.get(f"{url}/v1/jobs/{job_id}").headers["ETag"])


@contextmanager
def _serving(settings: Settings) -> Iterator[str]:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    environment = {
        **os.environ,
        "TRAINSHED_DATA_DIR": str(settings.data_dir),
        "TRAINSHED_DATABASE_URL": settings.database_url,
        "TRAINSHED_REDIS_URL": settings.redis_url,
    }
    command = [sys.executable, "-m", "uvicorn", "--factory", "api.app:create_app", "--port", str(port)]
    process = subprocess.Popen([*command, "--log-level", "error"], env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(_answers(url), "the API answers", 60)
        yield url
    finally:
        process.terminate()
        process.wait()


def _answers(url: str) -> Callable[[], bool]:
    def ask() -> bool:
        try:
            return httpx.get(f"{url}/livez").is_success
        except httpx.TransportError:
            return False

    return ask


if __name__ == "__main__":
    main()
