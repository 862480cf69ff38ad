"""References to jobs, sweeps, models and keys, as people type them: ids, ends of ids, aliases, `last`."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar
from uuid import UUID

import httpx

from shared.schemas import ApiKey
from shared.schemas.ids import is_part, parse_id
from trainshed.client import Client
from trainshed.errors import TrainshedApiError, UsageError
from trainshed.operations.base import LAST

T = TypeVar("T")

_NAMES_OF_MODELS = f"give its id or alias, its job, or `{LAST}`; `trainshed models` lists them"


def find_job(server: Client, reference: str) -> UUID:
    """Return the id of the job that a reference names: its id, some digits of it, or `last` for the newest.

    Raises:
        UsageError: the reference is none of these, or there is no job.
        TrainshedApiError: no job, or several jobs, have these digits.
    """
    text = reference.strip().lower()
    if text == LAST:
        for job in server.jobs(page_size=1):
            return job.id
        raise UsageError("there is no job yet: submit one with `trainshed train`")
    job_id = parse_id(text)
    return job_id if isinstance(job_id, UUID) else server.job(text).id


def find_sweep(server: Client, reference: str) -> UUID:
    """Return the id of the sweep that a reference names; references and errors are as in `find_job`."""
    text = reference.strip().lower()
    if text == LAST:
        for sweep in server.sweeps():
            return sweep.id
        raise UsageError("there is no sweep yet: submit one with `trainshed sweep submit`")
    sweep_id = parse_id(text)
    return sweep_id if isinstance(sweep_id, UUID) else server.sweep(text).id


def find_key(keys: Iterable[ApiKey], reference: str) -> UUID:
    """Return the id of the one API key that a reference names: its id, or some digits of it.

    Raises:
        UsageError: the reference names no key or several.
    """
    text = reference.strip()
    key_id = parse_id(text)
    if isinstance(key_id, UUID):
        return key_id
    matches = [key.id for key in keys if is_part(text, key.id)]
    if not matches:
        raise UsageError(f"{text!r} is not a key: give its id, or the end of its id, as `keys list` shows it")
    if len(matches) > 1:
        raise UsageError(f"{text!r} matches {', '.join(map(str, matches[:3]))}: give more of the key's id")
    return matches[0]


def find_model(server: Client, reference: str) -> UUID:
    """Return the id of the model that a reference names: its id, its alias, or a reference to its job.

    Raises:
        UsageError: the reference names nothing, or a job without a model.
        TrainshedApiError: several models or jobs have these digits.
    """
    text = reference.strip()
    if text.lower() == LAST:
        job = server.job(find_job(server, LAST))
    elif model := if_exists(partial(server.model, text)):
        return model.id
    else:
        found = if_exists(partial(server.job, text)) if parse_id(text) else None
        if found is None:
            raise UsageError(f"{text!r} is not a model: {_NAMES_OF_MODELS}")
        job = found
    if job.model_id is None:
        raise UsageError(f"job {job.id} has no model: it is {job.state}")
    return job.model_id


def if_exists(get: Callable[[], T]) -> T | None:
    """Return the result of a request, or None if the server responds with 404."""
    try:
        return get()
    except TrainshedApiError as error:
        if error.problem.status == httpx.codes.NOT_FOUND:
            return None
        raise
