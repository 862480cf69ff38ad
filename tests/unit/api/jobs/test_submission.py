from collections.abc import Iterator

import pytest
from sqlalchemy import select

from api.jobs import submission
from api.services import Services, open_services
from shared.db.engine import Database
from shared.db.tables import Job
from shared.errors import InvalidSpec, JobNotTerminal, ModelNotFound
from shared.schemas import EvaluateJobCreate, EvaluateRequest, TrainJobCreate, TrainRequest
from shared.settings import Settings
from tests.support import factories


@pytest.fixture
def services(settings: Settings, database_url: str) -> Iterator[Services]:
    """Services whose broker is away."""
    with open_services(settings.model_copy(update={"database_url": database_url})) as services:
        yield services


def _undispatched(database: Database) -> int:
    return database.read(
        lambda session: len(session.scalars(select(Job.id).where(Job.dispatched_at.is_(None))).all())
    )


def test_a_job_that_could_not_be_sent_is_marked_so(services: Services) -> None:
    submitted = submission.submit(services, TrainJobCreate(), None)

    assert not submitted.replayed
    assert submitted.job.state == "queued"
    assert _undispatched(services.database) == 1


def test_a_replayed_job_is_not_sent_again(services: Services, database: Database) -> None:
    first = submission.submit(services, TrainJobCreate(), "key")
    database.write(
        lambda session: setattr(session.get_one(Job, first.job.id), "dispatched_at", first.job.created_at)
    )

    second = submission.submit(services, TrainJobCreate(), "key")

    assert (second.replayed, second.job) == (True, first.job)
    assert _undispatched(services.database) == 0


def test_nothing_is_stored_of_a_job_that_cannot_be_run(services: Services) -> None:
    unknown = TrainJobCreate(spec=TrainRequest(dataset="cifar"))
    away = EvaluateJobCreate(kind="evaluate", spec=EvaluateRequest(model_id=factories.make_new_job().id))

    with pytest.raises(InvalidSpec, match="cifar"):
        submission.submit(services, unknown, "key")
    with pytest.raises(ModelNotFound):
        submission.submit(services, away, "key")

    assert not submission.submit(services, TrainJobCreate(), "key").replayed


def test_only_a_job_that_is_over_is_retried(services: Services, database: Database) -> None:
    with pytest.raises(JobNotTerminal, match="queued"):
        submission.retry(services, factories.submitted(database), None)


def test_a_retry_and_a_submit_do_not_share_a_key_by_chance(services: Services, database: Database) -> None:
    job_id = factories.cancelled(database)
    retried = submission.retry(services, job_id, "key")

    assert submission.retry(services, job_id, "key").job.id == retried.job.id
