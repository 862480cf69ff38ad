"""A database in which every operation has something to find."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

from uuid_utils.compat import uuid7

from shared.db.engine import Database
from shared.schemas import LogLevel, ModelPatch, Scope
from shared.store import api_keys, job_logs, queues
from shared.store.job_logs import Line
from shared.store.models import patch
from shared.store.results import NewModel
from shared.store.submissions import NewJobs, NewSweep
from shared.store.submit import submit_jobs
from shared.store.transitions import AttemptId
from tests.support import factories, queue_driver, registry
from tests.support.onnx_models import make_readable_model

_NOWHERE = "https://example.invalid/"
DATASET = "digits"  # which needs no network


@dataclass(frozen=True)
class World:
    """Identifiers of the stored objects, by the path parameter that takes them."""

    job_id: tuple[UUID, ...]
    model_id: tuple[UUID | str, ...]
    sweep_id: tuple[UUID, ...]
    key_id: tuple[UUID, ...]
    worker_id: tuple[str, ...]
    webhook_id: tuple[UUID, ...]
    delivering_webhook_id: tuple[UUID]
    delivery_id: tuple[UUID, ...]


def populate(database: Database, count: int) -> World:
    """Store `count` jobs in each state, and as many models, sweeps, keys and workers."""
    finished = [_trained(database, number) for number in range(count)]
    models = [model.id for _, model in finished]
    evaluations = [_evaluation_job(database, model_id) for model_id in models[: count // 4]]
    database.write(lambda session: patch(session, models[0], ModelPatch(alias="champion")))
    database.write(lambda session: queues.pause(session, "paused"))
    webhook_id = registry.webhook(database, _NOWHERE)
    jobs = [job_id for job_id, _ in finished] + list(_unfinished(database, count))
    return World(
        job_id=(*jobs, *evaluations),
        model_id=(*models, "champion"),
        sweep_id=tuple(_sweep(database) for _ in range(count)),
        key_id=tuple(_key(database) for _ in range(count)),
        worker_id=tuple(registry.worker(database, id=f"worker-{number}") for number in range(count)),
        webhook_id=tuple(registry.webhook(database, _NOWHERE) for _ in range(count)),
        delivering_webhook_id=(webhook_id,),
        delivery_id=tuple(registry.webhook_test(database, webhook_id) for _ in range(count)),
    )


def _trained(database: Database, number: int) -> tuple[UUID, NewModel]:
    """A training job that has succeeded, with a log and a model that reads digits."""
    spec = factories.make_spec(dataset=DATASET, keep_weights=True)
    attempt = queue_driver.running(database, spec=spec, name=f"job {number}", tags=("contract",))
    queue_driver.record(database, attempt, spec.epochs, keep_weights=True)
    _log(database, attempt)
    model = make_readable_model(spec, number)
    queue_driver.succeed(database, attempt, model)
    return attempt.job_id, model


def _log(database: Database, attempt: AttemptId) -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    lines = [Line(number, at, LogLevel.INFO, "an epoch ended", {"epoch": number}) for number in (1, 2, 3)]
    database.write(lambda session: job_logs.append(session, {attempt: lines}))


def _evaluation_job(database: Database, model_id: UUID) -> UUID:
    return queue_driver.submit(
        database, kind="evaluate", spec=factories.make_evaluate_spec(model_id), model_id=model_id
    )


def _unfinished(database: Database, count: int) -> Iterator[UUID]:
    for _ in range(count):
        yield queue_driver.submit(database, queue="paused")
        yield queue_driver.running(database).job_id
        yield queue_driver.failed(database)
        yield queue_driver.cancelled(database)


def _sweep(database: Database) -> UUID:
    sweep_id = uuid7()
    jobs = [replace(factories.make_new_job(), sweep_id=sweep_id) for _ in range(2)]
    request = {"strategy": "grid", "parameters": {"seed": [1, 2]}}
    new = NewJobs(jobs, sweep=NewSweep(sweep_id, "a sweep", request))
    database.write(lambda session: submit_jobs(session, [new]))
    return sweep_id


def _key(database: Database) -> UUID:
    drawn = api_keys.NewApiKey.draw()
    database.write(lambda session: api_keys.create(session, drawn, name="Ada", scope=Scope.READ))
    return drawn.id
