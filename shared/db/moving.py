"""Migrations that move all rows into new tables while nobody uses the database: in batches, and restartable.

The old tables are called `old_...` from the first transaction on, and the new ones `new_...` until the last:
in between no program of any version finds its tables, so nobody reads or changes what is half moved. The
first transaction raises the version floor, too. The new tables show how far the others have come: whoever is
killed on the way loses one transaction, and `trainshed migrate` goes on from there.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, Row, inspect, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from shared.db import sqlite, triggers
from shared.db.lock_waits import described
from shared.db.moves import Batch, Plan, statements
from shared.db.outages import Reason, reason_of

_BATCH = 100  # jobs, a second or less
_FINISHED = "indexes"
_FOREIGN_KEY = re.compile(r",\n    (CONSTRAINT \w+ FOREIGN KEY.*?)(?=,?\n)")
_ACTIVE_S = 15.0  # an API looks at the database each second, a worker every 10 s
# those of 0.1.0 have no name. Behind PgBouncer a session outlives its program, but is not used any more
_SESSIONS = """
SELECT pid, application_name, host(client_addr) AS address, NULL AS open_s FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND backend_type = 'client backend'
    AND (application_name = '' OR application_name LIKE 'trainshed-%')
    AND (state <> 'idle' OR state_change > clock_timestamp() - :active_s * interval '1 s')
