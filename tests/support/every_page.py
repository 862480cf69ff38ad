"""The address of every page, on a database in which each of them has something to show."""

from datetime import UTC, datetime
from uuid import UUID

from shared.db.engine import Database
from shared.schemas import LogLevel
from tests.support import factories, queue_driver, registry
from tests.support.onnx_models import make_readable_model

TABS = ("training", "evaluation", "input", "model", "timeline", "logs", "config")
"""The tabs of a job's page."""

_GONE = "gone:3"  # a worker that only attempts name


def fill(database: Database, text: str = "a text") -> dict[str, str]:
    """Fill an empty database; return the address of every page by a name for it.

    Args:
        text: what people and programs write: names, tags, descriptions, devices, errors, log lines.
    """
    queue_driver.one_of_each_state(database)
    registry.worker(database, lost_after_s=3_600.0)
    registry.worker(database, id="gpu:7", devices=[text], slots=2, lost_after_s=3_600.0)
    words = {"name": text, "tags": [text[:60]]}
    running = queue_driver.running(database, **words)
    queue_driver.record(database, running, 2)
    finished, model = _finished(database, **words)
    other, other_model = _finished(database, **words)
    registry.change_model(database, model, description=text)
    failed = _failed(database, text)
    _dead_delivery(database, text)
    sweep, _ = queue_driver.submit_sweep(database, text, learning_rate=(0.001, 0.01), batch_size=(32, 64))
    return {
        "overview": "/",
        "jobs": "/jobs",
        "jobs, none": "/jobs?q=nothing-has-this-name",
        "new job": "/jobs/new",
        "new evaluation": "/jobs/new?kind=evaluate&evaluation_size=0",
        "clone": f"/jobs/new?from={finished}",
        "running job": f"/jobs/{running.job_id}",
        "running job, timeline": f"/jobs/{running.job_id}?tab=timeline",
        "failed job, log": f"/jobs/{failed}?tab=logs",
        **{f"finished job, {tab}": f"/jobs/{finished}?tab={tab}" for tab in TABS},
        "compare, nothing": "/compare",
        "compare": f"/compare?job={finished}&job={other}&job={running.job_id}",
        "sweeps": "/sweeps",
        "sweep": f"/sweeps/{sweep}",
        "models": "/models",
        "model": f"/models/{model}",
        "try it": f"/try?model={model}&with={other_model}",
        "workers": "/workers",
        "worker": "/workers/worker-1",
        "worker, gone": f"/workers/{_GONE}",
        "settings": "/settings",
        "webhooks": "/settings/webhooks",
        "sign in": "/sign-in",
    }


def _finished(database: Database, **words: object) -> tuple[UUID, UUID]:
    """Store a training that has succeeded; return the ids of the job and of its model."""
    spec = factories.make_spec(dataset="digits")  # which needs no download
    attempt, model = queue_driver.running(database, spec=spec, **words), make_readable_model(spec)
    queue_driver.record(database, attempt, 3)
    queue_driver.succeed(database, attempt, model)
    return attempt.job_id, model.id


def _dead_delivery(database: Database, text: str) -> None:
    hook = registry.webhook(database, "https://example.invalid/?<b>", description=text)
    registry.webhook_test(database, hook)
    registry.give_up(database, text)


def _failed(database: Database, text: str) -> UUID:
    attempt = queue_driver.claim(database, queue_driver.submit(database), worker=_GONE).attempt
    line = factories.make_line(
        at=datetime.now(UTC), level=LogLevel.ERROR, message=text, fields={"file": text}
    )
    queue_driver.log(database, attempt, [line])
    queue_driver.fail(database, attempt, message=text)
    return attempt.job_id
