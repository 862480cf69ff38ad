"""Entity tags (RFC 9110, part 8.8.3): naming a version, and finding that the client has it."""

import re

from fastapi import Response

from api.jobs import submission
from shared.lifecycle import TERMINAL
from shared.schemas import Job, JobDetail

_JOB_TAG = re.compile(r'(?:^|,)\s*"(\d{1,9})(?:\.[^"]*)?"(?=\s*(?:,|$))')


def etag(version: object) -> str:
    """The strong tag of a version."""
    return f'"{version}"'


def job_etag(job: Job) -> str:
    """The tag of a job as it is shown: its version and, while it is queued, how it stands in its queue."""
    stands = (job.queue_position, job.waiting_for) if isinstance(job, JobDetail) else ()
    return etag(".".join(str(part) for part in (job.version, *stands) if part is not None))


def versions(if_match: str | None) -> frozenset[int] | None:
    """The versions of jobs that an If-Match header names, by strong tags; None: it takes any."""
    if if_match is None or if_match.strip() == "*":
        return None
    return frozenset(int(version) for version in _JOB_TAG.findall(if_match))


def is_known(if_none_match: str | None, tag: str) -> bool:
    """Whether an If-None-Match header says that the client has what `tag` names; weakly, as it must be."""
    known = [part.strip().removeprefix("W/") for part in (if_none_match or "").split(",")]
    return "*" in known or tag in known


_POLL_AFTER = {"Retry-After": "1"}


def job_headers(job: Job) -> dict[str, str]:
    """Which version of the job it is, and when to ask again unless it is over."""
    return {"ETag": job_etag(job), **({} if job.state in TERMINAL else _POLL_AFTER)}


def accepted(response: Response, submitted: submission.Submitted) -> Job:
    """Say where the submitted job is, and whether an earlier request made it."""
    response.headers.update({"Location": f"/v1/jobs/{submitted.job.id}", **job_headers(submitted.job)})
    if submitted.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return submitted.job
