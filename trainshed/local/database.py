"""The database that the settings name: its migration, a check of its version, and registered workers."""

from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from shared.lifecycle import WorkerState
from shared.settings import Settings
from trainshed.errors import StackError, UsageError

if TYPE_CHECKING:
    from shared.db.engine import Database


_LINE_S = 5.0

Progress = Callable[[str, int, int], object]
"""A function called with the subject of a move, the number of rows moved, and the number of all rows."""


def migrate(
    settings: Settings,
    report: Callable[[str], object] = lambda _: None,
    progress: Progress | None = None,
) -> str:
    """Migrate the database's schema to this version, unless it is newer; return the outcome.

    Args:
        report: called every few seconds with a line about the processes for which a migration waits.
        progress: called with the progress of a migration that moves rows; if None, `report` is called with
            it, every few seconds.

    Raises:
        UsageError: this version of Trainshed is too old for the database.
        StackError: the database cannot be used.
    """
    # imported here, since it takes half a second and most commands do not need it
    from alembic.util import CommandError
    from sqlalchemy.exc import SQLAlchemyError

    from shared.db.floor import VersionOutdated
    from shared.db.migrating import CODE_VERSION

    try:
        with opened(settings) as database:
            version = database.migrate(report, progress or _lines(report))
    except VersionOutdated as error:
        raise UsageError(str(error)) from error
    except (SQLAlchemyError, CommandError, ImportError, OSError, ValueError) as error:
        reason = str(getattr(error, "orig", error)).partition("\n")[0]
        for secret in sorted(settings.secrets, key=len, reverse=True):
            reason = reason.replace(secret, "***")
        raise StackError(f"the database {_name(settings)} cannot be used: {reason}") from error
    if version > CODE_VERSION:
        return f"The schema is of a newer version ({version}, not {CODE_VERSION}), and was left as it is."
    return "The database is up to date."


def _lines(report: Callable[[str], object]) -> Progress:
    """Return a function that reports progress as a line, at most once in `_LINE_S` seconds."""
    next_at = 0.0

    def show(subject: str, done: int, total: int) -> None:
        nonlocal next_at
        if total and monotonic() >= next_at:
            next_at = monotonic() + _LINE_S
            report(f"moving {subject} into the new tables: {done:,} of {total:,}")

    return show


def require_version(settings: Settings) -> None:
    """Refuse a database that this version of Trainshed must not use; ignore a database that does not answer.

    Raises:
        UsageError: this version of Trainshed is too old for the database.
    """
    from sqlalchemy import make_url  # as above
    from sqlalchemy.exc import SQLAlchemyError

    try:
        url = make_url(settings.effective_database_url)
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
            return  # connecting would create the file
        with opened(settings) as database:
            refusal = database.version_refusal()
    except (SQLAlchemyError, ImportError, OSError, ValueError):
        return
    if refusal:
        raise UsageError(refusal)


def opened(settings: Settings) -> "Database":
    """Open the database, for a `with` block."""
    from shared.db.engine import Database  # as above

    return Database(settings.effective_database_url)


def unregistered(database: "Database", pid: int, age_s: float) -> str:
    """Return why a worker takes no job yet; empty if it has registered.

    Args:
        database: a database with the schema of this version.
        pid: the worker's process on this host.
        age_s: seconds since the process was started: the row of a killed worker may have the same process id.
    """
    from sqlalchemy.exc import SQLAlchemyError  # as above

    from shared.store import workers

    try:
        rows = database.read(lambda session: workers.of_process(session, pid))
    except SQLAlchemyError as error:
        return f"the database cannot be used: {getattr(error, 'orig', error)}"
    if any(row.state is WorkerState.ONLINE and row.heartbeat_age_s < age_s for row in rows):
        return ""
    return "the worker has not registered"


def _name(settings: Settings) -> str:
    """Return the database's URL without any password."""
    from sqlalchemy import make_url  # as above
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(settings.effective_database_url)
        secret = [name for name in url.query if "password" in name.lower()]
        return url.difference_update_query(secret).render_as_string(hide_password=True)
    except (ArgumentError, ValueError):
        return "of TRAINSHED_DATABASE_URL"
