"""Sweeps: their submission with all jobs, rankings of their jobs, and lists."""

import math
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select
from uuid_utils.compat import uuid7

from shared.db.engine import Database
from shared.db.tables import Job, JobEvent, Sweep
from shared.errors import IdempotencyKeyReused, SweepNotFound, UnknownMetric
from shared.formats.epochs import EpochMetrics
from shared.schemas import Mode
from shared.store import sweeps
from shared.store.idempotency import Idempotency
from shared.store.rights import LOCAL
from shared.store.submissions import NewJobs, NewSweep, Outcome, Receipt
from shared.store.submit import submit_jobs
from shared.store.sweeps import Objective
from tests.support import factories, queue_driver, stored
from tests.support.statements import ON_SQLITE, plan, recorded_statements, selects


def _new(*rates: float, key: Idempotency | None = None, **options: Any) -> NewJobs:
    sweep = NewSweep(uuid7(), "rates", {"strategy": "grid", "parameters": {"learning_rate": list(rates)}})
    jobs = [
        factories.make_new_job(spec=factories.make_spec(learning_rate=rate), sweep_id=sweep.id, **options)
        for rate in rates
    ]
    return NewJobs(jobs, key, sweep)


def _submit(database: Database, new: NewJobs) -> Outcome:
    [outcome] = database.write(lambda session: submit_jobs(session, [new]))
    return outcome


def _id(new: NewJobs) -> UUID:
    """The id of the sweep."""
    assert new.sweep is not None
    return new.sweep.id


def _count(database: Database, table: type[Any]) -> int:
    return database.read(lambda session: session.scalar(select(func.count()).select_from(table))) or 0


def test_a_sweep_is_stored_with_all_its_jobs_and_their_first_events(database: Database) -> None:
    new = _new(0.1, 0.2, 0.3)

    _submit(database, new)

    sweep = database.read(lambda session: sweeps.detail(session, _id(new), Objective.of("loss")))
    assert [job.parameters for job in sweep.jobs] == [{"learning_rate": rate} for rate in (0.1, 0.2, 0.3)]
    assert (sweep.name, sweep.states, sweep.best) == ("rates", {"queued": 3}, None)
    assert _count(database, JobEvent) == 3


def test_a_sweep_takes_the_same_statements_for_any_number_of_jobs(database: Database) -> None:
    counts = []
    for jobs in (2, 20):
        new = _new(*(0.1 * (number + 1) for number in range(jobs)), tags=("a", "b"))
        with recorded_statements(database) as statements:
            _submit(database, new)
        counts.append(len(statements))
    assert counts[0] == counts[1]


def test_a_repeated_submission_stores_nothing_twice(database: Database) -> None:
    for new in (_new(0.1, 0.2, key=Idempotency("k", "0" * 64)), _new(0.3, 0.4)):
        assert _submit(database, new) == _submit(database, new)

    assert (_count(database, Job), _count(database, Sweep)) == (4, 2)


def test_a_used_idempotency_key_returns_the_first_sweeps_first_job(database: Database) -> None:
    first, second = (_new(0.1, 0.2, key=Idempotency("k", "0" * 64)) for _ in range(2))
    _submit(database, first)

    assert _submit(database, second) == Receipt(first.jobs[0].id, None, first.sweep_id)
    assert (_count(database, Job), _count(database, Sweep)) == (2, 1)
    other = _new(0.1, 0.2, key=Idempotency("k", "1" * 64))
    assert isinstance(_submit(database, other), IdempotencyKeyReused)


@pytest.mark.parametrize("objective", [Objective.of("loss"), Objective.of("accuracy")])
def test_the_job_with_the_best_value_comes_first(database: Database, objective: Objective) -> None:
    new = _new(0.1, 0.2, 0.3)
    _submit(database, new)
    for at, epochs in ((1, 3), (2, 1)):
        queue_driver.record(database, queue_driver.claim(database, new.jobs[at].id).attempt, epochs)

    sweep = database.read(lambda session: sweeps.detail(session, _id(new), objective))

    assert [job.job_id for job in sweep.jobs] == [new.jobs[at].id for at in (1, 2, 0)]
    assert sweep.best == sweep.jobs[0]


def test_sweeps_are_listed_newest_first_each_once(database: Database) -> None:
    three = [_new(0.1) for _ in range(3)]
    for new in three:
        _submit(database, new)
    first = database.read(partial(sweeps.page, objective=Objective.of("loss"), limit=2))
    second = database.read(partial(sweeps.page, objective=Objective.of("loss"), limit=2, after=first[-1][0]))

    assert [sweep.id for _, sweep in first + second] == [_id(new) for new in reversed(three)]


