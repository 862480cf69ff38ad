"""A stand-in for the API behind httpx's own mock transport: it keeps jobs whose lives are written before."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
from uuid_utils.compat import uuid7

from shared.lifecycle import AttemptOutcome, JobState, Phase
from shared.schemas import (
    Attempt,
    EventPage,
    Job,
    JobDetail,
    JobError,
    JobEvaluation,
    JobEvent,
    JobPage,
    LastMetrics,
    LayerSummary,
    Metrics,
    ModelDetail,
    ModelKind,
    Problem,
    Progress,
    Series,
    Worker,
    WorkerList,
)
from tests.support.factories import make_epoch, make_evaluation, make_spec
from trainshed.client import Client

URL = "http://trainshed.test"
T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def make_job(**overrides: Any) -> JobDetail:
    """A queued training job of 3 epochs with 2 steps each."""
    values: dict[str, Any] = {
        "id": uuid7(),
        "kind": "train",
        "state": JobState.QUEUED,
        "phase": None,
        "name": None,
        "tags": (),
        "queue": "default",
        "priority": "normal",
        "spec": make_spec(),
        "attempt": 0,
        "max_attempts": 3,
        "crashes": 0,
        "max_runtime_s": None,
        "version": 1,
        "progress": make_progress(0),
        "metrics": None,
        "evaluation_accuracy": None,
        "model_id": None,
        "retry_of": None,
        "error": None,
        "cancel_requested_at": None,
        "scheduled_at": T0,
        "created_at": T0,
        "started_at": None,
        "finished_at": None,
        "attempts": (),
    }
    return JobDetail(**{**values, **overrides})


def make_progress(epoch: int) -> Progress:
    return Progress(epoch=epoch, epochs=3, step=2 * epoch, steps=6, percent=100 * epoch / 3)


def make_attempt(number: int = 1, **overrides: Any) -> Attempt:
    values: dict[str, Any] = {
        "number": number,
        "worker": "host:42",
        "device": "CPU",
        "versions": {},
        "started_at": T0,
        "finished_at": None,
        "outcome": None,
        "error_code": None,
        "error_message": None,
    }
    return Attempt(**{**values, **overrides})


def make_life(job: JobDetail) -> list[JobDetail]:
    """The states of a job that succeeds, one after another."""

    def at(version: int, **changes: Any) -> JobDetail:
        return job.model_copy(update={"version": version, **changes})

    running: dict[str, Any] = {"state": JobState.RUNNING, "attempt": 1, "attempts": (make_attempt(),)}
    trained = [
        at(
            epoch + 2,
            **running,
            phase=Phase.TRAINING,
            progress=make_progress(epoch),
            metrics=LastMetrics(**_curves(epoch - 1)),
        )
        for epoch in (1, 3)
    ]
    done: dict[str, Any] = {
        "attempt": 1,
        "state": JobState.SUCCEEDED,
        "attempts": (make_attempt(outcome=AttemptOutcome.SUCCEEDED, finished_at=T0 + timedelta(seconds=2)),),
        "progress": make_progress(3),
        "metrics": LastMetrics(**_curves(2)),
        "evaluation_accuracy": 0.98,
        "model_id": uuid7(),
        "started_at": T0,
        "finished_at": T0 + timedelta(seconds=2),
    }
    return [job, at(2, **running, phase=Phase.LOADING_DATA), *trained, at(6, **done)]


def make_success(job: JobDetail) -> JobDetail:
    """A job as it is when it has succeeded."""
    return make_life(job)[-1]


def make_cancellation(job: JobDetail) -> JobDetail:
    """A job as it is when it was cancelled while it was queued."""
    return job.model_copy(update={"state": JobState.CANCELLED, "version": job.version + 1})


def make_failure(job: JobDetail, code: str = "data_unavailable", message: str = "no route") -> JobDetail:
    """A job as it is when its only attempt has failed."""
    failed = make_attempt(
        outcome=AttemptOutcome.FAILED, error_code=code, error_message=message, finished_at=T0
    )
    changes = {
        "state": JobState.FAILED,
        "error": JobError(code=code, message=message),
        "attempt": 1,
        "attempts": (failed,),
        "version": job.version + 1,
    }
    return job.model_copy(update=changes)


def make_job_evaluation(job_id: UUID, **overrides: Any) -> JobEvaluation:
    values = make_evaluation(**overrides).model_dump()
    return JobEvaluation(**values, job_id=job_id, model_id=uuid7(), dataset="digits")


def make_model(model_id: UUID, job_id: UUID) -> ModelDetail:
    layer = LayerSummary(
        name="conv2d", type="Conv2D", output_shape=(24, 24, 8), parameters=208, trainable=True
    )
    return ModelDetail(
        id=model_id,
        job_id=job_id,
        dataset="digits",
        kind=ModelKind.CNN,
        parameters=5_994,
        layers=(layer,),
        weights_sha256="0" * 64,
        accuracy=0.98,
        created_at=T0,
        spec=make_spec(),
        evaluations=(),
    )


def make_event(job_id: UUID, seq: int = 1, **overrides: Any) -> JobEvent:
    values: dict[str, Any] = {"type": "submitted", "attempt": 0, "data": {}, "at": T0}
    return JobEvent(**{"job_id": job_id, "seq": seq, **values, **overrides})


def make_worker(**overrides: Any) -> Worker:
    values: dict[str, Any] = {
        "id": "host:42",
        "host": "host",
        "pid": 42,
        "queues": ("default",),
        "devices": (),
        "slots": 1,
        "versions": {},
        "state": "online",
        "started_at": T0,
        "heartbeat_at": T0,
        "heartbeat_age_s": 1.0,
    }
    return Worker(**{**values, **overrides})


def make_metrics(epochs: int = 3, resolution: str = "epoch") -> Metrics:
    """The curves of a job that has trained so many epochs, 2 steps each."""
    done = [make_epoch(epoch) for epoch in range(epochs)]
    if resolution == "epoch":
        curves = {name: [_curves(epoch)[name] for epoch in range(epochs)] for name in _curves(0)}
    else:
        curves = {
            "loss": [loss for epoch in done for loss in epoch.batch_loss],
            "accuracy": [accuracy for epoch in done for accuracy in epoch.batch_accuracy],
        }
    return Metrics(
        series=tuple(
            Series(name=name, resolution=resolution, x=tuple(range(len(y))), y=tuple(y))
            for name, y in curves.items()
        )
    )


def make_problem(status: int, detail: str, **more: Any) -> httpx.Response:
    problem = Problem(type="about:blank", title="a problem", status=status, detail=detail, **more)
    return httpx.Response(
        status, json=problem.model_dump(), headers={"Content-Type": "application/problem+json"}
    )


def _curves(epoch: int) -> dict[str, float]:
    return make_epoch(epoch).model_dump(include={"loss", "accuracy", "val_loss", "val_accuracy"})


class FakeApi:
    """The API, without a network, a database or a clock.

    Attributes:
        lives: the states that are still to come of each job; each look at a job but the last takes one.
        next_life: makes the life of a job that is submitted.
        troubles: what the next requests meet instead of an answer.
        requests: every request, in order.
        pauses: how long the client waited each time, instead of waiting.
        ready: what `/readyz` answers.
        events: what has happened to each job.
        no_streams: whether something in between lets no stream through.
    """

    def __init__(self) -> None:
        self.lives: dict[UUID, list[JobDetail]] = {}
        self.events: dict[UUID, list[JobEvent]] = {}
        self.no_streams = False
        self.next_life: Callable[[JobDetail], list[JobDetail]] = make_life
        self.troubles: list[httpx.Response | Exception] = []
        self.requests: list[httpx.Request] = []
        self.pauses: list[float] = []
        self.ready = httpx.Response(200, json={"ready": True, "checks": {}})
        self.workers: tuple[Worker, ...] = (make_worker(),)
        self._of_key: dict[str, UUID] = {}

    def connect(self, url: str | None = None, *, api_key: str | None = None) -> Client:
        """A client of this API."""
        transport = httpx.MockTransport(self._answer)
        return Client(
            url or URL, api_key=api_key, transport=transport, sleep=self.pauses.append, patience_s=5.0
        )

    def add(self, *life: JobDetail) -> UUID:
        """Have a job with that life; return its id."""
        self.lives[life[0].id] = list(life)
        return life[0].id

    @property
    def last(self) -> httpx.Request:
        return self.requests[-1]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.troubles:
            trouble = self.troubles.pop(0)
            if isinstance(trouble, Exception):
                raise trouble
            return trouble
        path = request.url.path
        if path == "/readyz":
            return self.ready
        if path == "/v1/workers":
            return _json(WorkerList(data=self.workers))
        if path == "/v1/jobs":
            return self._submit(request) if request.method == "POST" else self._list(request)
        if match := re.fullmatch(r"/v1/(jobs|models)/([0-9a-f-]{36})(/\w+)?", path):
            return self._one(request, match[1], UUID(match[2]), match[3] or "")
        return make_problem(404, f"there is nothing at {path}")

    def _submit(self, request: httpx.Request, retry_of: UUID | None = None) -> httpx.Response:
        key = request.headers["Idempotency-Key"]
        if key not in self._of_key:
            job = make_job(retry_of=retry_of)
            self._of_key[key] = self.add(*self.next_life(job))
        return _json(self.lives[self._of_key[key]][0], 202)

    def _list(self, request: httpx.Request) -> httpx.Response:
        query = request.url.params
        jobs = [life[0] for life in reversed(self.lives.values())]
        start = int(query.get("cursor", "0"))
        end = start + int(query["limit"])
        states = query.get_list("state") or list(JobState)
        shown = tuple(Job(**job.model_dump()) for job in jobs if job.state in states)
        more = end < len(shown)
        return _json(JobPage(data=shown[start:end], has_more=more, next_cursor=str(end) if more else None))

    def _one(self, request: httpx.Request, kind: str, of: UUID, what: str) -> httpx.Response:
        if kind == "models":
            return self._model(of, what)
        if of not in self.lives:
            return make_problem(404, f"there is no job {of}")
        match what:
            case "/metrics":
                return _json(make_metrics(resolution=request.url.params["resolution"]))
            case "/evaluation":
                return _json(make_job_evaluation(of))
            case "/retry":
                return self._submit(request, retry_of=of)
            case "/events":
                after = int(request.url.params["after"])
                found = [event for event in self.events[of] if event.seq > after]
                return _json(EventPage(data=tuple(found[:2]), has_more=len(found) > 2))
            case "/stream" if self.no_streams:
                return httpx.Response(200, headers={"Content-Type": "text/html"}, text="what a proxy says")
            case "/cancel":
                self.add(make_cancellation(self.lives[of][0]))
        return self._look(request, self.lives[of])

    def _look(self, request: httpx.Request, life: list[JobDetail]) -> httpx.Response:
        job = life.pop(0) if len(life) > 1 else life[0]
        tag = f'"{job.version}"'
        if request.headers.get("If-None-Match") == tag:
            return httpx.Response(304, headers={"ETag": tag})
        return _json(job, headers={"ETag": tag})

    def _model(self, model_id: UUID, what: str) -> httpx.Response:
        job_ids = [job_id for job_id, life in self.lives.items() if life[-1].model_id == model_id]
        if not job_ids:
            return make_problem(404, f"there is no model {model_id}")
        if what == "/download":
            return httpx.Response(200, content=b"the model's file")
        return _json(make_model(model_id, job_ids[0]))


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.Response(status, content=body.model_dump_json(), headers=headers)
