import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from sqlite3 import SQLITE_BUSY, SQLITE_FULL
from sqlite3 import OperationalError as DriverError
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI, HTTPException
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.middleware import Middleware

from api.app import create_app
from api.http import error_handlers
from api.http.middleware import RequestContext
from shared.db.engine import Database
from shared.schemas import TrainRequest
from shared.settings import Settings
from tests.support.databases import open_database
from tests.support.factories import make_settings
from tests.support.injected_errors import injected, refused_by_sqlite
from tests.support.servers import running_app
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of one API for all tests here: refused requests change nothing."""
    folder = tmp_path_factory.mktemp("api")
    settings = Settings(
        data_dir=folder,
        database_url=f"sqlite:///{folder / 'trainshed.db'}",
        redis_url=f"unix://{folder / 'redis.sock'}",
    )
    database = Database(settings.database_url)
    database.migrate()
    database.dispose()
    with running_app(create_app(settings)) as client:
        yield client


@pytest.fixture
def failing() -> Iterator[httpx.Client]:
    """A client of an app whose routes fail in known ways."""
    app = FastAPI(middleware=[Middleware(RequestContext)])
    error_handlers.install(app)
    locked = DriverError("database is locked")
    locked.sqlite_errorcode = SQLITE_BUSY
    errors: dict[str, Exception] = {
        "locked": OperationalError("SELECT secret", {}, locked),
        "missing": OperationalError("SELECT secret", {}, DriverError("no such table: jobs")),
        "exhausted": PoolTimeout("QueuePool limit of size 5 is reached", code="3o7r"),
        "late": PoolTimeout("the events do not end"),
        "silent": PoolTimeout(),
        "teapot": HTTPException(418, "short and stout", {"X-Spout": "left"}),
    }

    @app.get("/{name}")
    def fail(name: str) -> None:
        raise errors[name]

    with running_app(app) as client:
        yield client


@pytest.mark.parametrize(
    ("name", "slug", "detail"),
    [
        ("locked", "database-locked", "other transactions hold up the database. "),
        ("exhausted", "database-connections", "all connections to the database are used. "),
        ("late", "database-unavailable", "the events do not end. "),
        ("silent", "database-unavailable", "the database does not answer. "),
    ],
)
def test_database_that_cannot_be_used_is_a_problem_to_retry(
    failing: httpx.Client, name: str, slug: str, detail: str
) -> None:
    answer = failing.get(f"/{name}")

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json()["type"] == f"/problems/{slug}"
    assert answer.json()["detail"].startswith(detail)
    assert "secret" not in answer.text


@pytest.fixture
def full_disk(database_url: str) -> Callable[[], AbstractContextManager[object]]:
    """Returns a block in which the database refuses to store a job."""
    if database_url.startswith("postgresql"):
        return partial(injected, "53100", "INSERT INTO jobs")
    return partial(refused_by_sqlite, SQLITE_FULL, "database or disk is full", "INSERT INTO jobs")


def test_full_disk_is_answered_logged_counted_and_shown_by_the_readiness(
    api: httpx.Client,
    full_disk: Callable[[], AbstractContextManager[object]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with full_disk():
        answers = [api.post("/v1/jobs", json={"kind": "train"}) for _ in range(2)]
        listed = api.get("/v1/jobs")
        readiness = api.get("/readyz")
    metrics = api.get("/metrics").text

    assert [answer.status_code for answer in answers] == [503, 503]
    assert {answer.json()["type"] for answer in answers} == {"/problems/database-full"}
    assert answers[0].json()["detail"].startswith("the disk of the database is full. Reads go on. ")
    [line] = [record.msg for record in caplog.records if "cannot be used" in str(record.msg)]
    assert isinstance(line, dict)
    assert (line["reason"], line["level"]) == ("full", "warning")
    assert (line["sqlstate"], line["error"]) in [("53100", "injected"), ("", "database or disk is full")]
    [count] = re.findall(r'trainshed_database_errors_total{reason="full"} ([0-9.]+)', metrics)
    assert float(count) >= 2
    assert 'trainshed_database_errors_total{reason="connections"} 0.0' in metrics
    # what only reads is served: another replica could not do more
    assert listed.status_code == 200
    assert (readiness.status_code, readiness.json()["ready"]) == (200, True)
    check = readiness.json()["checks"]["database"]
    assert not check["ok"]
    assert "free space" in check["detail"]

    wait_until(
        lambda: api.post("/v1/jobs", json={"kind": "train"}).status_code == 202, "jobs are stored again"
    )


def test_other_database_error_is_an_internal_error(failing: httpx.Client) -> None:
    answer = failing.get("/missing")

    assert answer.status_code == 500
    assert "no such table" not in answer.text


def test_database_without_the_schema_is_a_problem_that_says_what_to_do(tmp_path: Path) -> None:
    with running_app(create_app(make_settings(tmp_path))) as client:
        for method, path in (("GET", "/v1/jobs"), ("POST", "/v1/jobs"), ("GET", f"/v1/jobs/{UUID(int=1)}")):
            answer = client.request(method, path, json={"kind": "train"})

            assert (answer.status_code, answer.json()["type"]) == (503, "/problems/schema-outdated"), path
            assert "run `trainshed migrate`" in answer.json()["detail"]
            assert answer.headers["Retry-After"]


def test_requests_say_that_a_schema_of_before_0_1_0_is_to_be_migrated_by_that_first(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    with open_database(settings.effective_database_url) as old, old.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE alembic_version AS SELECT '0020' AS version_num")
    with running_app(create_app(settings)) as client:
        answer = client.get("/v1/jobs")
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/schema-outdated")
    assert ": install 0.1.0 and migrate first. " in answer.json()["detail"]


def test_other_http_error_is_a_problem_without_a_type(failing: httpx.Client) -> None:
    answer = failing.get("/teapot")

    assert (answer.status_code, answer.headers["X-Spout"]) == (418, "left")
    assert answer.json()["type"] == "about:blank"
    assert (answer.json()["title"], answer.json()["detail"]) == ("I'm a Teapot", "short and stout")


def _refused(client: httpx.Client, body: Any) -> dict[str, Any]:
    # encoded here: httpx would refuse to send a lone surrogate
    answer = client.post("/v1/jobs", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["type"] == "/problems/invalid-request"
    return problem


@pytest.mark.parametrize(
    ("body", "pointer", "words"),
    [
        ({"kind": "train", "spec": {"epochs": 0}}, "/spec/epochs", "must be 1 to 1,000"),
        ({"kind": "train", "spec": {"epochs": 10**9}}, "/spec/epochs", "must be 1 to 1,000"),
        ({"kind": "train", "spec": {"epochs": 10**40}}, "/spec/epochs", "must be 1 to 1,000"),
        ({"kind": "train", "spec": {"epochs": 2.5}}, "/spec/epochs", "must be a whole number, 1 to 1,000"),
        ({"kind": "train", "spec": {"epochs": None}}, "/spec/epochs", "must be a whole number, 1 to 1,000"),
        (
            {"kind": "train", "spec": {"learning_rate": -1}},
            "/spec/learning_rate",
            "must be more than 0, up to 10",
        ),
        (
            {"kind": "train", "spec": {"learning_rate": "fast"}},
            "/spec/learning_rate",
            "must be a number, more than 0, up to 10",
        ),
        ({"kind": "train", "spec": {"optimiser": "adam"}}, "/spec/optimiser", "did you mean `optimizer`?"),
        ({"kind": "train", "spec": {"epoch": 5}}, "/spec/epoch", "unknown field: did you mean `epochs`?"),
        ({"kind": "train", "spec": {"gpus": 5}}, "/spec/gpus", "unknown field: the known ones are dataset, "),
        ({"kind": "train", "spec": {"optimizer": "lion"}}, "/spec/optimizer", "must be adam, sgd or rmsprop"),
        ({"kind": "train", "spec": {"train_size": 0}}, "/spec/train_size", "must be at least 1"),
        ({"kind": "train", "spec": []}, "/spec", "must be an object"),
        ({"kind": "train", "priority": "first"}, "/priority", "must be urgent, high, normal or low"),
        ({"kind": "train", "tags": ["good", ""]}, "/tags/1", "at least 1 character"),
        ({"kind": "train", "a/b~c": 1}, "/a~1b~0c", "unknown field"),
        ({"kind": "train", "name": "\ud800"}, "/name", "unicode"),
        ({"kind": "train", "name": "a\x00b"}, "/name", "must have no character that cannot be printed"),
        ({"kind": "train", "\ud800": 1}, "", "unicode"),
        ({"kind": "evaluate", "spec": {}}, "/spec/model_id", "is required"),
        ({"kind": "evaluate", "spec": {"model_id": "X"}}, "/spec/model_id", "or its alias"),
        ({"kind": "evaluate"}, "/spec", "is required"),
        ({"kind": "deploy"}, "/kind", "'train', 'evaluate'"),
        ({"kind": "\ud800"}, "/kind", "'train', 'evaluate'"),
        ({"spec": {}}, "/kind", "is required"),
        ({}, "/kind", "is required"),
        ([], "", "must be an object"),
        ("train", "", "must be an object"),
        (None, "", "must be an object"),
    ],
)
def test_invalid_field_is_named_with_its_error(
    client: httpx.Client, body: Any, pointer: str, words: str
) -> None:
    problem = _refused(client, body)

    assert [error["pointer"] for error in problem["errors"]] == [pointer]
    assert words in problem["errors"][0]["detail"]
    assert problem["detail"].startswith(pointer or "the body")
    assert words in problem["detail"]


def test_missing_body_is_required(client: httpx.Client) -> None:
    answer = client.post("/v1/jobs")

    assert answer.status_code == 422
    assert answer.json()["detail"] == "the body: is required"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("field", ["learning_rate", "epochs"])
def test_number_that_is_not_finite_is_refused(client: httpx.Client, number: str, field: str) -> None:
    body = f'{{"kind": "train", "spec": {{"{field}": {number}}}}}'

    answer = client.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == f"/spec/{field}"
    assert "finite number" in answer.json()["detail"]


@pytest.mark.parametrize("value", [True, False, "5", "0.5"])
@pytest.mark.parametrize("field", ["epochs", "learning_rate", "seed", "threshold", "train_size"])
def test_boolean_or_text_is_not_a_number(client: httpx.Client, field: str, value: object) -> None:
    problem = _refused(client, {"kind": "train", "spec": {field: value}})

    [error] = problem["errors"]
    assert error["pointer"] == f"/spec/{field}"
    assert error["detail"].startswith("must be a number, ")


def test_integral_float_is_accepted_as_an_integer_and_an_integer_as_a_float(client: httpx.Client) -> None:
    answer = client.post("/v1/jobs", json={"kind": "train", "spec": {"epochs": 3.0, "learning_rate": 1}})

    assert answer.status_code == 202
    assert answer.json()["spec"]["epochs"] == 3


def test_many_errors_are_counted_and_the_first_are_listed(client: httpx.Client) -> None:
    problem = _refused(client, {"kind": "train", **{f"field_{i}": 1 for i in range(1000)}})

    assert len(problem["errors"]) == 20
    assert "(and 999 more)" in problem["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"{'kind': 'train'}",
        b'{"kind": "train",}',
        b"\xff\xfe",
    ],
    ids=["cut", "quotes", "comma", "bytes"],
)
def test_body_that_is_not_json_is_refused(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 400
    assert answer.json()["type"] == "/problems/malformed-json"


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
        (b'{"kind": "train", "spec": {"seed": ' + b"9" * 5_000 + b"}}", "too many digits"),
    ],
    ids=["arrays", "objects", "number"],
)
def test_json_that_python_does_not_read_is_refused(client: httpx.Client, body: bytes, detail: str) -> None:
    for path in ("/v1/jobs", "/v1/sweeps", "/v1/jobs/batch", "/v1/models/champion/predict"):
        answer = client.post(path, content=body, headers={"Content-Type": "application/json"})

        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")
        assert detail in answer.json()["detail"]


HOSTILE_VALUES = [
    "9" * 4_000,
    "9" * 5_000,
    f"-{'9' * 4_000}",
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "-1e308",
    "1e-999",
    "1.5",
    "null",
    "{}",
    f"{'[' * 500}1{']' * 500}",
    f"{'[' * 50_000}{']' * 50_000}",
    r'"\ud800"',
    r'"\u0000"',
    f'"{"9" * 5_000}"',
]


def _json_operations(client: httpx.Client) -> Iterator[tuple[str, str, list[str]]]:
    """Yield the method, the path and the fields of each operation that has a JSON body."""
    document = client.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            if "application/json" in content:
                schema = content["application/json"]["schema"]
                parts = schema.get("oneOf") or schema.get("anyOf") or [schema]
                fields = [name for part in parts for name in _resolved(document, part).get("properties", {})]
                yield method.upper(), path, fields


def _resolved(document: Any, schema: dict[str, Any]) -> Any:
    if "$ref" not in schema:
        return schema
    return document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]


@pytest.mark.slow
@pytest.mark.parametrize("value", HOSTILE_VALUES, ids=lambda value: value[:12])
def test_no_value_in_a_json_body_is_an_internal_error(client: httpx.Client, value: str) -> None:
    operations = list(_json_operations(client))
    assert ("POST", "/v1/models/{model_id}/predict", ["images"]) in operations
    for method, path, fields in operations:
        ready = re.sub(r"{\w+}", str(UUID(int=1)), path)
        nested = [f'{{"kind": "train", "spec": {{"{name}": {value}}}}}' for name in TrainRequest.model_fields]
        bodies = [value, *(f'{{"{field}": {value}}}' for field in fields)]
        for body in [*bodies, *(nested if path == "/v1/jobs" else [])]:
            answer = client.request(method, ready, content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code < 500, (method, path, body[:80])


@pytest.mark.parametrize("sent", ["text/plain", "application/x-www-form-urlencoded", None])
def test_other_media_type_is_refused(client: httpx.Client, sent: str | None) -> None:
    headers = {"Content-Type": sent} if sent else {}

    answer = client.post("/v1/jobs", content=b'{"kind": "train"}', headers=headers)

    assert answer.status_code == 415
    assert "application/json" in answer.json()["detail"]


def test_invalid_parameter_is_named(client: httpx.Client) -> None:
    answer = client.get("/v1/jobs", params={"limit": 0})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] == "limit"
    assert answer.json()["detail"].startswith("limit: ")


def test_unknown_path_is_a_problem(client: httpx.Client) -> None:
    answer = client.get("/v1/nothing")

    assert answer.status_code == 404
    assert answer.json()["type"] == "about:blank"
    assert answer.json()["instance"] == "/v1/nothing"
    assert "/docs" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/workers", "GET"),
        ("/v1/jobs", "GET, POST"),
        ("/v1/jobs/0198f0a2-7d3e-7c55-9a5e-3f2b1c0d4e5f/cancel", "POST"),
        ("/", "GET"),
    ],
)
def test_method_that_is_not_allowed_is_a_problem_that_names_the_allowed_ones(
    client: httpx.Client, path: str, allowed: str
) -> None:
    answer = client.delete(path)

    assert answer.status_code == 405
    assert answer.headers["Allow"] == allowed
    assert answer.json()["title"] == "Method Not Allowed"
    assert answer.json()["detail"] == f"DELETE is not allowed here; allowed: {allowed}"
