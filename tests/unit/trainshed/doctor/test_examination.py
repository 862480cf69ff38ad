"""The examination runs all checks, whatever one of them does."""

from collections.abc import Iterator

import pytest

from shared.settings import Settings
from trainshed.doctor import examination, gpus
from trainshed.doctor.findings import Finding, Severity, ok


def test_a_check_that_fails_is_reported_and_the_others_run(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(settings: Settings) -> Iterator[Finding]:
        raise RuntimeError(f"it broke in {settings.port}")

    def good(settings: Settings) -> Iterator[Finding]:
        yield ok("good", str(settings.port))

    monkeypatch.setattr(examination, "CHECKS", (broken, good))
    failed, fine = examination.examine(settings)
    assert (failed.severity, failed.message) == (
        Severity.ERROR,
        f"the check itself failed: RuntimeError: it broke in {settings.port}",
    )
    assert fine.subject == "good"


def test_what_takes_longest_is_examined_last() -> None:
    assert examination.CHECKS[-1] is gpus.check
