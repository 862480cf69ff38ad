"""Migrations of a test's own, after the newest one of this code."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic.config import Config
from sqlalchemy import Connection

from shared.db import migrating
from tests.support.paths import ROOT

_MIGRATION = """
import sqlalchemy as sa
from alembic import op
from shared.migrations import indexes

revision = "{version}"
down_revision = "{before}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    {statement}
"""


def adds_column(table: str) -> str:
    """Return the statement of a migration that adds the column `note` to a table."""
    return f'op.add_column("{table}", sa.Column("note", sa.Text(), nullable=True))'


@contextmanager
def later_migrations(folder: Path, *statements: str) -> Iterator[None]:
    """In this block this code has further migrations, of a statement each: 9001, 9002 and so on.

    Args:
        folder: an empty one, for their modules.
    """
    versions = [*migrating.VERSIONS]
    for number, statement in enumerate(statements, 9001):
        migration = _MIGRATION.format(version=number, before=versions[-1], statement=statement)
        (folder / f"{number}_later.py").write_text(migration)
        versions.append(str(number))
    config = migrating._config

    def with_later(connection: Connection, **attributes: object) -> Config:
        configured = config(connection, **attributes)
        configured.set_main_option("version_locations", f"{ROOT}/shared/migrations/versions:{folder}")
        return configured

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrating, "_config", with_later)
        patch.setattr(migrating, "CODE_VERSION", versions[-1])
        patch.setattr(migrating, "VERSIONS", versions)
        yield
