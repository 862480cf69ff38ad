"""The client against a fake API that misbehaves on command."""

import json
from uuid import uuid4

import httpx
import pytest
from uuid_utils.compat import uuid7

from shared.lifecycle import JobState
from shared.schemas import (
    EvaluateJobCreate,
    EvaluateRequest,
    JobListQuery,
    ModelFormat,
    TrainJobCreate,
    TrainRequest,
)
from shared.settings import Settings
from tests.support.fake_api import FakeApi, make_event, make_job, make_life, make_problem
from trainshed import Client, TrainshedApiError
from trainshed.client import local_url


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def server(api: FakeApi) -> Client:
    return api.connect()


def test_a_job_is_submitted_with_what_was_given_and_nothing_else(api: FakeApi, server: Client) -> None:
    job = server.submit(TrainJobCreate(spec=TrainRequest(epochs=3), tags=("a",)))
    assert json.loads(api.last.content) == {"kind": "train", "spec": {"epochs": 3}, "tags": ["a"]}
    assert job.state is JobState.QUEUED


def test_an_evaluation_is_submitted_with_its_model(api: FakeApi, server: Client) -> None:
    model_id = uuid4()
    server.submit(EvaluateJobCreate(kind="evaluate", spec=EvaluateRequest(model_id=model_id)))
    assert json.loads(api.last.content) == {"kind": "evaluate", "spec": {"model_id": str(model_id)}}


def test_a_submission_that_is_tried_again_has_the_same_idempotency_key(api: FakeApi, server: Client) -> None:
    api.troubles = [httpx.ReadTimeout("timed out"), make_problem(503, "busy")]
    server.submit(TrainJobCreate())
    keys = {request.headers["Idempotency-Key"] for request in api.requests}
    assert len(api.requests) == 3
    assert len(keys) == 1


def test_two_submissions_have_two_idempotency_keys(server: Client) -> None:
    assert server.submit(TrainJobCreate()).id != server.submit(TrainJobCreate()).id


def test_two_submissions_with_one_key_are_one_job(server: Client) -> None:
    first, second = (server.submit(TrainJobCreate(), idempotency_key="mine") for _ in range(2))
    assert first.id == second.id


def test_a_retry_has_an_idempotency_key_too(api: FakeApi, server: Client) -> None:
    job_id = api.add(make_job(state=JobState.FAILED))
    assert server.retry(job_id).retry_of == job_id
    assert api.last.headers["Idempotency-Key"]


def test_jobs_are_listed_over_all_pages(api: FakeApi, server: Client) -> None:
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
    assert [job.id for job in server.jobs(JobListQuery(state=(JobState.FAILED,)))] == [failed]


def test_a_job_is_watched_through_every_change_to_its_end(api: FakeApi, server: Client) -> None:
    life = make_life(make_job())
    assert list(server.watch(api.add(*life))) == life


def test_a_job_that_has_not_changed_is_not_seen_again(api: FakeApi, server: Client) -> None:
    queued, *_, done = make_life(make_job())
    job_id = api.add(queued, queued, queued, done)
    assert list(server.watch(job_id)) == [queued, done]
    assert [request.headers.get("If-None-Match") for request in api.requests] == [None, '"1"', '"1"', '"1"']


def test_while_nothing_changes_looks_become_rarer_down_to_one_a_second(api: FakeApi, server: Client) -> None:
    queued, *_, done = make_life(make_job())
    server.wait(api.add(*[queued] * 10, done))
    assert api.pauses[0] == pytest.approx(0.2)
    assert api.pauses == sorted(api.pauses)
    assert api.pauses[-1] == pytest.approx(1.0)


def test_the_server_is_asked_to_wait_for_a_change(api: FakeApi) -> None:
    queued, *_, done = make_life(make_job())
    job_id = api.add(queued, queued, done)
    api.connect().wait(job_id)
    assert [request.url.params.get("wait") for request in api.requests] == [None, "10.0", "10.0"]


