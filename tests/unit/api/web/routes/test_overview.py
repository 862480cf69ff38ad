"""The overview shows what the functions of the REST API return."""

import httpx

from shared.db.engine import Database
from tests.support import queue_driver, registry


def test_it_shows_jobs_in_every_state_and_the_workers(client: httpx.Client, database: Database) -> None:
    registry.worker(database, devices=["a GPU"])
    attempt = queue_driver.running(database, name="runs")
    queue_driver.record(database, attempt, 2)
    queue_driver.submit(database, name="waits")
    queue_driver.failed(database, name="failed once")

    html = client.get("/").text

    assert all(text in html for text in ("runs", "2/3", "waits", "All workers of its queue are busy"))
    assert all(text in html for text in ("failed once", "worker-1", "a GPU"))


def test_an_empty_system_shows_how_to_start(client: httpx.Client) -> None:
    html = client.get("/").text

    assert "trainshed train" in html
    assert "No worker is online" in html
