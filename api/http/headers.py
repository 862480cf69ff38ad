"""Headers of jobs: entity tags (RFC 9110, section 8.8.3), `Location`, `Retry-After`."""

import re
from zlib import crc32

from fastapi import Response
from starlette.types import Scope

from api.jobs.submission import Submission
from shared.lifecycle import TERMINAL
from shared.schemas import Job, JobDetail

_JOB_TAG = re.compile(r'(?:^|,)\s*"(\d{1,9})(?:\.[^"]*)?"(?=\s*(?:,|$))')
_CONDITIONS = (b"if-none-match", b"if-match")
# these fields for a `JobDetail` too: it has the same tag as the `Job` once the job has started
_CHECKED = set(Job.model_fields)
_ESTIMATES = {
    "progress": {"eta_s"}
}  # the last digit of an estimate depends on the order in which the database adds numbers
_POLL_AGAIN = {"Retry-After": "1"}

REPLAYED = {"Idempotency-Replayed": "true"}
"""Headers of a response that repeats the response to an earlier request with the same idempotency key."""


def first_header(request: Scope, name: bytes) -> bytes | None:
    """Return a request's first header of this lower-case name, or None. Faster than Starlette's `Headers`."""
    for key, value in request["headers"]:
        if key == name:
            return bytes(value)
    return None


def join_conditions(request: Scope) -> None:
    """Join repeated `If-None-Match` or `If-Match` headers of a request, whose values are lists, into one."""
    for name in _CONDITIONS:
        lines = [value for key, value in request["headers"] if key == name]
        if len(lines) > 1:
            others = [header for header in request["headers"] if header[0] != name]
            request["headers"] = [*others, (name, b", ".join(lines))]


def etag(version: object) -> str:
    """Return the strong entity tag of a version."""
    return f'"{version}"'


def is_current(if_none_match: str | None, tag: str) -> bool:
    """Return whether an If-None-Match header names the tag, by weak comparison."""
    tags = [part.strip().removeprefix("W/") for part in (if_none_match or "").split(",")]
    return "*" in tags or tag in tags


def job_etag(job: Job) -> str:
    """Return a job's entity tag: its version, its place in the queue while it waits, and a checksum.

    The tag leaves out the estimate of the waiting time, which changes all the time. After a restore from a
    backup, versions are counted again: the checksum of the fields distinguishes states with the same version.
    The first version of a job needs no checksum, since its state is always the same.
    """
    wait: tuple[object, ...] = ()
    if isinstance(job, JobDetail):
        wait = (job.queue_position, job.waiting_for, job.tenant_queued, job.tenant_running)
    checksum = None
    if job.version > 1:
        checksum = crc32(job.model_dump_json(include=_CHECKED, exclude=_ESTIMATES).encode())
    return etag(".".join(str(part) for part in (job.version, *wait, checksum) if part is not None))


def job_versions(if_match: str | None) -> frozenset[int] | None:
    """Return the job versions that an If-Match header names by strong tags, or None for any version."""
    if if_match is None or if_match.strip() == "*":
        return None
    return frozenset(int(version) for version in _JOB_TAG.findall(if_match))


def job_headers(job: Job) -> dict[str, str]:
    """Return the headers of a response with a job: its entity tag and, if unfinished, `Retry-After`."""
    return {"ETag": job_etag(job), **({} if job.state in TERMINAL else _POLL_AGAIN)}


def accept(response: Response, submission: Submission) -> Job:
    """Set the headers of the response to a submission, and return its job as the body."""
    replayed = REPLAYED if submission.replayed else {}
    location = {"Location": f"/v1/jobs/{submission.job.id}"}
    response.headers.update({**location, **job_headers(submission.job), **replayed})
    return submission.job
