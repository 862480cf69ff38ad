"""Checks of the database: whether it answers, is migrated and durable, and has connections left."""

import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, make_url, select, text
from sqlalchemy.exc import SQLAlchemyError

from shared.db.clock import database_now
from shared.db.engine import Database
from shared.db.outages import MEANINGS, Reason, reason_of
from shared.db.postgresql import load
from shared.settings import Settings
from trainshed.doctor.disk import NEEDED_BYTES
from trainshed.doctor.findings import Finding, error, ok, warning

_SUBJECT = "database"
_OLDEST_POSTGRESQL = 14  # the tests run on a newer version
_MAX_SKEW_S = 2.0
_MIN_FREE_CONNECTIONS = 10
_MAX_REASON = 200  # characters of a driver's message
_SORT = """
SELECT count(*) FROM (SELECT repeat(i::text, 200) FROM generate_series(1, 8000) AS i ORDER BY 1) AS sorted
"""
_NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "lustre", "beegfs", "afs", "ncpfs"}
)
_MOUNTS = Path("/proc/mounts")


def check(settings: Settings) -> Iterator[Finding]:
    """Check the database that the settings name."""
    url = settings.effective_database_url
    try:
        database = Database(url, patience_s=0)
    except (SQLAlchemyError, ImportError, ValueError) as invalid:
        yield error(_SUBJECT, f"no database can have this URL: {invalid}", "correct TRAINSHED_DATABASE_URL")
        return
    try:
        yield from _check(database, settings)
    except (SQLAlchemyError, OSError) as refused:
        reason = str(getattr(refused, "orig", None) or refused).partition("\n")[0][:_MAX_REASON]
        found, advice = _advice(refused, reason, settings)
        yield error(_SUBJECT, f"{_place(url)} {found}: {reason}", advice)
    finally:
        database.dispose()


def _advice(refused: Exception, reason: str, settings: Settings) -> tuple[str, str]:
    """Return the fault of a database that cannot be used, as a predicate, and the remedy."""
    if reason_of(refused) is not Reason.UNAVAILABLE:
        meaning, _, advice = MEANINGS[reason_of(refused)].partition(": ")
        return f"cannot be used, since {meaning}", advice
    if "password" in reason:
        setting = "TRAINSHED_DATABASE_PASSWORD" if settings.database_password else "TRAINSHED_DATABASE_URL"
        return "refuses the password", f"correct it in {setting} (compose: POSTGRES_PASSWORD in .env)"
    if missing := re.search(r'(database|role) "[^"]*" does not exist', reason):
        advice = f"create the {missing[1]}, or correct its name in TRAINSHED_DATABASE_URL"
        return "refuses the connection", advice
    return "does not answer", "start it, or correct TRAINSHED_DATABASE_URL"


def _check(database: Database, settings: Settings) -> Iterator[Finding]:
    url = make_url(settings.effective_database_url)
    if url.get_backend_name() == "sqlite":
        file = Path(url.database or "")
        if not file.exists():
            advice = "run `trainshed up`, or `trainshed migrate`"
            yield error(_SUBJECT, f"there is no file {file}", advice)
            return
        yield from _sqlite(file)
    with database.read_engine.connect() as connection:
        yield ok(_SUBJECT, f"{_place(settings.effective_database_url)} answers: {_version(connection)}")
        yield from _clock(connection)
        if url.get_backend_name() == "postgresql":
            yield from _postgresql(connection)
    if refusal := database.version_refusal():
        message, _, advice = refusal.rpartition(": ")
        yield error(_SUBJECT, message, advice)
    elif step := database.missing_step():
        yield error(_SUBJECT, "it has no schema, or that of another version", step)


def _place(url: str) -> str:
    # not the whole URL: a password may be anywhere in it
    parts = make_url(url)
    return "/".join(part for part in (parts.host, parts.database) if part)


def _version(connection: Connection) -> str:
    dialect = connection.dialect
    return f"{dialect.name} {'.'.join(map(str, dialect.server_version_info or ()))}"


def _clock(connection: Connection) -> Iterator[Finding]:
    before = datetime.now(UTC)  # noqa: TID251 (compared with the database's clock)
    theirs = connection.execute(select(database_now())).scalar_one()
    after = datetime.now(UTC)  # noqa: TID251
    skew_s = max((theirs - after).total_seconds(), (before - theirs).total_seconds())
    if skew_s > _MAX_SKEW_S:
        message = f"its clock and this host's differ by {skew_s:.1f} s: times in logs and tables do not agree"
        yield warning(_SUBJECT, message, "run NTP on both hosts")


def _sqlite(file: Path) -> Iterator[Finding]:
    kind = file_system(file)
    if kind in _NETWORK_FILE_SYSTEMS or kind.startswith("fuse.ssh"):
        yield error(
            _SUBJECT,
            f"{file} is on a network file system ({kind}), on whose locks SQLite cannot rely",
            "set TRAINSHED_DATA_DIR to a local disk, or use PostgreSQL",
        )
    free = shutil.disk_usage(file.parent).free
    if free < NEEDED_BYTES:
        message = f"{free / 1e6:.0f} MB are free beside {file}, which grows with each job"
        yield error(_SUBJECT, message, "free space there, or enlarge the disk")


def file_system(path: Path) -> str:
    """Return the type of a path's file system; empty if unknown."""
    try:
        mounts = [line.split()[1:3] for line in _MOUNTS.read_text().splitlines()]
    except OSError:
        return ""
    path = path.resolve()
    # the mount at the nearest parent; of several there, the last hides the others
    found = ((len(at), number, kind) for number, (at, kind) in enumerate(mounts) if path.is_relative_to(at))
    # in a chroot, "/" may be missing from the mounts
    return max(found, default=(0, 0, ""))[2]


def _postgresql(connection: Connection) -> Iterator[Finding]:
    major = int((connection.dialect.server_version_info or (0,))[0])
    if major < _OLDEST_POSTGRESQL:
        message = f"PostgreSQL {major} is older than {_OLDEST_POSTGRESQL}, with which Trainshed is not tested"
        yield warning(_SUBJECT, message, "upgrade it")
    for name in ("fsync", "synchronous_commit", "full_page_writes"):
        if connection.execute(text(f"SHOW {name}")).scalar_one() == "off":
            message = f"`{name}` is off: jobs that were accepted may be lost in a crash"
            yield error(_SUBJECT, message, f"set `{name} = on` in postgresql.conf, and reload it")
    if connection.execute(text("SELECT pg_is_in_recovery()")).scalar_one():
        advice = "set TRAINSHED_DATABASE_URL to the primary, or promote it"
        yield error(_SUBJECT, "it is a read-only standby", advice)
    used, limit, _ = load(connection)
    if limit - used < _MIN_FREE_CONNECTIONS:
        message = f"{used} of {limit} connections are used; a worker needs two and one for each slot"
        yield warning(_SUBJECT, message, "increase `max_connections`, or run fewer processes")
    # the sort writes a few temporary megabytes to the server's disk, and fails if they have no room
    connection.exec_driver_sql("SET LOCAL work_mem = '64kB'")
    connection.exec_driver_sql(_SORT)
