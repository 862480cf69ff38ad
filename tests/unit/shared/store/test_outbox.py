"""Each end of a job is in the outbox exactly if it was committed; what is due is claimed by one sender."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, event, select, text
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.db.tables import Job, Webhook, WebhookDelivery
from shared.lifecycle import TERMINAL, JobState
from shared.schemas import WebhookUpdate
from shared.store import attempts, claims, job_edits, outbox, recovery, webhooks
from shared.store.outbox import Claimed
from shared.store.transitions import AttemptFailure
from tests.support import stored
from tests.support.factories import make_evaluate_spec, make_model, make_worker_info
from tests.support.fakes import FrozenClock
from tests.support.queue_driver import (
    cancelled,
    failed,
    one_of_each_state,
    record,
    running,
    submit,
    succeed_attempt,
    succeeded,
)
from tests.support.registry import webhook, webhook_test
from tests.support.waiting import wait_until


def deliveries(database: Database) -> list[WebhookDelivery]:
    rows = select(WebhookDelivery).order_by(WebhookDelivery.created_at, WebhookDelivery.id)
    return database.read(lambda session: list(session.scalars(rows)))


def the_delivery(database: Database) -> WebhookDelivery:
    (delivery,) = deliveries(database)
    return delivery


def claim(database: Database, webhook_id: UUID, clock: FrozenClock, limit: int = 10) -> list[Claimed]:
    return database.write(partial(outbox.claim, webhook_id=webhook_id, limit=limit, now=clock))


def test_each_way_in_which_a_job_ends_is_in_the_outbox(database: Database) -> None:
    webhook(database)
    jobs = one_of_each_state(database)
    found = {delivery.job_id: delivery.state for delivery in deliveries(database)}
    assert found == {jobs[state]: state for state in TERMINAL}


def test_a_delivery_is_a_copy_of_what_the_job_ended_as(database: Database) -> None:
    webhook(database)
    job_id, model = succeeded(database, name="mine", tags=("a", "b"), queue="slow")
    job, delivery = stored.job(database, job_id), the_delivery(database)
    copied = ("name", "kind", "queue", "tags", "model_id", "last_values", "duration_s")
    assert {name: getattr(delivery, name) for name in copied} == {name: getattr(job, name) for name in copied}
    assert (delivery.model_id, delivery.tags) == (model.id, ["a", "b"])
    assert (delivery.last_values or {})["evaluation_accuracy"] == 0.98
    assert (delivery.created_at, delivery.next_at, delivery.attempts) == (job.finished_at, job.finished_at, 0)


def test_a_failure_has_its_error(database: Database) -> None:
    webhook(database)
    failed(database)
    delivery = the_delivery(database)
    assert (delivery.state, delivery.error_code, delivery.error_message) == ("failed", "internal", "it broke")


def test_a_job_that_is_lost_too_often_is_in_the_outbox(database: Database, clock: FrozenClock) -> None:
    webhook(database)
    job_id = submit(database)
    info = make_worker_info()
    claimed = partial(claims.claim, queues=["default"], worker=info, owner="w/1", lease_s=1.0, now=clock)
    clock.moment = stored.job(database, job_id).scheduled_at + timedelta(seconds=1)
    database.write(claimed)
    clock.advance(60)
    database.write(partial(recovery.reap, max_lost_attempts=1, lease_s=30.0, now=clock))
    assert (the_delivery(database).state, the_delivery(database).error_code) == ("failed", "worker_lost")


def test_jobs_that_are_cancelled_with_their_predecessor_are_in_the_outbox(database: Database) -> None:
    webhook(database)
    first = submit(database)
    second = submit(database, after=(first,))
    database.write(lambda session: job_edits.request_cancel(session, first))
    assert {delivery.job_id for delivery in deliveries(database)} == {first, second}


@pytest.mark.parametrize(
    ("wanted", "is_told"),
    [
        ({}, True),
        ({"states": ["cancelled"]}, True),
        ({"states": ["succeeded", "failed"]}, False),
        ({"queue": "slow"}, True),
        ({"queue": "default"}, False),
        ({"kind": "train"}, True),
        ({"kind": "evaluate"}, False),
    ],
    ids=str,
)
def test_a_webhook_is_told_of_what_it_is_for(
    database: Database, wanted: dict[str, Any], is_told: bool
) -> None:
    webhook(database, **wanted)
    cancelled(database, queue="slow")
    assert len(deliveries(database)) == is_told


def test_every_webhook_has_a_delivery_of_its_own(database: Database) -> None:
    ids = {webhook(database) for _ in range(3)}
    cancelled(database)
    found = deliveries(database)
    assert {delivery.webhook_id for delivery in found} == ids
    assert len({delivery.id for delivery in found}) == 3


def test_an_end_that_is_rolled_back_is_not_in_the_outbox(database: Database) -> None:
    webhook(database)
    attempt, failure = running(database), AttemptFailure("internal", "it broke")

    def fail_and_crash(session: Session) -> None:
        attempts.fail(session, attempt, failure, retry_in_s=None)
        assert session.scalar(select(WebhookDelivery.state)) == JobState.FAILED
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        database.write(fail_and_crash)
    assert deliveries(database) == []
    assert stored.job(database, attempt.job_id).state == JobState.RUNNING


def test_what_does_not_end_a_job_is_not_in_the_outbox(database: Database) -> None:
    webhook(database)
    attempt = running(database)
    record(database, attempt, 2)
    database.write(lambda session: attempts.fail(session, attempt, AttemptFailure("a", "b"), retry_in_s=60.0))
    job_id, _ = succeeded(database)
    edit = partial(job_edits.request_cancel, job_id=job_id)
    with pytest.raises(Exception, match="has already"):
        database.write(edit)
    assert [delivery.job_id for delivery in deliveries(database)] == [job_id]


def test_a_jobs_end_costs_no_statement_more(database: Database) -> None:
    def statements_of_an_end() -> int:
        attempt, count = running(database), []
        record(database, attempt, 3)
        hook = lambda *_: count.append(1)  # noqa: E731
        event.listen(database.engine, "before_cursor_execute", hook)
        database.write(lambda session: succeed_attempt(session, attempt, make_model().produced))
        event.remove(database.engine, "before_cursor_execute", hook)
        return len(count)

    without = statements_of_an_end()
    webhook(database)
    assert statements_of_an_end() == without
    assert len(deliveries(database)) == 1


def test_a_deleted_job_is_told_of_all_the_same(database: Database) -> None:
    webhook_id = webhook(database)
    job_id = cancelled(database, name="short-lived")
    database.write(lambda session: session.execute(delete(Job).where(Job.id == job_id)))
    (claimed,) = database.write(lambda session: outbox.claim(session, webhook_id, limit=1))
    assert (claimed.delivery.job_id, claimed.delivery.name) == (job_id, "short-lived")


def test_due_deliveries_are_claimed_once_and_again_after_their_lease(
    database: Database, clock: FrozenClock
) -> None:
    webhook_id = webhook(database)
    for _ in range(3):
        cancelled(database)
    clock.moment = deliveries(database)[-1].next_at
    assert database.read(partial(outbox.due, now=clock)) == [webhook_id]
    first, second = claim(database, webhook_id, clock, 2), claim(database, webhook_id, clock, 2)
    assert (len(first), len(second)) == (2, 1)
    assert len({claimed.delivery.id for claimed in first + second}) == 3
    assert claim(database, webhook_id, clock) == []
    assert database.read(partial(outbox.due, now=clock)) == []
    clock.advance(outbox.LEASE_S)
    assert [claimed.delivery.attempts for claimed in claim(database, webhook_id, clock)] == [2, 2, 2]


def test_no_plan_of_postgresql_claims_more_than_the_limit(postgresql: Database) -> None:
    """Without these, it joins by a loop, in which a subquery would be run for each row of the table."""
    webhook_id = webhook(postgresql)
    for _ in range(3):
        cancelled(postgresql)

    def work(session: Session) -> int:
        for name in ("hashagg", "hashjoin", "mergejoin", "material", "sort"):
            session.execute(text(f"SET LOCAL enable_{name} = off"))
        return len(outbox.claim(session, webhook_id, limit=2))

    assert (postgresql.write(work), postgresql.write(work)) == (2, 1)


def test_a_secret_is_in_no_text_of_a_claim(database: Database, clock: FrozenClock) -> None:
    webhook_id = webhook(database)
    webhook_test(database, webhook_id)
    clock.moment = the_delivery(database).next_at
    (claimed,) = claim(database, webhook_id, clock)
    [secret] = claimed.secrets
    assert secret.startswith("whsec_")
    assert secret not in repr(claimed)


def test_a_replaced_secret_signs_too_for_a_day(database: Database, clock: FrozenClock) -> None:
    webhook_id = webhook(database)
    webhook_test(database, webhook_id)
    clock.moment = the_delivery(database).next_at
    database.write(partial(webhooks.rotate_secret, webhook_id=webhook_id, secret="whsec_new", now=clock))
    (claimed,) = claim(database, webhook_id, clock)
    assert claimed.secrets[0] == "whsec_new"
    assert len(claimed.secrets) == 2
    clock.advance(webhooks.ROTATION_S)
    (claimed,) = claim(database, webhook_id, clock)
    assert claimed.secrets == ("whsec_new",)


def test_what_is_pending_of_a_paused_webhook_waits_and_tests_do_not(
    database: Database, clock: FrozenClock
) -> None:
    webhook_id = webhook(database)
    pause = partial(webhooks.change, webhook_id=webhook_id)
    database.write(partial(pause, changes=WebhookUpdate(paused=True)))
    job_id = cancelled(database)
    clock.moment = the_delivery(database).next_at
    clock.advance(100)
    assert database.read(partial(outbox.due, now=clock)) == []
    assert database.read(partial(outbox.backlog, now=clock)) == (0, 0.0)
    test_id = webhook_test(database, webhook_id)
    clock.moment = max(clock.moment, *(delivery.next_at for delivery in deliveries(database)))
    assert [claimed.delivery.id for claimed in claim(database, webhook_id, clock)] == [test_id]

    database.write(partial(pause, changes=WebhookUpdate(paused=False)))

    assert database.read(partial(outbox.due, now=clock)) == [webhook_id]
    assert [claimed.delivery.job_id for claimed in claim(database, webhook_id, clock)] == [job_id]


def test_the_backlog_is_what_is_pending_and_since_when(database: Database, clock: FrozenClock) -> None:
    assert database.read(partial(outbox.backlog, now=clock)) == (0, 0.0)
    webhook_id = webhook(database)
    for _ in range(2):
        cancelled(database)
    oldest, _ = sorted(deliveries(database), key=lambda delivery: delivery.created_at)
    clock.moment = oldest.created_at
    clock.advance(60)
    assert database.read(partial(outbox.backlog, now=clock)) == (2, 60.0)
    waiting = database.read(partial(outbox.oldest_pending, webhook_id=webhook_id, now=clock))
    assert waiting == (60.0, 0, None)
    for claimed in claim(database, webhook_id, clock):
        database.write(partial(outbox.accepted, sent=claimed.delivery, now=clock))
    assert database.read(partial(outbox.backlog, now=clock)) == (0, 0.0)
    assert database.read(partial(outbox.oldest_pending, webhook_id=webhook_id, now=clock)) is None


def test_a_failed_delivery_is_tried_again_later_and_later_and_then_given_up(
    database: Database, clock: FrozenClock
) -> None:
    webhook_id = webhook(database)
    webhook_test(database, webhook_id)
    clock.moment = the_delivery(database).next_at
    waited = []
    while the_delivery(database).dead_at is None:
        (claimed,) = claim(database, webhook_id, clock)
        database.write(
            partial(outbox.refused, sent=claimed.delivery, error="the answer is 500", jitter=1.1, now=clock)
        )
        delivery = the_delivery(database)
        assert delivery.last_error == "the answer is 500"
        if delivery.dead_at is None:
            waited.append((delivery.next_at - clock.moment).total_seconds())
            clock.advance(waited[-1] - 0.001)
            assert claim(database, webhook_id, clock) == []
            clock.advance(0.001)
    assert waited == pytest.approx([1.1 * seconds for seconds in outbox.RETRY_S])
    assert the_delivery(database).attempts == len(outbox.RETRY_S) + 1
    clock.advance(10**6)
    assert claim(database, webhook_id, clock) == []


def test_the_result_of_an_attempt_that_is_out_of_date_is_ignored(
    database: Database, clock: FrozenClock
) -> None:
    webhook_id = webhook(database)
    webhook_test(database, webhook_id)
    clock.moment = the_delivery(database).next_at
    (late,) = claim(database, webhook_id, clock)
    clock.advance(outbox.LEASE_S)
    (sent,) = claim(database, webhook_id, clock)
    database.write(partial(outbox.refused, sent=late.delivery, error="late", jitter=1.0, now=clock))
    assert the_delivery(database).last_error is None
    database.write(partial(outbox.accepted, sent=sent.delivery, now=clock))
    database.write(partial(outbox.refused, sent=sent.delivery, error="late", jitter=1.0, now=clock))
    assert the_delivery(database).delivered_at == clock.moment


def test_a_webhook_whose_receiver_is_gone_is_disabled_until_a_delivery_is_accepted(
    database: Database, clock: FrozenClock
) -> None:
    webhook_id = webhook(database)
    for _ in range(2):
        cancelled(database)
    clock.moment = deliveries(database)[-1].next_at
    (claimed,) = claim(database, webhook_id, clock, 1)
    database.write(partial(outbox.gone, sent=claimed.delivery, error="410", now=clock))
    assert [delivery.dead_at for delivery in deliveries(database)] == [clock.moment] * 2
    cancelled(database)
    assert len(deliveries(database)) == 2

    webhook_test(database, webhook_id)
    clock.advance(60)
    (tested,) = claim(database, webhook_id, clock)
    database.write(partial(outbox.accepted, sent=tested.delivery, now=clock))
    assert database.read(lambda session: session.get_one(Webhook, webhook_id)).disabled_at is None
    cancelled(database)
    assert len(deliveries(database)) == 4


def test_old_deliveries_are_deleted_and_pending_ones_are_not(database: Database, clock: FrozenClock) -> None:
    webhook_id = webhook(database)
    for end in ("accepted", "gone", "pending"):
        webhook_test(database, webhook_id)
        clock.moment = deliveries(database)[-1].next_at
        (claimed,) = claim(database, webhook_id, clock)
        if end == "accepted":
            database.write(partial(outbox.accepted, sent=claimed.delivery, now=clock))
        if end == "gone":
            database.write(partial(outbox.gone, sent=claimed.delivery, error="410", now=clock))
    purge = partial(outbox.purge, webhook_id=webhook_id, limit=10, now=clock)
    assert database.write(purge) == 0
    clock.advance(outbox.KEEP_DELIVERED_S + 60)
    assert database.write(purge) == 1
    clock.advance(outbox.KEEP_DEAD_S)
    assert database.write(purge) == 1
    assert the_delivery(database).delivered_at is None


def test_evaluations_are_told_of_by_their_kind(database: Database) -> None:
    webhook(database, kind="evaluate")
    _, model = succeeded(database)
    job_id = cancelled(database, kind="evaluate", spec=make_evaluate_spec(model.id), model_id=model.id)
    assert the_delivery(database).job_id == job_id


def test_webhooks_and_deliveries_have_the_order_of_their_creation(database: Database) -> None:
    webhook_id = webhook(database)
    created = [webhook_test(database, webhook_id) for _ in range(3)]
    rows = database.read(lambda session: webhooks.deliveries(session, webhook_id, limit=2))
    after = rows[-1][0]
    rest = database.read(lambda session: webhooks.deliveries(session, webhook_id, after=after, limit=2))
    assert [delivery.id for _, delivery in [*rows, *rest]] == created[::-1]


def test_a_job_ends_while_a_webhook_is_deleted(postgresql: Database) -> None:
    webhook_id, job_id = webhook(postgresql), submit(postgresql)
    waits = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    with ThreadPoolExecutor(1) as threads:
        with postgresql.engine.begin() as connection:
            connection.execute(delete(Webhook).where(Webhook.id == webhook_id))
            cancel = partial(job_edits.request_cancel, job_id=job_id)
            ended = threads.submit(postgresql.write, cancel)
            wait_until(lambda: postgresql.read(lambda session: session.scalar(waits)), "it waits")
        ended.result(timeout=10)
    assert stored.job(postgresql, job_id).state == JobState.CANCELLED
    assert deliveries(postgresql) == []
