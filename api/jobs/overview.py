"""The overview: running jobs, queued jobs with the reasons, finished jobs, workers; in one transaction."""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np
from sqlalchemy.orm import Session

from shared.lifecycle import JobState, WorkerState
from shared.schemas import Job, JobCounts, JobDetail, JobListQuery, Resolution, Worker, main_metric
from shared.store import activity, job_lists, job_queries, metrics, workers
from shared.store.activity import Finished

_RUNNING, _WAITING, _RESULTS, _WORKERS = 20, 8, 8, 50  # the maximum numbers of rows
_PERIODS, _PERIOD_S = 12, 300.0
_CURVE_POINTS = 60  # the last points of a metric, which its sparkline shows


@dataclass(frozen=True)
class RunningJob:
    """A running job, its worker, and a metric over its last epochs if the job has recorded any."""

    job: Job
    worker: Worker | None
    metric: str | None
    curve: list[float]


@dataclass(frozen=True)
class Overview:
    """The state of the system at a moment.

    Attributes:
        now: the database's time.
        waiting: the queued jobs that start next.
        results: the jobs that ended last.
        workers: the workers that have not stopped, lost ones included.
        finished: the numbers of jobs that ended in each five minutes of the last hour.
    """

    now: datetime
    counts: JobCounts
    running: list[RunningJob]
    waiting: list[JobDetail]
    results: list[Job]
    workers: list[Worker]
    finished: list[Finished]

    @cached_property
    def online(self) -> list[Worker]:
        """The workers that take jobs."""
        return [worker for worker in self.workers if worker.state is WorkerState.ONLINE]

    @cached_property
    def finished_last_hour(self) -> dict[JobState, int]:
        """The number of jobs that ended in the last hour, by final state."""
        states = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
        return {state: sum(period.states[state] for period in self.finished) for state in states}


def read(session: Session) -> Overview:
    """Read the overview."""
    now = activity.read_now(session)
    seen = [worker for _, worker in workers.page(session, limit=_WORKERS)]
    query = JobListQuery(state=(JobState.RUNNING,))
    running = [job for _, job in job_lists.page(session, query, limit=_RUNNING)]
    by_job = {job_id: worker for worker in seen for job_id in worker.jobs}
    return Overview(
        now=now,
        counts=job_lists.counts(session),
        running=[_with_curve(session, job, by_job.get(job.id)) for job in running],
        waiting=job_queries.details(session, activity.next_to_start(session, limit=_WAITING)),
        results=activity.last_finished(session, limit=_RESULTS),
        workers=[worker for worker in seen if worker.state is not WorkerState.STOPPED],
        finished=activity.finished_lately(session, until=now, period_s=_PERIOD_S, periods=_PERIODS),
    )


def _with_curve(session: Session, job: Job, worker: Worker | None) -> RunningJob:
    metric = main_metric(job.values)
    if metric is None:
        return RunningJob(job, worker, None, [])
    values = metrics.read(session, job.id, Resolution.EPOCH, [metric]).get(metric, np.empty(0))
    finite = values[np.isfinite(values)]
    return RunningJob(job, worker, metric, finite[-_CURVE_POINTS:].tolist())
