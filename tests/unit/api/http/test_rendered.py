"""Polls that are answered from kept bytes differ in nothing from those that FastAPI answers.

The clock stands still, so that nothing that is kept is compared with the database unless a test moves it. A
query that no route knows, `?plain`, is passed on to FastAPI and shows what it answers.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from math import inf
from threading import Event
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy.exc import TimeoutError as PoolTimeout

from api.app import create_app
from api.http import callers
from api.http.headers import job_etag
from api.jobs import rendered
from shared.db.engine import Database
from shared.lifecycle import JobState
from shared.schemas import Scope
from shared.settings import Settings
from shared.store import evaluations, job_queries, metrics
from tests.support import factories, queue_driver, registry
from tests.support.fakes import MonotonicClock
from tests.support.registry import NewApiKey
from tests.support.servers import running_app

RESOURCES = (
    "",
    "/metrics",
    "/metrics?resolution=step&names=loss",
    "/metrics?format=csv",
    "/metrics?format=ndjson&max_points=2",
    "/evaluation",
)

Serve = Callable[..., httpx.Client]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> MonotonicClock:
    clock = MonotonicClock()
    monkeypatch.setattr(rendered, "monotonic", clock)
    return clock


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The reads of jobs, metrics and evaluations for responses of this process."""
    reads: list[str] = []

    def record(module: Any, name: str) -> None:
        read = getattr(module, name)

        def recorded(*args: Any, **options: Any) -> Any:
            reads.append(f"{module.__name__}.{name}")
            return read(*args, **options)

        monkeypatch.setattr(module, name, recorded)

    for module, name in ((job_queries, "get_marked"), (metrics, "read"), (evaluations, "get")):
        record(module, name)
    return reads


@pytest.fixture
def serve(settings: Settings, database_url: str) -> Iterator[Serve]:
    """Serves the API in another process's stead, on the same database, and returns its client."""
    with ExitStack() as servers:

        def serve(key: object = "", **values: Any) -> httpx.Client:
            own = settings.model_copy(update={"database_url": database_url, **values})
            client = servers.enter_context(running_app(create_app(own)))
            client.headers.update({"Authorization": f"Bearer {key}"} if key else {})
            return client

        yield serve


