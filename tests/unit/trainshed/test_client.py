"""The client against a fake API whose failures are scripted."""

import json
from collections.abc import Callable
from inspect import iscoroutinefunction, signature
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from uuid_utils.compat import uuid7

from shared.lifecycle import JobKind, JobState
from shared.schemas import (
    EvaluateJobCreate,
    EvaluateRequest,
    Resolution,
    TrainJobCreate,
    TrainRequest,
)
from shared.settings import Settings
from tests.support.fake_api import FakeApi, make_event, make_job, make_problem, make_states, make_success
from trainshed import AsyncClient, Client, GridSweepCreate, TrainshedApiError, UsageError
from trainshed.async_client import local_url
from trainshed.operations.workers import Health

ADMIN_KEY = "a secret of the administrator"


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def server(api: FakeApi) -> Client:
    return api.connect()


def test_a_submitted_job_contains_only_the_fields_that_were_set(api: FakeApi, server: Client) -> None:
    job = server.submit(TrainJobCreate(spec=TrainRequest(epochs=3), tags=("a",)))
    assert json.loads(api.last.content) == {"kind": "train", "spec": {"epochs": 3}, "tags": ["a"]}
    assert job.state is JobState.QUEUED


def test_a_submitted_evaluation_contains_its_model(api: FakeApi, server: Client) -> None:
    model_id = uuid4()
    server.submit(EvaluateJobCreate(kind="evaluate", spec=EvaluateRequest(model_id=model_id)))
    assert json.loads(api.last.content) == {"kind": "evaluate", "spec": {"model_id": str(model_id)}}


def test_retries_of_a_submission_have_the_same_idempotency_key(api: FakeApi, server: Client) -> None:
    api.faults = [httpx.ReadTimeout("timed out"), make_problem(503, "busy")]
    server.submit(TrainJobCreate())
    keys = {request.headers["Idempotency-Key"] for request in api.requests}
    assert len(api.requests) == 3
    assert len(keys) == 1


def test_each_submission_has_an_idempotency_key_of_its_own(server: Client) -> None:
    assert server.submit(TrainJobCreate()).id != server.submit(TrainJobCreate()).id


def test_two_submissions_with_the_same_key_create_one_job(server: Client) -> None:
    first, second = (server.submit(TrainJobCreate(), idempotency_key="mine") for _ in range(2))
    assert first.id == second.id


def test_retrying_a_job_sends_an_idempotency_key(api: FakeApi, server: Client) -> None:
    job_id = api.add(make_job(state=JobState.FAILED))
    assert server.retry(job_id).retry_of == job_id
    assert api.last.headers["Idempotency-Key"]


def test_every_page_of_jobs_is_listed(api: FakeApi, server: Client) -> None:
    ids = [api.add(make_job()) for _ in range(5)]
    assert [job.id for job in server.jobs(page_size=2)] == ids[::-1]
    assert len(api.requests) == 3


def test_a_page_is_fetched_only_when_it_is_needed(api: FakeApi, server: Client) -> None:
    newest = [api.add(make_job()) for _ in range(5)][-1]
    assert next(server.jobs(page_size=2)).id == newest
    assert len(api.requests) == 1


def test_jobs_are_listed_by_state(api: FakeApi, server: Client) -> None:
    api.add(make_job())
    failed = api.add(make_job(state=JobState.FAILED))
    assert [job.id for job in server.jobs(state="failed")] == [failed]


def test_a_job_is_watched_through_every_change_to_its_end(api: FakeApi, server: Client) -> None:
    states = make_states(make_job())
    assert list(server.watch(api.add(*states))) == states


def test_an_unchanged_job_is_not_yielded_again(api: FakeApi, server: Client) -> None:
    queued, *_, done = make_states(make_job())
    job_id = api.add(queued, queued, queued, done)
    assert list(server.watch(job_id)) == [queued, done]
    assert [request.headers.get("If-None-Match") for request in api.requests] == [None, '"1"', '"1"', '"1"']


