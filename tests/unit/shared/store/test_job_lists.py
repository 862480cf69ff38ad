"""A job list contains each job that matches its filters once, in its order."""

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from shared.db.engine import Database
from shared.db.tables import Job
from shared.errors import UnknownMetric
from shared.lifecycle import JobState
from shared.schemas import JobListQuery
from shared.store import job_edits, job_lists
from tests.support import factories, queue_driver, stored
from tests.support.fakes import FrozenClock
from tests.support.statements import ON_SQLITE, plan, reads_only, selects

START = FrozenClock().moment
ORDERS = [sign + name for name in ("created_at", "duration", "val_accuracy", "r2") for sign in ("-", "")]


def _pages(database: Database, *, limit: int, **query: Any) -> Iterator[list[UUID]]:
    read = partial(job_lists.page, query=JobListQuery(**query), limit=limit)
    rows = database.read(read)
    while rows:
        yield [job.id for _, job in rows]
        rows = database.read(partial(read, after=rows[-1][0]))


def _listed(database: Database, **query: Any) -> list[UUID]:
    return [job_id for page in _pages(database, limit=99, **query) for job_id in page]


def _submitted_at(database: Database, minute: int, **overrides: Any) -> UUID:
    moment = START + timedelta(minutes=minute)
    return stored.set_columns(database, queue_driver.submit(database, **overrides), created_at=moment)


def test_jobs_are_listed_in_pages_newest_first(database: Database) -> None:
    newest_first = [_submitted_at(database, minute) for minute in range(5)][::-1]
    assert list(_pages(database, limit=2)) == [newest_first[:2], newest_first[2:4], newest_first[4:]]
    assert _listed(database) == newest_first
    assert _listed(database, sort="created_at") == newest_first[::-1]


def test_jobs_submitted_at_the_same_time_are_neither_skipped_nor_repeated(database: Database) -> None:
    ids = sorted(_submitted_at(database, 0) for _ in range(4))
    assert list(_pages(database, limit=1)) == [[job_id] for job_id in reversed(ids)]
    assert list(_pages(database, limit=1, sort="created_at")) == [[job_id] for job_id in ids]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("limit", [1, 2, 3, 200])
def test_every_order_lists_each_job_once_and_those_without_a_value_last(
    database: Database, order: str, limit: int
) -> None:
    valued = [_submitted_at(database, minute) for minute in range(3)]
    missing = [_submitted_at(database, minute) for minute in (3, 4)]
    for job_id, value in zip(valued, (0.2, 0.9, 0.9), strict=True):
        stored.set_columns(database, job_id, duration_s=value)
        stored.add_values(database, job_id, val_accuracy=value, r2=value, other=1 - value)

    listed = [job_id for page in _pages(database, sort=order, limit=limit) for job_id in page]

    ties = sorted(valued[1:], reverse=order.startswith("-"))
    by_value = [*ties, valued[0]] if order.startswith("-") else [valued[0], *ties]
    in_time = [*valued, *missing]
    expected = {
        "-created_at": in_time[::-1],
        "created_at": in_time,
    }.get(order, [*by_value, *sorted(missing, reverse=True)])
    assert listed == expected


def test_the_next_page_is_the_same_after_jobs_were_submitted_and_deleted(database: Database) -> None:
    first, second, third = (_submitted_at(database, minute) for minute in range(3))
    pages = _pages(database, limit=1)
    assert next(pages) == [third]
    _submitted_at(database, 9)
    database.write(lambda session: session.delete(session.get_one(Job, third)))
    assert [*pages] == [[second], [first]]


def test_jobs_are_listed_by_states(database: Database) -> None:
    queued, ended = queue_driver.submit(database), queue_driver.failed(database)
    assert _listed(database, state=[JobState.QUEUED]) == [queued]
    assert _listed(database, state=[JobState.FAILED]) == [ended]
    assert set(_listed(database, state=[JobState.QUEUED, JobState.FAILED])) == {queued, ended}
    assert _listed(database, state=[JobState.RUNNING]) == []


def test_jobs_are_listed_by_kind_queue_and_worker(database: Database) -> None:
    done, model = queue_driver.succeeded(database)
    spec = factories.make_evaluate_spec(model.id)
    waiting = queue_driver.submit(database, kind="evaluate", spec=spec, queue="gpu")
    assert _listed(database, kind="evaluate") == _listed(database, queue="gpu") == [waiting]
    assert _listed(database, worker="worker-1") == [done]
    assert _listed(database, worker="worker-2") == []


def test_jobs_are_listed_by_a_tag_that_matches_exactly(database: Database) -> None:
    tagged = queue_driver.submit(database, tags=("base", 'with "quotes", %'))
    queue_driver.submit(database, tags=("baseline",))
    assert _listed(database, tag="base") == _listed(database, tag='with "quotes", %') == [tagged]
    database.write(lambda session: job_edits.edit(session, tagged, {"tags": ["other"]}))
    assert _listed(database, tag="base") == []
    assert _listed(database, tag="other") == [tagged]


def test_jobs_are_listed_by_a_literal_part_of_their_name(database: Database) -> None:
    job_id = queue_driver.submit(database, name="Wide net, 100%_done")
    queue_driver.submit(database, name="wider: 100 done")
    queue_driver.submit(database)
    for part in ("wide NET", "100%", "%_d", "Wide net, 100%_done"):
        assert _listed(database, q=part) == [job_id]
    assert _listed(database, q="net_") == []


