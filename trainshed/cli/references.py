"""What people type for a job or a model: a whole id, one end of a job's id, or `last`."""

import re
from itertools import islice
from uuid import UUID

from trainshed.client import Client
from trainshed.errors import TrainshedApiError, UsageError

LAST = "last"

_SEARCHED = 1_000  # the newest jobs, among which the end of an id is looked for
_PART = re.compile(r"[0-9a-f-]{4,35}")
_ALIAS = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_NOT_FOUND = 404


def find_job(server: Client, reference: str) -> UUID:
    """The id of the job that is meant.

    Args:
        server: where the job is.
        reference: the id, its first or last characters (four or more), or `last` for the newest job.

    Raises:
        UsageError: it is none of these, or no job or more than one is meant.
    """
    text = reference.strip().lower()
    if text == LAST:
        return _newest(server)
    if whole := _uuid(text):
        return whole
    if not _PART.fullmatch(text):
        raise UsageError(f"{reference!r} is no job: give its id, the end of its id, or `{LAST}`")
    ids = [job.id for job in islice(server.jobs(), _SEARCHED)]
    meant = [job_id for job_id in ids if str(job_id).startswith(text) or str(job_id).endswith(text)]
    if len(meant) != 1:
        found = ", ".join(map(str, meant[:3])) if meant else f"none of the newest {len(ids):,}"
        raise UsageError(f"{reference!r} names {found}: give more of the job's id")
    return meant[0]


def find_model(server: Client, reference: str) -> UUID:
    """The id of the model that is meant: its own, its alias, or any reference to the job that trained it.

    Raises:
        UsageError: nothing, or a job without a model, is meant.
    """
    whole = _uuid(reference.strip().lower())
    if whole and not _is_job(server, whole):
        return whole
    if aliased := _of_alias(server, reference.strip()):
        return aliased
    job = server.job(find_job(server, reference))
    if job.model_id is None:
        raise UsageError(f"job {job.id} has no model: it is {job.state}")
    return job.model_id


def _of_alias(server: Client, text: str) -> UUID | None:
    """The id of the model with that alias; None if none has it, or it could be none."""
    if text == LAST or not _ALIAS.fullmatch(text):
        return None
    try:
        return server.model(text).id
    except TrainshedApiError as error:
        if error.problem.status == _NOT_FOUND:
            return None
        raise


def _newest(server: Client) -> UUID:
    for job in server.jobs(page_size=1):
        return job.id
    raise UsageError("there is no job yet: submit one with `trainshed train`")


def _is_job(server: Client, some_id: UUID) -> bool:
    try:
        server.job(some_id)
    except TrainshedApiError as error:
        if error.problem.status == _NOT_FOUND:
            return False
        raise
    return True


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
