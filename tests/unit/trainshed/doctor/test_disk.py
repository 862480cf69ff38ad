"""A folder that cannot be written to, or has no room, is named."""

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from shared.settings import Settings
from tests.unit.trainshed.doctor.conftest import Found
from trainshed.doctor import disk


class _Usage(NamedTuple):
    free: int


@pytest.mark.parametrize(
    ("free", "severity"), [(10_000_000, "error"), (500_000_000, "warning"), (5_000_000_000, "ok")]
)
def test_a_disk_that_is_full_is_named(
    settings: Settings, found: Found, monkeypatch: pytest.MonkeyPatch, free: int, severity: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: _Usage(free))
    findings = found(disk.check, settings)
    assert [each[0] for each in findings] == [severity, severity]
    assert findings[0][1] == f"{free / 1e9:.1f} GB are free in {settings.data_dir}"


def test_a_folder_that_is_not_there_is_judged_by_its_parent(
    settings: Settings, found: Found, tmp_path: Path
) -> None:
    missing = settings.model_copy(update={"data_dir": tmp_path / "a" / "b"})
    assert found(disk.check, missing)[0][1].endswith(f"in {tmp_path}")
    assert not (tmp_path / "a").exists()


def test_a_folder_that_cannot_be_written_to(settings: Settings, found: Found) -> None:
    # /proc refuses files from everyone, root included
    refused = settings.model_copy(update={"data_dir": Path("/proc/trainshed")})
    severity, message, advice = found(disk.check, refused)[0]
    assert (severity, "cannot be written to" in message) == ("error", True)
    assert "TRAINSHED_DATA_DIR" in advice
