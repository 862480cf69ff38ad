"""The worker's own row in the `workers` table: its identity, its heartbeat and its state."""

import platform
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import update
from sqlalchemy.orm import Session

from shared.db.clock import Now, database_now
from shared.db.engine import Database
from shared.db.tables import Worker
from shared.db.upserts import upsert
from shared.lifecycle import WorkerState
from shared.settings import Settings
from shared.texts import storable

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MAX_HOST_CHARS = 200
_MISSED_ROUNDS = 3  # heartbeats that a worker may miss before it counts as lost


def boot_id() -> str | None:
    """Return the kernel's id for the time since this machine was started; None if it is unknown."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return None  # this is not Linux


class Registration:
    """Writes a worker's own row."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        *,
        name: str,
        pid: int,
        devices: list[str],
        slots: int,
        memory: Callable[[], int | None] = lambda: None,
    ) -> None:
        """Prepare; `memory` returns the resident bytes of the worker's processes, or None if unknown."""
        self._database = database
        self._memory = memory
        self._row = {
            "id": name,
            "host": storable(platform.node(), _MAX_HOST_CHARS),
            "pid": pid,
            "queues": list(dict.fromkeys(settings.queues)),
            "devices": devices,
            "slots": slots,
            # with a lease on top, so that a lost worker's jobs are reaped before it is listed as lost
            "lost_after_s": _MISSED_ROUNDS * settings.reconcile_s + settings.lease_s,
            "versions": {"python": platform.python_version(), "trainshed": version("trainshed")},
            "boot_id": boot_id(),
        }

    def register(self, *, now: Now = database_now) -> None:
        """Write the whole row, in state online; replaces the row of an earlier worker of this name."""
        self._database.write(partial(self._upsert, now=now))

    def heartbeat(self, *, now: Now = database_now) -> None:
        """Record that this worker is alive; register it again if its row was pruned meanwhile."""
        memory = self._memory()

        def write(session: Session) -> None:
            if not self._update(session, heartbeat_at=now(), memory_bytes=memory):
                self._upsert(session, now)

        self._database.write(write)

    def mark_stopped(self, *, now: Now = database_now) -> None:
        """Record that this worker has stopped."""
        stop = partial(self._update, state=WorkerState.STOPPED, heartbeat_at=now(), memory_bytes=None)
        self._database.write(stop)

    def _upsert(self, session: Session, now: Now) -> None:
        moments = {"started_at": now(), "heartbeat_at": now()}
        changing = {"state": WorkerState.ONLINE, "memory_bytes": self._memory(), **moments}
        upsert(session, Worker, {**self._row, **changing})

    def _update(self, session: Session, **values: object) -> bool:
        """Update the row; return whether it exists."""
        own_row = update(Worker).where(Worker.id == self._row["id"])
        return session.scalar(own_row.values(**values).returning(Worker.id)) is not None
