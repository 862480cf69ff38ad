"""Soak test with random faults: `python -m tests.faults.soak --minutes 10 --seed 1 --jobs 30`.

It prints its seed and every fault, so that a failed run can be understood and repeated, and ends with two
oracles: the tables of the server, and what clients saw through several API processes.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from math import ceil
from pathlib import Path
from random import Random
from time import monotonic

from shared.lifecycle import JobState
from shared.settings import Settings
from tests.faults.client_histories import ClientHistory, Operation, Request
from tests.faults.clients import RandomClient, RecordingClient, stop
from tests.faults.cluster import Cluster, fast_settings
from tests.faults.linearizability import STALE_S
from tests.faults.programs import EPOCH_S, pass_seconds, training
from tests.faults.random_faults import RandomFaults
from tests.support.databases import migrate
from tests.support.servers import PostgresServer, RedisServer, running_postgres, running_redis
from tests.support.waiting import wait_until

_WORKERS = 3
_APIS = 2
_CLIENTS = 3
_CLIENT_PAUSE_S = 0.15
_CANCELS_PER_JOB = 0.3  # as many retries and deletions
_SUBMIT_TIMEOUT_S = 60.0
_FINISH_TIMEOUT_S = 600.0
_LOG_TAIL_CHARS = 3_000


class Soak:
    """A cluster, the faults injected into it, and clients that retry and record what they see."""

    def __init__(
        self, cluster: Cluster, random: Random, redis: RedisServer, postgres: PostgresServer | None
    ) -> None:
        self._cluster = cluster
        self._random = random
        self._redis = redis
        self._faults = RandomFaults(cluster, random, redis, postgres, workers=_WORKERS, apis=_APIS)
        self._history = ClientHistory()
        self._client = RecordingClient(self._history)
        self._started_at = monotonic()

    def run(self, seconds: float, jobs: int) -> None:
        """Submit jobs and inject faults for a time, then wait for every job and check both oracles."""
        # jobs long enough to keep every worker busy, so that a fault rarely hits an idle one
        max_epochs = max(8, ceil(2 * _WORKERS * seconds / jobs / EPOCH_S))
        clients = self._start_clients(_CANCELS_PER_JOB * jobs / (_CLIENTS * seconds / _CLIENT_PAUSE_S))
        for number in range(jobs):
            self._submit(number, self._random.randint(1, max_epochs))
            while monotonic() - self._started_at < seconds * (number + 1) / jobs:
                pass_seconds(self._random.uniform(0.5, 2.0))
                self.log(self._faults.inject())
        stop(clients)
        self.log("no more faults; waiting for every job")
        self._cluster.expect_stored_jobs()
        self._cluster.wait_for_all(timeout=_FINISH_TIMEOUT_S)
        self._check()

    def close(self) -> None:
        """Close the connections to the APIs."""
        self._client.close()

    def log(self, text: str) -> None:
        """Print a line with the time since the start."""
        sys.stdout.write(f"{monotonic() - self._started_at:7.1f} s  {text}\n")
        sys.stdout.flush()

    def _start_clients(self, share: float) -> list[RandomClient]:
        """Start clients that mostly read, and cancel with this share of their requests."""
        weights = {
            Operation.READ: 1.0,
            Operation.CANCEL: share,
            Operation.RETRY: share,
            Operation.DELETE: share,
        }
        clients = [
            RandomClient(
                f"client-{number}",
                self._history,
                self._faults.urls,
                Random(self._random.random()),
                weights,
                _CLIENT_PAUSE_S,
            )
            for number in range(_CLIENTS)
        ]
        for client in clients:
            client.start()
        return clients

    def _submit(self, number: int, epochs: int) -> None:
        spec, deadline = training(epochs=epochs, seed=number), monotonic() + _SUBMIT_TIMEOUT_S

        def send() -> Request:
            return self._client.submit(self._random.choice(self._faults.urls), f"job-{number}", spec)

        while (sent := send()).made is None:
            self.log(f"job {number} was not acknowledged: status {sent.status}")
            assert monotonic() < deadline, f"job {number} was refused for {_SUBMIT_TIMEOUT_S:g} s"
            self._faults.restart_ended_programs()
            pass_seconds(0.5)
        self.log(f"submitted job {number}, {epochs} epochs")

    def _check(self) -> None:
        """Check the server's tables, and what the clients saw, the last of it now."""
        pass_seconds(STALE_S)
        for job_id in self._history.job_ids:
            for url in self._faults.urls:
                self._client.read(url, job_id, with_tag=False)
        self._history.check()
        stored, acknowledged = set(self._cluster.expect_stored_jobs()), set(self._history.job_ids)
        deleted = acknowledged - stored
        assert deleted <= self._history.asked(Operation.DELETE)
        # a retry without a response may have stored its job; the next one found the original deleted
        assert len(stored - acknowledged) <= len(self._history.keys_in_doubt())
        self._cluster.expected = dict.fromkeys(stored, JobState.SUCCEEDED)
        for job_id in self._history.asked(Operation.CANCEL) - deleted:
            self._cluster.expected[job_id] = JobState(self._cluster.job(job_id).state)
        self._cluster.verify()
        wait_until(lambda: self._count_messages() == 0, "no message is left", timeout=30)
        self._log_result(len(deleted))

    def _log_result(self, deleted: int) -> None:
        ended = [self._cluster.job(job_id) for job_id in self._cluster.expected]
        requests = self._history.requests
        unknown = sum(request.is_unknown for request in requests)
        self.log(
            f"passed: {len(ended)} jobs and {deleted} that were deleted, {sum(job.attempt for job in ended)} "
            f"attempts, {sum(map(self._cluster.lost, self._cluster.expected))} of them lost; "
            f"{len(requests)} requests of clients, {unknown} of them without a result"
        )

    def _count_messages(self) -> int:
        with self._redis.client() as client:
            return sum(int(str(client.llen(queue))) for queue in self._cluster.settings.queues)


@contextmanager
def soaking(folder: Path, seed: int, database: str) -> Iterator[Soak]:
    """Run a soak test on real servers, which are stopped at the end of the `with` block."""
    with ExitStack() as stack:
        redis = stack.enter_context(running_redis())
        postgres = stack.enter_context(running_postgres()) if database == "postgresql" else None
        url = f"sqlite:///{folder / 'trainshed.db'}"
        if postgres:
            postgres.execute("CREATE DATABASE soak")
            url = postgres.url("soak")
        migrate(url)
        # a job may lose more than three workers here
        settings = fast_settings(data_dir=folder, database_url=url, redis_url=redis.url)
        cluster = stack.enter_context(Cluster(folder, Settings(**settings, max_lost_attempts=1_000)))
        try:
            yield stack.enter_context(closing(Soak(cluster, Random(seed), redis, postgres)))
        except BaseException:
            for log in sorted(folder.glob("*.log")):
                sys.stdout.write(f"--- {log.name}\n{log.read_text(errors='replace')[-_LOG_TAIL_CHARS:]}\n")
            raise


def main() -> None:
    """Run the soak test that the command line describes, on one database or on both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=Random().randrange(1_000_000))
    parser.add_argument("--jobs", type=int, default=30)
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    arguments = parser.parse_args()
    both = arguments.database == "both"
    for database in ["sqlite", "postgresql"] if both else [arguments.database]:
        with (
            tempfile.TemporaryDirectory(prefix="soak-") as folder,
            soaking(Path(folder), arguments.seed, database) as soak,
        ):
            soak.log(f"seed {arguments.seed}, {database}")
            soak.run(arguments.minutes * 60, arguments.jobs)


if __name__ == "__main__":
    main()
