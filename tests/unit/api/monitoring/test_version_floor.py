"""An API that is too old for its database uses it no more, and says so to everyone who asks."""

from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest

from api.app import create_app
from api.monitoring import version_floor
from shared.db.engine import Database
from shared.settings import Settings
from tests.support.databases import raised_floor
from tests.support.queue_driver import submit
from tests.support.servers import running_app
from tests.support.waiting import wait_until

PATHS = ("/v1/jobs", "/v1/stream", "/metrics")


@pytest.fixture
def database_url(tmp_path: Path, new_sqlite: Callable[[Path], str]) -> str:
    """A database of the test's own: the API of other tests would see the floor of the shared one too."""
    return new_sqlite(tmp_path)


@pytest.fixture
def client(live_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    monkeypatch.setattr(version_floor, "_CHECK_S", 0.02)
    with running_app(create_app(live_settings)) as client:
        yield client


def refusal(client: httpx.Client, path: str) -> httpx.Response | None:
    answer = client.get(path)
    return answer if answer.status_code == 503 else None


def test_requests_are_refused_while_the_database_needs_a_newer_version(
    client: httpx.Client, database: Database
) -> None:
    job = f"/v1/jobs/{submit(database)}"
    assert client.get(job).status_code == 200  # and is kept, so that a poll reads nothing
    with raised_floor(database):
        wait_until(lambda: client.get("/v1/workers").status_code == 503, "requests are refused")
        for path in (job, *PATHS):
            answer = wait_until(partial(refusal, client, path), f"{path} is refused")
            assert answer.json()["type"] == "/problems/version-outdated", path
            assert "needs Trainshed 99.0.0 or later" in answer.json()["detail"]
            assert "must upgrade it" in answer.json()["detail"]
        refused = client.post("/v1/jobs", json={"kind": "train"})
        assert refused.json()["type"] == "/problems/version-outdated"
        page = client.get("/jobs", headers={"Accept": "text/html"})
        assert page.status_code == 503
        assert "needs Trainshed 99.0.0 or later" in page.text
        assert client.get("/livez").status_code == 200
    wait_until(lambda: client.get(job).status_code == 200, "the API works again")


def test_it_is_not_ready_with_a_database_that_needs_a_newer_version(
    client: httpx.Client, database: Database
) -> None:
    with raised_floor(database):
        answer = client.get("/readyz")
    assert answer.status_code == 503
    check = answer.json()["checks"]["migrations"]
    needs = f"the database needs Trainshed 99.0.0 or later, and this is {version('trainshed')}: install that"
    assert check == {"ok": False, "detail": needs}


def test_an_outage_changes_nothing(settings: Settings) -> None:
    away = settings.model_copy(update={"database_url": f"postgresql+psycopg://@/x?host={settings.data_dir}"})
    with running_app(create_app(away)) as client:
        assert client.get("/v1/jobs").json()["type"] == "/problems/database-unavailable"
