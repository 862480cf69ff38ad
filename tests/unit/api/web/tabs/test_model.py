"""The tab `model` of a job's page."""

from uuid import UUID

import httpx

from shared.db.engine import Database
from tests.support import factories, queue_driver, registry


def tab(client: httpx.Client, job_id: UUID) -> str:
    return client.get(f"/jobs/{job_id}?tab=model").text


def test_a_job_without_a_model_shows_the_layers_that_it_trains(
    client: httpx.Client, database: Database
) -> None:
    html = tab(client, queue_driver.submit(database))

    assert all(text in html for text in ("conv1", "3,216", "5,994"))
    assert "data-weights" not in html


def test_a_job_shows_its_model_with_its_weights(client: httpx.Client, database: Database) -> None:
    job_id, model = queue_driver.succeeded(database)
    html = tab(client, job_id)

    assert f'data-weights="{model.id}"' in html
    assert "7,850" in html


def test_an_evaluation_shows_the_model_that_it_evaluates(client: httpx.Client, database: Database) -> None:
    _, model = queue_driver.succeeded(database)
    spec = factories.make_evaluate_spec(model.id)
    job_id = queue_driver.submit(database, kind="evaluate", spec=spec, model_id=model.id)

    assert f'data-weights="{model.id}"' in tab(client, job_id)


def test_a_deleted_model_is_said_to_be_deleted(client: httpx.Client, database: Database) -> None:
    job_id, model = queue_driver.succeeded(database)
    registry.delete_model(database, model.id)

    assert "it was deleted" in tab(client, job_id)
