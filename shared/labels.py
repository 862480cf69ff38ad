"""What people call a job: its name and its tags, which decide nothing and may change when it is over."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any
from uuid import UUID

from sqlalchemy import delete, insert
from sqlalchemy.orm import Session

from shared.clock import Now, database_now
from shared.errors import JobNotFound, VersionMismatch
from shared.lifecycle import EventType
from shared.tables import Job, JobTag
from shared.transitions import change


def add_tags(session: Session, job_id: UUID, tags: Sequence[str]) -> None:
    """Let a job be found by tags that it has not had."""
    if tags:
        session.execute(insert(JobTag), [{"job_id": job_id, "tag": tag} for tag in tags])


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
