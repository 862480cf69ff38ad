"""Who holds the lock that a statement of PostgreSQL waits for, reported while it waits."""

from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread
from time import monotonic
from typing import Any, Self

from sqlalchemy import Connection, Engine, Row, text
from sqlalchemy.exc import SQLAlchemyError

_LOOK_S = 0.5
_REPORT_S = 5.0
_BLOCKERS = text(
    "SELECT pid, application_name, host(client_addr) AS address,"
    " extract(epoch FROM clock_timestamp() - xact_start)::float AS open_s"
    " FROM pg_stat_activity WHERE pid = ANY(pg_blocking_pids(:pid)) ORDER BY xact_start"
)


class LockWatch:
    """Reports, each few seconds, for whom a backend waits; in this block, from a thread of its own.

    Attributes:
        pid: the backend that is looked at; None: none yet.
        blockers: the last report of those who were waited for; empty if nothing was.
    """

    def __init__(self, engine: Engine, subject: str, report: Callable[[str], object]) -> None:
        """Prepare to watch.

        Args:
            engine: its pool has the connections that look at the server.
            subject: whose statements are watched, such as `migration 0029`, for the reports.
        """
        self.pid: int | None = None
        self.blockers = ""
        # each look is a transaction of its own: building an index waits for every one that has looked
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._subject, self._report = subject, report
        self._cancel_at = self._report_at = 0.0
        self._ends = Event()
        self._thread = Thread(target=self._watch, name="lock watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    def cancel_after(self, seconds: float) -> None:
        """Cancel the backend's statement if it still waits for a lock after this time."""
        self._cancel_at = monotonic() + seconds

    def _watch(self) -> None:
        while not self._ends.wait(_LOOK_S):
            if self.pid is not None:
                # if the server is gone, those who are watched meet that too
                with suppress(SQLAlchemyError), self._engine.connect() as connection:
                    self._look(connection, self.pid)

    def _look(self, connection: Connection, pid: int) -> None:
        rows = connection.execute(_BLOCKERS, {"pid": pid}).all()
        if not rows:
            return
        self.blockers = ", ".join(map(described, rows))
        if monotonic() >= self._report_at:
            self._report_at = monotonic() + _REPORT_S
            self._report(
                f"{self._subject} waits for a lock of {self.blockers}; requests go on meanwhile. To end that "
                f"transaction: {'; '.join(f'SELECT pg_terminate_backend({row.pid})' for row in rows)}"
            )
        if self._cancel_at and monotonic() >= self._cancel_at:
            connection.execute(text("SELECT pg_cancel_backend(:pid)"), {"pid": pid})


def described(row: Row[Any]) -> str:
    """Return the words about a session, which has `pid`, `application_name`, `address` and `open_s`."""
    facts = [row.application_name or "unnamed", *([row.address] if row.address else [])]
    # of another role's session it is only shown to members of pg_read_all_stats
    facts += [] if row.open_s is None else [f"transaction open for {row.open_s:.0f} s"]
    return f"pid {row.pid} ({', '.join(facts)})"
