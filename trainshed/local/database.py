"""The database that the settings name: its migration, and whether it admits this version of Trainshed."""

from collections.abc import Callable
from pathlib import Path

from shared.settings import Settings
from trainshed.errors import StackError, UsageError


def migrate(settings: Settings, report: Callable[[str], object] = lambda _: None) -> str:
    """Migrate the database's schema to this version, unless it is newer; return what there was to do.

    `report` is told, each few seconds, for whom a migration waits.

    Raises:
        UsageError: this version of Trainshed is too old for the database.
        StackError: the database cannot be used.
    """
    # imported here, since it takes half a second and most commands do not need it
    from alembic.util import CommandError
    from sqlalchemy.exc import SQLAlchemyError

    from shared.db.engine import Database
    from shared.db.floor import VersionOutdated
    from shared.db.migrating import CODE_VERSION

    try:
        database = Database(settings.effective_database_url)
        version = database.migrate(report)
        database.dispose()
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


def require_version(settings: Settings) -> None:
    """Refuse what this version of Trainshed must not use; a database that does not answer is not looked at.

    Raises:
        UsageError: this version of Trainshed is too old for the database.
    """
    from sqlalchemy import make_url  # as above
    from sqlalchemy.exc import SQLAlchemyError

    from shared.db.engine import Database

    try:
        url = make_url(settings.effective_database_url)
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
            return  # to connect would create it
        database = Database(settings.effective_database_url)
        refusal = database.version_refusal()
        database.dispose()
    except (SQLAlchemyError, ImportError, OSError, ValueError):
        return
    if refusal:
        raise UsageError(refusal)


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