def test_queued_and_running_jobs_are_unfinished(database: Database) -> None:
    new = _new(0.1, 0.2, 0.3)
    _submit(database, new)
    queue_driver.succeed(
        database, queue_driver.claim(database, new.jobs[0].id).attempt, factories.make_model()
    )
    queue_driver.claim(database, new.jobs[1].id)

    unfinished = database.read(lambda session: sweeps.cancellable(session, _id(new), LOCAL))

    assert list(unfinished) == [new.jobs[1].id, new.jobs[2].id]


def test_an_unknown_sweep_is_not_found(database: Database) -> None:
    with pytest.raises(SweepNotFound):
        database.read(lambda session: sweeps.detail(session, uuid7(), Objective.of("loss")))


def test_each_sweep_of_a_page_has_its_own_best_job(database: Database) -> None:
    two, none, other = _new(0.1, 0.2), _new(0.3, 0.4), _new(0.5)
    for new in (two, none, other):
        _submit(database, new)
    for job, epochs in ((two.jobs[0], 1), (two.jobs[1], 2), (other.jobs[0], 1)):
        queue_driver.record(database, queue_driver.claim(database, job.id).attempt, epochs)

    page = database.read(partial(sweeps.page, objective=Objective.of("val_loss"), limit=9))

    best = {sweep.id: sweep.best and sweep.best.job_id for _, sweep in page}
    assert best == {_id(two): two.jobs[1].id, _id(none): None, _id(other): other.jobs[0].id}


@ON_SQLITE
def test_a_page_of_sweeps_takes_few_statements_and_ranks_jobs_in_an_index(
    database: Database,
) -> None:
    for _ in range(3):
        _submit(database, _new(0.1, 0.2))

    by_default = partial(sweeps.page, objective=Objective.of(), limit=9)
    _page, counts, best, running, owners = selects(database, by_default)

    assert "COVERING INDEX ix_jobs_by_sweep" in plan(database, counts)
    assert "COVERING INDEX ix_job_values_by_sweep (sweep_id=? AND name=?)" in plan(database, best)
    for statement in (best, running, owners):
        assert "SCAN" not in plan(database, statement)


def test_jobs_are_ranked_by_any_metric_with_the_least_or_the_greatest_first(database: Database) -> None:
    new = _new(0.1, 0.2, 0.3)
    _submit(database, new)
    for job, r2 in zip(new.jobs, (0.5, 0.9, math.nan), strict=True):
        attempt = queue_driver.claim(database, job.id).attempt
        epoch = EpochMetrics.of(0, 0.1, {"r2": r2, "rmse": 1 - r2})
        queue_driver.record_progress(database, attempt, factories.make_progress(epoch))
        queue_driver.fail(database, attempt)

    for metric, mode, best_first in (
        ("r2", None, (1, 0, 2)),
        ("rmse", None, (1, 0, 2)),
        ("r2", Mode.MIN, (0, 1, 2)),
        ("rmse", Mode.MAX, (0, 1, 2)),
    ):
        objective = Objective.of(metric, mode)
        sweep = database.read(partial(sweeps.detail, sweep_id=_id(new), objective=objective))
        [(_, listed)] = database.read(partial(sweeps.page, objective=objective, limit=9))
        assert [job.job_id for job in sweep.jobs] == [new.jobs[at].id for at in best_first], objective
        assert sweep.best == listed.best == sweep.jobs[0]
        assert sweep.jobs[2].value is None


def test_an_unknown_objective_is_answered_with_the_nearest_metric_of_the_sweep(database: Database) -> None:
    new = _new(0.1)
    _submit(database, new)
    by_r2 = partial(sweeps.detail, sweep_id=_id(new), objective=Objective.of("val_r3"))
    assert database.read(by_r2).best is None  # nothing is recorded yet
    attempt = queue_driver.claim(database, new.jobs[0].id).attempt
    queue_driver.record_progress(
        database, attempt, factories.make_progress(EpochMetrics.of(0, 0.1, {"val_r2": 0.5}))
    )
    for _ in range(2):  # of a running job, and of one that has ended
        with pytest.raises(UnknownMetric, match="'val_r3': did you mean `val_r2`"):
            database.read(by_r2)
        assert database.read(partial(sweeps.detail, sweep_id=_id(new), objective=Objective.of())).best is None
        if stored.state(database, attempt.job_id) == "running":
            queue_driver.fail(database, attempt)
