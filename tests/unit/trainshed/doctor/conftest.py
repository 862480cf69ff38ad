"""What tests of the checks share."""

from collections.abc import Callable

import pytest

from shared.settings import Settings
from trainshed.doctor.findings import Check, Severity

Found = Callable[[Check, Settings], list[tuple[str, str, str]]]


@pytest.fixture
def found() -> Found:
    """Run a check; return severity, message and advice of each of its findings."""

    def run(check: Check, settings: Settings) -> list[tuple[str, str, str]]:
        findings = [(str(each.severity), each.message, each.advice) for each in check(settings)]
        # every problem comes with what to do
        assert all(advice for severity, _, advice in findings if severity != Severity.OK)
        return findings

    return run
