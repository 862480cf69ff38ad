"""The worker's own row in the inventory: who it is, what it serves, when it was last alive."""

import platform
from functools import partial
from importlib.metadata import version

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from shared.db.clock import Now, database_now
from shared.db.engine import Database, upsert
from shared.db.tables import Worker
from shared.settings import Settings


class Registration:
    """Keeps one worker's row true."""

    def __init__(
        self, database: Database, settings: Settings, *, name: str, pid: int, devices: list[str], slots: int
    ) -> None:
        self._database = database
        self._row = {
            "id": name,
            "host": platform.node(),
            "pid": pid,
            "queues": list(settings.queues),
            "devices": devices,
            "slots": slots,
            # three rounds may fail, and the jobs that it ran have been taken from it by then
            "lost_after_s": 3 * settings.reconcile_s + settings.lease_s,
            "versions": {"python": platform.python_version(), "trainshed": version("trainshed")},
        }

    def register(self, *, now: Now = database_now) -> None:
        """Say that this worker takes jobs."""
        row = {**self._row, "state": "online", "started_at": now(), "heartbeat_at": now()}
        self._database.write(partial(upsert, table=Worker, values=row))

    def beat(self, *, now: Now = database_now) -> None:
        """Say that this worker is alive."""
        self._set(heartbeat_at=now())

    def is_draining(self) -> bool:
        """Whether an operator wants this worker to take no more jobs."""
        mine = select(Worker.state).where(Worker.id == self._row["id"])
        return self._database.read(lambda session: session.scalar(mine)) == "draining"

    def leave(self, *, now: Now = database_now) -> None:
        """Say that this worker takes no jobs any more."""
        self._set(heartbeat_at=now(), state="stopped")

    def _set(self, **values: object) -> None:
        def work(session: Session) -> None:
            session.execute(update(Worker).where(Worker.id == self._row["id"]).values(**values))

        self._database.write(work)