def _answer(response: httpx.Response) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Everything in a response but the moment and the request id."""
    headers = [
        (name, value) for name, value in response.headers.raw if name not in (b"date", b"x-request-id")
    ]
    return response.status_code, headers, response.content


def _create_key(database: Database, lifetime_s: float | None = None) -> NewApiKey:
    return registry.api_key(database, lifetime_s=lifetime_s)


@pytest.mark.parametrize("resource", RESOURCES)
@pytest.mark.parametrize("state", JobState)
def test_kept_response_is_what_fastapi_answers(
    client: httpx.Client, database: Database, state: JobState, resource: str
) -> None:
    path = f"/v1/jobs/{queue_driver.one_of_each_state(database)[state]}{resource}"
    separator = "&" if "?" in path else "?"

    targets = (path, path, f"{path}{separator}plain")
    first, second, plain = (client.get(target, headers={"X-Request-ID": "1"}) for target in targets)

    assert _answer(first) == _answer(second) == _answer(plain)


@pytest.mark.parametrize("state", JobState)
@pytest.mark.parametrize("form", ["{}", "W/{}", '"0", {}', "*"])
def test_304_is_what_fastapi_answers(
    client: httpx.Client, database: Database, state: JobState, form: str
) -> None:
    path = f"/v1/jobs/{queue_driver.one_of_each_state(database)[state]}"
    headers = {"If-None-Match": form.format(client.get(path).headers["ETag"]), "X-Request-ID": "1"}

    kept, plain = client.get(path, headers=headers), client.get(f"{path}?plain", headers=headers)

    assert kept.status_code == 304
    assert _answer(kept) == _answer(plain)


@pytest.mark.parametrize("query", ["", "?plain"])
def test_all_lines_of_if_none_match_are_read(client: httpx.Client, database: Database, query: str) -> None:
    path = f"/v1/jobs/{queue_driver.running(database).job_id}{query}"
    tag = client.get(path).headers["ETag"]

    def ask(*tags: str) -> int:
        return client.get(path, headers=[("If-None-Match", each) for each in tags]).status_code

    assert [ask('"x"', tag), ask(tag, '"x"'), ask('"x"', '"y", W/' + tag), ask('"x"', '"y"')] == [304] * 3 + [
        200
    ]


def test_unchanged_job_is_read_once_whatever_its_pollers_know(
    client: httpx.Client, database: Database, reads: list[str]
) -> None:
    path = f"/v1/jobs/{queue_driver.running(database).job_id}"

    first = client.get(path, headers={"If-None-Match": '"0"'})
    tag = first.headers["ETag"]
    codes = [client.get(path, headers={"If-None-Match": text}).status_code for text in (tag, '"1"', "", "x")]

    assert (first.status_code, codes) == (200, [304, 200, 200, 200])
    assert len(reads) == 1


def test_first_poll_with_the_present_tag_is_kept_too(
    client: httpx.Client, database: Database, reads: list[str]
) -> None:
    job_id = queue_driver.running(database).job_id
    path, tag = (
        f"/v1/jobs/{job_id}",
        job_etag(database.read(lambda session: job_queries.summary(session, job_id))),
    )

    codes = [client.get(path, headers={"If-None-Match": tag}).status_code for _ in range(2)]

    assert codes == [304, 304]
    assert client.get(path).json()["version"] == 2
    assert len(reads) == 1


@pytest.mark.parametrize("resource", [resource for resource in RESOURCES if resource])
def test_metrics_and_evaluation_of_a_finished_job_are_read_once(
    client: httpx.Client, database: Database, reads: list[str], resource: str
) -> None:
    job_id, _ = queue_driver.succeeded(database)

    for _ in range(3):
        assert client.get(f"/v1/jobs/{job_id}{resource}").status_code == 200

    assert len(reads) == 1


def test_metrics_and_evaluation_of_an_unfinished_job_are_not_kept(
    client: httpx.Client, database: Database
) -> None:
    attempt = queue_driver.running(database)
    path = f"/v1/jobs/{attempt.job_id}"
    assert client.get(f"{path}/metrics").json()["series"] == []
    assert client.get(f"{path}/evaluation").status_code == 409

    queue_driver.record(database, attempt, 3)
    queue_driver.succeed(database, attempt, factories.make_model())

    assert len(client.get(f"{path}/metrics").json()["series"][0]["y"]) == 3
    assert client.get(f"{path}/evaluation").status_code == 200


@pytest.mark.parametrize("query", ["?wait=0", "?wait=0.01", "?plain", "?resolution=step"])
def test_other_requests_for_a_job_are_not_kept(
    client: httpx.Client, database: Database, reads: list[str], query: str
) -> None:
    path = f"/v1/jobs/{queue_driver.failed(database)}{query}"

    assert [client.get(path).status_code for _ in range(2)] == [200, 200]
    assert len(reads) == 2


def test_other_methods_and_spellings_are_passed_on(client: httpx.Client, database: Database) -> None:
    job_id = queue_driver.failed(database)
    assert client.get(f"/v1/jobs/{job_id}").status_code == 200

    assert client.post(f"/v1/jobs/{job_id}").status_code == 405
    assert client.get(f"/v1/jobs/{str(job_id).upper()}").status_code == 200
    assert client.get(f"/v1/jobs/{job_id}/").status_code in (307, 404)
    assert client.get("/v1/jobs/42").status_code == 404


def test_change_by_this_process_is_seen_at_once(client: httpx.Client, database: Database) -> None:
    path = f"/v1/jobs/{queue_driver.submit(database)}"

    def poll() -> dict[str, Any]:
        return dict(client.get(path).json())

    assert (poll()["name"], poll()["name"]) == (None, None)
    client.patch(path, json={"name": "renamed"})
    assert (poll()["name"], poll()["state"]) == ("renamed", "queued")
    client.post(f"{path}/cancel")
    assert poll()["state"] == "cancelled"


def test_what_was_read_before_a_change_is_not_kept_after_it(
    client: httpx.Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, get = f"/v1/jobs/{queue_driver.failed(database)}", job_queries.get_marked
    has_read, release = Event(), Event()

    def read_and_wait(*arguments: Any, **options: Any) -> Any:
        job = get(*arguments, **options)
        has_read.set()
        assert release.wait(10)
        return job

    monkeypatch.setattr(job_queries, "get_marked", read_and_wait)
    with ThreadPoolExecutor(1) as thread:
        before = thread.submit(httpx.get, client.base_url.join(path))
        assert has_read.wait(10)
        client.patch(path, json={"name": "renamed"})
        release.set()

    assert before.result().json()["name"] is None
    assert client.get(path).json()["name"] == "renamed"


def test_deletion_by_this_process_is_seen_at_once(client: httpx.Client, database: Database) -> None:
    job_id, _ = queue_driver.succeeded(database)
    paths = [f"/v1/jobs/{job_id}{resource}" for resource in RESOURCES]
    assert {client.get(path).status_code for path in paths} == {200}

    assert client.delete(paths[0]).status_code == 204

    assert {client.get(path).status_code for path in paths} == {404}


def test_a_retry_goes_on_naming_a_deleted_job(client: httpx.Client, database: Database) -> None:
    job_id = queue_driver.failed(database)
    retry = client.post(f"/v1/jobs/{job_id}/retry").headers["Location"]
    assert client.get(retry).json()["retry_of"] == str(job_id)

    client.delete(f"/v1/jobs/{job_id}")

    assert client.get(retry).json()["retry_of"] == str(job_id)


@pytest.mark.parametrize("form", ["{}", "W/{}", '"1", {}'])
def test_client_reads_what_it_has_changed_through_another_process(
    client: httpx.Client, database: Database, serve: Serve, form: str
) -> None:
    path = f"/v1/jobs/{queue_driver.running(database).job_id}"
    old = client.get(path).headers["ETag"]

    tag = serve().patch(path, json={"name": "renamed"}).headers["ETag"]

    assert client.get(path).json()["name"] is None  # nothing has told this process
    assert client.get(path, headers={"If-None-Match": old}).status_code == 304
    assert client.get(path, headers={"If-None-Match": form.format(tag)}).headers["ETag"] == tag
    assert client.get(path).json()["name"] == "renamed"


@pytest.mark.parametrize("changed", ["renamed", "deleted"])
def test_change_by_another_process_is_seen_within_a_quarter_of_a_second_without_redis(
    client: httpx.Client, database: Database, clock: MonotonicClock, serve: Serve, changed: str
) -> None:
    path = f"/v1/jobs/{queue_driver.failed(database)}"
    paths = [path, f"{path}/metrics"]
    assert {client.get(path).status_code for path in paths} == {200}
    other = serve()
    other.patch(path, json={"name": "renamed"}) if changed == "renamed" else other.delete(path)

    clock.advance(0.25)

    if changed == "renamed":
        assert client.get(path).json()["name"] == "renamed"
    else:
        assert {client.get(path).status_code for path in paths} == {404}


def test_unchanged_job_is_not_read_again_after_a_check(
    client: httpx.Client, database: Database, clock: MonotonicClock, reads: list[str]
) -> None:
    path = f"/v1/jobs/{queue_driver.running(database).job_id}"
    for _ in range(5):
        assert client.get(path).status_code == 200
        clock.advance(0.25)

    assert len(reads) == 1


def test_position_of_a_queued_job_is_read_again_within_a_quarter_of_a_second_without_redis(
    client: httpx.Client, database: Database, clock: MonotonicClock
) -> None:
    first, second = queue_driver.submit(database), queue_driver.submit(database)
    assert client.get(f"/v1/jobs/{second}").json()["queue_position"] == 2
    queue_driver.claim(database, first)

    clock.advance(0.25)

    assert client.get(f"/v1/jobs/{second}").json()["queue_position"] == 1


def test_kept_response_needs_a_valid_key(database: Database, serve: Serve) -> None:
    path, key, client = f"/v1/jobs/{queue_driver.failed(database)}", _create_key(database), serve()
    headers = {"Authorization": f"Bearer {key}"}
    assert client.get(path, headers=headers).status_code == 200
    codes = {
        client.get(path, headers={"Authorization": text}).status_code
        for text in ("", f"Basic {key}", f"Bearer {NewApiKey.draw()}", f"Bearer {key}0")
    }

    assert codes == {401}
    assert client.get(path, headers={"Authorization": f"bearer  {key}"}).status_code == 200


def test_kept_response_counts_once_against_the_rate_limit(database: Database, serve: Serve) -> None:
    path = f"/v1/jobs/{queue_driver.failed(database)}"
    client = serve(_create_key(database), rate_limit=1.0)

    codes = [client.get(path).status_code for _ in range(12)]

    assert codes == [200] * 10 + [429] * 2  # a burst is ten seconds' worth


def test_kept_response_needs_no_key_and_has_no_rate_limit_on_this_host(
    database: Database, serve: Serve
) -> None:
    path = f"/v1/jobs/{queue_driver.failed(database)}"
    client = serve(rate_limit=0.2)

    assert {client.get(path).status_code for _ in range(5)} == {200}


@pytest.mark.parametrize("asked", ["the job's version", "the key"])
def test_request_waits_for_an_unavailable_database_once(
    database: Database, serve: Serve, clock: MonotonicClock, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    path, client = f"/v1/jobs/{queue_driver.failed(database)}", serve(_create_key(database))
    assert client.get(path).status_code == 200
    tries: list[object] = []

    def fail(*arguments: object) -> None:
        tries.append(arguments)
        raise PoolTimeout("no connection is free")

    monkeypatch.setattr(Database, "read", fail)
    if asked == "the key":
        monkeypatch.setattr(callers, "monotonic", lambda: inf)  # nothing is remembered so long
    else:
        clock.advance(0.25)
    answer = client.get(path)

    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/database-unavailable")
    assert len(tries) == 1


def test_what_is_kept_is_what_the_scope_read_permits(settings: Settings) -> None:
    paths = create_app(settings).openapi()["paths"]
    for resource in ("", "/metrics", "/evaluation"):
        assert paths[f"/v1/jobs/{{job_id}}{resource}"]["get"]["x-scope"] == Scope.READ


def test_kept_response_is_counted_under_its_route(database: Database, serve: Serve) -> None:
    job_id, client = queue_driver.succeeded(database)[0], serve()
    for path in ("", "", "/metrics", "/metrics"):
        client.get(f"/v1/jobs/{job_id}{path}")

    samples = client.get("/metrics").text.splitlines()

    for route in ("/v1/jobs/{job_id}", "/v1/jobs/{job_id}/metrics"):
        labels = f'{{method="GET",route="{route}",status="200"}}'
        assert f"trainshed_http_request_seconds_count{labels} 2.0" in samples


def test_kept_response_has_the_request_id_and_is_logged_with_it(
    client: httpx.Client, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    path = f"/v1/jobs/{queue_driver.failed(database)}"
    client.get(path)
    caplog.clear()

    answer = client.get(path, headers={"X-Request-ID": "trace-7"})

    assert answer.headers["X-Request-ID"] == "trace-7"
    assert UUID(client.get(path).headers["X-Request-ID"])
    lines = [record.getMessage() for record in caplog.records if record.name == "uvicorn.access"]
    assert len(lines) == 2
    assert lines[0] == f"GET {path} 200"


def test_kept_response_is_for_this_hosts_own_names(client: httpx.Client, database: Database) -> None:
    path = f"/v1/jobs/{queue_driver.failed(database)}"
    assert client.get(path).status_code == 200

    assert client.get(path, headers={"Host": "evil.example"}).status_code == 421


def test_kept_response_has_the_headers_for_other_origins(database: Database, serve: Serve) -> None:
    path, origin = f"/v1/jobs/{queue_driver.failed(database)}", "https://example.org"
    client = serve(cors_origins=(origin,))

    answers = [client.get(path, headers={"Origin": origin}) for _ in range(2)]
    stranger = client.get(path, headers={"Origin": "https://evil.example"})

    assert {answer.headers["Access-Control-Allow-Origin"] for answer in answers} == {origin}
    assert "Access-Control-Allow-Origin" not in stranger.headers
    assert client.get(path).content == answers[0].content