def test_without_changes_the_polling_interval_grows_to_a_second(api: FakeApi, server: Client) -> None:
    queued, *_, done = make_states(make_job())
    server.wait(api.add(*[queued] * 10, done))
    assert api.pauses[0] == pytest.approx(0.2)
    assert api.pauses == sorted(api.pauses)
    assert api.pauses[-1] == pytest.approx(1.0)


def test_the_server_is_long_polled(api: FakeApi) -> None:
    queued, *_, done = make_states(make_job())
    job_id = api.add(queued, queued, done)
    list(api.connect().watch(job_id))
    assert [request.url.params.get("wait") for request in api.requests] == [None, "10.0", "10.0"]


def test_a_wait_is_a_long_poll_for_the_end(api: FakeApi) -> None:
    queued, *_, done = make_states(make_job())
    api.connect().wait(api.add(queued, done))
    assert [dict(request.url.params) for request in api.requests] == [{"wait": "10.0", "until": "end"}] * 2


def test_a_long_poll_does_not_exceed_the_callers_timeout(api: FakeApi) -> None:
    queued, *_, done = make_states(make_job())
    api.connect().wait(api.add(queued, done), timeout_s=5)
    assert float(api.last.url.params["wait"]) == pytest.approx(5, abs=1)


def test_every_page_of_events_is_read(api: FakeApi, server: Client) -> None:
    job_id = api.add(make_job())
    api.events[job_id] = [make_event(job_id, seq) for seq in range(1, 6)]
    assert list(server.events(job_id)) == api.events[job_id]
    assert list(server.events(job_id, after=4)) == api.events[job_id][4:]
    assert list(server.events(job_id, after=5)) == []


def test_a_watch_survives_a_restart_of_the_server(api: FakeApi, server: Client) -> None:
    states = make_states(make_job())
    watch = server.watch(api.add(*states))
    next(watch)
    api.faults = [httpx.ConnectError("[Errno 111] Connection refused") for _ in range(4)]
    assert list(watch) == states[1:]


def test_waiting_returns_the_finished_job(api: FakeApi, server: Client) -> None:
    states = make_states(make_job())
    assert server.wait(api.add(*states)) == states[-1]


def test_waiting_ends_at_its_timeout(api: FakeApi, server: Client) -> None:
    job_id = api.add(make_job())
    with pytest.raises(TimeoutError, match=f"job {job_id} is not finished after 0 s"):
        server.wait(job_id, timeout_s=0)


def test_a_job_is_cancelled(api: FakeApi, server: Client) -> None:
    assert server.cancel(api.add(make_job())).state is JobState.CANCELLED


def test_metrics_are_read_by_epoch_and_by_step(api: FakeApi, server: Client) -> None:
    job_id = api.add(make_job())
    assert {len(metric.y) for metric in server.metrics(job_id).series} == {3}
    assert {len(metric.y) for metric in server.metrics(job_id, Resolution.STEP).series} == {6}


def test_an_evaluation_is_read(api: FakeApi, server: Client) -> None:
    assert server.evaluation(api.add(make_job())).accuracy == 49 / 50


def test_the_workers_are_read(server: Client) -> None:
    assert [worker.id for worker in server.workers()] == ["host:42"]


def test_a_model_is_read_and_downloaded(api: FakeApi, server: Client) -> None:
    job_id = api.add(*make_states(make_job()))
    model_id = api.states[job_id][-1].model_id
    assert model_id is not None
    assert server.model(model_id).job_id == job_id
    assert server.download(model_id, "onnx") == b"the model's file"
    assert api.last.url.params["format"] == "onnx"


def test_an_unknown_job_is_an_error_with_the_servers_message(server: Client) -> None:
    with pytest.raises(TrainshedApiError, match="there is no job") as caught:
        server.job(uuid7())
    assert caught.value.problem.status == 404


