"""Soak test with random faults: `python -m tests.faults.soak --minutes 10 --seed 1 --jobs 30`.

It prints its seed and every fault, so that a failed run can be understood and repeated, and ends with the
oracle's check. Jobs are submitted over HTTP with idempotency keys and retries.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http import HTTPStatus
from math import ceil
from pathlib import Path
from random import Random
from signal import SIGCONT, SIGKILL, SIGQUIT, SIGSTOP, SIGTERM
from time import monotonic
from uuid import UUID

import httpx
import psutil

from shared.errors import JobAlreadyFinished
from shared.lifecycle import TERMINAL, JobState
from shared.settings import Settings
from tests.faults.cluster import Cluster, fast_settings
from tests.faults.programs import EPOCH_S, Program, pass_seconds
from tests.support.databases import migrate
from tests.support.servers import PostgresServer, RedisServer, running_postgres, running_redis
from tests.support.waiting import wait_until

_WORKERS = 3
_SUBMIT_TIMEOUT_S = 60.0
_CANCEL_PROBABILITY = 0.15  # of cancelling one job after each submit
_FINISH_TIMEOUT_S = 600.0
_LOG_TAIL_CHARS = 3_000


class Soak:
    """A cluster, the faults injected into it, and a client that retries."""

    def __init__(
        self, cluster: Cluster, random: Random, redis: RedisServer, postgres: PostgresServer | None
    ) -> None:
        self._cluster = cluster
        self._random = random
        self._redis = redis
        self._postgres = postgres
        self._workers = [cluster.start_worker() for _ in range(_WORKERS)]
        self._api = cluster.api()
        self._cancelled: set[UUID] = set()
        self._started_at = monotonic()
        faults = [
            self.kill_child,
            self.kill_worker,
            self.suspend_worker,
            self.terminate_worker,
            self.kill_api,
        ]
        faults += [self.kill_redis, self.empty_redis]
        self._faults = [*faults, self.crash_postgres, self.cut_postgres] if postgres else faults

    def run(self, seconds: float, jobs: int) -> None:
        """Submit jobs and inject faults for a time, then wait for every job and check the invariants."""
        # jobs long enough to keep every worker busy, so that a fault rarely hits an idle one
        max_epochs = max(8, ceil(2 * _WORKERS * seconds / jobs / EPOCH_S))
        for number in range(jobs):
            self._submit(number, self._random.randint(1, max_epochs))
            if self._random.random() < _CANCEL_PROBABILITY:
                self._cancel_one()
            while monotonic() - self._started_at < seconds * (number + 1) / jobs:
                pass_seconds(self._random.uniform(0.5, 2.0))
                self._inject(self._random.choice(self._faults))
                self._restart_ended_programs()
        self.log("no more faults; waiting for every job")
        self._cluster.wait_for_all(timeout=_FINISH_TIMEOUT_S)
        for job_id in self._cancelled:
            self._cluster.expected[job_id] = JobState(self._cluster.job(job_id).state)
        assert set(self._cluster.expected) == set(self._cluster.expect_stored_jobs())
        self._cluster.verify()
        wait_until(lambda: self._count_messages() == 0, "no message is left", timeout=30)
        ended = [self._cluster.job(job_id) for job_id in self._cluster.expected]
        self.log(
            f"passed: {len(ended)} jobs, {sum(job.attempt for job in ended)} attempts, "
            f"{sum(job.crashes for job in ended)} of them lost, {len(self._cancelled)} cancels"
        )

    def _count_messages(self) -> int:
        with self._redis.client() as client:
            return sum(int(str(client.llen(queue))) for queue in self._cluster.settings.queues)

    def log(self, text: str) -> None:
        """Print a line with the time since the start."""
        sys.stdout.write(f"{monotonic() - self._started_at:7.1f} s  {text}\n")
        sys.stdout.flush()

    def _inject(self, fault: Callable[[], str]) -> None:
        self.log(fault())

    def _submit(self, number: int, epochs: int) -> None:
        deadline = monotonic() + _SUBMIT_TIMEOUT_S
        while (response := self._try_to_submit(number, epochs)) is None:
            assert monotonic() < deadline, f"job {number} was refused for {_SUBMIT_TIMEOUT_S:g} s"
            self._restart_ended_programs()
            pass_seconds(0.5)
        job_id = UUID(response.json()["id"])
        self._cluster.expected[job_id] = JobState.SUCCEEDED
        self.log(f"submitted job {number}, {epochs} epochs")

    def _cancel_one(self) -> None:
        unfinished = [
            job_id for job_id in self._cluster.expected if self._cluster.job(job_id).state not in TERMINAL
        ]
        if not unfinished:
            return
        job_id = self._random.choice(unfinished)
        with suppress(JobAlreadyFinished):
            self._cluster.cancel(job_id)
        self._cancelled.add(job_id)
        self.log("cancelled a job")

    def _try_to_submit(self, number: int, epochs: int) -> httpx.Response | None:
        try:
            response = self._api.submit(key=f"job-{number}", epochs=epochs, seed=number)
        except httpx.TransportError as error:
            self.log(f"no response to the submit of job {number}: {error!r}")
            return None
        if response.status_code != HTTPStatus.ACCEPTED:
            self.log(f"job {number} was refused: {response.text}")
            return None
        return response

    def _restart_ended_programs(self) -> None:
        self._workers = [
            self._cluster.start_worker() if worker.code is not None else worker for worker in self._workers
        ]
        if self._api.program.code is not None:
            self._api = self._cluster.api(self._api.port)

    def _random_worker(self) -> Program:
        return self._random.choice(self._workers)

    # faults; each returns a description for the log

    def kill_child(self) -> str:
        worker = self._random_worker()
        for child in worker.pool()[:1]:
            signal_if_alive(child.kill)
        return f"killed a pool process of worker {worker.pid}"

    def kill_worker(self) -> str:
        worker = self._random_worker()
        worker.kill_all() if self._random.random() < 0.5 else worker.kill()
        return f"killed worker {worker.pid}"

    def suspend_worker(self) -> str:
        worker, seconds = self._random_worker(), self._random.uniform(0.5, 5.0)
        worker.send_all(SIGSTOP)
        pass_seconds(seconds)
        worker.send_all(SIGCONT)
        return f"suspended worker {worker.pid} for {seconds:.1f} s"

    def terminate_worker(self) -> str:
        worker = self._random_worker()
        worker.send(SIGTERM)
        return f"sent SIGTERM to worker {worker.pid}"

    def kill_api(self) -> str:
        self._api.program.kill_all()
        return "killed the API"

    def kill_redis(self) -> str:
        seconds = self._random.uniform(0.0, 3.0)
        self._redis.stop(SIGKILL)
        pass_seconds(seconds)
        self._redis.start()
        return f"killed Redis; restarted empty after {seconds:.1f} s"

    def empty_redis(self) -> str:
        with self._redis.client() as client:
            client.flushall()
        return "emptied Redis"

    def crash_postgres(self) -> str:
        assert self._postgres is not None
        seconds = self._random.uniform(0.0, 4.0)
        self._postgres.stop(SIGQUIT)
        pass_seconds(seconds)
        self._postgres.start()
        return f"crashed PostgreSQL; restarted after {seconds:.1f} s"

    def cut_postgres(self) -> str:
        assert self._postgres is not None
        self._postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'soak'"
        )
        return "closed every connection to PostgreSQL"


def signal_if_alive(send: Callable[[], None]) -> None:
    """Call a function that signals a process; ignore that the process has ended."""
    try:
        send()
    except psutil.NoSuchProcess:
        return


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
        settings = fast_settings(data_dir=folder, database_url=url, redis_url=redis.url, max_crashes=1_000)
        cluster = stack.enter_context(Cluster(folder, Settings(**settings)))
        try:
            yield Soak(cluster, Random(seed), redis, postgres)
        except BaseException:
            for log in sorted(folder.glob("*.log")):
                sys.stdout.write(f"--- {log.name}\n{log.read_text(errors='replace')[-_LOG_TAIL_CHARS:]}\n")
            raise


def main() -> None:
    """Run the soak test that the command line describes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=Random().randrange(1_000_000))
    parser.add_argument("--jobs", type=int, default=30)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="postgresql")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="soak-") as folder,
        soaking(Path(folder), arguments.seed, arguments.database) as soak,
    ):
        soak.log(f"seed {arguments.seed}, {arguments.database}")
        soak.run(arguments.minutes * 60, arguments.jobs)


if __name__ == "__main__":
    main()
