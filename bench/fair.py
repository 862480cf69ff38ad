"""B14: whose turn it is: how long a tenant waits behind another, how evenly they are served, and `low` jobs.

    python -m bench.fair

The store's own submissions, claims and reports on a clock that is moved: each job takes one second of it, so
that waits are exact, in job lengths. The peer is strict order: the same jobs, all of one tenant.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from statistics import quantiles
from tempfile import TemporaryDirectory
from uuid import UUID

from bench.databases import durable_postgres
from bench.rows import Row, Unit, compared, judged, run
from shared.db.engine import Database
from shared.db.tables import Job
from shared.schemas import Priority
from shared.store import attempts
from shared.store.places import DEFAULT_RULES, Rules
from shared.store.submissions import NewJobs, Submitter
from shared.store.submit import submit_jobs
from shared.store.tenants import Tenant
from tests.support import factories, queue_driver
from tests.support.databases import migrate, open_database
from tests.support.fakes import FrozenClock

_LENGTHS = Unit("job lengths", smaller_is_better=True)
_AT_MOST = 2.0
_JAIN_ABOVE = 0.95
_RULES_OF_LOW = Rules(urgent_s=60.0, high_s=30.0, low_s=30.0, passed_s=120.0)  # seen within some minutes


class _Queue:
    """A queue with one slot, whose jobs take a second each.

    Attributes:
        submitted_at, started_at: of each job, in seconds of the clock.
    """

    def __init__(self, database: Database, rules: Rules = DEFAULT_RULES) -> None:
        self._database, self._rules, self._clock = database, rules, FrozenClock()
        self.submitted_at: dict[UUID, float] = {}
        self.started_at: dict[UUID, float] = {}

    @property
    def time(self) -> float:
        return self._clock.moment.timestamp()

    def submit(self, tenant: str, jobs: int = 1, priority: Priority = Priority.NORMAL) -> list[UUID]:
        new = [factories.make_new_job(priority=priority) for _ in range(jobs)]
        request = NewJobs(new, submitter=Submitter(Tenant(tenant)))
        submit = partial(submit_jobs, requests=[request], rules=self._rules, now=self._clock)
        self._database.write(submit)
        job_ids = [job.id for job in new]
        self.submitted_at |= dict.fromkeys(job_ids, self.time)
        return job_ids

    def run_one(self, meanwhile_after_s: float = 0.0) -> UUID:
        """Run the next job, stop the clock after a part of it, and return the job's id."""
        claim = queue_driver.claim_next(self._database, now=self._clock)
        assert claim is not None
        self.started_at[claim.attempt.job_id] = self.time
        self._clock.advance(meanwhile_after_s)
        self._running = claim.attempt
        return claim.attempt.job_id

    def end_one(self, after_s: float = 1.0) -> None:
        """Let the running job end."""
        self._clock.advance(after_s)
        self._database.write(partial(attempts.cancel_attempt, attempt=self._running, now=self._clock))

    def place(self, job_id: UUID) -> float:
        return self._database.read(lambda session: session.get_one(Job, job_id).place)

    def waited(self, job_id: UUID) -> float:
        return self.started_at[job_id] - self.submitted_at[job_id]


def measure(scale: float) -> Iterator[Row]:
    """Measure both databases."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
        postgres = stack.enter_context(durable_postgres())
        numbers = count()

        def new_database(kind: str) -> Database:
            name = f"fair{next(numbers)}"
            if kind == "PostgreSQL":
                postgres.execute(f'CREATE DATABASE "{name}"')
            url = postgres.url(name) if kind == "PostgreSQL" else f"sqlite:///{folder / name}.db"
            return stack.enter_context(open_database(migrate(url)))

        for kind in ("SQLite", "PostgreSQL"):
            jobs = max(20, round(1_000 * scale))
            ours, strict = (_wait_behind(_Queue(new_database(kind)), jobs, tenant) for tenant in ("b", "a"))
            yield _behind(f"{kind}, one job behind {jobs:,} of another tenant", ours, strict)
            yield _evenness(kind, _Queue(new_database(kind)), max(20, round(100 * scale)))
            yield _low(kind, _Queue(new_database(kind), _RULES_OF_LOW), max(60, round(1_500 * scale)))


def _behind(case: str, ours: float, strict: float) -> Row:
    row = compared("B14", case, _LENGTHS, [ours], [strict], None)
    return replace(row, target=f"<= {_AT_MOST:g} job lengths", verdict=judged(ours <= _AT_MOST))


def _wait_behind(queue: _Queue, jobs: int, tenant: str) -> float:
    """Return how long a job waits that a tenant submits in the middle of a job of `a`, which has many."""
    queue.submit("a", jobs)
    for _ in range(jobs // 20):
        queue.run_one()
        queue.end_one()
    queue.run_one(meanwhile_after_s=0.01)
    [job_id] = queue.submit(tenant)
    queue.end_one(after_s=0.99)
    while queue.run_one() != job_id:
        queue.end_one()
    return queue.waited(job_id)


def _evenness(kind: str, queue: _Queue, jobs: int) -> Row:
    """Ten tenants, each of which comes a while after the one before it."""
    owners: dict[UUID, int] = {}
    for tenant in range(10):
        owners |= dict.fromkeys(queue.submit(str(tenant), jobs), tenant)
        for _ in range(jobs // 10):
            queue.run_one()
            queue.end_one()
    started = Counter[int]()
    for _ in range(5 * jobs):
        started[owners[queue.run_one()]] += 1
        queue.end_one()
    jain = sum(started.values()) ** 2 / (10 * sum(value**2 for value in started.values()))
    case = f"{kind}, Jain's index of 10 tenants while all wait"
    return Row("B14", case, f"{jain:.4f}", target=f"> {_JAIN_ABOVE:g}", verdict=judged(jain > _JAIN_ABOVE))


def _low(kind: str, queue: _Queue, seconds: int) -> Row:
    """A queue that gets more jobs than it can run, each of a new tenant, and now and then a low one."""
    random, names, low = Random(1), count(), list[UUID]()
    for second in range(seconds):
        for _ in range(1 + (random.random() < 0.1)):
            queue.submit(f"tenant {next(names)}")
        if second % 20 == 0:
            low += queue.submit("low", priority=Priority.LOW)
        queue.run_one()
        queue.end_one()
    waits, late = [], 0
    for job_id in low:
        if job_id not in queue.started_at:
            continue
        waits.append(queue.waited(job_id))
        bound = queue.place(job_id) + _RULES_OF_LOW.passed_s + _RULES_OF_LOW.urgent_s
        started = queue.started_at[job_id]
        late += sum(
            at > bound and queue.started_at.get(other, started) < started
            for other, at in queue.submitted_at.items()
        )
    longest = quantiles(waits, n=1_000)[-1]
    case = f"{kind}, low behind new tenants: p99.9 of {len(waits)} waits, and passed after the bound by"
    return Row(
        "B14", case, f"{longest:.0f} job lengths, {late} jobs", target="0 jobs", verdict=judged(not late)
    )


if __name__ == "__main__":
    run(measure)
