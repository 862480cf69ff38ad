"""Migrating the database that the settings name; a version that is too old for it is refused."""

from pathlib import Path

import pytest

from shared.settings import Settings
from tests.support.databases import migrate as migrate_url
from tests.support.databases import open_database, raised_floor
from tests.support.ports import closed_port
from trainshed.errors import UsageError
from trainshed.local.database import migrate, require_version


def test_migrating_creates_the_database_and_is_idempotent(settings: Settings) -> None:
    for _ in range(2):
        migrate(settings)
    assert (settings.data_dir / "trainshed.db").stat().st_size > 0


def test_what_is_too_old_for_the_database_is_refused(settings: Settings, tmp_path: Path) -> None:
    url = migrate_url(f"sqlite:///{tmp_path / 'trainshed.db'}")
    require_version(settings)
    with open_database(url) as database, raised_floor(database):
        for refuse in (require_version, migrate):
            with pytest.raises(
                UsageError, match=r"needs Trainshed 99\.0\.0 or later, and this is .*: install"
            ):
                refuse(settings)


def test_a_database_that_is_not_there_refuses_nothing_and_is_not_created(settings: Settings) -> None:
    require_version(settings)
    assert not (settings.data_dir / "trainshed.db").exists()
    require_version(settings.model_copy(update={"database_url": "nonsense"}))
    with closed_port() as port:
        url = f"postgresql+psycopg://me@127.0.0.1:{port}/jobs"
        require_version(settings.model_copy(update={"database_url": url}))
