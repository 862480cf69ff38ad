"""Who may start what: a paused queue gives no jobs, and a draining worker takes none.

Both are rows that every claim looks at: they hold from their commit on, whatever hints are under way. A
claim that had begun before may still be made.
"""

from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, select, update
from sqlalchemy.orm import Session

from shared.clock import Now, database_now
from shared.db import insert_or_ignore
from shared.errors import WorkerNotFound, WorkerStopped
from shared.lifecycle import JobState
from shared.tables import Job, PausedQueue, Worker


def paused_queues() -> ColumnElement[bool]:
    """SQL for: the job's queue is paused."""
    return Job.queue.in_(select(PausedQueue.name))


def admits(worker: str) -> ColumnElement[bool]:
    """SQL for: the worker may take jobs, and the job's queue gives them."""
    draining = select(Worker.id).where(Worker.id == worker, Worker.state == "draining").exists()
    return and_(~paused_queues(), ~draining)


def hand_back_hint(session: Session, job_id: UUID, worker: str) -> None:
    """Have a job sent again whose hint was used up by a claim that was not admitted.

    If that changed since the claim, the reconcilers notice that the broker holds fewer hints than it should.
    """
    session.execute(
        update(Job)
        .where(Job.id == job_id, Job.state == JobState.QUEUED, ~admits(worker))
        .values(dispatched_at=None)
        .execution_options(synchronize_session=False)
    )


def pause(session: Session, queue: str, *, now: Now = database_now) -> None:
    """Let nobody claim jobs of the queue; those that run go on. Pausing twice is pausing once."""
    insert_or_ignore(session, PausedQueue, {"name": queue, "paused_at": now()})


def resume(session: Session, queue: str) -> None:
    """Let the queue's jobs be claimed again."""
    session.execute(delete(PausedQueue).where(PausedQueue.name == queue))


def drain(session: Session, worker: str) -> None:
    """Let the worker finish the jobs that it runs, and take no others.

    Raises:
        WorkerNotFound: there is no such worker.
        WorkerStopped: it has ended.
    """
    _set_state(session, worker, "draining")


def undrain(session: Session, worker: str) -> None:
    """Let the worker take jobs again.

    Raises:
        WorkerNotFound: there is no such worker.
        WorkerStopped: it has ended.
    """
    _set_state(session, worker, "online")


def _set_state(session: Session, worker: str, state: str) -> None:
    running = and_(Worker.id == worker, Worker.state != "stopped")
    known = session.scalar(update(Worker).where(running).values(state=state).returning(Worker.id))
    if known is None:
        if session.get(Worker, worker) is None:
            raise WorkerNotFound(f"there is no worker {worker!r}")
        raise WorkerStopped(f"worker {worker!r} has stopped: it takes no jobs any more")
