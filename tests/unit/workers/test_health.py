"""A worker's health file is there while it can train."""

import os
from pathlib import Path

import pytest

from workers.health import HealthFile


def test_the_file_is_there_while_the_worker_can_train(tmp_path: Path) -> None:
    path = tmp_path / "healthy"
    path.touch()  # of a worker that was killed
    health = HealthFile(str(path))
    assert not path.exists()
    health.report(can_train=True)
    assert path.exists()
    health.report(can_train=False)
    assert not path.exists()
    health.report(can_train=False)


def test_the_file_is_touched_again(tmp_path: Path) -> None:
    path = tmp_path / "healthy"
    health = HealthFile(str(path))
    health.report(can_train=True)
    os.utime(path, (0, 0))
    health.report(can_train=True)
    assert path.stat().st_mtime > 0


def test_without_a_path_there_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    HealthFile("").report(can_train=True)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    HealthFile(str(tmp_path / "nowhere" / "healthy")).report(can_train=True)
    assert "TRAINSHED_HEALTH_FILE" in caplog.text
