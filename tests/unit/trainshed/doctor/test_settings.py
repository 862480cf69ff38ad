"""Settings that do not exist or contradict each other are named."""

from typing import Any

import pytest

from shared.settings import Settings
from tests.unit.trainshed.doctor.conftest import Found
from trainshed.doctor import settings as settings_check


def test_good_settings_are_good(settings: Settings, found: Found) -> None:
    assert [severity for severity, _, _ in found(settings_check.check, settings)] == ["ok"]


def test_an_unknown_variable_is_named_with_the_nearest_setting(
    settings: Settings, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINSHED_REDIS_ULR", "redis://example.org")
    monkeypatch.setenv("TRAINSHED_XYZZY", "1")
    first, second = found(settings_check.check, settings)
    assert first == (
        "warning",
        "TRAINSHED_REDIS_ULR is not a setting and has no effect",
        "did you mean TRAINSHED_REDIS_URL?",
    )
    assert second[2] == "docs/operations.md lists all settings"


@pytest.mark.parametrize(
    ("changes", "severity", "message"),
    [
        ({"host": "0.0.0.0"}, "error", "HOST is 0.0.0.0"),
        ({"redis_url": "redis://redis.example.org"}, "warning", "Redis is on redis.example.org"),
        ({"reconcile_s": 40.0}, "warning", "RECONCILE_S (40) is longer than LEASE_S"),
        ({"download_deadline_s": 1.0}, "warning", "DOWNLOAD_DEADLINE_S (1) is shorter"),
        ({"job_retention_s": 1.0, "model_retention_s": 2.0}, "warning", "MODEL_RETENTION_S is longer"),
        ({"job_retention_s": 1.0, "log_retention_s": 2.0}, "warning", "LOG_RETENTION_S is longer"),
    ],
)
def test_contradictions_are_found(
    settings: Settings, found: Found, changes: dict[str, Any], severity: str, message: str
) -> None:
    defaults = {"lease_s": 30.0, "heartbeat_s": 10.0, "reconcile_s": 5.0}
    broken = settings.model_copy(update={**defaults, **changes})
    [(found_severity, found_message, _)] = found(settings_check.check, broken)
    assert found_severity == severity
    assert message in found_message


@pytest.mark.parametrize(
    "changes",
    [
        {"redis_url": "redis://127.0.0.1:6379/0"},
        {"redis_url": "redis://redis.example.org", "database_url": "postgresql+psycopg://u@h/db"},
        {"job_retention_s": 2.0, "log_retention_s": 1.0},
    ],
)
def test_what_fits_together_is_not_reported(
    settings: Settings, found: Found, changes: dict[str, Any]
) -> None:
    fitting = settings.model_copy(update=changes)
    assert [severity for severity, _, _ in found(settings_check.check, fitting)] == ["ok"]
