"""References to jobs and models: an id, the start or end of a job's id, an alias, or `last`."""

import re
from collections.abc import Callable
from itertools import islice
from typing import TypeVar
from uuid import UUID

import httpx

from trainshed.client import Client
from trainshed.errors import TrainshedApiError, UsageError

T = TypeVar("T")

LAST = "last"

_MAX_SEARCHED = 1_000  # newest jobs among which part of an id is looked up
_PART_OF_ID = re.compile(r"[0-9a-f-]{4,35}")
_ALIAS = re.compile(r"[a-z][a-z0-9_-]{0,63}")


def find_job(server: Client, reference: str) -> UUID:
    """Return the id of the job that a reference names.

    A reference is the id, its first or last characters (four or more), or `last` for the newest job.

    Raises:
        UsageError: the reference is none of these, or names no job or several.
    """
    text = reference.strip().lower()
    if text == LAST:
        return _newest(server)
    if job_id := _uuid(text):
        return job_id
    if not _PART_OF_ID.fullmatch(text):
        raise UsageError(f"{reference!r} is not a job: give its id, the end of its id, or `{LAST}`")
    ids = [job.id for job in islice(server.jobs(), _MAX_SEARCHED)]
    matches = [job_id for job_id in ids if str(job_id).startswith(text) or str(job_id).endswith(text)]
    if len(matches) == 1:
        return matches[0]
    if not matches:
        raise UsageError(f"{reference!r} matches none of the newest {len(ids):,} jobs: give the whole id")
    raise UsageError(f"{reference!r} matches {', '.join(map(str, matches[:3]))}: give more of the job's id")


def find_model(server: Client, reference: str) -> UUID:
    """Return the id of the model that a reference names: its id, its alias, or a reference to its job.

    Raises:
        UsageError: the reference names nothing, or a job without a model.
    """
    text = reference.strip()
    some_id = _uuid(text.lower())
    if some_id and not _if_exists(lambda: server.job(some_id)):
        return some_id
    if text != LAST and _ALIAS.fullmatch(text) and (model := _if_exists(lambda: server.model(text))):
        return model.id
    job = server.job(find_job(server, reference))
    if job.model_id is None:
        raise UsageError(f"job {job.id} has no model: it is {job.state}")
    return job.model_id


def _if_exists(get: Callable[[], T]) -> T | None:
    try:
        return get()
    except TrainshedApiError as error:
        if error.problem.status == httpx.codes.NOT_FOUND:
            return None
        raise


def _newest(server: Client) -> UUID:
    for job in server.jobs(page_size=1):
        return job.id
    raise UsageError("there is no job yet: submit one with `trainshed train`")


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
