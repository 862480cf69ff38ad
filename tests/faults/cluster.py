"""A stack of real processes that a test may kill, stop and continue, and a client that submits to it.

It ends only what it started: every process carries the cluster's folder in its environment, so that even one
whose parent was killed is found.
"""

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import psutil
from sqlalchemy import select

from shared.broker import Broker, Hint
from shared.db.clock import database_now
from shared.db.engine import Database
from shared.db.tables import Job, JobEvent, Worker
from shared.lifecycle import EventType, JobState
from shared.schemas import TrainSpec
from shared.settings import Settings
from shared.store import dispatch, job_edits
from shared.store.submit import submit_job
from tests.faults import oracle
from tests.faults.failpoints import FOLDER, Action, Armed, Failpoint, Moment, arm
from tests.faults.programs import Api, Program, free_port, training
from tests.support.factories import make_new_job
from tests.support.waiting import wait_until

STUB = "tests.support.stub_executor:StubExecutor"


def quick_settings(**overrides: Any) -> dict[str, Any]:
    """Settings under which whatever is lost is found again within a few seconds."""
    quick = {
        "lease_s": 2.0,
        "heartbeat_s": 0.5,
        "cancel_poll_s": 0.1,
        "reconcile_s": 0.3,
        "redispatch_s": 1.0,
        "executor": STUB,
    }
    return {**quick, **overrides}


