"""Checks of the webhooks: late deliveries, dead deliveries, and receivers that refuse further ones."""

from collections.abc import Iterator
from functools import partial

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.schemas import DeliveryState, Webhook
from shared.settings import Settings
from shared.store import outbox, webhooks
from trainshed.doctor.findings import Finding, ok, warning

_SUBJECT = "webhooks"
_MAX_LISTED = 200
_UNSENT_S = 60.0
_LATE_S = 3_600.0


def check(settings: Settings) -> Iterator[Finding]:
    """Check the webhooks in the database. Their URLs, which may hold tokens, are not shown."""
    try:
        with Database(settings.effective_database_url, patience_s=0) as database:
            listed = [webhook for _, webhook in database.read(partial(webhooks.page, limit=_MAX_LISTED))]
            problems = [each for hook in listed for each in database.read(partial(_problems, webhook=hook))]
    except (SQLAlchemyError, ImportError, ValueError):
        yield warning(_SUBJECT, "they are not known while the database cannot be read", "see above")
        return
    yield from problems
    if listed and not problems:
        yield ok(
            _SUBJECT, f"{len(listed)} webhooks, {sum(hook.pending for hook in listed):,} pending deliveries"
        )


def _problems(session: Session, webhook: Webhook) -> list[Finding]:
    found = []
    if webhook.disabled_at:
        message = f"{webhook.id} is disabled: its receiver has answered 410 Gone"
        advice = (
            f"`trainshed webhooks change {webhook.id} --url URL`, or `test` once it is mended, or `delete`"
        )
        found.append(warning(_SUBJECT, message, advice))
    if webhook.dead:
        [(_, last)] = webhooks.deliveries(session, webhook.id, DeliveryState.DEAD, limit=1)
        message = f"{webhook.dead:,} deliveries of {webhook.id} were given up: {last.last_error}"
        list_them = f"`trainshed webhooks deliveries {webhook.id} --state dead`"
        advice = f"mend the receiver; {list_them}, and `redeliver` what is still wanted"
        found.append(warning(_SUBJECT, message, advice))
    if webhook.paused_at and webhook.pending:
        message = f"{webhook.pending:,} deliveries wait, since {webhook.id} is paused"
        found.append(warning(_SUBJECT, message, f"`trainshed webhooks change {webhook.id} --resume`"))
    elif oldest := outbox.oldest_pending(session, webhook.id):
        waits = f"{webhook.pending:,} deliveries of {webhook.id} are pending, one for {oldest.age_s:,.0f} s"
        if not oldest.attempts and oldest.age_s > _UNSENT_S:
            advice = "start an API process, which sends them, or let the receiver answer faster"
            found.append(warning(_SUBJECT, f"{waits} without an attempt", advice))
        elif oldest.age_s > _LATE_S:
            found.append(warning(_SUBJECT, f"{waits}: {oldest.last_error}", "mend the receiver"))
    return found
