"""Random faults for a cluster: processes are killed, suspended and terminated, servers crash and forget."""

from collections.abc import Callable
from random import Random
from signal import SIGCONT, SIGKILL, SIGQUIT, SIGSTOP, SIGTERM

import psutil

from tests.faults.cluster import Cluster
from tests.faults.programs import Program, pass_seconds
from tests.support.servers import PostgresServer, RedisServer


class RandomFaults:
    """Starts workers and APIs, injects faults into them and their servers, and restarts what has ended.

    Each fault is a method that returns a description for the log.

    Attributes:
        urls: the addresses of the APIs, which do not change.
    """

    def __init__(
        self,
        cluster: Cluster,
        random: Random,
        redis: RedisServer,
        postgres: PostgresServer | None,
        *,
        workers: int,
        apis: int,
    ) -> None:
        self._cluster = cluster
        self._random = random
        self._redis = redis
        self._postgres = postgres
        self._workers = [cluster.start_worker() for _ in range(workers)]
        self._apis = [cluster.api() for _ in range(apis)]
        self.urls = [api.url for api in self._apis]
        faults = [
            self.kill_child,
            self.kill_worker,
            self.suspend_worker,
            self.terminate_worker,
            self.kill_api,
            self.kill_redis,
            self.empty_redis,
        ]
        self._faults = [*faults, self.crash_postgres, self.cut_postgres] if postgres else faults

    def inject(self) -> str:
        """Inject a random fault, restart the programs that have ended, and return what was done."""
        done = self._random.choice(self._faults)()
        self.restart_ended_programs()
        return done

    def restart_ended_programs(self) -> None:
        self._workers = [
            self._cluster.start_worker() if worker.code is not None else worker for worker in self._workers
        ]
        self._apis = [
            self._cluster.api(api.port) if api.program.code is not None else api for api in self._apis
        ]

    def _random_worker(self) -> Program:
        return self._random.choice(self._workers)

    def kill_child(self) -> str:
        worker = self._random_worker()
        for child in worker.pool()[:1]:
            _signal_if_alive(child.kill)
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
        api = self._random.choice(self._apis)
        api.program.kill_all()
        return f"killed the API on port {api.port}"

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


def _signal_if_alive(send: Callable[[], None]) -> None:
    """Call a function that signals a process; ignore that the process has ended."""
    try:
        send()
    except psutil.NoSuchProcess:
        return