ORDER BY pid
"""
_STOP = "stop `trainshed up`, the API and the workers, and run it again"

Progress = Callable[[str, int, int], object]
"""Is told what is being moved, how much of it has been, and how much there is."""

Work = Callable[[Connection], Any]

Transact = Callable[[Work], Any]
"""Does work in a transaction of its own, and returns what that returns."""


class DatabaseInUse(SQLAlchemyError):
    """Others use the database, which a migration needs for itself; the message names them."""


class RowsMissing(SQLAlchemyError):
    """A moved row refers to one that is not there; the old tables are still complete."""


@contextmanager
def alone(engine: Engine, version: str) -> Iterator[Engine]:
    """Yield an engine for a migration that needs the database for itself; SQLite's is nobody else's then.

    Raises:
        DatabaseInUse: others use it.
    """
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            sessions = connection.execute(text(_SESSIONS), {"active_s": _ACTIVE_S}).all()
        if sessions:
            raise _in_use(version, ", ".join(map(described, sessions)))
        yield engine
        return
    engine.dispose()
    own = sqlite.create_exclusive(engine.url)
    try:
        _lock(own, version)
        yield own
    finally:
        own.dispose()


def _lock(own: Engine, version: str) -> None:
    try:
        with own.begin():
            pass
    except OperationalError as error:
        if reason_of(error) is not Reason.LOCKED:
            raise
        raise _in_use(version, "others") from error


def _in_use(version: str, users: str) -> DatabaseInUse:
    return DatabaseInUse(f"migration {version} needs it for itself, but {users} use it: {_STOP}")


class Moving:
    """Moves all rows, from the beginning or from where that was interrupted."""

    def __init__(self, plan: Plan, dialect: str, transact: Transact, progress: Progress) -> None:
        """Prepare to move by these transactions."""
        self._plan, self._transact, self._progress = plan, transact, progress
        self._is_sqlite = dialect == "sqlite"
        created = statements(plan.schema, dialect)
        self._indexes = [each for each in created if not each.startswith("CREATE TABLE")]
        self._tables = {each.split()[2]: each for each in created if each not in self._indexes}
        del self._tables["version_floor"]  # which stays
        self._known: dict[str, Any] = {}

    def begin(self) -> None:
        """Raise the version floor, hide the old tables, create the new ones, and move what is beside jobs."""
        self._transact(self._begin)

    def go_on(self, *, is_newest: bool) -> None:
        """Do what is left: move the rows, create the indexes, and give the new tables their names.

        Args:
            is_newest: whether this is the newest version, which brings the triggers.

        Raises:
            RowsMissing: a row refers to one that has not been moved.
        """
        self._move_jobs()
        for number, table in enumerate(self._tables):
            self._progress(_FINISHED, number, len(self._tables))
            self._transact(partial(self._finish, table=table))
        self._transact(partial(self._end, is_newest=is_newest))
        self._progress(_FINISHED, len(self._tables), len(self._tables))

    def _begin(self, connection: Connection) -> None:
        for table in self._plan.old:
            self._hide(connection, table)
        for created in self._tables.values():
            # on PostgreSQL rows come in any order, and foreign keys at the end
            created = created if self._is_sqlite else _FOREIGN_KEY.sub("", created)
            connection.exec_driver_sql(_named_new(created))
        for move in self._plan.whole:
            move(Batch(connection, known=self._known))
        connection.execute(text("UPDATE version_floor SET version = :floor"), {"floor": self._plan.floor})
        _set_version(connection, self._plan.half)

    def _hide(self, connection: Connection, table: str) -> None:
        """Rename an old table, and give up the names of its indexes."""
        inspector = inspect(connection)
        unique = [each["name"] for each in inspector.get_unique_constraints(table)]
        for index in inspector.get_indexes(table):
            if index["name"] not in unique:
                connection.exec_driver_sql(f"DROP INDEX {index['name']}")
        if not self._is_sqlite:  # where the names of constraints are each table's own
            for name in (*unique, inspector.get_pk_constraint(table)["name"]):
                connection.exec_driver_sql(f"ALTER INDEX {name} RENAME TO old_{name}")
        connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO old_{table}")

    def _move_jobs(self) -> None:
        done, jobs = self._transact(_count)
        self._progress("jobs", done, jobs)
        while done < jobs:
            done += self._transact(self._move_some)
            self._progress("jobs", done, jobs)

    def _after(self, connection: Connection) -> Any:
        """Return the id of the last job that has been moved, as the old tables have it."""
        last = connection.scalar(text("SELECT id FROM new_jobs ORDER BY id DESC LIMIT 1"))
        if self._is_sqlite:
            return "" if last is None else last.hex()
        return last or UUID(int=0)

    def _move_some(self, connection: Connection) -> int:
        """Move the next jobs with what belongs to them; return their number."""
        after = self._after(connection)
        following = text("SELECT id FROM old_jobs WHERE id > :after ORDER BY id LIMIT :size")
        ids = connection.scalars(following, {"after": after, "size": _BATCH}).all()
        batch = Batch(connection, after, ids[-1], self._known)
        for move in self._plan.of_jobs:
            move(batch)
        return len(ids)

    def _finish(self, connection: Connection, *, table: str) -> None:
        """Create what a new table lacks: indexes, and foreign keys, or a look that their rows are there."""
        for created in self._indexes:
            if f" ON {table} (" in created:
                created = created.replace(" INDEX ", " INDEX IF NOT EXISTS ", 1)
                connection.exec_driver_sql(_named_new(created))
        if self._is_sqlite:
            missing = connection.exec_driver_sql(f"PRAGMA foreign_key_check(new_{table})").first()
            if missing is not None:
                raise RowsMissing(f"a row of {table} refers to one of {missing[2]} that is not there")
            return
        if not inspect(connection).get_foreign_keys(f"new_{table}"):
            for constraint in _FOREIGN_KEY.findall(self._tables[table]):
                connection.exec_driver_sql(f"ALTER TABLE new_{table} ADD {_named_new(constraint)}")
        connection.exec_driver_sql(f"ANALYZE new_{table}")

    def _end(self, connection: Connection, *, is_newest: bool) -> None:
        for table in self._plan.old:
            connection.exec_driver_sql(f"DROP TABLE old_{table}")
        for table in self._tables:
            connection.exec_driver_sql(f"ALTER TABLE new_{table} RENAME TO {table}")
        _set_version(connection, self._plan.version)
        if is_newest:
            triggers.replace(connection)


def _count(connection: Connection) -> Row[Any]:
    """Return how many jobs have been moved, and how many there are."""
    counts = text("SELECT (SELECT count(*) FROM new_jobs), (SELECT count(*) FROM old_jobs)")
    return connection.execute(counts).one()


def _named_new(created: str) -> str:
    return re.sub(r"(CREATE TABLE | REFERENCES | ON )(?=[a-z])", r"\1new_", created)


def _set_version(connection: Connection, version: str) -> None:
    connection.execute(text("UPDATE alembic_version SET version_num = :version"), {"version": version})
