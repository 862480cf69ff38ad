"""Random faults for a while: `python -m tests.faults.soak --minutes 10 --seed 1 --jobs 30`.

It prints its seed and every fault, so that a run that fails can be read and run again, and ends with the
oracle. Clients submit over HTTP with idempotency keys and try again, as clients should.
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

from shared.db.engine import Database
from shared.errors import JobAlreadyFinished
from shared.lifecycle import TERMINAL, JobState
from shared.settings import Settings
from tests.faults.cluster import Cluster, quick_settings
from tests.faults.programs import EPOCH_S, Program, pass_seconds
from tests.support.servers import PostgresServer, RedisServer, running_postgres, running_redis
from tests.support.waiting import wait_until

_WORKERS = 3
_PATIENCE_S = 60.0
_CANCELLED = 0.15  # for how many jobs, of those submitted, one is cancelled
_END_S = 600.0
_LOG_TAIL = 3_000


class Soak:
    """A stack, the faults that strike it, and clients that do not give up."""

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
        self._begun = monotonic()
        faults = [self.kill_child, self.kill_worker, self.stop_worker, self.end_worker, self.kill_api]
        faults += [self.kill_redis, self.empty_redis]
        self._faults = [*faults, self.crash_postgres, self.cut_postgres] if postgres else faults

    def run(self, seconds: float, jobs: int) -> None:
        """Submit jobs and strike for so long, then wait for the end of every job and ask the oracle."""
        # so long that the workers are behind most of the time, and a fault rarely strikes an idle one
        most_epochs = max(8, ceil(2 * _WORKERS * seconds / jobs / EPOCH_S))
        for number in range(jobs):
            self._submit(number, self._random.randint(1, most_epochs))
            if self._random.random() < _CANCELLED:
                self._cancel_one()
            while monotonic() - self._begun < seconds * (number + 1) / jobs:
                pass_seconds(self._random.uniform(0.5, 2.0))
                self._strike(self._random.choice(self._faults))
                self._restart_what_ended()
        self.say("no more faults; waiting for every job")
        self._cluster.wait_for_all(timeout=_END_S)
        for job_id in self._cancelled:
            self._cluster.expected[job_id] = JobState(self._cluster.job(job_id).state)
        assert set(self._cluster.expected) == set(self._cluster.expect_what_is_stored())
        self._cluster.verify()
        broker, queues = self._cluster.broker, self._cluster.settings.queues
        wait_until(lambda: broker.waiting(queues) == 0, "no message is left", timeout=30)
        ended = [self._cluster.job(job_id) for job_id in self._cluster.expected]
        self.say(
            f"sound: {len(ended)} jobs, {sum(job.attempt for job in ended)} attempts, "
            f"{sum(job.crashes for job in ended)} of them lost, {len(self._cancelled)} cancels"
        )

    def say(self, text: str) -> None:
        """Print a line with the time since the start."""
        sys.stdout.write(f"{monotonic() - self._begun:7.1f} s  {text}\n")
        sys.stdout.flush()

    def _strike(self, fault: Callable[[], str]) -> None:
        self.say(fault())

    def _submit(self, number: int, epochs: int) -> None:
        deadline = monotonic() + _PATIENCE_S
        while (answer := self._try_to_submit(number, epochs)) is None:
            assert monotonic() < deadline, f"job {number} was refused for {_PATIENCE_S:g} s"
            self._restart_what_ended()
            pass_seconds(0.5)
        job_id = UUID(answer.json()["id"])
        self._cluster.expected[job_id] = JobState.SUCCEEDED
        self.say(f"submitted job {number}, {epochs} epochs")

    def _cancel_one(self) -> None:
        live = [one for one in self._cluster.expected if self._cluster.job(one).state not in TERMINAL]
        if not live:
            return
        victim = self._random.choice(live)
        with suppress(JobAlreadyFinished):
            self._cluster.cancel(victim)
        self._cancelled.add(victim)
        self.say("cancelled a job")

    def _try_to_submit(self, number: int, epochs: int) -> httpx.Response | None:
        try:
            answer = self._api.submit(key=f"job-{number}", epochs=epochs, seed=number)
        except httpx.TransportError as error:
            self.say(f"job {number} was not answered: {error!r}")
            return None
        if answer.status_code != HTTPStatus.ACCEPTED:
            self.say(f"job {number} was refused: {answer.text}")
            return None
        return answer

    def _restart_what_ended(self) -> None:
        self._workers = [
            self._cluster.start_worker() if worker.code is not None else worker for worker in self._workers
        ]
        if self._api.program.code is not None:
            self._api = self._cluster.api(self._api.port)

    def _a_worker(self) -> Program:
        return self._random.choice(self._workers)

    # faults; each says what it did

    def kill_child(self) -> str:
        worker = self._a_worker()
        for child in worker.pool()[:1]:
            with_suppressed_end(child.kill)
        return f"killed a pool process of worker {worker.pid}"

    def kill_worker(self) -> str:
        worker = self._a_worker()
        worker.kill_all() if self._random.random() < 0.5 else worker.kill()
        return f"killed worker {worker.pid}"

    def stop_worker(self) -> str:
        worker, seconds = self._a_worker(), self._random.uniform(0.5, 5.0)
        worker.send_all(SIGSTOP)
        pass_seconds(seconds)
        worker.send_all(SIGCONT)
        return f"stopped worker {worker.pid} for {seconds:.1f} s"

    def end_worker(self) -> str:
        worker = self._a_worker()
        worker.send(SIGTERM)
        return f"asked worker {worker.pid} to end"

    def kill_api(self) -> str:
        self._api.program.kill_all()
        return "killed the API"

    def kill_redis(self) -> str:
        seconds = self._random.uniform(0.0, 3.0)
        self._redis.stop(SIGKILL)
        pass_seconds(seconds)
        self._redis.start()
        return f"killed Redis; empty again after {seconds:.1f} s"

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
        return f"crashed PostgreSQL; up again after {seconds:.1f} s"

    def cut_postgres(self) -> str:
        assert self._postgres is not None
        self._postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'soak'"
        )
        return "ended every connection to PostgreSQL"


def with_suppressed_end(send: Callable[[], None]) -> None:
    """Send a signal to a process that may have ended."""
    try:
        send()
    except psutil.NoSuchProcess:
        return


@contextmanager
def soaking(folder: Path, seed: int, database: str) -> Iterator[Soak]:
    """A stack of real servers, ended at the end."""
    with ExitStack() as stack:
        redis = stack.enter_context(running_redis())
        postgres = stack.enter_context(running_postgres()) if database == "postgresql" else None
        url = f"sqlite:///{folder / 'trainshed.db'}"
        if postgres:
            postgres.execute("CREATE DATABASE soak")
            url = postgres.url("soak")
        opened = Database(url)
        opened.migrate()
        opened.dispose()
        # a job may well lose three workers here
        settings = quick_settings(data_dir=folder, database_url=url, redis_url=redis.url, max_crashes=1_000)
        cluster = stack.enter_context(Cluster(folder, Settings(**settings)))
        try:
            yield Soak(cluster, Random(seed), redis, postgres)
        except BaseException:
            for log in sorted(folder.glob("*.log")):
                sys.stdout.write(f"--- {log.name}\n{log.read_text(errors='replace')[-_LOG_TAIL:]}\n")
            raise


def main() -> None:
    """Read the command line and soak."""
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
        soak.say(f"seed {arguments.seed}, {arguments.database}")
        soak.run(arguments.minutes * 60, arguments.jobs)


if __name__ == "__main__":
    main()
