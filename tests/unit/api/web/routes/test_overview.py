"""The overview shows what the functions of the REST API return."""

import httpx

from shared.db.engine import Database
from tests.support import factories


def test_it_shows_jobs_in_every_state_and_the_workers(client: httpx.Client, database: Database) -> None:
    factories.worker(database, devices=["a GPU"])
    attempt = factories.running(database, name="runs")
    factories.record(database, attempt, 2)
    factories.submitted(database, name="waits")
    factories.failed(database, name="failed once")

    html = client.get("/").text

    assert all(text in html for text in ("runs", "2/3", "waits", "All workers of its queue are busy"))
    assert all(text in html for text in ("failed once", "worker-1", "a GPU"))


def test_an_empty_system_shows_how_to_start(client: httpx.Client) -> None:
    html = client.get("/").text

    assert "trainshed train" in html
    assert "No worker is online" in html
