"""Submission of jobs while the broker is unavailable."""

from collections.abc import Iterator
from functools import partial
from hashlib import sha256

import pytest

from api.jobs import submission
from api.services import Services, open_services
from shared.db.engine import Database
from shared.db.tables import IdempotencyKey
from shared.errors import InvalidSpec, JobNotTerminal, ModelNotFound
from shared.schemas import EvaluateJobCreate, EvaluateRequest, JobClone, TrainJobCreate, TrainRequest
from shared.settings import Settings
from tests.support import factories
from tests.support.statements import recorded_statements

# of a TrainJobCreate without options: the same in every version, or a key would not replay its request
DEFAULT_JOB_SHA256 = "6921d6e9806202c4c3a8a9c954901bf2b72a3c5d8fbc5bdfc2466eb63029efbd"


@pytest.fixture
def services(settings: Settings, database_url: str) -> Iterator[Services]:
    with open_services(settings.model_copy(update={"database_url": database_url})) as services:
        yield services


def _digest(database: Database, key: str) -> str:
    return database.read(lambda session: session.get_one(IdempotencyKey, key).request_sha256)


def test_job_is_stored_although_no_worker_can_be_woken_up(services: Services) -> None:
    submitted = submission.submit(services, TrainJobCreate(), None)

    assert not submitted.replayed
    assert submitted.job.state == "queued"


def test_replayed_job_wakes_no_worker_up(services: Services, caplog: pytest.LogCaptureFixture) -> None:
    first = submission.submit(services, TrainJobCreate(), "key")
    assert "no worker woken up" in caplog.text
    caplog.clear()

    second = submission.submit(services, TrainJobCreate(), "key")

    assert (second.replayed, second.job) == (True, first.job)
    assert "no worker woken up" not in caplog.text


def test_digests_of_requests_do_not_change_between_versions(services: Services, database: Database) -> None:
    job_id = factories.cancelled(database)

    submission.submit(services, TrainJobCreate(), "submit")
    submission.retry(services, job_id, "retry")
    submission.clone(services, job_id, JobClone(name="x"), "clone")

    assert _digest(database, "submit") == DEFAULT_JOB_SHA256
    assert _digest(database, "retry") == sha256(f"retry {job_id}".encode()).hexdigest()
    assert _digest(database, "clone") == sha256(f'clone {job_id} {{"name":"x"}}'.encode()).hexdigest()


def test_impossible_job_is_not_stored(services: Services) -> None:
    unknown_dataset = TrainJobCreate(spec=TrainRequest(dataset="cifar"))
    unknown_model = EvaluateJobCreate(
        kind="evaluate", spec=EvaluateRequest(model_id=factories.make_new_job().id)
    )

    with pytest.raises(InvalidSpec, match="cifar"):
        submission.submit(services, unknown_dataset, "key")
    with pytest.raises(ModelNotFound):
        submission.submit(services, unknown_model, "key")

    assert not submission.submit(services, TrainJobCreate(), "key").replayed


def test_submission_of_an_evaluation_reads_its_model_once(services: Services) -> None:
    _, model = factories.succeeded(services.database)
    request = EvaluateJobCreate(kind="evaluate", spec=EvaluateRequest(model_id=model.id))

    with recorded_statements(services.database) as statements:
        submission.submit(services, request, None)

    assert sum("FROM models" in statement.sql for statement in statements) == 1


def test_unfinished_job_is_not_retried(services: Services, database: Database) -> None:
    with pytest.raises(JobNotTerminal, match="queued"):
        submission.retry(services, factories.submitted(database), None)


def test_retry_with_the_same_key_is_the_same_job(services: Services, database: Database) -> None:
    retry = partial(submission.retry, services, factories.cancelled(database), "key")

    assert retry().job.id == retry().job.id
