"""`trainshed doctor` shows each finding with what to do, and says by its exit code whether jobs can run."""

import json
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from shared.settings import Settings
from trainshed.cli.main import app
from trainshed.doctor import examination
from trainshed.doctor.findings import Finding, error, ok, warning


def run(
    monkeypatch: pytest.MonkeyPatch, *findings: Finding, options: tuple[str, ...] = ()
) -> tuple[int, str]:
    def check(_: Settings) -> Iterator[Finding]:
        yield from findings

    monkeypatch.setattr(examination, "CHECKS", (check,))
    result = CliRunner().invoke(app, ["doctor", *options])
    return result.exit_code, result.stdout


def test_nothing_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    code, shown = run(monkeypatch, ok("disk", "9.0 GB are free"))
    assert (code, shown.split()) == (0, ["ok", "disk", "9.0", "GB", "are", "free"])


def test_a_warning_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    code, shown = run(monkeypatch, warning("disk", "it is nearly full", "free space"))
    assert code == 0
    assert [line.strip() for line in shown.splitlines()] == [
        "warning disk          it is nearly full",
        "free space",
    ]


def test_an_error_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    code, shown = run(monkeypatch, error("redis", "it is away\x1b[31m", "start it"), ok("disk", "good"))
    assert code == 1
    assert "\x1b" not in shown


def test_findings_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    code, shown = run(monkeypatch, error("redis", "it is away", "start it"), options=("--json",))
    assert code == 1
    assert json.loads(shown) == [
        {"subject": "redis", "severity": "error", "message": "it is away", "advice": "start it"}
    ]