def test_a_ready_server_lacks_nothing(server: Client) -> None:
    assert server.health() == Health(ready=True, lacks="")


@pytest.mark.parametrize(("status", "ready"), [(200, True), (503, False)])
def test_a_server_says_what_it_lacks_and_whether_it_is_ready(
    api: FakeApi, server: Client, status: int, ready: bool
) -> None:
    checks = {"database": {"ok": True, "detail": "ok"}, "redis": {"ok": False, "detail": "Redis is down"}}
    api.ready = httpx.Response(status, json={"ready": ready, "checks": checks})
    assert server.health() == Health(ready=ready, lacks="Redis is down")


def test_a_server_that_fails_is_not_ready(api: FakeApi, server: Client) -> None:
    api.ready = make_problem(500, "oops")
    assert server.health() == Health(ready=False, lacks=f"{server.url} is not ready")


def test_an_unreachable_server_is_not_ready(api: FakeApi, server: Client) -> None:
    api.faults = [httpx.ConnectError("refused")]
    assert server.health() == Health(ready=False, lacks=f"{server.url} does not respond")
    assert api.pauses == []


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8123"),
        ("localhost", "http://localhost:8123"),
        ("0.0.0.0", "http://127.0.0.1:8123"),
        ("::1", "http://[::1]:8123"),
        ("::", "http://[::1]:8123"),
    ],
)
def test_the_local_url_is_one_that_this_host_can_reach(host: str, url: str) -> None:
    assert local_url(Settings(host=host, port=8123)) == url


@pytest.mark.parametrize(
    ("variables", "url", "expected"),
    [
        ({}, None, "http://127.0.0.1:8123"),
        ({"TRAINSHED_URL": "http://two.test/"}, None, "http://two.test"),
        ({"TRAINSHED_URL": "http://two.test"}, "http://one.test", "http://one.test"),
    ],
)
def test_the_server_is_the_arguments_or_the_settings_or_the_local_one(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str | None, expected: str
) -> None:
    for name, value in {"TRAINSHED_PORT": "8123", **variables}.items():
        monkeypatch.setenv(name, value)
    with Client(url) as server:
        assert server.url == expected


@pytest.mark.parametrize(
    ("variables", "url", "key"),
    [
        ({}, None, ADMIN_KEY),
        ({"TRAINSHED_API_KEY": "ts_1_2"}, None, "ts_1_2"),
        ({}, "http://elsewhere.example", None),
        ({"TRAINSHED_URL": "http://elsewhere.example"}, None, None),
        ({"TRAINSHED_URL": "http://elsewhere.example", "TRAINSHED_API_KEY": "ts_1_2"}, None, "ts_1_2"),
    ],
)
def test_an_administrators_key_is_sent_to_the_local_api_only(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], url: str | None, key: str | None
) -> None:
    for name, value in {"TRAINSHED_API_KEYS": ADMIN_KEY, **variables}.items():
        monkeypatch.setenv(name, value)
    api.connect(url).workers()
    assert api.last.headers.get("Authorization") == (key and f"Bearer {key}")


def public(client: type) -> dict[str, Any]:
    """The public attributes of a class."""
    return {name: getattr(client, name) for name in dir(client) if not name.startswith("_")}


def test_both_clients_have_the_same_methods_with_the_same_signatures() -> None:
    blocking, asynchronous = public(Client), public(AsyncClient)
    asynchronous.pop("over")

    assert blocking.keys() == asynchronous.keys()
    for name in blocking.keys() - {"url"}:
        assert signature(blocking[name]) == signature(asynchronous[name]), name
        assert blocking[name].__doc__ == asynchronous[name].__doc__, name
        assert iscoroutinefunction(asynchronous[name]) or "AsyncItems" in str(signature(asynchronous[name]))


