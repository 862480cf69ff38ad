"""Changes that users make to a job after its submission: edits, cancellation, deletion.

Every function takes an open transaction (`Database.write`) and is idempotent: a transaction whose
commit was not confirmed is run again.
"""

from collections.abc import Set as AbstractSet
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from shared.db.clock import Now, database_now
from shared.db.tables import EndedPredecessor, Job, JobTag, Model, ModelAlias
from shared.errors import (
    JobAlreadyFinished,
    JobNotQueued,
    JobNotTerminal,
    ModelInUse,
    VersionMismatch,
)
from shared.lifecycle import TERMINAL, EventType, JobState
from shared.schemas import Priority
from shared.store import preemption
from shared.store.event_log import note_changed
from shared.store.places import DEFAULT_RULES, Applicant, Place, Rules, take_places
from shared.store.rights import LOCAL, Actor, lock_job, require_urgent
from shared.store.submit import add_tags
from shared.store.transitions import change


def edit(
    session: Session,
    job_id: UUID,
    values: dict[str, Any],
    *,
    versions: AbstractSet[int] | None = None,
    rules: Rules = DEFAULT_RULES,
    actor: Actor = LOCAL,
    now: Now = database_now,
) -> None:
    """Change the name or the tags of a job in any state, its queue or priority while it is queued.

    Idempotent. A job whose queue or priority changes gets a new place, as if it were submitted now.

    Args:
        values: new values by column: `name`, `tags`, `queue`, `priority`. Equal values change nothing.
        versions: the change is made only if the job has one of these versions; None for any version.

    Raises:
        JobNotFound: there is no such job.
        NotPermitted: the job belongs to others, or the actor may not make it urgent.
        JobNotQueued: the job has started, and its queue or priority was to change.
        VersionMismatch: the job has another version.
    """
    job = lock_job(session, job_id, actor, key_share=True)
    changed = {name: value for name, value in values.items() if getattr(job, name) != value}
    if not changed:
        return
    if versions is not None and job.version not in versions:
        raise VersionMismatch(f"job {job_id} has changed and has version {job.version} now: read it again")
    columns = dict(changed)
    if changed.get("priority") == Priority.URGENT:
        require_urgent(actor)
    if changed.keys() & {"queue", "priority"}:
        columns |= vars(_new_place(session, job, changed, rules, now))
    change(session, EventType.EDITED, job_id, data={**changed, **actor.by}, now=now, **columns)
    if "tags" in changed:
        session.execute(delete(JobTag).where(JobTag.job_id == job_id))
        add_tags(session, {job_id: changed["tags"]})
    if changed.get("priority") == Priority.URGENT or "queue" in changed:
        preemption.request(session, [changed.get("queue", job.queue)], min_run_s=rules.min_run_s, now=now)


def _new_place(session: Session, job: Job, changed: dict[str, Any], rules: Rules, now: Now) -> Place:
    if job.state != JobState.QUEUED:
        raise JobNotQueued(f"job {job.id} is {job.state}: its queue and priority can change until it starts")
    queue, priority = changed.get("queue", job.queue), Priority(changed.get("priority", job.priority))
    at = session.execute(select(now())).scalar_one()
    applicant = Applicant(job.id, queue, job.tenant, priority, job.sweep_id, job.earliest_at)
    return take_places(session, [applicant], at, rules=rules)[job.id]


def delete_job(session: Session, job_id: UUID, *, actor: Actor = LOCAL) -> None:
    """Delete a finished job with its events, metrics, evaluation and, if it trained one, its model.

    Jobs that retry it stay. An evaluation job that is submitted at the same time may find its model deleted,
    and fails.

    Raises:
        JobNotFound: there is no such job.
        NotPermitted: the job belongs to others.
        JobNotTerminal: the job is queued or running, or its end has not reached all its dependents yet.
        ModelInUse: the job's model has an alias, or other jobs evaluate or have evaluated the model.
    """
    job = lock_job(session, job_id, actor)
    if job.state not in TERMINAL:
        raise JobNotTerminal(f"job {job_id} is {job.state}: wait until it has finished, or cancel it first")
    if session.get(EndedPredecessor, job_id) is not None:
        raise JobNotTerminal(
            f"jobs that wait for job {job_id} are being told that it has ended: try again soon"
        )
    model_id = session.scalar(select(Model.id).where(Model.id == job_id).with_for_update())
    if model_id is not None:
        _delete_model(session, model_id, job_id)
    note_changed(session, [job_id])
    session.execute(delete(Job).where(Job.id == job_id))


def _delete_model(session: Session, model_id: UUID, job_id: UUID) -> None:
    alias = session.scalar(select(ModelAlias.alias).where(ModelAlias.model_id == model_id))
    if alias is not None:
        raise ModelInUse(
            f"model {model_id} of job {job_id} is `{alias}`: give the alias to another model first"
        )
    users = select(Job.id).where(Job.model_id == model_id, Job.id != job_id).order_by(Job.id).limit(3)
    user_ids = ", ".join(map(str, session.scalars(users)))
    if user_ids:
        raise ModelInUse(
            f"model {model_id} of job {job_id} is used by other jobs ({user_ids}): delete them first"
        )
    session.execute(delete(Model).where(Model.id == model_id))


def request_cancel(session: Session, job_id: UUID, *, actor: Actor = LOCAL, now: Now = database_now) -> None:
    """Cancel a queued job at once; record the request for a running one, whose worker stops it. Idempotent.

    Raises:
        JobNotFound: there is no such job.
        NotPermitted: the job belongs to others.
        JobAlreadyFinished: the job has succeeded or failed.
    """
    # locked, so that the state cannot change between this read and the request
    job = lock_job(session, job_id, actor, key_share=True)
    state, by = job.state, actor.by
    session.expire(job)
    if state in (JobState.SUCCEEDED, JobState.FAILED):
        raise JobAlreadyFinished(f"job {job_id} has already {state}: there is nothing to cancel")
    if state == JobState.QUEUED:
        requested_at = func.coalesce(Job.cancel_requested_at, now())
        change(session, EventType.CANCELLED, job_id, cancel_requested_at=requested_at, data=by, now=now)
    else:
        not_requested = Job.cancel_requested_at.is_(None)
        change(
            session,
            EventType.CANCEL_REQUESTED,
            job_id,
            not_requested,
            cancel_requested_at=now(),
            data=by,
            now=now,
        )