class Cluster:
    """Workers and APIs on one database and one Redis, and what was submitted to them.

    Attributes:
        programs: every program that was started, also those that ended.
        expected: every accepted job, and the state in which it must end.
        golden: gives the undisturbed run of a spec, for the oracle.
        may_start_over: whether the test damages checkpoints.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        """Prepare; nothing is started yet.

        Args:
            settings: of every process; the database is migrated.
        """
        self.folder = folder
        self.settings = settings
        # patient: a test that restarts the database asks for it at once
        self.database = Database(settings.effective_database_url, patience_s=20)
        self.broker = Broker(settings)
        self.programs: list[Program] = []
        self.expected: dict[UUID, JobState] = {}
        self.golden: Callable[[TrainSpec], oracle.Golden] = oracle.stub_run
        self.may_start_over = False
        self._failpoints = folder / "failpoints"
        self._failpoints.mkdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for program in self.programs:
            if program.code is None:
                program.kill_all()
        for process in self._marked():
            process.kill()
        self.broker.close()
        self.database.dispose()

    # processes

    def start(self, *command: str, name: str, environment: dict[str, str] | None = None) -> Program:
        """Start a program with failpoints: `workers`, or `uvicorn` and its arguments."""
        log = self.folder / f"{name}-{len(self.programs)}.log"
        program = Program(
            ["tests.faults.armed", *command], {**self._environment(), **(environment or {})}, log
        )
        self.programs.append(program)
        return program

    def start_worker(self, environment: dict[str, str] | None = None, *, slots: int = 1) -> Program:
        """Start a worker; it may not be ready yet."""
        slots_setting = {"TRAINSHED_SLOTS": str(slots)}
        return self.start("workers", name="worker", environment={**slots_setting, **(environment or {})})

    def worker(self, environment: dict[str, str] | None = None, *, slots: int = 1) -> Program:
        """Start a worker, and wait until it is ready."""
        program = self.start_worker(environment, slots=slots)
        self.wait_until_ready(program, slots=slots)
        return program

    def workers(self, count: int, *, slots: int = 1) -> list[Program]:
        """Start so many workers at once, and wait until all are ready."""
        programs = [self.start_worker(slots=slots) for _ in range(count)]
        for program in programs:
            self.wait_until_ready(program, slots=slots)
        return programs

    def api(self, port: int | None = None) -> Api:
        """Start an API, and wait until it answers."""
        port = port or free_port()
        options = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
        program = self.start("uvicorn", "api.app:create_app", "--factory", *options, name="api")
        api = Api(program, f"http://127.0.0.1:{port}")
        wait_until(api.answers, f"the API answers on port {port}", timeout=30)
        return api

    def wait_until_ready(self, program: Program, *, slots: int = 1) -> None:
        """Wait until a worker has joined the inventory and each of its pool processes takes jobs."""

        def ready() -> bool:
            assert program.code is None, f"the worker ended:\n{program.log.read_text()}"
            if program.logged("ready for jobs") < slots:
                return False
            known = select(Worker.pid).where(Worker.pid == program.pid, Worker.state == "online")
            return self.database.read(lambda session: session.execute(known).first() is not None)

        wait_until(ready, f"worker {program.pid} is ready", timeout=60)

    def _environment(self) -> dict[str, str]:
        outside = {name: value for name, value in os.environ.items() if not name.startswith("TRAINSHED_")}
        ours = self.settings.model_dump(mode="json", include=set(self.settings.model_fields_set))
        named = {f"TRAINSHED_{name.upper()}": str(value) for name, value in ours.items()}
        return {**outside, **named, "PYTHONUNBUFFERED": "1", FOLDER: str(self._failpoints)}

    def _marked(self) -> list[psutil.Process]:
        return [process for process in psutil.process_iter() if self._started(process)]

    def _started(self, process: psutil.Process) -> bool:
        try:
            ours: bool = process.environ().get(FOLDER) == str(self._failpoints)
            return ours and process.status() != psutil.STATUS_ZOMBIE
        except (psutil.Error, OSError):
            return False

    def orphans(self) -> list[psutil.Process]:
        """Processes of ended programs that live on."""
        families = [program for program in self.programs if program.code is None]
        known = {program.pid for program in families}
        known |= {child.pid for program in families for child in program._descendants()}
        return [process for process in self._marked() if process.pid not in known]

    # faults

    def arm(
        self,
        transaction: str,
        moment: Moment,
        action: Action = Action.KILL,
        *,
        nth: int = 1,
        job_id: UUID | None = None,
    ) -> Armed:
        """Lay a failpoint for every process of this cluster."""
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
        """Accept a job, as the API does.

        Args:
            ends: the state in which it must end.
            send: whether its message is sent, or lost before that.
            options: of the job, beside its spec.
        """
        new = make_new_job(spec=training(**spec), **(options or {}))
        self.expected[new.id] = ends
        self.database.write(lambda session: submit_job(session, new))
        if send:
            self.send(new.id)
        return new.id

    def send(self, job_id: UUID) -> None:
        """Send a job's message, as the API does after the commit."""
        job = self.job(job_id)
        dispatch.send(self.database, self.broker, [Hint(job_id, job.queue, job.priority)])

    def job(self, job_id: UUID) -> Job:
        """A job's row as it is now."""
        return self.database.read(lambda session: session.get_one(Job, job_id))

    def now(self) -> datetime:
        """The database's clock."""
        return self.database.read(lambda session: session.execute(select(database_now())).scalar_one())

    def expect_what_is_stored(self) -> list[UUID]:
        """Take every job that the database has as accepted; returns their ids."""
        stored = self.database.read(lambda session: list(session.scalars(select(Job.id))))
        for job_id in stored:
            self.expected.setdefault(job_id, JobState.SUCCEEDED)
        return stored

    def cancel(self, job_id: UUID) -> None:
        """Ask for a job's end, as a user does."""
        self.expected[job_id] = JobState.CANCELLED
        self.database.write(lambda session: job_edits.request_cancel(session, job_id))

    def wait_for(self, job_id: UUID, *states: JobState, timeout: float = 30.0) -> Job:
        """Wait until a job is in one of the given states."""
        return wait_until(
            lambda: self._job_if(job_id, lambda job: job.state in states),
            f"job {job_id} is {' or '.join(states)}",
            timeout,
        )

    def wait_for_epoch(self, job_id: UUID, epochs: int, timeout: float = 30.0) -> Job:
        """Wait until so many epochs of a running job are recorded."""
        return wait_until(
            lambda: self._job_if(job_id, lambda job: job.state == "running" and job.next_epoch >= epochs),
            f"job {job_id} runs and has recorded {epochs} epochs",
            timeout,
        )

    def wait_for_attempt(self, job_id: UUID, number: int, timeout: float = 30.0) -> Job:
        """Wait until a job runs under its n-th attempt or a later one."""
        return wait_until(
            lambda: self._job_if(job_id, lambda job: job.state == "running" and job.attempt >= number),
            f"attempt {number} at job {job_id} runs",
            timeout,
        )

    def owner(self, job_id: UUID) -> Program:
        """The worker that runs a job."""
        lease_owner = self.job(job_id).lease_owner
        assert lease_owner is not None, f"nobody runs job {job_id}"
        pid = int(lease_owner.partition("/")[0].rpartition(":")[2])
        [program] = [program for program in self.programs if program.pid == pid]
        return program

    def events(self, job_id: UUID) -> list[JobEvent]:
        """A job's history."""
        history = select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.seq)
        return self.database.read(lambda session: list(session.scalars(history)))

    def count(self, job_id: UUID, type_: EventType) -> int:
        """How often an event has happened to a job."""
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
        """Wait for the end of every job, and ask the oracle."""
        self.wait_for_all()
        wait_until(lambda: not self.orphans(), f"no orphans are left of {self.orphans()}", timeout=10)
        oracle.check(self.database, self.expected, self.golden, may_start_over=self.may_start_over)