def test_a_job_is_trained_from_its_fields(api: FakeApi, server: Client) -> None:
    job = server.train(epochs=3, tags=("a",), name="mine")
    sent = {"kind": "train", "spec": {"epochs": 3}, "name": "mine", "tags": ["a"]}
    assert json.loads(api.last.content) == sent
    assert job.state is JobState.QUEUED


def test_a_model_is_evaluated_by_its_alias_or_its_job(api: FakeApi, server: Client) -> None:
    done = make_success(make_job())
    for model, expected in (("champion", "champion"), (done, str(done.model_id))):
        server.evaluate(model, threshold=0.5)
        assert json.loads(api.last.content)["spec"] == {"model_id": expected, "threshold": 0.5}
    with pytest.raises(UsageError, match="has no model: it is queued"):
        server.evaluate(make_job())


def test_an_unknown_field_is_refused_with_the_nearest_known_one(server: Client) -> None:
    with pytest.raises(TypeError, match="no field `epoch`: did you mean `epochs`"):
        server.train(epoch=5)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda server: server.train(epochs=-1), "epochs: must be 1 to 1,000, not -1"),
        (lambda server: server.train(epochs="5"), "epochs: must be a number, 1 to 1,000, not 5"),
        (lambda server: server.train(tags="one"), "tags: must be a list, not one"),
        (lambda server: server.evaluate("champion", threshold=2), "threshold: must be 0 to 1, not 2"),
        (lambda server: server.jobs(page_size=0), "limit: must be 1 to 200, not 0"),
        (lambda server: server.edit(UUID(int=1), queue="A!"), "queue: must have only lower-case letters"),
        (lambda server: server.clone(UUID(int=1), epochs=0), "epochs: must be 1 to 1,000, not 0"),
        (
            lambda server: server.batch("stop", [UUID(int=1)]),
            "action: must be cancel, retry or delete, not stop",
        ),
        (lambda server: server.change_model("champion", alias="A B"), "alias: must have only lower-case"),
        (lambda server: server.create_webhook("nope"), "url: must be an http or https address"),
        (
            lambda server: server.change_webhook(UUID(int=1), states=["queued"]),
            "states.0: must be ",
        ),
        (lambda server: server.limit_queue("default", 0), "max_running: must be "),
    ],
)
def test_an_argument_that_is_wrong_is_a_usage_error_in_words(
    api: FakeApi, server: Client, call: Callable[[Client], object], message: str
) -> None:
    with pytest.raises(UsageError) as refused:
        call(server)
    assert str(refused.value).startswith(message)
    assert isinstance(refused.value, ValueError)
    assert "pydantic" not in str(refused.value)
    assert api.requests == []


def test_a_job_is_named_by_itself_its_id_or_last(api: FakeApi, server: Client) -> None:
    job = make_job()
    api.add(job)
    references = (job, job.id, str(job.id), "last")
    assert [server.job(reference).id for reference in references] == [job.id] * 4
    assert server.last().id == job.id


def test_a_job_is_named_by_the_end_of_its_id(api: FakeApi, server: Client) -> None:
    job_id = api.add(*make_states(make_job()))
    short = str(job_id)[-8:]
    assert server.job(short).id == server.cancel(short).id == server.wait(short).id == job_id
    assert server.retry(short).retry_of == job_id
    with pytest.raises(TrainshedApiError, match="no job's id begins or ends with ffffffff"):
        server.job("ffffffff")


def test_what_names_no_job_is_refused(server: Client) -> None:
    with pytest.raises(UsageError, match="'first' is not a job: give its id, the end of its id, or `last`"):
        server.job("first")
    with pytest.raises(UsageError, match="there is no job yet"):
        server.last()


def test_an_unnamed_kind_of_request_has_its_default() -> None:
    assert EvaluateJobCreate(spec=EvaluateRequest(model_id="champion")).kind is JobKind.EVALUATE
    assert GridSweepCreate(parameters={"epochs": (1, 2)}).strategy == "grid"
