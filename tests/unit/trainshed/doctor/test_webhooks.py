"""Deliveries that wait for long or were given up are named, with what to do."""

from datetime import timedelta
from functools import partial
from pathlib import Path
from uuid import UUID

import psutil
import pytest

from shared.db.engine import Database
from shared.settings import Settings
from shared.store import outbox
from tests.support import queue_driver, registry, stored
from tests.unit.trainshed.doctor.conftest import Found
from trainshed.doctor import webhooks as webhooks_check
from trainshed.doctor import workers as workers_check

URL = "https://example.invalid/hook?token=secret"


@pytest.fixture
def here(settings: Settings, database_url: str) -> Settings:
    return settings.model_copy(update={"database_url": database_url})


def claim(database: Database, webhook_id: UUID) -> outbox.Claimed:
    [claimed] = database.write(partial(outbox.claim, webhook_id=webhook_id, limit=1))
    return claimed


def age(database: Database, seconds: float) -> None:
    """Let the only delivery have come in earlier."""
    [delivery] = stored.deliveries(database)
    registry.set_deliveries(database, created_at=delivery.created_at - timedelta(seconds=seconds))


def test_without_a_webhook_nothing_is_said(here: Settings, found: Found, database: Database) -> None:
    assert not database.missing_step()
    assert found(webhooks_check.check, here) == []


def test_a_delivery_that_has_just_come_in_is_good(here: Settings, found: Found, database: Database) -> None:
    registry.webhook(database, URL)
    queue_driver.cancelled(database)
    assert found(webhooks_check.check, here) == [("ok", "1 webhooks, 1 pending deliveries", "")]


def test_a_delivery_that_nobody_sends(here: Settings, found: Found, database: Database) -> None:
    hook = registry.webhook(database, URL)
    queue_driver.cancelled(database)
    age(database, 90)
    [(severity, message, advice)] = found(webhooks_check.check, here)
    assert (severity, str(hook) in message, "without an attempt" in message) == ("warning", True, True)
    assert "start an API process" in advice


def test_a_receiver_that_fails_for_long(here: Settings, found: Found, database: Database) -> None:
    hook = registry.webhook(database, URL)
    queue_driver.cancelled(database)
    refused = partial(outbox.refused, error="the answer is 500", jitter=1.0)
    sent = claim(database, hook).delivery
    assert database.write(lambda session: refused(session, sent)) is False
    age(database, 3_500)
    assert [severity for severity, *_ in found(webhooks_check.check, here)] == ["ok"]
    age(database, 200)
    [(severity, message, advice)] = found(webhooks_check.check, here)
    assert (severity, advice) == ("warning", "mend the receiver")
    assert message.endswith("s: the answer is 500")


def test_what_was_given_up(here: Settings, found: Found, database: Database) -> None:
    hook = registry.webhook(database, URL)
    queue_driver.cancelled(database)
    registry.set_deliveries(database, attempts=len(outbox.RETRY_S))
    sent = claim(database, hook).delivery
    given_up = partial(outbox.refused, sent=sent, error="the answer is 503", jitter=1.0)
    assert database.write(given_up) is True
    [(severity, message, advice)] = found(webhooks_check.check, here)
    assert (severity, message) == (
        "warning",
        f"1 deliveries of {hook} were given up: the answer is 503",
    )
    assert f"trainshed webhooks deliveries {hook} --state dead" in advice


def test_a_receiver_that_is_gone(here: Settings, found: Found, database: Database) -> None:
    hook = registry.webhook(database, URL)
    queue_driver.cancelled(database)
    registry.give_up(database)
    disabled, dead = found(webhooks_check.check, here)
    assert (disabled[0], "is disabled" in disabled[1]) == ("warning", True)
    assert f"trainshed webhooks change {hook} --url" in disabled[2]
    assert dead[1].endswith("were given up: the answer is 410 Gone")


def test_what_waits_for_a_webhook_that_is_paused(here: Settings, found: Found, database: Database) -> None:
    hook = registry.webhook(database, URL)
    registry.change_webhook(database, hook, paused=True)
    assert [severity for severity, *_ in found(webhooks_check.check, here)] == ["ok"]
    queue_driver.cancelled(database)
    age(database, 7_200)
    [(severity, message, advice)] = found(webhooks_check.check, here)
    assert (severity, message) == ("warning", f"1 deliveries wait, since {hook} is paused")
    assert advice == f"`trainshed webhooks change {hook} --resume`"


def test_addresses_are_not_shown(here: Settings, found: Found, database: Database) -> None:
    registry.webhook(database, URL)
    queue_driver.cancelled(database)
    age(database, 7_200)
    assert "secret" not in str(found(webhooks_check.check, here))


def test_no_database(settings: Settings, found: Found, tmp_path: Path) -> None:
    away = settings.model_copy(update={"database_url": f"sqlite:///{tmp_path}/no/such.db"})
    for check in (webhooks_check.check, workers_check.check):
        [(severity, message, _)] = found(check, away)
        assert (severity, "are not known" in message) == ("warning", True)
    # not left to the garbage collection, of which Python 3.13 warns
    assert [file.path for file in psutil.Process().open_files() if file.path.startswith(str(tmp_path))] == []
