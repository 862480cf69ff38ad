"""Submission of jobs while the broker is unavailable."""

import asyncio
from collections.abc import Iterator
from functools import partial
from hashlib import sha256

import pytest

from api.jobs import submission
from api.jobs.submission import Submission
from api.services import Services, open_services
from shared import schemas
from shared.db.engine import Database
from shared.errors import IdempotencyKeyReused, InvalidSpec, JobNotTerminal, ModelNotFound
from shared.schemas import (
    EvaluateJobCreate,
    EvaluateRequest,
    JobClone,
    JobCreate,
    TrainJobCreate,
    TrainRequest,
)
from shared.settings import Settings
from tests.support import factories, queue_driver, stored
from tests.support.queue_driver import ANYONE

# of a TrainJobCreate without options: the same in every version, or a key would not replay its request
DEFAULT_JOB_SHA256 = "6921d6e9806202c4c3a8a9c954901bf2b72a3c5d8fbc5bdfc2466eb63029efbd"


@pytest.fixture
def services(settings: Settings, database_url: str) -> Iterator[Services]:
    with open_services(settings.model_copy(update={"database_url": database_url})) as services:
        yield services


def _submit(services: Services, request: JobCreate, key: str | None = None) -> Submission:
    return asyncio.run(submission.submit(services, ANYONE, request, key))


def _stored(services: Services, submitted: Submission) -> schemas.Job:
    return stored.summary(services.database, submitted.job.id)


def test_a_submitted_job_is_described_as_it_is_stored(services: Services) -> None:
    _, model = queue_driver.succeeded(services.database)
    training = TrainJobCreate(
        name="all", tags=("a", "b"), queue="gpu", priority="high", max_attempts=2, max_runtime_s=60.5
    )
    evaluation = EvaluateJobCreate(kind="evaluate", spec=EvaluateRequest(model_id=model.id))
    finished = queue_driver.cancelled(services.database)

    for submitted in (
        _submit(services, TrainJobCreate()),
        _submit(services, training),
        _submit(services, evaluation),
        submission.retry(services, ANYONE, finished, None),
        submission.clone(services, ANYONE, finished, JobClone(name="x"), None),
    ):
        assert not submitted.replayed
        assert submitted.job == _stored(services, submitted)


def test_a_replayed_job_is_read_as_it_is_now(services: Services) -> None:
    first = _submit(services, TrainJobCreate(), "key")
    claimed = queue_driver.claim(services.database, first.job.id)

    second = _submit(services, TrainJobCreate(), "key")

    assert (second.replayed, second.job.id, second.job.attempt) == (True, first.job.id, 1)
    assert second.job == _stored(services, first)
    assert claimed.attempt.job_id == first.job.id


def test_digests_of_requests_do_not_change_between_versions(services: Services, database: Database) -> None:
    job_id = queue_driver.cancelled(database)

    _submit(services, TrainJobCreate(), "submit")
    submission.retry(services, ANYONE, job_id, "retry")
    submission.clone(services, ANYONE, job_id, JobClone(name="x"), "clone")

    assert stored.request_sha256(database, "submit") == DEFAULT_JOB_SHA256
    assert stored.request_sha256(database, "retry") == sha256(f"retry {job_id}".encode()).hexdigest()
    assert (
        stored.request_sha256(database, "clone")
        == sha256(f'clone {job_id} {{"name":"x"}}'.encode()).hexdigest()
    )


def test_a_request_that_differs_in_a_field_of_this_version_is_another(services: Services) -> None:
    _submit(services, TrainJobCreate(), "key")

    assert _submit(services, TrainJobCreate(spec=TrainRequest(keep_weights=False)), "key").replayed
    with pytest.raises(IdempotencyKeyReused):
        _submit(services, TrainJobCreate(spec=TrainRequest(keep_weights=True)), "key")


def test_impossible_job_is_not_stored(services: Services) -> None:
    unknown_dataset = TrainJobCreate(spec=TrainRequest(dataset="cifar"))
    unknown_model = EvaluateJobCreate(
        kind="evaluate", spec=EvaluateRequest(model_id=factories.make_new_job().id)
    )

    with pytest.raises(InvalidSpec, match="cifar"):
        _submit(services, unknown_dataset, "key")
    with pytest.raises(ModelNotFound):
        _submit(services, unknown_model, "key")

    assert not _submit(services, TrainJobCreate(), "key").replayed


def test_unfinished_job_is_not_retried(services: Services, database: Database) -> None:
    with pytest.raises(JobNotTerminal, match="queued"):
        submission.retry(services, ANYONE, queue_driver.submit(database), None)


def test_retry_with_the_same_key_is_the_same_job(services: Services, database: Database) -> None:
    retry = partial(submission.retry, services, ANYONE, queue_driver.cancelled(database), "key")

    assert retry().job.id == retry().job.id
