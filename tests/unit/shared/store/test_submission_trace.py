"""The span of a submission, and what its jobs remember of it."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from uuid import UUID

import pytest

from shared import tracing
from shared.db.engine import Database
from shared.errors import IdempotencyKeyReused
from shared.store.group_commit import GroupCommit
from shared.store.idempotency import Idempotency
from shared.store.submissions import NewJobs, NewSweep
from tests.support import stored
from tests.support.factories import make_new_job
from tests.support.queue_driver import claim
from tests.support.statements import recorded_statements
from tests.support.trace_collector import Collector


@pytest.fixture
def submissions(database: Database) -> Iterator[GroupCommit]:
    with closing(GroupCommit(database, lambda _: None)) as submissions:
        yield submissions


def statements_of(submissions: GroupCommit, database: Database) -> int:
    """Submit a job and have it claimed; return how many statements that took."""
    new = make_new_job()
    with recorded_statements(database) as statements:
        submissions.submit(NewJobs([new]))
        claim(database, new.id)
    return len(statements)


def test_a_job_and_its_claim_have_the_context_of_its_submission(
    submissions: GroupCommit, database: Database, traces: Collector
) -> None:
    request = tracing.begin("request")
    assert request is not None
    new = [make_new_job(queue="gpu") for _ in range(2)]
    with tracing.current(request):
        submissions.submit(NewJobs([new[0]]))
        asyncio.run(submissions.submit_async(NewJobs([new[1]])))
    request.end()
    tracing.stop()

    for job in new:
        submission = traces.wait_for("submit gpu", messaging_message_id=str(job.id))
        assert submission.parent_id == traces.wait_for("request").span_id
        assert (submission.kind, submission.failed) == ("producer", False)
        traceparent = f"00-{submission.trace_id}-{submission.span_id}-03"  # sampled, random
        assert stored.job(database, job.id).traceparent == traceparent
        assert claim(database, job.id).traceparent == traceparent


def test_all_jobs_of_a_sweep_have_the_context_of_one_span(
    submissions: GroupCommit, database: Database, traces: Collector
) -> None:
    sweep = NewSweep(UUID(int=7), None, {})
    jobs = [make_new_job(sweep_id=sweep.id) for _ in range(3)]
    submissions.submit(NewJobs(jobs, sweep=sweep))
    tracing.stop()

    submission = traces.wait_for("submit default", trainshed_sweep_id=str(sweep.id))
    assert submission.attributes["messaging.batch.message_count"] == 3
    assert len(traces.named("submit default")) == 1
    [of_all] = {stored.job(database, job.id).traceparent for job in jobs}
    assert of_all is not None
    assert of_all.startswith(f"00-{submission.trace_id}-{submission.span_id}-")


def test_the_span_of_a_refused_submission_has_failed(submissions: GroupCommit, traces: Collector) -> None:
    submissions.submit(NewJobs([make_new_job()], Idempotency("k", "a" * 64)))
    with pytest.raises(IdempotencyKeyReused):
        submissions.submit(NewJobs([make_new_job()], Idempotency("k", "b" * 64)))
    tracing.stop()
    assert traces.wait_for("submit default", error_type="IdempotencyKeyReused").failed
    assert len(traces.named("submit default")) == 2


def test_a_trace_costs_no_statement_and_without_one_nothing_is_stored(
    submissions: GroupCommit, database: Database, traces: Collector
) -> None:
    with_traces = statements_of(submissions, database)
    tracing.stop()
    assert statements_of(submissions, database) == with_traces
    new = make_new_job()
    submissions.submit(NewJobs([new]))
    assert stored.job(database, new.id).traceparent is None
    assert len(traces.named("submit default")) == 1
