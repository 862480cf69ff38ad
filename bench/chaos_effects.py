"""Stored effects of `bench.chaos`'s jobs in Trainshed's database: one each, however often a job ran."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bench.no_op import NoOpExecutor
from shared.db.tables import Attempt, Job, JobEvent
from shared.lifecycle import TERMINAL, AttemptOutcome, JobState
from shared.settings import Settings
from tests.faults import oracle
from tests.support.databases import open_database
from tests.support.waiting import wait_until

_END_S = 60.0  # for the last reports, and for jobs stored although their submission was refused


@dataclass(frozen=True)
class Effects:
    """The stored effects of jobs.

    Attributes:
        twice: jobs with more than one terminal event, or more than one attempt that succeeded.
        violations: the findings of the fault tests' oracle: jobs that are missing or have not succeeded, and
            events, attempts or results that contradict each other; empty if there are none.
    """

    twice: int
    violations: str


def stored_effects(url: str, accepted: Iterable[int]) -> Effects:
    """Wait until every job has ended, and check the stored effects of all jobs.

    Args:
        url: the database.
        accepted: the seeds of the jobs that were accepted; jobs whose submission was not answered may be
            stored too.
    """
    executor = NoOpExecutor(Settings())
    with open_database(url) as database:
        jobs = {job_id: spec["seed"] for job_id, spec in database.read(_jobs)}
        with suppress(AssertionError):  # the oracle names jobs that have not ended
            wait_until(
                lambda: not database.read(lambda session: oracle.count_unfinished(session, jobs)),
                "all jobs have ended",
                _END_S,
            )
        twice = database.read(_count_twice)
        missing = sorted(set(accepted) - set(jobs.values()))
        violations = [f"jobs that were accepted and are not stored: {missing}"] if missing else []
        try:
            expected = dict.fromkeys(jobs, JobState.SUCCEEDED)
            oracle.check(database, expected, lambda spec: oracle.golden_run(executor, spec))
        except AssertionError as error:
            violations.append(str(error))
    return Effects(twice, "\n".join(violations))


def _jobs(session: Session) -> list[tuple[UUID, dict[str, int]]]:
    return [(job_id, spec) for job_id, spec in session.execute(select(Job.id, Job.spec))]


def _count_twice(session: Session) -> int:
    ends = select(JobEvent.job_id).where(JobEvent.type.in_(TERMINAL))
    successes = select(Attempt.job_id).where(Attempt.outcome == AttemptOutcome.SUCCEEDED)
    twice = [
        rows.group_by(column).having(func.count() > 1)
        for rows, column in ((ends, JobEvent.job_id), (successes, Attempt.job_id))
    ]
    return len({job_id for rows in twice for job_id in session.scalars(rows)})
