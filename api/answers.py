"""The headers that answers about a job carry."""

from fastapi import Response

from api import submission
from api.etags import job_etag
from shared.lifecycle import TERMINAL
from shared.schemas import Job

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
