"""References to jobs, sweeps and models: an id, the start or end of an id, an alias, or `last`."""

import re
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TypeVar
from uuid import UUID

import httpx

from trainshed.client import Client
from trainshed.errors import TrainshedApiError, UsageError

T = TypeVar("T")

LAST = "last"

_NAMES_OF_MODELS = f"give its id or alias, its job, or `{LAST}`; `trainshed models` lists them"
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
    return _by_part(text, "job", (job.id for job in server.jobs()))


def find_sweep(server: Client, reference: str) -> UUID:
    """Return the id of the sweep that a reference names, as `find_job` does.

    Raises:
        UsageError: the reference names no sweep or several.
    """
    text = reference.strip().lower()
    ids = (sweep.id for sweep in server.sweeps())
    if text == LAST:
        for sweep_id in ids:
            return sweep_id
        raise UsageError("there is no sweep yet: submit one with `trainshed sweep submit`")
    return _uuid(text) or _by_part(text, "sweep", ids)


def find_key(server: Client, reference: str) -> UUID:
    """Return the id of the API key that a reference names: its id, or the start or the end of its id.

    Raises:
        UsageError: the reference names no key or several.
    """
    text = reference.strip().lower()
    return _uuid(text) or _by_part(text, "key", (key.id for key in server.api_keys()), or_last=False)


def _by_part(text: str, noun: str, ids: Iterable[UUID], *, or_last: bool = True) -> UUID:
    """Return the only id of which the text is the start or the end, among the newest."""
    if not _PART_OF_ID.fullmatch(text):
        names = f"its id, the end of its id, or `{LAST}`" if or_last else "its id, or the end of its id"
        raise UsageError(f"{text!r} is not a {noun}: give {names}")
    ids = list(islice(ids, _MAX_SEARCHED))
    matches = [some_id for some_id in ids if _is_part(text, some_id)]
    if len(matches) == 1:
        return matches[0]
    if not matches:
        raise UsageError(f"{text!r} matches none of the newest {len(ids):,} {noun}s: give the whole id")
    raise UsageError(f"{text!r} matches {', '.join(map(str, matches[:3]))}: give more of the {noun}'s id")


def _is_part(text: str, some_id: UUID) -> bool:
    return str(some_id).startswith(text) or str(some_id).endswith(text)


def find_model(server: Client, reference: str) -> UUID:
    """Return the id of the model that a reference names: its id, its alias, or a reference to its job.

    Of an id, the start or the end will do, as for jobs.

    Raises:
        UsageError: the reference names nothing, or a job without a model.
    """
    text = reference.strip()
    some_id = _uuid(text.lower())
    if some_id and not if_exists(lambda: server.job(some_id)):
        return some_id
    if text != LAST and _ALIAS.fullmatch(text) and (model := if_exists(lambda: server.model(text))):
        return model.id
    if not some_id and text.lower() != LAST:
        if not _PART_OF_ID.fullmatch(text.lower()):
            raise UsageError(f"{text!r} is not a model: {_NAMES_OF_MODELS}")
        if model_id := _model_by_part(server, text.lower()):
            return model_id
    job = server.job(find_job(server, reference))
    if job.model_id is None:
        raise UsageError(f"job {job.id} has no model: it is {job.state}")
    return job.model_id


def _model_by_part(server: Client, text: str) -> UUID | None:
    """Return the only model of which the text is the start or the end of its id or its job's."""
    newest = list(islice(server.models(), _MAX_SEARCHED))
    matches = [model.id for model in newest if _is_part(text, model.id) or _is_part(text, model.job_id)]
    if len(matches) > 1:
        raise UsageError(f"{text!r} matches {', '.join(map(str, matches[:3]))}: give more of the model's id")
    return matches[0] if matches else None


def if_exists(get: Callable[[], T]) -> T | None:
    """Return what a request gets, or None if the server has no such thing."""
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
