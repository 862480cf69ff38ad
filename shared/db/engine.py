"""The database engine: read and write transactions with retries.

A transaction is a function of a session. It is run again when the connection is lost or another transaction
conflicts with it, so it must be idempotent, as the functions of `shared.store` are.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from copy import copy
from functools import partial
from math import inf
from threading import Lock
from time import monotonic
from typing import Any, Self, TypeVar

from sqlalchemy import event, make_url
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry
from tenacity import (
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_after_delay,
    stop_all,
    wait_random_exponential,
)

from shared import log
from shared.db import floor, migrating, moving, postgresql, sqlite
from shared.db.outages import Outages, is_transient, is_unavailable, replace_read_only_connections

T = TypeVar("T")

_log = log.get_logger(__name__)


class _Session(Session):
    """A session that loses no change when what it has read is to be read again."""

    def expire_all(self) -> None:
        """Forget what was read, so that it is read again; what was changed is written first."""
        self.flush()  # SQLAlchemy would forget it too
        super().expire_all()


class Database:
    """The database that API and workers share. Thread-safe.

    A `with` block of it ends with `dispose`.

    Attributes:
        outages: what the transactions of `read` and `write` have met.
    """

    def __init__(
        self,
        url: str,
        *,
        patience_s: float = 10.0,
        committed: Callable[[Session], None] | None = None,
        program: str = "trainshed",
        connections: int | None = None,
    ) -> None:
        """Prepare to connect.

        Args:
            url: an SQLAlchemy URL: SQLite on a local disk, or PostgreSQL.
            patience_s: seconds for which a transaction is retried, at least once, while the database is
                unavailable or busy, before its error is raised.
            committed: called with the session of every write after its commit; must neither fail nor block.
            program: what PostgreSQL calls its connections (`application_name`), unless the URL says.
            connections: how many of them to PostgreSQL threads share at most; a transaction that has got none
                in a few seconds is retried, as in an outage. None: SQLAlchemy's defaults, without a retry.
        """
        if make_url(url).get_backend_name() == "sqlite":
            self.engine = sqlite.create(url, reads=False)
            self.read_engine = sqlite.create(url, reads=True)
        else:
            self.engine = postgresql.create(url, program, connections)
            self.read_engine = self.engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True, read_only=True
            )
        replace_read_only_connections(self.engine)
        self.outages = Outages()
        self._patience_s = patience_s
        self._is_retried = is_transient if connections is None else is_unavailable
        self._give_up_at = inf
        self._refusal = ""
        self._write_lock = Lock()
        self._committed = committed
        self._writers: sessionmaker[Session] = sessionmaker(
            self.engine, class_=_Session, expire_on_commit=False
        )
        self._readers: sessionmaker[Session] = sessionmaker(
            self.read_engine, class_=_Session, expire_on_commit=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.dispose()

    def write(self, work: Callable[[Session], T]) -> T:
        """Run `work` in a transaction of its own and commit it.

        It is run again as a whole after a transient error, also when the connection was lost during the
        commit, whose outcome is then unknown.
        """
        return self._run(self._writers, work)

    def read(self, work: Callable[[Session], T]) -> T:
        """Run `work` in a read-only transaction that sees one snapshot of the database."""
        return self._run(self._readers, work)

    def with_patience(self, patience_s: float) -> "Database":
        """Return this database, with the same connections, for a thread with another patience."""
        other = copy(self)
        other._patience_s = patience_s
        return other

    def hurry(self, within_s: float) -> None:
        """Retry nothing after `within_s` seconds from now, nor what is being retried already: for a stop."""
        self._give_up_at = monotonic() + within_s

    def _run(self, sessions: sessionmaker[Session], work: Callable[[Session], T]) -> T:
        if self._refusal:
            raise floor.VersionOutdated(self._refusal)

        writes = sessions is self._writers

        def once() -> T:
            try:
                with self._turn_to_write() if writes else nullcontext(), sessions.begin() as session:
                    result = work(session)
            except Exception as error:
                self.outages.note(error)
                raise
            if self._committed is not None and writes:
                self._committed(session)
            return result

        return self._patiently(once)

    @contextmanager
    def _turn_to_write(self) -> Iterator[None]:
        """Wait while another thread of this process writes to SQLite, for as long as SQLite would.

        SQLite lets writers poll for its lock, so that with several threads some wait for a second.
        """
        is_sqlite = self.engine.dialect.name == "sqlite"
        acquired = is_sqlite and self._write_lock.acquire(timeout=sqlite.BUSY_S)
        try:
            yield
        finally:
            if acquired:
                self._write_lock.release()

    def _patiently(self, once: Callable[[], T]) -> T:
        return Retrying(
            retry=retry_if_exception(lambda e: self._is_retried(e) and monotonic() < self._give_up_at),
            # at least one retry: an idle connection may have been closed unnoticed
            stop=stop_all(stop_after_attempt(2), stop_after_delay(self._patience_s)),
            wait=wait_random_exponential(multiplier=0.02, max=0.5),
            reraise=True,
        )(once)

    def migrate(
        self, report: migrating.Report = _log.warning, progress: moving.Progress = lambda *_: None
    ) -> str:
        """Upgrade the schema to this code's version, unless it is a newer one; return its version then.

        A newer schema is left as it is: it only has more. Safe to call from several processes at once, and
        while others use the database, but for the one migration that moves all rows.

        Args:
            progress: is told how far that one is.

        Raises:
            VersionOutdated: the database needs a newer version of Trainshed.
            UnknownSchema: the schema is that of a version before 0.1.0, or not one of ours.
            DatabaseInUse: a migration needs the database for itself, and others use it.
            MigrationBlocked: others have held the locks that a migration needs for ten minutes.
        """
        self.read_engine.dispose()  # SQLite's file is to be open once
        return self._patiently(partial(migrating.migrate, self.engine, report, progress))

    def missing_step(self) -> str:
        """Return what is to be done before this code can use the schema; empty: nothing, or it is newer."""
        with self.read_engine.connect() as connection:
            return migrating.missing_step(migrating.schema_version(connection))

    def version_refusal(self) -> str:
        """Return why this version of Trainshed must not use the database, and what to do; empty if it may."""
        with self.read_engine.connect() as connection:
            return floor.refusal(connection)

    def refuse(self, reason: str) -> None:
        """Refuse every later transaction with `VersionOutdated` for this reason; empty: refuse none."""
        self._refusal = reason

    def dispose(self) -> None:
        """Close every connection; one that a thread still uses is closed when it is returned."""
        for engine in (self.engine, self.read_engine):
            event.listen(engine, "checkin", _close)
            engine.dispose()


def _close(_connection: Any, record: ConnectionPoolEntry) -> None:
    record.close()
