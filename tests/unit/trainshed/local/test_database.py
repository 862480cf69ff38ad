"""Migrating the database that the settings name; a version that is too old for it is refused."""

from functools import partial
from pathlib import Path

import psutil
import pytest

from shared.db.engine import Database
from shared.lifecycle import WorkerState
from shared.settings import Settings
from tests.support import registry
from tests.support.databases import migrate as migrate_url
from tests.support.databases import open_database, raised_floor
from tests.support.ports import closed_port
from trainshed.errors import UsageError
from trainshed.local.database import migrate, opened, require_version, unregistered


def test_migrating_creates_the_database_and_is_idempotent(settings: Settings) -> None:
    for _ in range(2):
        migrate(settings, print)
    assert (settings.data_dir / "trainshed.db").stat().st_size > 0


def test_what_is_too_old_for_the_database_is_refused(settings: Settings, tmp_path: Path) -> None:
    url = migrate_url(f"sqlite:///{tmp_path / 'trainshed.db'}")
    require_version(settings)
    with open_database(url) as database, raised_floor(database):
        for refuse in (require_version, partial(migrate, report=print)):
            with pytest.raises(
                UsageError, match=r"needs Trainshed 99\.0\.0 or later, and this is .*: install"
            ):
                refuse(settings)
    # not left to the garbage collection, of which Python 3.13 warns
    assert [file.path for file in psutil.Process().open_files() if file.path.startswith(str(tmp_path))] == []


def test_a_worker_has_registered_once_its_process_has_written_its_row(
    settings: Settings, database_url: str, database: Database
) -> None:
    with opened(settings.model_copy(update={"database_url": database_url})) as read:
        assert unregistered(read, 11, 9.0) == "the worker has not registered"
        registry.worker(database, pid=11)
        assert unregistered(read, 11, 9.0) == ""
        assert unregistered(read, 11, 0.0) == "the worker has not registered"  # an earlier process's row
        registry.worker(database, id="stopped", pid=12, state=WorkerState.STOPPED)
        assert unregistered(read, 12, 9.0) == "the worker has not registered"


def test_a_database_that_fails_while_the_worker_registers_is_the_reason(settings: Settings) -> None:
    with opened(settings) as empty:
        assert unregistered(empty, 11, 9.0) == "the database cannot be used: no such table: workers"


def test_a_database_that_is_not_there_refuses_nothing_and_is_not_created(settings: Settings) -> None:
    require_version(settings)
    assert not (settings.data_dir / "trainshed.db").exists()
    require_version(settings.model_copy(update={"database_url": "nonsense"}))
    with closed_port() as port:
        url = f"postgresql+psycopg://me@127.0.0.1:{port}/jobs"
        require_version(settings.model_copy(update={"database_url": url}))
