"""A cluster of real processes that a test may kill, suspend and resume, and the jobs that it submits to them.

It ends only processes that it started: each has the cluster's folder in its environment, so that a process
whose parent was killed can still be identified.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from signal import Signals
from tempfile import mkdtemp
from typing import Any, Self
from uuid import UUID

import psutil
from sqlalchemy import select

from shared.broker import Broker
from shared.db.clock import database_now
from shared.db.engine import Database
from shared.lifecycle import AttemptOutcome, EventType, JobState, WorkerState
from shared.schemas import TrainSpec
from shared.settings import Settings
from tests.faults import oracle
from tests.faults.failpoints import FOLDER, Action, ArmedFailpoint, Failpoint, Moment, arm
from tests.faults.programs import Api, Program, training
from tests.support import queue_driver, stored
from tests.support.factories import make_new_job
from tests.support.paths import ROOT
from tests.support.pool_processes import running_pool_process, watched
from tests.support.stored import Job, JobEvent
from tests.support.stub_executor import StubExecutor
from tests.support.waiting import wait_until
from trainshed.local.ports import find_free
from workers import runner

STUB = "tests.support.stub_executor:StubExecutor"


def fast_settings(**overrides: Any) -> dict[str, Any]:
    """Return settings with which every loss is repaired within a few seconds."""
    settings = {
        "lease_s": 2.0,
        "heartbeat_s": 0.5,
        "cancel_poll_s": 0.1,
        "reconcile_s": 0.3,
        "executor": STUB,
        "data_outage_s": 0.0,
    }
    return {**settings, **overrides}


class Cluster:
    """Workers and APIs on one database and one Redis, and the jobs submitted to them.

    Attributes:
        programs: every program that was started, including those that have ended.
        expected: every accepted job, and the state in which it must end.
        golden: returns the golden run of a spec, for the oracle.
        epochs_may_repeat: whether epochs may be recorded twice, because the test damages checkpoints.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        """Prepare the cluster without starting a process.

        Args:
            folder: for logs and failpoints.
            settings: of every process; the database is migrated.
        """
        self.folder = folder
        self.settings = settings
        # long retries: a test that restarts the database reads from it at once
        self.database = Database(settings.effective_database_url, patience_s=20)
        self.broker = Broker(settings)
        self.programs: list[Program] = []
        self.expected: dict[UUID, JobState] = {}
        self.golden: Callable[[TrainSpec], oracle.Golden] = oracle.stub_run
        self.epochs_may_repeat = False
        self._failpoints = folder / "failpoints"
        self._failpoints.mkdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for program in self.programs:
            if program.code is None:
                program.kill_all()
        for process in self.processes():
            process.kill()
        self.broker.close()
        self.database.dispose()

    # processes

    def start(
        self, *command: str, name: str, environment: dict[str, str] | None = None, code: Path = ROOT
    ) -> Program:
        """Start a program with failpoints installed: `workers`, or `uvicorn` and its arguments.

        `code` is the folder whose modules it runs: another version's.
        """
        log = self.folder / f"{name}-{len(self.programs)}.log"
        variables = {**self._environment(), "PYTHONPATH": str(code), **(environment or {})}
        program = Program(["tests.faults.armed", *command], variables, log, code)
        self.programs.append(program)
        return program

    def start_worker(self, environment: dict[str, str] | None = None, *, slots: int = 1) -> Program:
        """Start a worker without waiting until it is ready."""
        slots_setting = {"TRAINSHED_SLOTS": str(slots)}
        return self.start("workers", name="worker", environment={**slots_setting, **(environment or {})})

    def worker(self, environment: dict[str, str] | None = None, *, slots: int = 1) -> Program:
        """Start a worker, and wait until it is ready."""
        program = self.start_worker(environment, slots=slots)
        self.wait_until_ready(program, slots=slots)
        return program

    def workers(self, count: int, *, slots: int = 1) -> list[Program]:
        """Start workers at the same time, and wait until all are ready."""
        programs = [self.start_worker(slots=slots) for _ in range(count)]
        for program in programs:
            self.wait_until_ready(program, slots=slots)
        return programs

    def api(self, port: int | None = None, environment: dict[str, str] | None = None) -> Api:
        """Start an API, and wait until it responds."""
        port = port or find_free("127.0.0.1")
        options = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
        options += ["--http", "api.http.connections:Connection"]
        command = ["uvicorn", "api.app:create_app", "--factory", *options]
        program = self.start(*command, name="api", environment=environment)
        api = Api(program, f"http://127.0.0.1:{port}")
        wait_until(api.responds, f"the API responds on port {port}", timeout=30)
        return api

    def run_jobs(self) -> None:
        """Run every job that waits, in this process: where no worker is meant to fail, none is started."""
        folder, executor = Path(mkdtemp(dir=self.settings.data_dir)), StubExecutor(self.settings)
        with (
            running_pool_process(self.settings, self.database, folder, executor) as process,
            watched(process),
        ):
            runner.run_jobs(process)

    def wait_until_ready(self, program: Program, *, slots: int = 1, timeout: float = 60) -> None:
        """Wait until a worker is registered and each of its pool processes takes jobs."""

        def ready() -> bool:
            assert program.code is None, f"the worker ended:\n{program.log.read_text()}"
            if program.logged("ready for jobs") < slots:
                return False
            rows = stored.worker_rows(self.database)
            return any(row.pid == program.pid and row.state == WorkerState.ONLINE for row in rows)

        wait_until(ready, f"worker {program.pid} is ready", timeout)

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRAINSHED_")}
        values = self.settings.model_dump(mode="json", include=set(self.settings.model_fields_set))
        variables = {f"TRAINSHED_{name.upper()}": str(value) for name, value in values.items()}
        return {**inherited, **variables, "PYTHONUNBUFFERED": "1", FOLDER: str(self._failpoints)}

    def processes(self) -> list[psutil.Process]:
        """Return all running processes that this cluster's programs have started, orphans too."""
        return [process for process in psutil.process_iter() if self._started(process)]

    def _started(self, process: psutil.Process) -> bool:
        try:
            started: bool = process.environ().get(FOLDER) == str(self._failpoints)
            return started and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.Error, OSError):
            return False

    def orphans(self) -> list[psutil.Process]:
        """Return the processes that are still running although their program has ended."""
        running = [program for program in self.programs if program.code is None]
        pids = {program.pid for program in running}
        pids |= {child.pid for program in running for child in program._descendants()}
        return [process for process in self.processes() if process.pid not in pids]

    # faults

    def suspend(self, program: Program) -> None:
        """Suspend a worker between two writes: within one it would keep SQLite's lock."""

        def suspended() -> bool:
            program.send_all(Signals.SIGSTOP)
            if self._is_writable():
                return True
            program.send_all(Signals.SIGCONT)
            return False

        wait_until(suspended, f"worker {program.pid} is suspended while the database is not locked")

    def _is_writable(self) -> bool:
        if self.database.engine.dialect.name != "sqlite":
            return True  # PostgreSQL locks rows only, and ends idle transactions
        with closing(sqlite3.connect(str(self.database.engine.url.database), timeout=1)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            return True

    def arm(
        self,
        transaction: str,
        moment: Moment,
        action: Action = Action.KILL,
        *,
        nth: int = 1,
        job_id: UUID | None = None,
    ) -> ArmedFailpoint:
        """Arm a failpoint for every process of this cluster."""
        return arm(self._failpoints, Failpoint(transaction, moment, action, nth, job_id))

    # jobs

    def submit(
        self,
        *,
        ends: JobState = JobState.SUCCEEDED,
        send: bool = True,
        options: dict[str, Any] | None = None,
        **spec: Any,
    ) -> UUID:
        """Submit a job as the API does, and expect its end.

        Args:
            ends: the state in which it must end.
            send: whether its message is sent; False loses the message.
            options: options of the job other than its spec.
            spec: overrides of the spec.
        """
        new = make_new_job(spec=training(**spec), **(options or {}))
        self.expected[new.id] = ends
        queue_driver.submit_all(self.database, [new])
        if send:
            queue_driver.wake(self.broker, new.queue)
        return new.id

    def wake(self, count: int = 1) -> None:
        """Send a number of messages that wake workers up."""
        queue_driver.wake(self.broker, self.settings.queues[0], count)

    def job(self, job_id: UUID) -> Job:
        """Return a job's row as it is now."""
        return stored.job(self.database, job_id)

    def lost(self, job_id: UUID) -> int:
        """Return how many attempts at a job were lost."""
        outcomes = [attempt.outcome for attempt in stored.attempts(self.database, job_id)]
        return outcomes.count(AttemptOutcome.LOST)

    def now(self) -> datetime:
        """Return the time of the database's clock."""
        return self.database.read(lambda session: session.execute(select(database_now())).scalar_one())

    def expect_stored_jobs(self) -> list[UUID]:
        """Expect every stored job to succeed, unless another end is expected of it; return all ids."""
        job_ids = stored.job_ids(self.database)
        for job_id in job_ids:
            self.expected.setdefault(job_id, JobState.SUCCEEDED)
        return job_ids

    def cancel(self, job_id: UUID) -> None:
        """Cancel a job as a user does."""
        self.expected[job_id] = JobState.CANCELLED
        queue_driver.cancel(self.database, job_id)

    def wait_for(self, job_id: UUID, *states: JobState, timeout: float = 30.0) -> Job:
        """Wait until a job is in one of the given states."""
        return wait_until(
            lambda: self._job_if(job_id, lambda job: job.state in states),
            f"job {job_id} is {' or '.join(states)}",
            timeout,
        )

    def wait_for_epoch(self, job_id: UUID, epochs: int, timeout: float = 30.0) -> Job:
        """Wait until a number of epochs of a running job are recorded."""
        return wait_until(
            lambda: self._job_if(job_id, lambda job: job.state == "running" and job.next_epoch >= epochs),
            f"job {job_id} runs and has recorded {epochs} epochs",
            timeout,
        )

    def wait_for_attempt(self, job_id: UUID, number: int, timeout: float = 30.0) -> Job:
        """Wait until a job runs under the attempt with this number or a later one."""
        return wait_until(
            lambda: self._job_if(job_id, lambda job: job.state == "running" and job.attempt >= number),
            f"attempt {number} at job {job_id} runs",
            timeout,
        )

    def owner(self, job_id: UUID) -> Program:
        """Return the worker that runs a job."""
        lease_owner = self.job(job_id).lease_owner
        assert lease_owner is not None, f"no worker runs job {job_id}"
        pid = int(lease_owner.partition("/")[0].rpartition(":")[2])
        [program] = [program for program in self.programs if program.pid == pid]
        return program

    def events(self, job_id: UUID) -> list[JobEvent]:
        """Return a job's events in order."""
        return stored.events(self.database, job_id)

    def count(self, job_id: UUID, type_: EventType) -> int:
        """Return how many events of a type a job has."""
        return sum(event.type == type_ for event in self.events(job_id))

    def _job_if(self, job_id: UUID, condition: Callable[[Job], bool]) -> Job | None:
        job = self.job(job_id)
        return job if condition(job) else None

    def wait_for_all(self, timeout: float = 60.0) -> None:
        """Wait until every accepted job is terminal."""

        def unfinished() -> int:
            return self.database.read(lambda session: oracle.count_unfinished(session, self.expected))

        wait_until(lambda: unfinished() == 0, "every accepted job is terminal", timeout)

    def verify(self) -> None:
        """Wait until every job has ended and no orphans are left, and check the oracle's invariants."""
        self.wait_for_all()
        wait_until(lambda: not self.orphans(), f"no orphans are left, of {self.orphans()}", timeout=10)
        oracle.check(self.database, self.expected, self.golden, epochs_may_repeat=self.epochs_may_repeat)
