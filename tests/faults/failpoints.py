"""Failpoints: faults at an exact commit of a real process, without any support in product code.

A test arms a failpoint by writing a file. In the process under test `install` (called by
`tests.faults.armed`) listens to SQLAlchemy's sessions and looks for a file that names the transaction being
committed. The process that renames the file fires the failpoint, so that it fires once among all processes.
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
from billiard.process import current_process
from sqlalchemy import Connection, event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from shared.db.tables import Epoch, JobEvent
from tests.support.waiting import wait_until

# environment variable of the processes under test: the folder of their failpoints
FOLDER = "FAULTS_FAILPOINTS"
# another one: seconds for which a submit waits in a group, so that a busy machine can hold one for longer
SUBMIT_WAIT_S = "FAULTS_SUBMIT_WAIT_S"


class Moment(StrEnum):
    """When a failpoint fires, relative to the commit."""

    BEFORE = "before"  # every statement has been sent, nothing is committed
    AFTER = "after"  # committed, but the caller has not been notified


class Action(StrEnum):
    """What a failpoint does."""

    KILL = "kill"  # SIGKILL to this process, as the kernel does when memory runs out
    KILL_WORKER = "kill worker"  # SIGKILL to the worker's parent process first, if it is not that itself
    STOP = "stop"  # SIGSTOP; the test sends SIGCONT
    DISCONNECT = "disconnect"  # the connection is lost, and with it the reply to the commit
    HOLD = "hold"  # the transaction stays open until the test releases it


@dataclass(frozen=True)
class Failpoint:
    """A fault and the commit at which it happens.

    Attributes:
        transaction: the type of an event that the transaction writes; `phases` or `epochs` for progress that
            tells of any; `steps` for those of an epoch that goes on; or `renewed` for one that only renews
            leases, which the worker's parent does.
        moment: before or after the commit.
        action: what happens.
        nth: which of the matching commits in one process, counted from 1.
        job_id: matches only transactions of this job; None matches all.
    """

    transaction: str
    moment: Moment
    action: Action
    nth: int = 1
    job_id: UUID | None = None

    def __str__(self) -> str:
        return f"{self.action} {self.moment} {self.transaction} {self.nth}"


class ArmedFailpoint:
    """A failpoint that waits for its commit."""

    def __init__(self, path: Path, failpoint: Failpoint) -> None:
        self._path = path
        self._failpoint = failpoint

    def fired(self) -> int | None:
        """Return the id of the process in which it has fired; None if it has not."""
        for path in self._path.parent.glob(f"{self._path.name}.*"):
            return int(path.suffix[1:])
        return None

    def wait(self, timeout: float = 20.0) -> int:
        """Wait until it fires; return the process's id."""
        return wait_until(self.fired, f"the failpoint fires: {self._failpoint}", timeout)

    def release(self) -> None:
        """Let the transaction that it holds continue."""
        _release_file(self._path).touch()


def arm(folder: Path, failpoint: Failpoint) -> ArmedFailpoint:
    """Arm a failpoint for the processes that watch the folder."""
    path = folder / f"{len(list(folder.iterdir()))}.json"
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(asdict(failpoint), default=str))
    draft.rename(path)
    return ArmedFailpoint(path, failpoint)


def install(folder: Path) -> None:
    """Let this process fire the failpoints in the folder."""
    listener = _Listener(folder)
    event.listen(Session, "after_begin", listener.forget)
    event.listen(Engine, "before_cursor_execute", listener.note_statement)
    event.listen(Session, "before_commit", listener.before_commit)
    event.listen(Session, "after_commit", listener.after_commit)


def _id(value: bytes | str | UUID) -> UUID:
    """Return an id as a statement has it: bytes on SQLite, a text in PostgreSQL's JSON, or a UUID."""
    return UUID(bytes=value) if isinstance(value, bytes) else UUID(str(value))


class _Listener:
    """Listener to SQLAlchemy's events that notes what each thread's transaction writes."""

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

    def note_statement(
        self, _connection: Connection, _cursor: Any, statement: str, values: Any, _context: Any, _many: bool
    ) -> None:
        if statement.startswith(f"INSERT INTO {JobEvent.__tablename__} "):
            events = _rows(statement, values)
            self._noted.extend(
                (name, str(_id(event["job_id"]))) for event in events for name in _names(event)
            )
        if statement.startswith(f"INSERT INTO {Epoch.__tablename__} "):
            begun = (row for row in _bound(statement, values) if row["values"] is None)
            self._noted.extend(("steps", str(_id(row["job_id"]))) for row in begun)
        if statement.startswith("UPDATE jobs SET lease_expires_at="):
            self._noted.append(("renewed", ""))

    def before_commit(self, _session: Session) -> None:
        self._fire_due(Moment.BEFORE)

    def after_commit(self, _session: Session) -> None:
        self._fire_due(Moment.AFTER)

    def _fire_due(self, moment: Moment) -> None:
        for path in sorted(self._folder.glob("*.json")) if self._noted else ():  # as they were armed
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


def _rows(statement: str, values: Any) -> list[dict[str, Any]]:
    """Return the rows of an INSERT: one JSON document for PostgreSQL, a tuple each for SQLite."""
    if isinstance(values, dict):
        document: list[dict[str, Any]] = json.loads(values["rows"])
        return document
    return _bound(statement, values)


def _bound(statement: str, values: Any) -> list[dict[str, Any]]:
    """Return the parameters of an INSERT by their columns, without what SQL computes."""
    rows = values if isinstance(values, list) else [values]
    columns = statement[statement.index("(") + 1 : statement.index(")")].replace('"', "").split(", ")
    return [row if isinstance(row, dict) else dict(zip(columns, row, strict=False)) for row in rows]


def _names(event: dict[str, Any]) -> list[str]:
    """Return by which names a transaction that writes an event is known."""
    data = event["data"]
    data = json.loads(data) if isinstance(data, str) else data
    return [event["type"], *(name for name in ("phases", "epochs") if data.get(name))]


def _fire(path: Path, action: Action) -> None:
    try:
        path.rename(path.with_name(f"{path.name}.{os.getpid()}"))
    except FileNotFoundError:
        return  # another process fired it
    match action:
        case Action.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        case Action.KILL_WORKER:
            if current_process().name != "MainProcess":
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
