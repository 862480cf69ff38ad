"""Takes finished jobs out of the store, with all that they have produced."""

from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from shared.errors import JobNotFound, JobNotTerminal, ModelInUse
from shared.lifecycle import TERMINAL
from shared.tables import Job, Model, ModelAlias


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
