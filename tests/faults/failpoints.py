"""Faults at an exact commit of a real process. No product code knows of them.

A test arms a failpoint by writing a file; `install`, called by `tests.faults.armed` in the process under
test, listens to SQLAlchemy's sessions and looks for a file that names the transaction about to be committed.
Whoever renames the file fires it, so that it fires once in all processes together.
"""

import json
import os
import signal
import threading
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from sqlalchemy import Connection, event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from shared.db.tables import JobEvent
from tests.support.waiting import wait_until

# environment variables of the processes under test: where their failpoints are, and Celery settings as JSON
FOLDER = "FAULTS_FAILPOINTS"
CELERY = "FAULTS_CELERY"


class Moment(StrEnum):
    """Where in a transaction."""

    BEFORE = "before"  # everything is sent, nothing is committed
    AFTER = "after"  # committed, and nobody has been told


class Action(StrEnum):
    """What happens there."""

    KILL = "kill"  # this process, as the kernel kills it that is out of memory
    KILL_WORKER = "kill worker"  # and its parent first
    STOP = "stop"  # SIGSTOP; the test sends SIGCONT
    DISCONNECT = "disconnect"  # the connection is lost: was it committed or not?
    HOLD = "hold"  # the transaction stays open until the test releases it


@dataclass(frozen=True)
class Failpoint:
    """A fault, and the commit at which it strikes.

    Attributes:
        transaction: the type of an event that it writes; `renewed` or `dispatched` for those that write none.
        nth: of the commits that match in one process.
        job_id: only this job's.
    """

    transaction: str
    moment: Moment
    action: Action
    nth: int = 1
    job_id: UUID | None = None

    def __str__(self) -> str:
        return f"{self.action} {self.moment} {self.transaction} {self.nth}"


class Armed:
    """A failpoint that lies in wait."""

    def __init__(self, path: Path, failpoint: Failpoint) -> None:
        self._path = path
        self._failpoint = failpoint

    def fired(self) -> int | None:
        """The id of the process that it struck, if it has."""
        for path in self._path.parent.glob(f"{self._path.name}.*"):
            return int(path.suffix[1:])
        return None

    def wait(self, timeout: float = 20.0) -> int:
        """Wait until it strikes; returns the process's id."""
        return wait_until(self.fired, f"the failpoint strikes: {self._failpoint}", timeout)

    def release(self) -> None:
        """Let the transaction go on that is held."""
        _release_file(self._path).touch()


def arm(folder: Path, failpoint: Failpoint) -> Armed:
    """Lay a failpoint for the processes that watch the folder."""
    path = folder / f"{len(list(folder.iterdir()))}.json"
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(asdict(failpoint), default=str))
    draft.rename(path)
    return Armed(path, failpoint)


def install(folder: Path) -> None:
    """Strike in this process whenever a failpoint in the folder says so."""
    strikes = _Strikes(folder)
    event.listen(Session, "after_begin", strikes.forget)
    event.listen(Session, "after_flush", strikes.note_events)
    event.listen(Engine, "before_cursor_execute", strikes.note_statement)
    event.listen(Session, "before_commit", strikes.before_commit)
    event.listen(Session, "after_commit", strikes.after_commit)


class _Strikes:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread = threading.local()
        self._seen: dict[str, int] = {}

    @property
    def _noted(self) -> list[tuple[str, str]]:
        noted: list[tuple[str, str]] = self._thread.__dict__.setdefault("noted", [])
        return noted

    def forget(self, *_: Any) -> None:
        self._noted.clear()

    def note_events(self, session: Session, _context: Any) -> None:
        events = [new for new in session.new if isinstance(new, JobEvent)]
        self._noted.extend((new.type, str(new.job_id)) for new in events)

    def note_statement(self, _connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        for column, name in (("lease_expires_at", "renewed"), ("dispatched_at", "dispatched")):
            if statement.startswith(f"UPDATE jobs SET {column}="):
                self._noted.append((name, ""))

    def before_commit(self, _session: Session) -> None:
        self._strike(Moment.BEFORE)

    def after_commit(self, _session: Session) -> None:
        self._strike(Moment.AFTER)

    def _strike(self, moment: Moment) -> None:
        for path in self._folder.glob("*.json") if self._noted else ():
            try:
                values = json.loads(path.read_text())
            except FileNotFoundError:
                continue  # another process fired it
            if values["moment"] == moment and self._is_due(path.name, values):
                _fire(path, Action(values["action"]))

    def _is_due(self, name: str, values: dict[str, Any]) -> bool:
        transaction, job_id = values["transaction"], values["job_id"]
        if not any(noted == transaction and job_id in (None, job) for noted, job in self._noted):
            return False
        self._seen[name] = self._seen.get(name, 0) + 1
        return self._seen[name] == int(values["nth"])


def _fire(path: Path, action: Action) -> None:
    try:
        path.rename(path.with_name(f"{path.name}.{os.getpid()}"))
    except FileNotFoundError:
        return  # another process was quicker
    match action:
        case Action.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        case Action.KILL_WORKER:
            os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        case Action.STOP:
            os.kill(os.getpid(), signal.SIGSTOP)
        case Action.HOLD:
            wait_until(_release_file(path).exists, "the test releases the transaction", timeout=60)
        case Action.DISCONNECT:
            lost = psycopg.OperationalError("server closed the connection unexpectedly")
            raise OperationalError("COMMIT", None, lost, connection_invalidated=True)


def _release_file(path: Path) -> Path:
    return path.with_suffix(".released")