def test_jobs_are_listed_by_when_they_were_submitted(database: Database) -> None:
    ids = [_submitted_at(database, minute) for minute in range(4)]
    after, before = START + timedelta(minutes=1), START + timedelta(minutes=3)
    assert _listed(database, created_after=after, created_before=before) == [ids[2], ids[1]]


def test_a_job_must_match_every_filter(database: Database) -> None:
    both = queue_driver.submit(database, name="a", tags=("t",))
    queue_driver.submit(database, name="a")
    queue_driver.submit(database, name="b", tags=("t",))
    assert _listed(database, q="a", tag="t", state=[JobState.QUEUED], queue="default", kind="train") == [both]


def test_jobs_are_counted_by_state_and_queue(database: Database) -> None:
    queue_driver.submit(database)
    queue_driver.running(database)
    queue_driver.failed(database, queue="gpu")
    queue_driver.failed(database)
    counts = database.read(job_lists.counts)
    none = dict.fromkeys(JobState, 0)
    assert counts.total == 4
    assert counts.states == none | {JobState.QUEUED: 1, JobState.RUNNING: 1, JobState.FAILED: 2}
    assert counts.queues == {
        "default": none | {JobState.QUEUED: 1, JobState.RUNNING: 1, JobState.FAILED: 1},
        "gpu": none | {JobState.FAILED: 1},
    }


def test_without_jobs_the_counts_are_zero(database: Database) -> None:
    counts = database.read(job_lists.counts)
    assert (counts.total, counts.queues, set(counts.states.values())) == (0, {}, {0})


@pytest.mark.parametrize("order", ["created_at", "duration"])
@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("filters", [{}, {"state": ["failed"], "kind": "train", "queue": "gpu", "q": "net"}])
@ON_SQLITE
def test_the_keys_of_a_page_are_read_from_an_index(
    database: Database, order: str, sign: str, filters: dict[str, Any]
) -> None:
    key = {"duration": "duration_s"}.get(order, order)

    keys, *_ = selects(
        database, partial(job_lists.page, query=JobListQuery(sort=sign + order, **filters), limit=51)
    )

    assert reads_only(plan(database, keys), f"ix_jobs_by_{key}")


@pytest.mark.parametrize("sort", ["-r2", "r2"])
@pytest.mark.parametrize("filters", [{}, {"state": ["failed"], "kind": "train", "queue": "gpu", "q": "net"}])
@ON_SQLITE
def test_the_keys_of_a_page_by_a_metric_are_read_in_the_order_of_its_index(
    database: Database, monkeypatch: pytest.MonkeyPatch, sort: str, filters: dict[str, Any]
) -> None:
    stored.add_values(database, queue_driver.submit(database), r2=0.5)
    monkeypatch.setattr(job_lists, "_LOOKUP_LIMIT", {"sqlite": 0})  # as if very many matched

    page = partial(job_lists.page, query=JobListQuery(sort=sort, **filters), limit=51)
    [keys] = [each for each in selects(database, page) if "ORDER BY job_values.value" in each.sql]

    assert "COVERING INDEX ix_job_values_by_value (name=?)" in plan(database, keys)
    assert "TEMP B-TREE" not in plan(database, keys)


@ON_SQLITE
def test_jobs_are_counted_in_an_index(database: Database) -> None:
    (counts,) = selects(database, job_lists.counts)
    assert "COVERING INDEX" in plan(database, counts)


def test_the_number_of_statements_does_not_depend_on_the_number_of_jobs(database: Database) -> None:
    def statements() -> int:
        return len(selects(database, partial(job_lists.page, query=JobListQuery(), limit=51)))

    queue_driver.running(database)
    for_one_job = statements()
    for _ in range(3):
        queue_driver.running(database)
        queue_driver.submit(database)

    assert statements() == for_one_job


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_filter_lists_the_same_jobs_whether_few_or_many_match(
    database: Database, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    monkeypatch.setattr(job_lists, "_LOOKUP_LIMIT", {"sqlite": 2, "postgresql": 2})
    newest_first = [_submitted_at(database, minute, tags=("t",)) for minute in range(jobs)][::-1]
    queue_driver.submit(database)
    assert _listed(database, tag="t") == newest_first


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_filter_of_a_list_by_a_metric_is_the_same_whether_few_or_many_match(
    database: Database, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    monkeypatch.setattr(job_lists, "_LOOKUP_LIMIT", {"sqlite": 2, "postgresql": 2})
    tagged = [queue_driver.submit(database, tags=("t",)) for _ in range(jobs)]
    for number, job_id in enumerate([*tagged, queue_driver.submit(database)]):
        stored.add_values(database, job_id, r2=number)
    assert _listed(database, tag="t", sort="-r2") == tagged[::-1]


def test_an_unknown_metric_is_answered_with_the_nearest_one(database: Database) -> None:
    job_id = queue_driver.submit(database)
    assert _listed(database, sort="-val_acuracy") == [job_id]  # none is recorded yet
    queue_driver.record(database, queue_driver.claim(database, job_id).attempt, 1)
    assert _listed(database, sort="-val_accuracy") == [job_id]  # a running job has no place yet
    with pytest.raises(UnknownMetric, match="'val_acuracy': did you mean `val_accuracy`"):
        _listed(database, sort="-val_acuracy")
    stored.add_values(database, job_id, r2=0.5, rmse=1.0)
    with pytest.raises(UnknownMetric, match="accuracy, loss, r2, rmse, val_accuracy, val_loss"):
        _listed(database, sort="zzz")