def test_the_server_is_asked_to_wait_no_longer_than_the_caller_does(api: FakeApi) -> None:
    queued, *_, done = make_life(make_job())
    api.connect().wait(api.add(queued, done), timeout_s=5)
    assert float(api.last.url.params["wait"]) == pytest.approx(5, abs=1)


def test_events_are_read_over_all_pages(api: FakeApi, server: Client) -> None:
    job_id = api.add(make_job())
    api.events[job_id] = [make_event(job_id, seq) for seq in range(1, 6)]
    assert list(server.events(job_id)) == api.events[job_id]
    assert list(server.events(job_id, after=4)) == api.events[job_id][4:]
    assert list(server.events(job_id, after=5)) == []


def test_a_watch_outlives_a_server_that_restarts(api: FakeApi, server: Client) -> None:
    life = make_life(make_job())
    watch = server.watch(api.add(*life))
    next(watch)
    api.troubles = [httpx.ConnectError("[Errno 111] Connection refused") for _ in range(4)]
    assert list(watch) == life[1:]


def test_waiting_gives_the_finished_job(api: FakeApi, server: Client) -> None:
    life = make_life(make_job())
    assert server.wait(api.add(*life)) == life[-1]


def test_waiting_ends_when_its_time_is_over(api: FakeApi, server: Client) -> None:
    job_id = api.add(make_job())
    with pytest.raises(TimeoutError, match=f"job {job_id} is not finished after 0 s"):
        server.wait(job_id, timeout_s=0)


def test_a_job_is_cancelled(api: FakeApi, server: Client) -> None:
    assert server.cancel(api.add(make_job())).state is JobState.CANCELLED


def test_curves_are_read_by_epoch_and_by_step(api: FakeApi, server: Client) -> None:
    job_id = api.add(make_job())
    assert {len(series.y) for series in server.metrics(job_id).series} == {3}
    assert {len(series.y) for series in server.metrics(job_id, "step").series} == {6}


def test_an_evaluation_is_read(api: FakeApi, server: Client) -> None:
    assert server.evaluation(api.add(make_job())).accuracy == 49 / 50


def test_the_workers_are_read(server: Client) -> None:
    assert [worker.id for worker in server.workers()] == ["host:42"]


def test_a_model_is_read_and_downloaded(api: FakeApi, server: Client) -> None:
    job_id = api.add(*make_life(make_job()))
    model_id = api.lives[job_id][-1].model_id
    assert model_id is not None
    assert server.model(model_id).job_id == job_id
    assert server.download(model_id, ModelFormat.ONNX) == b"the model's file"
    assert api.last.url.params["format"] == "onnx"


def test_a_job_that_is_not_there_is_an_error_with_the_servers_words(server: Client) -> None:
    with pytest.raises(TrainshedApiError, match="there is no job") as caught:
        server.job(uuid7())
    assert caught.value.problem.status == 404


def test_a_ready_server_lacks_nothing(server: Client) -> None:
    assert server.why_not_ready() == ""


def test_a_server_that_is_not_ready_says_what_it_lacks(api: FakeApi, server: Client) -> None:
    checks = {"database": {"ok": True, "detail": "ok"}, "redis": {"ok": False, "detail": "Redis is away"}}
    api.ready = httpx.Response(503, json={"ready": False, "checks": checks})
    assert server.why_not_ready() == "Redis is away"


def test_a_server_that_fails_is_not_ready(api: FakeApi, server: Client) -> None:
    api.ready = make_problem(500, "oops")
    assert server.why_not_ready() == f"{server.url} is not ready"


def test_a_server_that_is_away_is_not_ready(api: FakeApi, server: Client) -> None:
    api.troubles = [httpx.ConnectError("refused")]
    assert server.why_not_ready() == f"{server.url} does not answer"
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
def test_the_api_of_these_settings_is_found_on_this_host(host: str, url: str) -> None:
    assert local_url(Settings(host=host, port=8123)) == url


def test_without_a_url_the_server_is_that_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINSHED_PORT", "8123")
    with Client() as server:
        assert server.url == "http://127.0.0.1:8123"
