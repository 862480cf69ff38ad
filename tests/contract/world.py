"""A database in which every operation has something to find."""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from shared.db.engine import Database
from tests.support import factories, queue_driver, registry
from tests.support.factories import NewModel
from tests.support.onnx_models import make_readable_model
from tests.support.queue_driver import AttemptId

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
    registry.change_model(database, models[0], alias="champion")
    registry.pause(database, "paused")
    webhook_id = registry.webhook(database, _NOWHERE)
    jobs = [job_id for job_id, _ in finished] + list(_unfinished(database, count))
    return World(
        job_id=(*jobs, *evaluations),
        model_id=(*models, "champion"),
        sweep_id=tuple(queue_driver.submit_sweep(database, "a sweep", seed=[1, 2])[0] for _ in range(count)),
        key_id=tuple(registry.api_key(database).id for _ in range(count)),
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
    lines = [factories.make_line(number, message="an epoch ended") for number in (1, 2, 3)]
    queue_driver.log(database, attempt, lines)


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
