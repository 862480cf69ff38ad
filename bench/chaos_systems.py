"""The systems of `bench.chaos`: each with a PostgreSQL of its own, two replicas and a producer."""

import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from time import monotonic

from bench.chaos_effects import Effects, stored_effects
from bench.chaos_load import END_S
from bench.chaos_ours import EXECUTIONS, EXECUTOR
from bench.peer import PYTHON
from bench.programs import Program
from bench.servers import ROOT, running_server, variables
from shared.settings import Settings
from tests.support.databases import migrate
from tests.support.servers import PostgresServer, running_postgres, running_redis

OURS, PROCRASTINATE, AWA = "ours", "Procrastinate", "awa"
CONNECTIONS = 100
_OPTIONS = {
    "fsync": "on",
    "max_connections": str(CONNECTIONS),  # the suite has 400, and holds the same share of them
    "shared_buffers": "256MB",
    "autovacuum_naptime": "60s",
    "autovacuum_vacuum_scale_factor": "0.2",
}
OPTIONS = [part for name, value in _OPTIONS.items() for part in ("-c", f"{name}={value}")]
"""The options of every system's PostgreSQL: those of the suite that matter here."""

_REPLICAS, _SLOTS = 2, 2
_STEP_S = 0.1
_CREATE_S = 120.0
_END_S = 15.0


class Cancelled(Exception):
    """The benchmark is being ended early."""


@dataclass(frozen=True)
class System:
    """A system under load.

    Attributes:
        executions: each replica's file of the jobs that it has executed.
        cancelled: set when the benchmark is being ended.
        effects: returns the stored effects after the run, given the accepted jobs; None for a peer.
    """

    name: str
    postgres: PostgresServer
    replicas: tuple[Program, ...]
    producer: Program
    submitted: Path
    executions: tuple[Path, ...]
    cancelled: Event
    effects: Callable[[Iterable[int]], Effects] | None = None

    def pause(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Wait some seconds, or until a condition is true; return whether it is.

        Replicas that end by themselves meanwhile are started again, as by a supervisor on a real host.
        """
        deadline = monotonic() + seconds
        while not (met := until()) and monotonic() < deadline:
            if self.cancelled.wait(min(_STEP_S, max(0.0, deadline - monotonic()))):
                raise Cancelled
            for replica in self.replicas:
                replica.supervise()
        return met

    def restarts(self) -> int:
        """Return how often a replica has ended by itself."""
        return sum(replica.restarts for replica in self.replicas)


@contextmanager
def running(name: str, folder: Path, cancelled: Event) -> Iterator[System]:
    """Run a system, with its replicas but not its producer started, for the length of a `with` block."""
    folder.mkdir()
    with ExitStack() as stack:
        postgres = stack.enter_context(running_postgres(*OPTIONS))
        if name == OURS:
            system = _ours(stack, postgres, folder, cancelled)
        else:
            system = _peer(name, postgres, folder, cancelled)
        for program in (*system.replicas, system.producer):
            # ended in the reverse order: the producer first
            stack.callback(program.end, END_S if program is system.producer else _END_S)
            if program is not system.producer:
                program.start()
        yield system


def _ours(stack: ExitStack, postgres: PostgresServer, folder: Path, cancelled: Event) -> System:
    redis = stack.enter_context(running_redis())
    url = migrate(postgres.url())

    def settings(place: str) -> Settings:
        data = folder / place
        data.mkdir()
        return Settings(
            data_dir=data,
            database_url=url,
            redis_url=redis.url,
            rate_limit=0,
            executor=EXECUTOR,
            slots=_SLOTS,
        )

    api = stack.enter_context(running_server("api.app:create_app", settings("api")))
    of_replicas = [settings(f"worker{number}") for number in range(_REPLICAS)]
    submitted = folder / "submitted"

    def worker(of: Settings) -> Program:
        # a killed worker leaves its processes' temporary files behind
        environment = {**variables(of), "TMPDIR": str(of.data_dir)}
        return Program(["-m", "workers"], environment, of.data_dir / "worker.log")

    return System(
        OURS,
        postgres,
        tuple(map(worker, of_replicas)),
        Program(["-m", "bench.chaos_ours", api.url, str(submitted)], {}, folder / "producer.log"),
        submitted,
        tuple(each.data_dir / EXECUTIONS for each in of_replicas),
        cancelled,
        lambda accepted: stored_effects(url, accepted),
    )


def _peer(name: str, postgres: PostgresServer, folder: Path, cancelled: Event) -> System:
    module = f"bench.peers.{name.lower()}_chaos"
    url = f"postgresql://postgres@localhost/postgres?host={postgres.socket.parent}"
    environment = {"PYTHONPATH": ROOT, "PYTHONUNBUFFERED": "1"}

    def command(does: str, file: str) -> list[str]:
        return [str(PYTHON), "-m", module, does, url, str(folder / file)]

    def program(does: str, file: str) -> Program:
        return Program(command(does, file), environment, folder / f"{file}.log")

    subprocess.run(
        command("create", "nothing"),
        cwd=ROOT,
        env={**os.environ, **environment},
        check=True,
        stderr=subprocess.DEVNULL,  # Procrastinate warns about an app in a main module
        timeout=_CREATE_S,
    )
    files = [f"executed{number}" for number in range(_REPLICAS)]
    return System(
        name,
        postgres,
        tuple(program("work", file) for file in files),
        program("submit", "submitted"),
        folder / "submitted",
        tuple(folder / file for file in files),
        cancelled,
    )
