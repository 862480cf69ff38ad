"""What people call a job: its name and its tags, which decide nothing and may change when it is over."""

from collections.abc import Set as AbstractSet
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from shared.db.clock import Now, database_now
from shared.db.tables import Job, JobTag, Model, ModelAlias
from shared.errors import (
    JobAlreadyFinished,
    JobNotFound,
    JobNotTerminal,
    ModelInUse,
    VersionMismatch,
)
from shared.lifecycle import TERMINAL, EventType, JobState
from shared.store.submit import add_tags
from shared.store.transitions import change


def edit(
    session: Session,
    job_id: UUID,
    labels: dict[str, Any],
    *,
    versions: AbstractSet[int] | None = None,
    now: Now = database_now,
) -> None:
    """Give a job, whatever its state, another `name`, other `tags`, or both. Editing twice is editing once.

    Args:
        labels: the columns that are to change. If they are so already, nothing happens.
        versions: those of which the job must have one; None: any.

    Raises:
        JobNotFound: there is no such job.
        VersionMismatch: it has another version.
    """
    job = session.get(Job, job_id, with_for_update={"key_share": True})
    if job is None:
        raise JobNotFound(f"there is no job {job_id}")
    changed = {name: value for name, value in labels.items() if getattr(job, name) != value}
    if not changed:
        return
    if versions is not None and job.version not in versions:
        raise VersionMismatch(f"job {job_id} has changed: it has version {job.version} now. Look at it again")
    change(session, EventType.EDITED, job_id, data=changed, now=now, **changed)
    if "tags" in changed:
        session.execute(delete(JobTag).where(JobTag.job_id == job_id))
        add_tags(session, job_id, changed["tags"])


def delete_job(session: Session, job_id: UUID) -> None:
    """Delete a finished job: its history, its evaluation and, if it trained one, its model.

    Jobs that repeat it stay, and forget what they repeat. An evaluation that is submitted at the same moment
    may find its model gone, and fails.

    Raises:
        JobNotFound: there is no such job.
        JobNotTerminal: it is not over.
        ModelInUse: its model has an alias, or other jobs evaluate or have evaluated it.
    """
    job = session.get(Job, job_id, with_for_update=True)
    if job is None:
        raise JobNotFound(f"there is no job {job_id}")
    if job.state not in TERMINAL:
        raise JobNotTerminal(f"job {job_id} is {job.state}: wait for its end, or cancel it first")
    model_id = session.scalar(select(Model.id).where(Model.job_id == job_id).with_for_update())
    if model_id is not None:
        _delete_model(session, model_id, job_id)
    session.execute(delete(Job).where(Job.id == job_id))


def _delete_model(session: Session, model_id: UUID, job_id: UUID) -> None:
    alias = session.scalar(select(ModelAlias.alias).where(ModelAlias.model_id == model_id))
    if alias is not None:
        raise ModelInUse(
            f"model {model_id} of job {job_id} is `{alias}`: give the alias to another model first"
        )
    users = select(Job.id).where(Job.model_id == model_id, Job.id != job_id).order_by(Job.id).limit(3)
    found = ", ".join(map(str, session.scalars(users)))
    if found:
        raise ModelInUse(
            f"model {model_id} of job {job_id} is used by other jobs ({found}): delete them first"
        )
    session.execute(delete(Model).where(Model.id == model_id))


def request_cancel(session: Session, job_id: UUID, *, now: Now = database_now) -> None:
    """Cancel a queued job now, and ask a running one's worker to stop it. Asking twice is asking once.

    Raises:
        JobNotFound: there is no such job.
        JobAlreadyFinished: it has succeeded or failed.
    """
    # locked: if the state changed between looking and asking, the request would be lost
    state = session.scalar(select(Job.state).where(Job.id == job_id).with_for_update(key_share=True))
    if state is None:
        raise JobNotFound(f"there is no job {job_id}")
    if state in (JobState.SUCCEEDED, JobState.FAILED):
        raise JobAlreadyFinished(f"job {job_id} has {state} already; there is nothing left to cancel")
    if state == JobState.QUEUED:
        asked_at = func.coalesce(Job.cancel_requested_at, now())
        change(session, EventType.CANCELLED, job_id, cancel_requested_at=asked_at, now=now)
    else:
        unasked = Job.cancel_requested_at.is_(None)
        change(session, EventType.CANCEL_REQUESTED, job_id, unasked, cancel_requested_at=now(), now=now)
